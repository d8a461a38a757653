"""The kernels of a CPU beside the passes over a neighbour list and differences of energies."""

import dataclasses
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, small_glass

from stzjax import io, potentials
from stzjax.dynamics import npt
from stzjax.mechanics import energetics
from stzjax.neighbors import half_list, lists
from stzjax.numerics import batching, native, platform
from stzjax.potentials import eam_cpu
from stzjax.shear import aqs

pytestmark = pytest.mark.skipif(not half_list.available("float64"), reason="needs numba")


@pytest.fixture
def as_array_code():
    """A function whose result is computed by array code."""

    def evaluate(function, *args):
        native.choose("xla")
        try:
            return jax.tree.map(np.asarray, function(*args))
        finally:
            native.choose("auto")

    return evaluate


def stored_glass(reference):
    """Short and long range apart: densities end at 6.0 Å, pairs at 7.6 Å."""
    glass = io.structure_from(dict(np.load(reference / "glass.npz")))
    rattled = glass.displace(0.1 * np.sin(np.arange(1500.0)).reshape(-1, 3))
    return rattled, potentials.mendelev2019()


def one_way(reference):
    """Densities that depend on who gives and who receives, in a tilted cell of two cut-offs."""
    return small_glass.rough(small_glass.TILTED), small_glass.potential()


def from_source(reference):
    """Densities of the source alone, as eam/alloy has them; the elements in another order."""
    same = dataclasses.replace(
        small_glass.TOY, weight=((9.0, 14.0), (9.0, 14.0)), bend=((0.5, 1.0), (0.5, 1.0))
    )
    turned = small_glass.rough(small_glass.CUBIC)
    return turned.replace(elements=("Zr", "Cu")), cases.potential(same)


def pairs_alone(reference):
    """No densities at all: the mixture of Kob and Andersen, in its own units."""
    rough = small_glass.rough(0.54 * small_glass.CUBIC, jitter=0.01)
    return rough.replace(elements=("A", "B")), potentials.kob_andersen()


SYSTEMS = stored_glass, one_way, from_source, pairs_alone


def prepared(system, reference, precision="float64", form=lists.BOTH):
    """Structure, prepared potential and list."""
    structure, potential = system(reference)
    potential = potentials.compact(potential, structure.elements, precision)
    args = potential.cutoff, 0.1, 1.0, potential.inner_cutoff, form
    made = lists.allocate(structure, *args)
    return (
        *batching.cast((structure, made), precision)[:1],
        potential,
        batching.cast(made, precision),
    )


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("precision", ("float64", "float32"))
def test_forces_and_trace(system, precision, reference, as_array_code):
    """The same sums in another order: some hundred roundings of terms as large as the largest."""
    structure, potential, made = prepared(system, reference, precision)
    assert potential.half_lists
    evaluate = functools.partial(energetics.forces_and_trace, structure, potential, made)
    force, trace = evaluate()
    force_0, trace_0 = as_array_code(evaluate)
    assert force.dtype == precision and trace.dtype == "float64"
    error = 100 * np.finfo(precision).eps
    np.testing.assert_allclose(force, force_0, rtol=0, atol=error * np.abs(force_0).max())
    # Terms of either sign cancel in the trace: to the sum of their sizes, some eV an atom.
    np.testing.assert_allclose(trace, trace_0, rtol=0, atol=error * 10 * structure.num_atoms)
    assert np.abs(np.asarray(force) - force_0).max() > 0.0, "both come from the same kernel"
    assert np.array_equal(energetics.forces(structure, potential, made), force)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_half_list_alone(system, reference):
    """All that dynamics need, and one line for what it does not give."""
    structure, potential, both = prepared(system, reference)
    _, _, half = prepared(system, reference, form=lists.HALF)
    assert half.zones == ()
    expected = energetics.forces_and_trace(structure, potential, both)
    for a, b in zip(expected, energetics.forces_and_trace(structure, potential, half), strict=True):
        assert np.array_equal(a, b)
    for function in (energetics.energy, energetics.stress):
        with pytest.raises(ValueError, match="half list alone"):
            function(structure, potential, half)


@pytest.mark.parametrize("system", (one_way, from_source))
def test_forces_are_differences_of_the_energy(system, reference):
    """Along a direction of all atoms and of the cell; the energy knows no kernel."""
    structure, potential, made = prepared(system, reference)
    field = np.cos(np.arange(3.0 * structure.num_atoms)).reshape(-1, 3)
    force, trace = energetics.forces_and_trace(structure, potential, made)

    def along(step):
        return energetics.energy(structure.displace(step * field), potential.base)

    def swollen(step):
        return energetics.energy(structure.deform((1.0 + step) * jnp.eye(3)), potential.base)

    # Prepared pieces are within 1e-7 eV/Å of each bond, of some hundred here.
    slope = cases.derivative(along, 1e-3)
    assert np.sum(np.asarray(force) * field) == pytest.approx(-slope, abs=1e-5, rel=1e-7)
    assert float(trace) == pytest.approx(cases.derivative(swollen, 1e-4), abs=1e-5, rel=1e-6)


