"""Energies handed to jax-md and taken from it."""

import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax_md import energy, minimize, partition, quantity, simulate, space
from reference import cases, pairs, small_glass

import stzjax
from stzjax import potentials
from stzjax.core import geometry
from stzjax.descriptors import linear_response, soft_modes, table
from stzjax.mechanics import allocation, energetics, relax
from stzjax.potentials import of_jax_md
from stzjax.shear import aqs

SYSTEMS = {
    "pair": lambda: (pairs.small(), potentials.kob_andersen()),
    "eam": lambda: (small_glass.rough(small_glass.TILTED), small_glass.potential()),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def handed(request):
    """A structure in a tilted cell, its potential, and both functions for jax-md with a list."""
    structure, potential = SYSTEMS[request.param]()
    neighbor_fn, energy_fn = potentials.to_jax_md(potential, structure)
    neighbors = neighbor_fn.allocate(structure.fractional, box=structure.cell)
    return structure, potential, neighbor_fn, jax.jit(energy_fn), neighbors


def test_energy_forces_and_stress(handed):
    """Those of the potential, as jax-md takes them.

    Its gradient by fractional positions is Cartesian; its stress has the opposite sign.
    """
    structure, potential, _, energy_fn, neighbors = handed
    here = {"neighbor": neighbors, "box": structure.cell}
    expected = float(energetics.energy(structure, potential))
    assert float(energy_fn(structure.fractional, **here)) == pytest.approx(expected, rel=1e-14)
    forces = quantity.force(energy_fn)(structure.fractional, **here)
    np.testing.assert_allclose(forces, energetics.forces(structure, potential), atol=1e-10)
    stress = quantity.stress(energy_fn, structure.fractional, structure.cell, neighbor=neighbors)
    np.testing.assert_allclose(stress, -energetics.stress(structure, potential), atol=1e-10)
    by_box = jax.grad(lambda box: energy_fn(structure.fractional, neighbor=neighbors, box=box))
    strain = np.array([[0.2, -0.5, 0.3], [0.0, 0.4, 0.6], [0.0, 0.0, -0.3]])
    along = np.sum(by_box(structure.cell) * (strain @ structure.cell))
    work = np.sum(energetics.stress(structure, potential) * strain)
    assert along == pytest.approx(float(work * geometry.volume(structure.cell)), rel=1e-10)


def test_second_derivatives(handed):
    """Forces along a move and along a strain, against differences of the potential's own."""
    structure, potential, _, energy_fn, neighbors = handed
    move = np.random.default_rng(1).normal(size=structure.fractional.shape)
    near = neighbors.neighbors
    own = structure.replace(species=neighbors.atoms.species, elements=potential.elements)

    def forces(position, box):
        return -jax.grad(energy_fn)(position, neighbor=neighbors, box=box)

    def along(change):
        return energetics.forces(change(own), potential, near)

    # Changes of fractional positions are Cartesian to jax-md, in derivatives of any order.
    here = structure.fractional, structure.cell
    found = jax.jvp(lambda x: forces(x, here[1]), here[:1], (jnp.asarray(move),))[1]
    expected = cases.derivative(lambda x: along(lambda s: s.displace(x * move)), 1e-4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    strain = jnp.array([[0.2, -0.5, 0.3], [0.0, 0.4, 0.6], [0.0, 0.0, -0.3]])
    found = jax.jvp(lambda x: forces(here[0], x), here[1:], (strain @ here[1],))[1]
    expected = cases.derivative(lambda x: along(lambda s: s.deform(jnp.eye(3) + x * strain)), 1e-4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_boxes_and_perturbations(handed):
    """Any of jax-md's forms of a box; a perturbation acts on the bonds, and a turn does nothing."""
    structure, potential, _, energy_fn, neighbors = handed
    at = structure.fractional

    def value(**named):
        return float(energy_fn(at, neighbor=neighbors, **named))

    first = float(energetics.energy(structure, potential))
    assert value() == pytest.approx(first, rel=1e-14)
    gradient = np.array([[1.01, 0.02, -0.01], [0.0, 0.99, 0.015], [0.0, 0.0, 1.005]])
    strained = float(energetics.energy(structure.deform(gradient), potential))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turn = turn * np.sign(np.linalg.det(turn))
    for change in (gradient, turn @ gradient):
        assert value(box=structure.cell, perturbation=change) == pytest.approx(strained, rel=1e-12)
    wide = float(energetics.energy(structure.deform(1.01 * jnp.eye(3)), potential))
    assert value(perturbation=1.01, kT=3.0) == pytest.approx(wide, rel=1e-12)
    side = 1.05 * float(structure.cell[2, 2])
    cube = float(energetics.energy(structure.replace(cell=side * jnp.eye(3)), potential))
    for box in (side, np.full(3, side), side * np.eye(3)):
        found = neighbors.update(at, box=box)
        energy_of_cube = float(energy_fn(at, neighbor=found, box=jnp.asarray(box)))
        assert energy_of_cube == pytest.approx(cube, rel=1e-12)


def test_the_list_sees_a_shear(handed):
    """An affine shear of 0.2 moves no fractional position, and makes other neighbours."""
    structure, potential, neighbor_fn, energy_fn, neighbors = handed
    shear = jnp.eye(3).at[0, 1].set(0.2)
    sheared = structure.deform(shear)
    update = jax.jit(lambda old, box: old.update(structure.fractional, box=box))
    same, other = (update(neighbors, box) for box in (structure.cell, sheared.cell))
    assert np.array_equal(same.idx, neighbors.idx) and not np.array_equal(other.idx, neighbors.idx)
    assert not other.did_buffer_overflow
    found = float(energy_fn(structure.fractional, neighbor=other, box=sheared.cell))
    assert found == pytest.approx(float(energetics.energy(sheared, potential)), rel=1e-12)
    again = neighbor_fn.update(structure.fractional, neighbors, box=sheared.cell)
    assert np.array_equal(again.idx, other.idx)
    assert other.idx.shape[0] == structure.num_atoms and other.format is partition.Dense
    assert np.array_equal(other.reference_position, structure.fractional)


def test_a_list_that_is_too_short_says_so(handed):
    structure, _, neighbor_fn, _, neighbors = handed
    assert bool(
        neighbors.update(structure.fractional, box=0.8 * structure.cell).did_buffer_overflow
    )
    more = neighbor_fn.allocate(structure.fractional, 16, box=structure.cell)
    assert more.idx.shape[1] > neighbors.idx.shape[1]


def test_bad_input_on_the_way_to_jax_md():
    structure, potential = SYSTEMS["pair"]()
    with pytest.raises(ValueError, match="the potential knows A, B, but the elements are A, Cu"):
        potentials.to_jax_md(potential, structure.replace(elements=("A", "Cu")))
    neighbor_fn, _ = potentials.to_jax_md(potential, structure)
    with pytest.raises(ValueError, match=r"less than twice the cut-off 2.50 Å"):
        neighbor_fn.allocate(structure.fractional, box=0.9 * structure.cell)


@pytest.fixture(scope="module")
def still():
    """A glass at a minimum in a tilted cell, its functions for jax-md, and the shift."""
    potential = potentials.kob_andersen()
    tilted = pairs.glass().deform(jnp.array([[1.0, 0.1, -0.05], [0.0, 1.0, 0.08], [0.0, 0.0, 1.0]]))
    structure = relax.relax(tilted, potential, relax.RelaxConfig(1e-10)).structure
    neighbor_fn, energy_fn = potentials.to_jax_md(potential, structure)
    _, shift = space.periodic_general(structure.cell, fractional_coordinates=True)
    return structure, neighbor_fn, energy_fn, shift


def follow(step, steps: int):
    """So many steps with the list kept up to date, compiled."""

    def one(_, carry):
        state, neighbors = carry
        box = simulate.npt_box(state) if hasattr(state, "reference_box") else None
        named = {} if box is None else {"box": box}
        neighbors = neighbors.update(state.position, **named)
        return step(state, neighbor=neighbors), neighbors

    return jax.jit(lambda *carry: jax.lax.fori_loop(0, steps, one, carry))


@pytest.mark.slow
def test_nve_of_jax_md_conserves(still):
    """The error of velocity Verlet falls with the square of the time step, and does not grow."""
    structure, neighbor_fn, energy_fn, shift = still
    drifts = []
    for dt, steps in ((0.004, 250), (0.002, 500)):
        begin, step = simulate.nve(energy_fn, shift, dt)
        neighbors = neighbor_fn.allocate(structure.fractional, box=structure.cell)
        state = begin(jax.random.key(0), structure.fractional, 0.3, neighbor=neighbors)
        run, energies = follow(step, steps), []
        for _ in range(4):
            state, neighbors = run(state, neighbors)
            kinetic = quantity.kinetic_energy(momentum=state.momentum, mass=state.mass)
            energies.append(float(energy_fn(state.position, neighbor=neighbors) + kinetic))
        assert not neighbors.did_buffer_overflow
        drifts.append(np.ptp(energies))
    assert drifts[0] < 0.05 and drifts[1] < 0.5 * drifts[0]


@pytest.mark.slow
def test_fire_of_jax_md_finds_the_minimum(still):
    structure, neighbor_fn, energy_fn, shift = still
    move = 0.03 * np.random.default_rng(0).normal(size=structure.fractional.shape)
    begin, step = minimize.fire_descent(energy_fn, shift, dt_start=0.01, dt_max=0.03)
    start = structure.displace(move).fractional
    neighbors = neighbor_fn.allocate(start, box=structure.cell)
    state, neighbors = follow(step, 2000)(begin(start, neighbor=neighbors), neighbors)
    assert np.abs(state.force).max() < 1e-9 and not neighbors.did_buffer_overflow
    moved = geometry.minimum_image(state.position - structure.fractional)
    moved = (moved - np.mean(moved, axis=0)) @ structure.cell.T
    np.testing.assert_allclose(moved, 0.0, atol=1e-9)


@pytest.mark.slow
def test_npt_of_jax_md_conserves(still):
    """In a tilted cell whose volume swings, on Cartesian positions.

    Two thousand steps of 0.002 keep the invariant to 1e-4 of the thermal energy, which is what an
    integrator of second order loses.
    """
    structure, *_ = still
    potential, kT = potentials.kob_andersen(), 0.2
    neighbor_fn, energy_fn = potentials.to_jax_md(potential, structure, False)
    _, shift = space.periodic_general(structure.cell, fractional_coordinates=False)
    ideal = structure.num_atoms * kT / float(geometry.volume(structure.cell))
    stress = energetics.stress(structure, potential)
    pressure = ideal - float(jnp.trace(stress)) / 3.0 + 1.0
    begin, step = simulate.npt_nose_hoover(energy_fn, shift, 0.002, pressure, kT)
    neighbors = neighbor_fn.allocate(structure.positions(), box=structure.cell)
    np.testing.assert_allclose(neighbors.reference_position, structure.positions(), atol=1e-12)
    state = begin(jax.random.key(1), structure.positions(), structure.cell, neighbor=neighbors)
    run, kept, volumes = follow(step, 500), [], []
    for _ in range(4):
        state, neighbors = run(state, neighbors)
        volumes.append(float(geometry.volume(simulate.npt_box(state))))
        invariant = simulate.npt_nose_hoover_invariant
        kept.append(float(invariant(energy_fn, state, pressure, kT, neighbor=neighbors)))
    assert not neighbors.did_buffer_overflow
    assert np.ptp(volumes) > 0.003 * volumes[0]
    assert np.ptp(kept) < 1e-4 * 1.5 * structure.num_atoms * kT


def test_cartesian_positions(handed):
    """The same energies and forces where positions are Cartesian."""
    structure, potential, *_ = handed
    neighbor_fn, energy_fn = potentials.to_jax_md(potential, structure, False)
    neighbors = neighbor_fn.allocate(structure.positions())
    value, slope = jax.value_and_grad(energy_fn)(structure.positions(), neighbor=neighbors)
    assert float(value) == pytest.approx(float(energetics.energy(structure, potential)), rel=1e-12)
    np.testing.assert_allclose(-slope, energetics.forces(structure, potential), atol=1e-9)


CUTOFF = 1.75
SIGMA = np.array([[1.0, 0.875], [0.875, 0.75]])
EPSILON = np.array([[1.0, 1.5], [1.5, 0.5]])
"""Numbers that jax-md's single precision holds."""
SCALES = potentials.Scales(0.4, 12.0)
FORMATS = ("Dense", "Sparse", "OrderedSparse")


@pytest.fixture(scope="module")
def lattice():
    """54 particles on a perturbed bcc lattice in a tilted cell."""
    rng = np.random.default_rng(0)
    corner = np.array(list(itertools.product(range(3), repeat=3))) / 3
    fractional = np.concatenate([corner, corner + 1 / 6]) + rng.normal(scale=0.02, size=(54, 3))
    cell = 3.8 * np.array([[1.0, 0.10, -0.08], [0.0, 0.97, 0.12], [0.0, 0.0, 1.04]])
    species = (rng.random(54) < 0.3).astype(int)
    return stzjax.Structure.create(fractional, cell, species, ("A", "B"))


@pytest.fixture(scope="module")
def displacement(lattice):
    return space.periodic_general(lattice.cell, fractional_coordinates=True)[0]


def lennard_jones(displacement, structure, per_particle=True):
    return energy.lennard_jones_neighbor_list(
        displacement,
        structure.cell,
        species=structure.species,
        sigma=SIGMA,
        epsilon=EPSILON,
        r_onset=1.5,
        r_cutoff=CUTOFF,
        per_particle=per_particle,
        fractional_coordinates=True,
    )[1]


def own_lennard_jones() -> potentials.EAM:
    """The same as a pair potential of functions."""

    def function(a, b):
        def phi(r):
            end, onset, square = CUTOFF**2, 1.5**2, r * r
            fade = (end - square) ** 2 * (end + 2 * square - 3 * onset) / (end - onset) ** 3
            sixth = (SIGMA[a, b] / r) ** 6
            return jnp.where(r < 1.5, 1.0, fade) * 4.0 * EPSILON[a, b] * (sixth - 1.0) * sixth

        return phi

    places = {("A", "A"): (0, 0), ("A", "B"): (0, 1), ("B", "B"): (1, 1)}
    return potentials.pair({key: function(*place) for key, place in places.items()}, CUTOFF)


KINDS = "energy forces stress atomic_energy atomic_virial forces_and_trace".split()


@pytest.mark.parametrize(
    "shape", ["Dense", *(pytest.param(s, marks=pytest.mark.slow) for s in FORMATS[1:])]
)
def test_lennard_jones_of_jax_md_is_our_own(lattice, displacement, shape):
    """To rounding, in each of jax-md's formats; without energies of atoms in equal shares."""
    ordered = shape == "OrderedSparse"
    energy_fn = lennard_jones(displacement, lattice, not ordered)
    options = {"format": shape, "structure": lattice}
    potential = potentials.from_jax_md(energy_fn, ("A", "B"), CUTOFF, **options)
    for kind in KINDS:
        found, expected = (
            getattr(energetics, kind)(lattice, p) for p in (potential, own_lennard_jones())
        )
        if ordered and kind.startswith("atomic"):
            expected = jnp.broadcast_to(jnp.mean(expected, axis=0), expected.shape)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12 * np.abs(b).max()),
            found,
            expected,
        )


def test_equal_shares_are_said_once(lattice, displacement, caplog):
    potential = potentials.from_jax_md(
        lennard_jones(displacement, lattice, False), ("A", "B"), CUTOFF
    )
    of_jax_md._say_equal_shares.cache_clear()
    with caplog.at_level(logging.WARNING):
        energetics.atomic_energy(lattice, potential)
        energetics.atomic_virial(lattice, potential)
    assert [r.message for r in caplog.records] == [
        "the energy function tells only the total energy: atomic energies and virials are equal "
        "shares of it"
    ]


def test_there_and_back(lattice, displacement):
    """An energy of jax-md made a potential, and handed back."""
    potential = potentials.from_jax_md(lennard_jones(displacement, lattice), ("A", "B"), CUTOFF)
    neighbor_fn, energy_fn = potentials.to_jax_md(potential, lattice)
    neighbors = neighbor_fn.allocate(lattice.fractional)
    forces = quantity.force(energy_fn)(lattice.fractional, neighbor=neighbors)
    expected = energetics.forces(lattice, own_lennard_jones())
    np.testing.assert_allclose(forces, expected, atol=1e-12 * np.abs(expected).max())


def network(displacement, structure, species=None):
    """A Behler-Parrinello network with random weights."""
    return energy.behler_parrinello_neighbor_list(
        displacement,
        structure.cell,
        key=jax.random.key(0),
        species=species,
        mlp_sizes=(8, 8),
        sym_kwargs={
            "radial_etas": jnp.array([1.0, 4.0]),
            "angular_etas": jnp.array([0.5, 0.5]),
            "lambdas": jnp.array([-1.0, 1.0]),
            "zetas": jnp.array([1.0, 2.0]),
            "cutoff_distance": CUTOFF,
        },
        fractional_coordinates=True,
        format=partition.Dense,
    )[1]


@pytest.fixture(scope="module")
def learned(lattice, displacement):
    """A network on top of the Lennard-Jones energy that keeps the particles apart."""
    model, core = network(displacement, lattice), lennard_jones(displacement, lattice, False)

    def both(position, neighbor, **others):
        return 3.0 * model(position, neighbor, **others) + core(position, neighbor, **others)

    options = {"scales": SCALES, "masses": (1.0, 1.0), "structure": lattice}
    return potentials.from_jax_md(both, ("A", "B"), CUTOFF, **options)


@pytest.fixture(scope="module")
def minimum(learned, lattice):
    """The minimum below the lattice."""
    found = relax.relax(lattice, learned, relax.RelaxConfig(1e-8))
    assert found.converged
    return found.structure


@pytest.mark.slow
def test_angles_of_jax_md_that_stay_behind(lattice, displacement):
    """With species its Behler-Parrinello network takes the angles in the cell it was made for."""
    with pytest.raises(ValueError, match="the energy does not follow the cell"):
        model = network(displacement, lattice, lattice.species)
        potentials.from_jax_md(model, ("A", "B"), CUTOFF, structure=lattice)


def check_slopes(structure, potential, step=1e-4):
    """Forces of three atoms and the stress against differences of the energy."""
    near = stzjax.neighbors.allocate(structure, potential.cutoff, skin=0.05)

    @jax.jit
    def value(changed):
        return energetics.energy(changed, potential, near)

    forces = np.asarray(energetics.forces(structure, potential, near))
    rounding = 1e-15 * abs(float(value(structure))) / step
    error = 1e-7 * np.abs(forces).max() + rounding
    for atom in (0, 20, 53):
        move = np.zeros((54, 3))
        move[atom] = 0.3, -0.5, 0.7
        found = cases.derivative(lambda x, move=move: value(structure.displace(x * move)), step)
        assert float(found) == pytest.approx(-np.sum(forces * move), abs=error)
    stress = energetics.stress(structure, potential, near)
    strain = np.array([[0.2, -0.5, 0.3], [0.0, 0.4, 0.6], [0.0, 0.0, -0.3]])
    work = float(np.sum(stress * strain) * geometry.volume(structure.cell))
    found = cases.derivative(lambda x: value(structure.deform(jnp.eye(3) + x * strain)), step)
    assert float(found) == pytest.approx(work, rel=1e-6, abs=rounding)


@pytest.mark.slow
def test_a_behler_parrinello_network(learned, minimum):
    """Slopes, soft modes and response at its minimum."""
    shaken = minimum.displace(0.02 * np.random.default_rng(1).normal(size=(54, 3)))
    check_slopes(shaken, learned)
    around = allocation.expand(minimum, learned)
    modes = soft_modes.modes(around, 0.05)
    assert np.all(np.asarray(modes.eigenvalues) > 0.0)
    fields = linear_response.respond(around).fields
    shear = np.zeros((3, 3))
    shear[0, 1] = 1e-5
    tight = relax.RelaxConfig(1e-9)
    start = relax.relax(minimum, learned, tight).structure
    moved = relax.relax(start.deform(jnp.eye(3) + shear), learned, tight).structure
    change = geometry.minimum_image(moved.fractional - start.fractional)
    change = (change - np.mean(change, axis=0)) @ moved.cell.T / 1e-5
    expected = fields[5] - np.mean(fields[5], axis=0)
    np.testing.assert_allclose(change, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


@pytest.mark.slow
def test_a_shear_under_a_network_ends_in_an_event(learned, minimum):
    config = aqs.ShearConfig(
        step=1e-3,
        final=0.4,
        force_tolerance=1e-6,
        d2min_cutoff=1.5,
        record_threshold=0.005,
        stop_threshold=0.05,
    )
    run = aqs.shear(minimum, learned, "+xy", config)
    assert run.outcome == "event"
    step = run.event_step(0.05)
    assert run.labels(0.05).sum() > 1 and run.energy[step] < run.energy[step - 1]
    stress = np.gradient(run.energy, run.strain)[1 : step - 1] / float(
        geometry.volume(minimum.cell)
    )
    np.testing.assert_allclose(run.shear_stress[1 : step - 1], stress, rtol=0.02, atol=0.05)


@pytest.mark.slow
def test_features_under_a_network(learned, minimum):
    """The table takes the potential; atoms share the energy that the network tells."""
    found = table.features(minimum, learned, "+xy")
    assert np.isfinite(np.asarray(found)).all()


def graph_network(displacement, structure, shape):
    return energy.graph_network_neighbor_list(
        displacement,
        structure.cell,
        CUTOFF,
        0.0,
        key=jax.random.key(1),
        nodes=jnp.asarray(structure.species, float),
        mlp_sizes=(8, 8),
        fractional_coordinates=True,
        format=partition.NeighborListFormat[shape],
    )[1]


@pytest.mark.slow
@pytest.mark.parametrize("shape", ("Dense", "Sparse"))
def test_a_graph_network(lattice, displacement, shape):
    """The energy that it has under jax-md's own list, with its edges from atoms to themselves."""
    energy_fn = graph_network(displacement, lattice, shape)
    options = {"format": shape, "mask_self": False, "structure": lattice}
    potential = potentials.from_jax_md(energy_fn, ("A", "B"), CUTOFF, **options)
    neighbor_fn = partition.neighbor_list(
        displacement,
        lattice.cell,
        CUTOFF,
        0.0,
        mask_self=False,
        fractional_coordinates=True,
        format=partition.NeighborListFormat[shape],
    )
    theirs = neighbor_fn.allocate(lattice.fractional)
    expected = float(energy_fn(lattice.fractional, neighbor=theirs))
    # Bonds beyond the cut-off, which our list has in its margin, are not shown to it.
    for skin in (0.0, 0.08):
        near = stzjax.neighbors.allocate(lattice, CUTOFF, skin=skin)
        found = float(energetics.energy(lattice, potential, near))
        assert found == pytest.approx(expected, rel=1e-12)
    # A short step, within which no edge comes or goes: the energy of this network jumps there.
    check_slopes(lattice, potential, 1e-5)


@pytest.mark.slow
def test_derivatives_by_the_weights_of_a_network(lattice, displacement):
    """Weights as the first argument; a list of ours under `jit` and `grad`."""
    graph, weights = nnx.split(network(displacement, lattice).model)

    def energy_fn(weights, position, neighbor, **others):
        return nnx.merge(graph, weights)(position, neighbor, **others)

    potential = potentials.from_jax_md(energy_fn, ("A", "B"), CUTOFF, parameters=weights)
    near = stzjax.neighbors.allocate(lattice, CUTOFF)

    def value(parameters):
        return energetics.energy(lattice, potential.replace(parameters=parameters), near)

    slopes = jax.jit(jax.grad(value))(weights)
    step = jax.tree.map(lambda x: jnp.sin(jnp.arange(1.0, x.size + 1)).reshape(x.shape), weights)
    expected = cases.derivative(
        lambda x: value(jax.tree.map(lambda w, s: w + x * s, weights, step)), 1e-3
    )
    terms = jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), slopes, step))
    assert float(sum(terms)) == pytest.approx(float(expected), rel=1e-3)


