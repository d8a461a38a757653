"""Linear response: against finite strain steps, dense algebra and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, small_glass

import stzjax
from stzjax.core import loads
from stzjax.descriptors import linear_response, stiffness
from stzjax.mechanics import allocation, energetics, expansion, hessians, implicit, relax
from stzjax.numerics import conjugate_gradient

TIGHT = relax.RelaxConfig(force_tolerance=1e-11)
# Third derivatives of a spline jump at its knots: short steps pass few of them.
SHORT = 1e-5


@pytest.fixture(scope="module")
def glass():
    """54 atoms at a minimum of an asymmetric potential, in a tilted cell."""
    structure = small_glass.relaxed(small_glass.TILTED, tolerance=1e-10)
    potential = small_glass.potential()
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff, skin=0.3)
    return structure, potential, neighbors


@pytest.fixture(scope="module")
def tiling(glass):
    structure, _, neighbors = glass
    return allocation.tiling(structure, neighbors, slack=1.3)


@pytest.fixture(scope="module")
def around(glass):
    """The expansion of the energy of the glass, with its Hessian."""
    return allocation.expand(*glass)


@pytest.fixture(scope="module")
def found(around):
    return linear_response.respond(around)


def generator(place: int) -> np.ndarray:
    first, second = sorted(loads.VOIGT[place])
    tensor = np.zeros((3, 3))
    tensor[first, second] = 1.0
    return tensor


@pytest.mark.slow
def test_the_operator_is_the_hessian(glass, tiling):
    structure, potential, neighbors = glass
    operator = hessians.assemble(structure, potential, neighbors, tiling)
    assert not operator.overflow
    dense = small_glass.hessian(structure, potential, neighbors)
    fields = np.random.default_rng(0).normal(size=(54, 3, 5))
    expected = (dense @ fields.reshape(162, 5)).reshape(fields.shape)
    np.testing.assert_allclose(hessians.apply(operator, fields), expected, atol=1e-10)
    blocks = np.stack([dense.reshape(54, 3, 54, 3)[i, :, i] for i in range(54)])
    np.testing.assert_allclose(operator.diagonal, blocks, atol=1e-10)


@pytest.mark.slow
def test_a_tile_without_room_is_seen(glass, tiling):
    structure, potential, neighbors = glass
    narrow = tiling._replace(width=16)
    operator = hessians.assemble(structure, potential, neighbors, narrow)
    assert operator.overflow
    sides = np.ones((54, 3, 1)) * np.arange(54)[:, None, None]
    assert int(hessians.solve(operator, sides).outcome[0]) == conjugate_gradient.NOT_FINITE


@pytest.mark.slow
def test_many_tiles(glass, monkeypatch):
    """Tiles of a few atoms, as many as a large structure has."""
    structure, potential, neighbors = glass
    monkeypatch.setattr(allocation, "_TILE", 4)
    tiling = allocation.tiling(structure, neighbors)
    assert tiling.levels == 4 and tiling.size == 4
    operator = hessians.assemble(structure, potential, neighbors, tiling)
    assert sorted(np.asarray(operator.members).ravel())[:54] == list(range(54))
    field = np.random.default_rng(0).normal(size=(54, 3))
    product = energetics.hessian_vector_product(structure, potential, field, neighbors)
    np.testing.assert_allclose(
        hessians.apply(operator, field[..., None])[..., 0], product, atol=1e-10
    )


def test_the_response_solves_the_dense_equations(glass, around, found):
    structure, potential, neighbors = glass
    dense = small_glass.hessian(structure, potential, neighbors)
    inverse = np.linalg.pinv(dense, rcond=1e-9, hermitian=True)
    forces = np.asarray(expansion.affine_forces(around))
    expected = (inverse @ forces.reshape(162, 6)).T.reshape(6, 54, 3)
    assert np.all(found.residual < 1e-8)
    np.testing.assert_allclose(found.fields, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("place", range(6))
def test_the_response_is_that_of_small_strain_steps(glass, found, place):
    structure, potential, _ = glass

    def moved(strain):
        gradient = np.eye(3) + strain * generator(place)
        result = relax.relax(structure.deform(gradient), potential, TIGHT)
        assert result.converged
        change = np.asarray(result.structure.fractional - structure.fractional)
        field = (change - np.round(change)) @ (gradient @ np.asarray(structure.cell)).T
        return field - field.mean(axis=0)

    step = 2e-6
    expected = (moved(step) - moved(-step)) / (2 * step)
    np.testing.assert_allclose(found.fields[place], expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("direction", "place"), [("+yz", 3), ("-xz", 4), ("xy", 5)])
def test_places_of_directions(direction, place):
    assert linear_response.place(direction) == place


def test_local_d2min_is_that_of_a_small_step(glass, found):
    structure, _, _ = glass
    neighbors = stzjax.neighbors.allocate(structure, 3.8)
    field = found.fields[linear_response.place("+xy")]
    step = 1e-5
    after = structure.deform(loads.deformation_gradient("+xy", step))
    after = after.displace(step * field)
    expected = stzjax.nonaffine.d2min(structure, after, neighbors) / step**2
    local = linear_response.local_d2min(structure, field, neighbors)
    np.testing.assert_allclose(local, expected, rtol=1e-3, atol=1e-4 * float(local.max()))
    assert float(local.max()) > 0.0


@pytest.mark.slow
def test_relaxed_moduli_are_the_slopes_of_the_relaxed_stress(glass, around, found):
    """C : E + G σ + σ Gᵀ - tr(G) σ of a stressed solid, for a displacement gradient G."""
    structure, potential, _ = glass
    volume = stzjax.geometry.volume(structure.cell) / 54 * jnp.ones(54)
    affine = stiffness.atomic_stiffness(around, volume)
    atoms = stiffness.relaxed_stiffness(around, affine, volume, found.fields)
    moduli = np.asarray(stiffness.to_voigt(atoms)).mean(axis=0)
    np.testing.assert_allclose(moduli, moduli.T, atol=1e-7 * np.abs(moduli).max())
    born = stiffness.to_voigt(affine)
    # The case would show the non-affine part if it were forgotten.
    assert np.all(np.diag(moduli) < 0.9 * np.diag(born.mean(axis=0)))

    def relaxed(gradient):
        result = relax.relax(structure.deform(gradient), potential, TIGHT)
        assert result.converged
        return np.asarray(energetics.stress(result.structure, potential))

    tension = relaxed(np.eye(3))
    for place in (2, 3, 5):
        move, step = generator(place), 1e-6
        slope = (relaxed(np.eye(3) + step * move) - relaxed(np.eye(3) - step * move)) / (2 * step)
        turned = move @ tension + tension @ move.T - np.trace(move) * tension
        expected = [(slope - turned)[pair] for pair in loads.VOIGT]
        np.testing.assert_allclose(moduli[:, place], expected, atol=1e-4 * np.abs(moduli).max())


@pytest.mark.slow
def test_an_unstable_structure_is_an_outcome(glass):
    structure, potential, neighbors = glass
    rough = small_glass.rough(small_glass.TILTED, jitter=0.06)
    with pytest.raises(ValueError, match="not a minimum of the energy"):
        linear_response.respond(allocation.expand(rough, potential))
    tiling = allocation.tiling(rough, neighbors, slack=1.5)
    pairs = stzjax.neighbors.allocate(rough, potential.cutoff)
    saddle = expansion.expand(rough, potential, pairs, tiling)
    assert np.all(np.isnan(linear_response.response(saddle).fields))
    broken = structure.replace(fractional=structure.fractional.at[0].set(np.nan))
    with pytest.raises(ValueError, match="not finite"):
        linear_response.respond(allocation.expand(broken, potential, neighbors))


def test_too_few_iterations_are_an_outcome(around):
    done = hessians.solve(around.hessian, expansion.affine_forces(around), 1e-9, 3)
    assert np.all(np.asarray(done.outcome) == conjugate_gradient.OUT_OF_ITERATIONS)
    assert np.all(np.asarray(done.iterations) == 3)


def test_columns_do_not_influence_each_other(around):
    sides = expansion.affine_forces(around)
    together = hessians.solve(around.hessian, sides)
    alone = hessians.solve(around.hessian, sides[..., 2:3])
    np.testing.assert_allclose(together.fields[..., 2], alone.fields[..., 0], atol=1e-9)
    assert int(together.iterations[2]) == int(alone.iterations[0])


@pytest.mark.slow
def test_the_gradient_of_the_response(glass, tiling):
    """By implicit differentiation, against responses of moved atoms and strained cells."""
    structure, potential, neighbors = glass
    rng = np.random.default_rng(0)
    weight = jnp.asarray(rng.normal(size=(6, 54, 3)))
    move, strain = rng.normal(size=(54, 3)) / 300.0, np.triu(rng.normal(size=(3, 3))) / 100.0

    def value(x):
        moved = structure.replace(
            fractional=structure.fractional + x * move, cell=structure.cell + x * strain
        )
        around = expansion.expand(moved, potential, neighbors, tiling)
        return jnp.sum(weight * linear_response.response(around, 1e-12).fields)

    compiled = jax.jit(value)
    expected = cases.derivative(lambda x: float(compiled(x)), SHORT)
    np.testing.assert_allclose(jax.grad(value)(0.0), expected, rtol=1e-4)
    np.testing.assert_allclose(jax.jvp(value, (0.0,), (1.0,))[1], expected, rtol=1e-4)


@pytest.mark.slow
def test_the_response_under_vmap(glass, tiling, found):
    structure, potential, neighbors = glass
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), structure)

    def fields(structure):
        around = expansion.expand(structure, potential, neighbors, tiling)
        return linear_response.response(around).fields

    many = jax.vmap(fields)(batch)
    np.testing.assert_allclose(many[1], found.fields, atol=1e-7 * np.abs(found.fields).max())


@pytest.mark.slow
def test_a_minimum_moves_with_the_strain_and_the_potential(glass, tiling):
    """d/dγ and d/dθ of functions of the relaxed structure, against relaxing again."""
    structure, potential, neighbors = glass
    rng = np.random.default_rng(1)
    weight = jnp.asarray(rng.normal(size=(54, 3)))
    leaves, tree = jax.tree.flatten(potential)
    change = [leaf * 0.1 * rng.normal() for leaf in leaves]

    def relaxed(strain, theta):
        shifted = tree.unflatten([a + theta * b for a, b in zip(leaves, change, strict=True)])
        gradient = loads.deformation_gradient("+xz", strain)
        return structure.deform(gradient), shifted

    def value(strain, theta):
        found = implicit.minimum(*relaxed(strain, theta), neighbors, tiling, TIGHT)
        # Relative to the first atom: translations mean nothing.
        fractional = found.structure.fractional
        return jnp.sum(weight * (fractional - fractional[0]))

    def again(strain, theta):
        result = relax.relax(*relaxed(strain, theta), TIGHT)
        change = result.structure.fractional - structure.fractional
        change = change - jnp.round(change)
        return float(jnp.sum(weight * (change - change[0])))

    slopes = jax.grad(value, argnums=(0, 1))(0.0, 0.0)
    for place in (0, 1):
        expected = cases.derivative(
            lambda x, place=place: again(*(x if k == place else 0.0 for k in (0, 1))), 3e-6
        )
        np.testing.assert_allclose(slopes[place], expected, rtol=1e-4)


def test_a_minimum_that_is_not_found_is_not_a_number(glass, tiling):
    structure, potential, neighbors = glass
    moved = structure.displace(0.05 * np.sin(np.arange(162.0)).reshape(54, 3))
    few = relax.RelaxConfig(max_iterations=3)
    found = implicit.minimum(moved, potential, neighbors, tiling, few)
    assert not found.converged and np.all(np.isnan(found.structure.fractional))