@pytest.mark.slow
def test_derivatives_of_every_order(reference, as_array_code):
    """Forward, backward and twice: those of the array code."""
    structure, potential, made = prepared(one_way, reference)
    field = jnp.sin(structure.fractional)

    def forces(fractional, cell):
        atoms = structure.replace(fractional=fractional, cell=cell)
        return energetics.forces_and_trace(atoms, potential, made)

    def every():
        x, h = structure.fractional, structure.cell
        first = jax.jvp(forces, (x, h), (field, 0.01 * h))[1]
        twice = jax.jvp(
            lambda x: jax.jvp(lambda x: forces(x, h)[0], (x,), (field,))[1], (x,), (field,)
        )[1]
        back = jax.grad(lambda x: jnp.sum(forces(x, h)[0] * field))(x)
        return first, twice, back

    for a, b in zip(jax.tree.leaves(every()), jax.tree.leaves(as_array_code(every)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


def test_lanes_are_each_alone(reference):
    structure, potential, made = prepared(one_way, reference)
    moved = [structure.displace(0.02 * n * jnp.ones(3)) for n in range(3)]
    alone = [energetics.forces_and_trace(one, potential, made) for one in moved]
    evaluate = jax.jit(jax.vmap(lambda one: energetics.forces_and_trace(one, potential, made)))
    together = evaluate(batching.stack(moved))
    for place, (force, trace) in enumerate(alone):
        # XLA evaluates the embedding of many lanes otherwise.
        np.testing.assert_allclose(together[0][place], force, rtol=0, atol=1e-13)
        np.testing.assert_allclose(together[1][place], trace, rtol=1e-12)


@pytest.mark.parametrize("precision", ("float64", "float32"))
def test_what_is_no_number_shows(precision, reference):
    """Two atoms in one place, a lost position and a lost cell give NaN."""
    structure, potential, made = prepared(one_way, reference, precision)
    x = structure.fractional
    force = energetics.forces(structure.replace(fractional=x.at[1].set(x[0])), potential, made)
    assert not np.isfinite(force[:2]).any()
    for value in (jnp.nan, jnp.inf):
        lost = structure.replace(fractional=x.at[3, 2].set(value))
        force, trace = energetics.forces_and_trace(lost, potential, made)
        assert not np.isfinite(force[3]).any() and not np.isfinite(trace)
    force, trace = energetics.forces_and_trace(
        structure.replace(cell=structure.cell * jnp.nan), potential, made
    )
    assert not np.isfinite(force).any() and not np.isfinite(trace)


def test_a_lonely_atom_that_is_lost_shows(reference):
    """Without neighbours, too."""
    structure, potential, made = prepared(one_way, reference)
    few = structure.replace(
        fractional=jnp.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]), species=jnp.array([0, 1])
    )
    made = lists.allocate(few, potential.cutoff, 0.1, form=lists.HALF)
    assert made.half.starts[-1] == 0
    assert np.array_equal(energetics.forces(few, potential, made), np.zeros((2, 3)))
    lost = few.replace(fractional=few.fractional.at[0, 0].set(jnp.nan))
    force = energetics.forces(lost, potential, made)
    assert not np.isfinite(force[0]).any() and np.isfinite(force[1]).all()


@pytest.mark.parametrize(
    "field, place, value", [("pairs", 5, 54), ("pairs", 0, -1), ("order", 3, 54), ("starts", 7, -2)]
)
def test_a_list_that_names_no_atom_gives_no_number(field, place, value, reference):
    """Nothing is read outside the arrays."""
    structure, potential, made = prepared(one_way, reference)
    wrong = getattr(made.half, field).at[place].set(value)
    made = made.replace(half=made.half.replace(**{field: wrong}))
    force, trace = energetics.forces_and_trace(structure, potential, made)
    assert not np.isfinite(force).any() and not np.isfinite(trace)


