"""Energy and its derivatives: against LAMMPS, a NumPy oracle and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, tables

import stzjax
from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors import lists

BAR = 1.6021765e6
"""LAMMPS' own factor between bar Å³ and eV."""

ENERGY = 1e-8
"""Tolerance per atom [eV]. LAMMPS interpolates the tables by C¹ Hermite pieces, which err by the
fourth power of the grid step; with 10,000 points the two agree to about 1e-12."""

FORCE = 1e-6
"""Tolerance of forces and virials [eV/Å, eV]: 1e-11 is seen for the synthetic tables, 1e-8 with
Mendelev's, whose third derivatives jump."""


@functools.cache
def table(name: str, folder) -> stzjax.potentials.EAM:
    path = folder / name
    if name == "mendelev":
        stzjax.potentials.write_setfl(path, stzjax.potentials.mendelev2019())
    else:
        toy = {"asymmetric": tables.ASYMMETRIC, "reordered": tables.REORDERED}[name]
        path.write_text(toy.text(fs=name == "asymmetric"))
    return stzjax.potentials.read_setfl(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def voigt(tensor) -> np.ndarray:
    """Components xx yy zz xy xz yz, LAMMPS' order."""
    rows, columns = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)
    return np.asarray(tensor)[..., rows, columns]


