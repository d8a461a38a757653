"""Pair potentials: the closed form, LAMMPS' numbers, the cut-off, bad input."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, pairs

import stzjax
from stzjax import potentials
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.numerics.elementwise import slope

EPSILON = {("A", "A"): 1.0, ("A", "B"): 1.5, ("B", "B"): 0.5}
SIGMA = {("A", "A"): 1.0, ("A", "B"): 0.8, ("B", "B"): 0.88}

ROUNDING = 1e-12
"""Relative: LAMMPS evaluates the same closed form, so that sums alone differ."""


def plain(r, parameters):
    """Lennard-Jones without cut-off, of ε and σ."""
    sixth = (parameters[1] / r) ** 6
    return 4.0 * parameters[0] * (sixth - 1.0) * sixth


def term(number: int, r, parameters):
    return plain(r, parameters[number])


FUNCTIONS = {labels: functools.partial(term, n) for n, labels in enumerate(EPSILON)}
CUTOFFS = {labels: 2.5 * size for labels, size in SIGMA.items()}
PARAMETERS = np.array([[EPSILON[labels], SIGMA[labels]] for labels in EPSILON])


def mixture(parameters=PARAMETERS) -> potentials.EAM:
    """The Kob-Andersen mixture from functions."""
    return potentials.pair(FUNCTIONS, CUTOFFS, jnp.asarray(parameters), smooth=True)


def phi(labels, r: float) -> float:
    """The pair term, with the three coefficients from three linear equations."""
    c = 2.5
    value = c**-12 - c**-6, -12 * c**-13 + 6 * c**-7, 156 * c**-14 - 42 * c**-8
    even = np.array([[1, c**2, c**4], [0, 2 * c, 4 * c**3], [0, 2, 12 * c**2]])
    c0, c2, c4 = np.linalg.solve(even, -np.array(value))
    x = r / SIGMA[labels]
    return 4 * EPSILON[labels] * (x**-12 - x**-6 + c0 + c2 * x**2 + c4 * x**4) if x < c else 0.0


@pytest.mark.parametrize("labels", EPSILON, ids="".join)
@pytest.mark.parametrize("make", (potentials.kob_andersen, mixture))
def test_kob_andersen_is_the_closed_form(make, labels):
    potential = make()
    r = np.linspace(0.7, 2.6, 191)
    for one, other in {labels, labels[::-1]}:
        species = (jnp.asarray(potential.elements.index(x)) for x in (one, other))
        found = potential.pair(jnp.asarray(r), *species)
        np.testing.assert_allclose(found, [phi(labels, x) for x in r], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", (potentials.kob_andersen, mixture))
def test_two_derivatives_end_at_the_cutoff(make):
    """Just inside they are φ''' δ^(3-n) / (3-n)!, with |φ'''| < 2 there; beyond they are zero."""
    potential = make()
    near = 1e-4
    for labels, cutoff in CUTOFFS.items():
        species = [jnp.asarray(potential.elements.index(x)) for x in labels]
        function = lambda r, species=species: potential.pair(r, *species)  # noqa: E731
        r = cutoff + near * jnp.array([-1.0, 1.0])
        for order, limit in enumerate((near**3, near**2, near)):
            value = functools.reduce(
                lambda f, _: functools.partial(slope, f), range(order), function
            )
            inside, beyond = value(r)
            assert abs(inside) < 2.0 * limit and beyond == 0.0, (labels, order)
        assert jnp.isnan(function(jnp.array(jnp.nan)))


def oracle(structure) -> np.ndarray:
    """Energies of the atoms, bond by bond."""
    i, j, vectors = cases.pairs(structure.fractional, structure.cell, 2.5)
    found = np.zeros(structure.num_atoms)
    for a, b, vector in zip(i, j, vectors, strict=True):
        labels = tuple(sorted(structure.elements[structure.species[n]] for n in (a, b)))
        found[a] += 0.5 * phi(labels, np.linalg.norm(vector))
    return found


def test_the_energy_is_a_sum_over_pairs():
    atoms = pairs.small()
    found = energetics.atomic_energy(atoms, potentials.kob_andersen())
    np.testing.assert_allclose(found, oracle(atoms), rtol=1e-12, atol=1e-12)


def voigt(tensor) -> np.ndarray:
    """Components xx yy zz xy xz yz, LAMMPS' order."""
    return np.asarray(tensor)[..., (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]


@pytest.mark.parametrize("box", ("orthogonal", "tilted"))
def test_agrees_with_lammps(box):
    atoms, potential = pairs.rough(box), potentials.kob_andersen()
    near = lists.allocate(atoms, potential.cutoff, skin=0.3, inner=potential.density_cutoff)
    found = {
        "energy": energetics.energy(atoms, potential, near),
        "atomic_energy": energetics.atomic_energy(atoms, potential, near),
        "forces": energetics.forces(atoms, potential, near),
        "atomic_virial": voigt(energetics.atomic_virial(atoms, potential, near)),
        "stress": voigt(energetics.stress(atoms, potential, near)),
    }
    for name, value in found.items():
        expected = pairs.lammps()[f"{box}_{name}"]
        error = ROUNDING * np.abs(expected).max()
        np.testing.assert_allclose(value, expected, rtol=0, atol=error, err_msg=name)


def test_functions_and_closed_form_are_one_potential():
    atoms = pairs.rough("tilted")
    for function in (energetics.forces, energetics.stress):
        found, expected = (function(atoms, p) for p in (mixture(), potentials.kob_andersen()))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_pieces_are_the_potential():
    """Prepared for long runs, from bonds of 0.8 on: the force of a bond is off by 1e-7."""
    atoms, potential = pairs.rough("tilted"), potentials.kob_andersen()
    prepared = potentials.compact(potential, atoms.elements)
    found, trace = energetics.forces_and_trace(atoms, prepared)
    expected, exact = energetics.forces_and_trace(atoms, potential)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(trace, exact, rtol=1e-8)


@pytest.mark.slow
def test_derivatives_by_the_parameters():
    """Derivative of the energy in reverse mode and of the forces in forward mode."""
    atoms = pairs.small()
    near = lists.allocate(atoms, 2.5)

    @jax.jit
    def energy(parameters):
        return energetics.energy(atoms, mixture(parameters), near)

    @jax.jit
    def forces(parameters):
        return energetics.forces(atoms, mixture(parameters), near)

    slopes = jax.grad(energy)(PARAMETERS)
    for place in itertools.product(range(3), range(2)):
        unit = jnp.zeros((3, 2)).at[place].set(1.0)
        expected = cases.derivative(lambda x, unit=unit: energy(PARAMETERS + x * unit), 1e-4)
        assert float(slopes[place]) == pytest.approx(float(expected), rel=1e-8)
    step = np.array([0.3, -0.2]) * np.ones((3, 1))
    found = jax.jvp(forces, (PARAMETERS,), (step,))[1]
    expected = cases.derivative(lambda x: forces(PARAMETERS + x * step), 1e-4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_derivatives_of_kob_andersen_by_its_tables():
    """Both places of a pair share its derivative."""
    atoms, potential = pairs.small(), potentials.kob_andersen()
    near = lists.allocate(atoms, 2.5)
    found = jax.grad(lambda p: energetics.energy(atoms, p, near))(potential)
    for name in ("depth", "size"):
        slopes = getattr(found, name)
        np.testing.assert_array_equal(slopes, slopes.T)
        step = jnp.array([[0.3, 0.7], [0.7, -0.2]])

        def along(x, name=name, step=step):
            changed = potential.replace(**{name: getattr(potential, name) + x * step})
            return energetics.energy(atoms, changed, near)

        expected = float(cases.derivative(along, 1e-4))
        assert float(jnp.sum(slopes * step)) == pytest.approx(expected, rel=1e-8)


def test_scales_follow_from_the_functions():
    """Equal to those set by hand, within the factor of two that they are good for."""
    found, expected = mixture().scales, potentials.kob_andersen().scales
    assert 0.5 < found.length / expected.length < 2.0
    assert 0.5 < found.time / expected.time < 2.0
    metal = potentials.pair({("Cu", "Cu"): lambda r: 0.4 * ((2.2 / r) ** 12 - (2.2 / r) ** 6)}, 6.0)
    assert 0.5 < metal.scales.length < 2.0 and 0.3 < metal.scales.time < 3.0
    soft = potentials.pair({("A", "A"): lambda r: (1.0 - r / 1.4) ** 2}, 1.4)
    assert soft.scales.length == pytest.approx(0.4 * 0.98)


def test_masses():
    """Those of a mixture make its unit of time σ √(m / ε); others are given or chemical."""
    assert potentials.kob_andersen().masses_of(("B", "A")) * stzjax.units.AMU == pytest.approx(1.0)
    given = potentials.pair({("A", "A"): one}, 2.0, masses={"A": 3.0})
    assert given.masses_of(("A",)) == [3.0]
    with pytest.raises(ValueError, match="the mass of A is missing"):
        potentials.pair({("A", "A"): one}, 2.0, masses={"B": 3.0})


def one(r):
    return (1.0 - r / 2.0) ** 3


@pytest.mark.parametrize(
    ("functions", "cutoff", "saying"),
    (
        ({("A", "B"): one}, 2.0, "the pair A-A has no function; give it one"),
        ({("A", "A"): one, ("A", "B"): one}, 2.0, "the pair B-B has no function"),
        (dict.fromkeys(itertools.product("AB", "AB"), one), 2.0, "the pair A-B has two functions"),
        ({"AA": one}, 2.0, "named by two elements"),
        ({}, 2.0, "no pair"),
        ({("A", "A"): one}, 0.0, "the cut-off of A-A must be positive, got 0.0"),
        ({("A", "A"): one}, np.nan, "must be positive, got nan"),
        ({("A", "A"): one}, np.inf, "must be positive, got inf"),
        ({("A", "A"): one}, {}, "the pair A-A has no cut-off"),
        (
            {("A", "A"): one},
            {("A", "A"): 2.0, ("A", "C"): 1.0},
            "A-C has a cut-off, but no function",
        ),
        ({("A", "A"): lambda r: r * jnp.nan}, 2.0, "the function of A-A is not finite near"),
        ({("A", "A"): lambda r: jnp.sum(r)}, 2.0, "the function of A-A is not elementwise"),
        ({("A", "A"): lambda r: 1.0}, 2.0, "the function of A-A is not elementwise"),
    ),
)
def test_bad_input(functions, cutoff, saying):
    with pytest.raises(ValueError, match=saying) as caught:
        potentials.pair(functions, cutoff)
    assert "\n" not in str(caught.value)


def test_an_unknown_element_is_named():
    atoms = pairs.small().replace(elements=("A", "Cu"))
    with pytest.raises(ValueError, match=r"the potential knows A, B, but the elements are A, Cu"):
        energetics.energy(atoms, potentials.kob_andersen())


def test_a_table_for_lammps(tmp_path):
    """Written as an embedded-atom table without densities; labels have no place in it."""

    def metal(r):
        return 0.4 * ((2.2 / r) ** 12 - (2.2 / r) ** 6)

    potential = potentials.pair({("Cu", "Cu"): metal}, 6.0, smooth=True)
    potentials.write_setfl(tmp_path / "copper", potential, 3000, 10)
    again = potentials.read_setfl(tmp_path / "copper")
    r, zero = jnp.linspace(1.8, 6.0, 301), jnp.asarray(0)
    np.testing.assert_allclose(again.pair(r, zero, zero), potential.pair(r, zero, zero), atol=1e-8)
    assert not np.any(again.density(r, zero, zero)) and float(again.embedding(zero, zero)) == 0.0
    with pytest.raises(ValueError, match="not chemical elements"):
        potentials.write_setfl(tmp_path / "mixture", potentials.kob_andersen(), 50, 10)


def test_load_knows_the_mixture():
    assert potentials.load("kob_andersen").elements == ("A", "B")