def test_rows_longer_than_a_buffer(reference, as_array_code):
    """More than 512 neighbours of an atom, which are taken in parts."""
    rng = np.random.default_rng(5)
    place = rng.random((1500, 3))
    structure = io.structure_from(dict(np.load(reference / "glass.npz")))
    structure = structure.create(place, 12.0 * np.eye(3), rng.integers(0, 2, 1500), ("Cu", "Zr"))
    potential = potentials.compact(cases.potential(dataclasses.replace(cases.SMALL, cutoff=5.9)))
    made = lists.allocate(structure, potential.cutoff, 0.0, form=lists.BOTH)
    assert np.diff(made.half.starts).max() > 512
    evaluate = functools.partial(energetics.forces_and_trace, structure, potential, made)
    force, trace = evaluate()
    force_0, trace_0 = as_array_code(evaluate)
    np.testing.assert_allclose(force, force_0, rtol=0, atol=1e-12 * np.abs(force_0).max())
    np.testing.assert_allclose(trace, trace_0, rtol=1e-12)


def test_two_threads_at_once(reference):
    """As the pipeline calls it; each gets its own numbers."""
    structure, potential, made = prepared(stored_glass, reference)
    moved = [structure.displace(0.01 * n * jnp.sin(structure.fractional)) for n in range(2)]
    expected = [np.asarray(energetics.forces(one, potential, made)) for one in moved]
    wrong = []

    def work(number):
        for _ in range(200):
            found = energetics.forces(moved[number], potential, made)
            if not np.array_equal(found, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60.0)
    assert not any(thread.is_alive() for thread in threads) and not wrong


def dynamics(reference, precision):
    """Positions and cell after NPT steps that need new lists, and the number of steps taken."""
    structure, potential = stored_glass(reference)
    potential = potentials.compact(potential, structure.elements, precision)
    structure = batching.cast(structure, precision)
    form = lists.HALF if potential.half_lists else lists.TABLES
    args = potential.cutoff, 0.15, 1.3, potential.inner_cutoff, form
    made = batching.cast(lists.allocate(structure, *args), precision)
    ensemble, kT = npt.Ensemble(), jnp.asarray(600.0)
    state = npt.init(jax.random.key(2), structure, potential, made, kT, ensemble)
    state, taken = npt.run(state, potential, 60, 600.0, 0.0, ensemble)
    assert taken == 60
    assert not np.array_equal(state.neighbors.fractional, structure.fractional), "no new list"
    return state.structure.fractional, state.md.box, state.virial


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision, error",
    # Rounding of the forces, carried on for 60 steps; it has not had the time to grow.
    [("float64", 1e-12), ("float32", 1e-5)],
)
def test_dynamics_go_where_those_of_array_code_go(precision, error, reference, as_array_code):
    x, cell, virial = dynamics(reference, precision)
    x_0, cell_0, virial_0 = as_array_code(dynamics, reference, precision)
    apart = np.asarray(x) - x_0
    assert np.abs(apart - np.round(apart)).max() < error
    np.testing.assert_allclose(cell, cell_0, rtol=error)
    np.testing.assert_allclose(virial, virial_0, atol=1e3 * error * len(x_0))


@pytest.mark.slow
def test_shear_labels_the_same_atoms(reference, as_array_code):
    """The first event of a glass: its step, its atoms, its energy."""
    glass = io.structure_from(dict(np.load(reference / "glass.npz")))
    config = aqs.ShearConfig(stop_threshold=0.1, final=0.02)

    def run():
        found = aqs.shear(glass, potentials.mendelev2019(), "+xy", config)
        return found.energy, found.history_step, found.history_d2min > 0.1

    energy, step, labels = run()
    energy_0, step_0, labels_0 = as_array_code(run)
    assert labels.any()
    assert np.array_equal(step, step_0) and np.array_equal(labels, labels_0)
    np.testing.assert_allclose(energy[:-1], energy_0[:-1], atol=1e-7)


def test_choices(reference, caplog, monkeypatch):
    """Array code where it is asked for, on a GPU, and without numba, which one line says."""
    assert native.choice() == "auto" and eam_cpu.available("float64")
    with pytest.raises(ValueError, match="kernel takes auto, native, xla, got fast"):
        native.choose("fast")
    with platform.compiling_for("gpu"):
        assert not eam_cpu.available("float64")
    native.choose("xla")
    assert not eam_cpu.available("float64") and not half_list.available("float64")
    native.choose("auto")
    monkeypatch.setitem(__import__("sys").modules, "stzjax.numerics.foreign", None)
    native.available.cache_clear()
    assert not eam_cpu.available("float64") and not half_list.available("float64")
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "no native kernels, forces are evaluated as array code"
    ]
    with pytest.raises(ValueError, match="native kernels need numba"):
        native.choose("native")
    monkeypatch.undo()
    native.available.cache_clear()
    assert eam_cpu.available("float64")