@pytest.mark.slow
@pytest.mark.parametrize("box", ("orthogonal", "tilted"))
@pytest.mark.parametrize("name", ("mendelev", "asymmetric", "reordered", "analytic"))
def test_agrees_with_lammps(name, box, folder):
    if name == "analytic":
        potential, name = stzjax.potentials.mendelev2019(), "mendelev"
    else:
        potential = table(name, folder)
    atoms = cases.stored("glass" if name == "mendelev" else "crystal", box)
    inner = potential.density_cutoff
    pairs = lists.allocate(atoms, potential.cutoff, skin=0.3, inner=inner)

    def lammps(quantity):
        return cases.lammps()[f"{name}_{box}_{quantity}"]

    energy = float(energetics.energy(atoms, potential, pairs))
    assert energy / atoms.num_atoms == pytest.approx(
        float(lammps("energy")) / atoms.num_atoms, abs=ENERGY
    )
    found = energetics.atomic_energy(atoms, potential, pairs)
    np.testing.assert_allclose(found, lammps("atomic_energy"), rtol=0, atol=ENERGY)
    found = energetics.forces(atoms, potential, pairs)
    np.testing.assert_allclose(found, lammps("forces"), rtol=0, atol=FORCE)
    virial = energetics.atomic_virial(atoms, potential, pairs)
    np.testing.assert_allclose(virial, np.swapaxes(virial, 1, 2), rtol=0, atol=1e-12)
    np.testing.assert_allclose(voigt(virial), lammps("atomic_virial"), rtol=0, atol=FORCE)
    stress = energetics.stress(atoms, potential, pairs)
    np.testing.assert_allclose(voigt(stress), -lammps("pressure") / BAR, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def toy():
    """Small tilted crystal, its potential and a list with a skin."""
    atoms, potential = cases.small(), cases.potential(cases.SMALL)
    return atoms, potential, lists.allocate(atoms, potential.cutoff, skin=0.2)


@pytest.fixture(scope="module")
def glass():
    """Hot glass in a tilted cell under the built-in potential."""
    atoms, potential = cases.stored("glass", "tilted"), stzjax.potentials.mendelev2019()
    return atoms, potential, lists.allocate(atoms, potential.cutoff, skin=0.3)


@pytest.fixture(scope="module")
def collision():
    """A glass in which one pair has been pushed into the short-range branches (r = 1.9 Å)."""
    atoms, potential = cases.stored("start"), stzjax.potentials.mendelev2019()
    i, j, vectors = cases.pairs(atoms.fractional, atoms.cell, 3.0)
    copper = np.asarray(atoms.species) == 0
    k = np.flatnonzero(~copper[i] & ~copper[j])[0]
    length = np.linalg.norm(vectors[k])
    shift = np.zeros((atoms.num_atoms, 3))
    shift[i[k]] = vectors[k] * (1.0 - 1.9 / length)
    atoms = moved(atoms, shift)
    return atoms, potential, lists.allocate(atoms, potential.cutoff, skin=0.3)


def moved(atoms, shift):
    """Atoms displaced by Cartesian vectors (N, 3) [Å]."""
    change = jnp.asarray(shift) @ jnp.linalg.inv(atoms.cell).T
    return atoms.replace(fractional=atoms.fractional + change)


def test_agrees_with_a_loop_over_pairs(toy):
    atoms, potential, pairs = toy
    found = energetics.atomic_energy(atoms, potential, pairs)
    np.testing.assert_allclose(found, cases.oracle(atoms, cases.SMALL), rtol=0, atol=1e-10)
    assert float(energetics.energy(atoms, potential)) == pytest.approx(float(found.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ("toy", "glass", "collision"))
def test_forces_are_the_slope_of_the_energy(name, request):
    atoms, potential, pairs = request.getfixturevalue(name)
    force = energetics.forces(atoms, potential, pairs)
    rng = np.random.default_rng(1)
    for scale in (1.0, 0.0):
        # A random field of all atoms, then the atom with the largest force alone.
        direction = scale * rng.normal(size=force.shape)
        if scale == 0.0:
            direction[int(jnp.argmax(jnp.sum(force**2, axis=-1)))] = (0.6, -0.48, 0.64)
        slope = cases.derivative(
            lambda x, direction=direction: energetics.energy(
                moved(atoms, x * direction), potential, pairs
            ),
            step=3e-4,
        )
        assert slope == pytest.approx(-float(jnp.sum(force * direction)), rel=1e-7, abs=1e-6)
    # No net force, since the energy does not change under translation.
    np.testing.assert_allclose(np.sum(force, axis=0), 0.0, atol=1e-9)


@pytest.mark.parametrize("name", ("toy", "glass", "collision"))
def test_stress_is_the_slope_of_the_energy_with_strain(name, request):
    atoms, potential, pairs = request.getfixturevalue(name)
    stress = np.asarray(energetics.stress(atoms, potential, pairs))
    volume = float(geometry.volume(atoms.cell))
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] = 1.0

        def energy(x, strain=strain):
            deformed = atoms.deform(jnp.eye(3) + x * strain)
            return energetics.energy(deformed, potential, pairs)

        slope = cases.derivative(energy, step=1e-4) / volume
        assert slope == pytest.approx(stress[a, b], rel=1e-6, abs=1e-9)
    virial = np.sum(energetics.atomic_virial(atoms, potential, pairs), axis=0)
    np.testing.assert_allclose(virial / volume, stress, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ("toy", "collision"))
def test_grad_gives_forces_and_stress(name, request):
    atoms, potential, pairs = request.getfixturevalue(name)

    def energy(fractional, cell):
        return energetics.energy(atoms.replace(fractional=fractional, cell=cell), potential, pairs)

    gradient, by_cell = jax.grad(energy, argnums=(0, 1))(atoms.fractional, atoms.cell)
    force = energetics.forces(atoms, potential, pairs)
    np.testing.assert_allclose(gradient, -force @ atoms.cell, rtol=0, atol=1e-9)
    virial = energetics.stress(atoms, potential, pairs) * geometry.volume(atoms.cell)
    # dE/dh hᵀ is the virial; the strictly lower entries of h are no degrees of freedom.
    found = by_cell @ atoms.cell.T
    np.testing.assert_allclose(np.triu(found), np.triu(virial), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_hessian_is_the_slope_of_the_forces(toy):
    atoms, potential, pairs = toy
    count = 3 * atoms.num_atoms

    def energy(shift):
        return energetics.energy(moved(atoms, shift.reshape(-1, 3)), potential, pairs)

    hessian = np.asarray(jax.jit(jax.hessian(energy))(jnp.zeros(count)))
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(hessian.reshape(count, -1, 3).sum(axis=1), 0.0, atol=1e-9)
    force = jax.jit(lambda x: energetics.forces(moved(atoms, x), potential, pairs).ravel())
    for column in range(0, count, 7):
        direction = np.zeros(count)
        direction[column] = 1.0
        slope = -cases.derivative(
            lambda x, direction=direction: force(x * direction.reshape(-1, 3)), step=1e-4
        )
        # Splines have jumps in their third derivative, 1e-7 of a stiffness of 10 eV/Å².
        np.testing.assert_allclose(slope, hessian[column], rtol=0, atol=2e-6)
    direction = np.random.default_rng(0).normal(size=(atoms.num_atoms, 3))
    product = energetics.hessian_vector_product(atoms, potential, jnp.asarray(direction), pairs)
    np.testing.assert_allclose(product.ravel(), hessian @ direction.ravel(), rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ("glass", "collision"))
def test_hessian_vector_product_is_the_slope_of_the_forces(name, request):
    atoms, potential, pairs = request.getfixturevalue(name)
    direction = np.random.default_rng(0).normal(size=(atoms.num_atoms, 3))
    slope = -cases.derivative(
        lambda x: energetics.forces(moved(atoms, x * direction), potential, pairs), step=1e-4
    )
    product = energetics.hessian_vector_product(atoms, potential, jnp.asarray(direction), pairs)
    np.testing.assert_allclose(product, slope, rtol=1e-6, atol=2e-5)


def test_reverse_mode_differentiates_the_forces(toy):
    # A loss on forces, as in fitting: reverse over the hand-written first derivative.
    atoms, potential, pairs = toy

    def loss(fractional):
        return jnp.sum(
            energetics.forces(atoms.replace(fractional=fractional), potential, pairs) ** 2
        )

    gradient = jax.grad(loss)(atoms.fractional)
    direction = np.random.default_rng(4).normal(size=gradient.shape)
    slope = cases.derivative(lambda x: loss(atoms.fractional + x * direction), step=1e-5)
    assert slope == pytest.approx(float(jnp.sum(gradient * direction)), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "field",
    (
        "pair_coefficients",
        "pair_knots",
        "bridge",
        "charge",
        "density_coefficients",
        "density_tail",
        "density_knots",
        "embedding_scale",
        "embedding_coefficients",
        "embedding_knots",
    ),
)
def test_gradient_to_the_parameters_of_the_closed_form(field, collision):
    check_parameter_gradient(*collision, field, relative_step=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("field", ("pair_table", "density_table", "embedding_table"))
def test_gradient_to_the_parameters_of_a_table(field, toy):
    check_parameter_gradient(*toy, field, relative_step=1e-4)


def check_parameter_gradient(atoms, potential, pairs, field, relative_step):
    gradient = getattr(parameter_gradient(atoms, potential, pairs), field)
    value = getattr(potential, field)
    rng = np.random.default_rng(3)
    direction = np.asarray(value) * rng.normal(size=value.shape)
    slope = cases.derivative(
        lambda x: energetics.energy(
            atoms, potential.replace(**{field: value + x * direction}), pairs
        ),
        step=relative_step,
    )
    expected = float(jnp.sum(gradient * direction))
    assert slope == pytest.approx(expected, rel=1e-6, abs=1e-6)
    # Forward mode goes another way through the hand-written rule.
    tangent = jax.tree.map(jnp.zeros_like, potential).replace(**{field: jnp.asarray(direction)})
    _, forward = jax.jvp(lambda p: energetics.energy(atoms, p, pairs), (potential,), (tangent,))
    assert float(forward) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@functools.cache
def _gradient():
    return jax.jit(jax.grad(lambda p, atoms, pairs: energetics.energy(atoms, p, pairs)))


def parameter_gradient(atoms, potential, pairs):
    return _gradient()(potential, atoms, pairs)


@pytest.mark.slow
def test_position_and_parameter_derivatives_add_up(toy):
    # All arguments at once, so that no part of the hand-written rule hides another.
    atoms, potential, pairs = toy
    rng = np.random.default_rng(6)
    shift = jnp.asarray(rng.normal(size=atoms.fractional.shape))
    strain = jnp.asarray(np.triu(rng.normal(size=(3, 3))))

    def energy(x):
        changed = potential.replace(pair_table=potential.pair_table * (1.0 + x))
        cell = (jnp.eye(3) + x * strain) @ atoms.cell
        state = atoms.replace(fractional=atoms.fractional + 0.1 * x * shift, cell=cell)
        return energetics.energy(state, changed, pairs)

    slope = cases.derivative(energy, step=1e-4)
    assert slope == pytest.approx(float(jax.grad(energy)(0.0)), rel=1e-7)
    assert slope == pytest.approx(float(jax.jvp(energy, (0.0,), (1.0,))[1]), rel=1e-7)


@pytest.mark.slow
def test_batched_is_one_by_one(toy):
    _, potential, _ = toy
    batch = [cases.small(seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batch)
    template = lists.allocate(batch[0], potential.cutoff, skin=0.2, slack=1.5)
    listed = jax.vmap(lambda s: lists.rebuild(template, s))(stacked)
    assert not listed.overflow.any()
    for function in (
        energetics.forces,
        energetics.stress,
        energetics.atomic_energy,
        jax.grad(lambda s, p, n: energetics.energy(s, p, n), allow_int=True),
    ):
        together = jax.vmap(function, in_axes=(0, None, 0))(stacked, potential, listed)
        for k, atoms in enumerate(batch):
            alone = function(atoms, potential, jax.tree.map(lambda x, k=k: x[k], listed))
            for found, expected in zip(
                jax.tree.leaves(together), jax.tree.leaves(alone), strict=True
            ):
                if jnp.issubdtype(expected.dtype, jnp.floating):
                    np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_batched_core_is_one_by_one(collision):
    # Under vmap a branch becomes a selection: the short range must hold for one and not leak.
    near, potential, pairs = collision
    far = cases.stored("start")
    stacked = jax.tree.map(lambda *x: jnp.stack(x), near, far)
    listed = jax.vmap(lambda s: lists.rebuild(pairs, s))(stacked)
    assert not listed.overflow.any()
    found = jax.vmap(energetics.forces, in_axes=(0, None, 0))(stacked, potential, listed)
    for k, atoms in enumerate((near, far)):
        expected = energetics.forces(atoms, potential)
        np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-9)


def single(arguments):
    """Everything in single precision."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, arguments
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ("toy", "mendelev", "analytic"))
def test_single_precision_is_close(name, toy, glass, folder):
    arguments = toy if name == "toy" else glass
    if name == "mendelev":
        arguments = (glass[0], table(name, folder), glass[2])
    energy, force = energetics.energy(*arguments), energetics.forces(*arguments)
    # Splines: 1e-7 of 20 Å in a position times a stiffness of 20 eV/Å². The closed form adds
    # powers up to (7.6 - r)^8 that cancel to a millionth: good for a melt, and no more.
    per_atom, tolerance = (0.01, 0.1) if name == "analytic" else (1e-5, 3e-4)
    half = single(arguments)
    found = energetics.energy(*half)
    assert found.dtype == jnp.float32 and energetics.forces(*half).dtype == jnp.float32
    assert float(found - energy) / arguments[0].num_atoms == pytest.approx(0.0, abs=per_atom)
    np.testing.assert_allclose(energetics.forces(*half), force, rtol=0, atol=tolerance)


def test_under_jit_a_list_is_needed(toy):
    atoms, potential, pairs = toy
    expected = energetics.energy(atoms, potential, pairs)
    assert jax.jit(energetics.energy)(atoms, potential, pairs) == pytest.approx(float(expected))
    for function in (energetics.energy, energetics.forces, energetics.stress):
        with pytest.raises(ValueError, match=r"neighbors\.allocate"):
            jax.jit(function)(atoms, potential)
    with pytest.raises(ValueError, match=r"neighbors\.allocate"):
        jax.grad(lambda c: energetics.energy(atoms.replace(cell=c), potential))(atoms.cell)
    with pytest.raises(ValueError, match=r"neighbors\.allocate"):
        jax.vmap(lambda s: energetics.energy(atoms.replace(fractional=s), potential))(
            atoms.fractional[None]
        )


@pytest.mark.parametrize("name", ("toy", "glass"))
@pytest.mark.parametrize("quantity", ("forces", "stress", "virial", "gradient", "hvp"))
def test_the_hot_path_has_no_scatter(name, quantity, request):
    atoms, potential, pairs = request.getfixturevalue(name)

    def gradient(fractional, cell, potential, pairs):
        return jax.grad(
            lambda s, c: energetics.energy(atoms.replace(fractional=s, cell=c), potential, pairs),
            argnums=(0, 1),
        )(fractional, cell)

    def on_structure(function):
        return lambda s, c, p, n: function(atoms.replace(fractional=s, cell=c), p, n)

    function = {
        "forces": on_structure(energetics.forces),
        "stress": on_structure(energetics.stress),
        "virial": on_structure(energetics.atomic_virial),
        "gradient": gradient,
        "hvp": on_structure(
            lambda s, p, n: energetics.hessian_vector_product(s, p, s.fractional, n)
        ),
    }[quantity]
    lowered = jax.jit(function).lower(atoms.fractional, atoms.cell, potential, pairs)
    assert "stablehlo.scatter" not in lowered.as_text()


def test_the_scatter_check_sees_one():
    lowered = jax.jit(lambda x, i: jnp.zeros(3).at[i].add(x)).lower(1.0, 0)
    assert "stablehlo.scatter" in lowered.as_text()


def test_symmetries(toy):
    atoms, potential, pairs = toy
    energy = float(energetics.energy(atoms, potential, pairs))
    force = energetics.forces(atoms, potential, pairs)
    shifted = Structure.create(
        atoms.fractional + np.array([0.3, -0.2, 0.9]), atoms.cell, atoms.species, atoms.elements
    )
    assert float(energetics.energy(shifted, potential)) == pytest.approx(energy, abs=1e-10)
    order = np.random.default_rng(0).permutation(atoms.num_atoms)
    shuffled = atoms.replace(fractional=atoms.fractional[order], species=atoms.species[order])
    np.testing.assert_allclose(
        energetics.forces(shuffled, potential), force[order], rtol=0, atol=1e-10
    )
    # The other order of the elements in the structure, not in the potential.
    renamed = atoms.replace(species=1 - atoms.species, elements=atoms.elements[::-1])
    assert float(energetics.energy(renamed, potential)) == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(energetics.forces(renamed, potential), force, rtol=0, atol=1e-10)


def test_another_cell_of_the_same_lattice():
    # b + a spans the same lattice as b: the same atoms seen through a strong tilt.
    atoms, potential = cases.stored("crystal", "orthogonal"), cases.potential(cases.SMALL)
    cell, fractional = np.array(atoms.cell), np.array(atoms.fractional)
    cell[:, 1] += cell[:, 0]
    fractional[:, 0] -= fractional[:, 1]
    other = Structure.create(fractional, cell, atoms.species, atoms.elements)
    np.testing.assert_allclose(
        energetics.forces(other, potential), energetics.forces(atoms, potential), atol=1e-10
    )
    np.testing.assert_allclose(
        energetics.stress(other, potential), energetics.stress(atoms, potential), atol=1e-12
    )


@pytest.mark.slow
def test_a_skin_changes_nothing(glass):
    atoms, potential, _ = glass
    thin = lists.allocate(atoms, potential.cutoff, skin=0.0)
    thick = lists.allocate(atoms, potential.cutoff, skin=1.5)
    assert thick.spec.skin > 0.5
    for function in (energetics.forces, energetics.atomic_energy):
        found, expected = (function(atoms, potential, n) for n in (thick, thin))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def assert_same(quantity, atoms, potential, pairs, tolerance: float) -> None:
    """A quantity is the same with either of two lists."""
    one, other = (jax.tree.leaves(quantity(atoms, potential, each)) for each in pairs)
    for found, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_zones_and_tables_of_a_list_change_nothing(glass, folder, monkeypatch):
    """Inner rows, and tables by the number of neighbours as large structures have them."""
    atoms, potential, _ = glass
    make = functools.partial(lists.allocate, atoms, potential.cutoff, skin=0.3)
    tabulated = table("mendelev", folder)
    # That of the table is a grid step longer.
    inner = max(potential.density_cutoff, tabulated.density_cutoff)
    plain, zoned = make(), make(inner=inner)
    assert zoned.spec.near[-1] < 0.7 * zoned.spec.capacity
    monkeypatch.setattr(lists, "_RANKED_FROM", 0)
    ranked, both = make(), make(inner=inner)
    for one in (ranked, both):
        assert all(len(zone.blocks) > 1 for zone in one.zones)
        assert one.spec.near[0] < one.spec.near[-1]
    shift = jnp.asarray(np.random.default_rng(0).normal(size=atoms.fractional.shape))
    product = functools.partial(_product, shift)
    # Each is compiled for each list: a few for zones or tables alone, all for both at a time.
    for quantity in (energetics.energy, energetics.atomic_virial):
        assert_same(quantity, atoms, potential, (ranked, plain), 1e-11)
    for quantity in (energetics.energy, energetics.forces, energetics.atomic_virial, product):
        assert_same(quantity, atoms, potential, (plain, zoned), 1e-9)
    for quantity in (
        energetics.energy,
        energetics.forces,
        energetics.atomic_energy,
        energetics.atomic_virial,
        energetics.forces_and_trace,
        energetics.energy_and_virial,
        product,
    ):
        assert_same(quantity, atoms, potential, (both, plain), 1e-11)
    # By the potential; the closed form would compile for half a minute.
    assert_same(_slope, atoms, tabulated, (both, plain), 1e-11)
    assert_same(_slope, atoms, tabulated, (plain, zoned), 1e-9)


def _slope(atoms, potential, pairs):
    """By all coefficients but zeros: beyond the reach of the densities no pair is asked for one."""
    found = jax.grad(energetics.energy, argnums=1)(atoms, potential, pairs)
    return jax.tree.map(lambda slope, own: slope * (jnp.abs(own) > 1e-9), found, potential)


def _product(shift, atoms, potential, pairs):
    return energetics.hessian_vector_product(atoms, potential, shift, pairs)


@pytest.mark.slow
@pytest.mark.parametrize("count", (1, 2))
def test_atoms_out_of_reach_have_no_energy(count):
    fractional = np.array([[0.0, 0.1, 0.2], [0.5, 0.6, 0.7]])[:count]
    atoms = Structure.create(fractional, 40.0 * np.eye(3), np.arange(count), cases.ELEMENTS)
    potential = stzjax.potentials.mendelev2019()
    assert float(energetics.energy(atoms, potential)) == 0.0
    if count == 2:
        assert jnp.array_equal(energetics.forces(atoms, potential), jnp.zeros((count, 3)))
        assert jnp.array_equal(energetics.stress(atoms, potential), jnp.zeros((3, 3)))


def test_unknown_elements_and_small_cells_are_refused(toy):
    atoms, potential, pairs = toy
    with pytest.raises(ValueError, match="Cu, Zr, but the elements are "):
        energetics.energy(atoms.replace(elements=("Al", "Zr")), potential, pairs)
    with pytest.raises(ValueError, match=r"8\.61 Å across.*twice the cut-off 7\.60"):
        energetics.energy(atoms, stzjax.potentials.mendelev2019())