def simple(position, neighbor, **others):
    del neighbor, others
    return 0.0 * jnp.sum(position)


def test_species_are_handed_on(lattice):
    """In the order of the potential's elements, under the keyword that the energy has for them."""

    def by_kind(position, neighbor, kind, **others):
        return simple(position, neighbor, **others) + jnp.array([1.0, 10.0, 100.0])[kind]

    potential = potentials.from_jax_md(by_kind, ("C", "B", "A"), CUTOFF, species="kind")
    expected = np.where(np.asarray(lattice.species) == 0, 100.0, 10.0)
    np.testing.assert_array_equal(energetics.atomic_energy(lattice, potential), expected)


def test_energies_that_do_not_fit(lattice, displacement):
    """One line each, where a structure is given to try them on."""
    core = lennard_jones(displacement, lattice, False)
    cuboid = space.periodic(np.diag(np.asarray(lattice.cell)))[0]

    def endless(one, other, perturbation=None, **others):
        return (jnp.eye(len(one)) if perturbation is None else perturbation) @ (one - other)

    def made(energy_fn, structure=lattice, elements=("A", "B"), **options):
        options = {"cutoff": CUTOFF, "structure": structure} | options
        return potentials.from_jax_md(energy_fn, elements, **options)

    fewer = stzjax.Structure.create(
        lattice.fractional[:50], lattice.cell, lattice.species[:50], lattice.elements
    )
    for saying, make in {
        "gives nan for 54 atoms": lambda: made(lambda *a, **k: core(*a, **k) * jnp.nan),
        r"array of shape \(54, 3\)": lambda: made(lambda position, **k: position),
        "does not take 50 atoms": lambda: made(core, fewer),
        "does not take 54 atoms: .*unexpected keyword": lambda: made(lambda R, neighbor: 0.0),
        "does not take 54 atoms: .*does not accept a box": lambda: made(
            lennard_jones(cuboid, lattice, False)
        ),
        "changes when all atoms move": lambda: made(lennard_jones(endless, lattice, False)),
        "does not follow the cell": lambda: made(
            lambda *a, **k: core(*a, **k) + core(*a, k["neighbor"])
        ),
        "the elements are A, B": lambda: made(core, elements=("Cu", "Zr")),
        "twice the cut-off 2.00": lambda: made(core, cutoff=2.0),
        "cut-off must be positive": lambda: made(core, cutoff=0.0),
        "unknown format 'Thick'": lambda: made(core, format="Thick"),
        "1 masses for 2 elements": lambda: made(core, masses=(1.0,)),
    }.items():
        with pytest.raises(ValueError, match=saying) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_an_energy_that_turns_nan_ends_a_relaxation(lattice, displacement):
    core = lennard_jones(displacement, lattice, False)

    def breaks(position, neighbor, **others):
        return jnp.sqrt(core(position, neighbor, **others))  # Negative under the root.

    potential = potentials.from_jax_md(breaks, ("A", "B"), CUTOFF)
    found = relax.relax(lattice, potential)
    assert not found.converged and relax.OUTCOMES[int(found.outcome)] == "not finite"
