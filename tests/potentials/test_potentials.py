"""Potentials: closed form against plain arithmetic, tables against closed forms, bad tables."""

import dataclasses
import gzip
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import cases, tables

import stzjax
from stzjax import potentials
from stzjax.potentials import eam, read_setfl, write_setfl

# Mendelev et al., J. Chem. Phys. 151, 214502 (2019), typed anew from the publication's list:
# {pair: [(knot, coefficients)]}, without a line of the package's code.
ELEMENTS = ("Cu", "Zr")
PAIRS = ("CuCu", "CuZr", "ZrZr")
PHI = {
    "CuCu": [
        (
            2.8,
            [3.351928116144, -47.447602262969, 111.064545262149, -122.563793803352, 49.14572199487],
        ),
        (4.8, [4.060583318399, 2.595809121648, 5.565664055179, 1.518432306181, 0.396960016399]),
        (6.0, [-0.214029137611, 1.17148115397, -1.991396942874, 1.386204303679, -0.345203152681]),
    ],
    "CuZr": [
        (4.0, [6.006095171231, 5.127133096464, 4.124895711256, 1.859757994723, 0.132009922179]),
        (5.8, [-6.967331511996, 1.439521026968, -6.536694676411, 0.720081717856, -0.297784170355]),
        (7.6, [0.390428098191, -1.169390232692, 1.231695513471, -0.553335253919, 0.090516165874]),
    ],
    "ZrZr": [
        (3.5, [-14.26150192920, 15.85003675636, -11.32510226145, -4.097111485151, 3.673937802240]),
        (
            6.0,
            [1.306681339361, -0.6054271071825, 1.005552719418, -0.1491818677767, 0.03277311205894],
        ),
        (
            7.6,
            [
                0.01143312030578,
                -0.02198217251258,
                -0.01254243968829,
                0.02506267387203,
                -0.007544288783323,
            ],
        ),
    ],
}
SWITCH = {"CuCu": 1.8, "CuZr": 2.2, "ZrZr": 2.3}
BRIDGE = {
    "CuCu": [11.026565103477, -10.167211017722, 6.0017702915, -1.959829973351],
    "CuZr": [9.101993066097, -3.751159823452, -0.504159262014, 0.201201287166],
    "ZrZr": [12.333392311315, -10.847321975247, 4.573352445757, -0.852662915039],
}
ZBL = {
    "CuCu": (12110.196, [29.677557, 8.7391129, 3.7365899, 1.869686]),
    "CuZr": (16703.719, [31.401495, 9.2467594, 3.9536445, 1.9782943]),
    "ZrZr": (23039.613, [33.035595, 9.7279501, 4.1593881, 2.0812426]),
}
RHO = {  # (knot, power, coefficient)
    "CuCu": [
        (2.4, 4, 0.030798140566),
        (3.2, 4, 0.030778943384),
        (4.5, 4, 0.029045228718),
        (6.0, 4, 0.010176165014),
    ],
    "CuZr": [
        (2.8, 4, 0.107790761114),
        (3.2, 4, 0.108827241997),
        (4.4, 4, 0.164706440095),
        (6.0, 4, 0.023681839913),
    ],
    "ZrZr": [
        (5.6, 4, 0.700529120236),
        (5.6, 5, -0.433582873546),
        (5.6, 6, 0.130709729878),
        (5.6, 7, -0.019192064148),
        (5.6, 8, 0.001100495922),
    ],
}
EMBED = {
    "Cu": (
        1.539906978607,
        {
            9: -5.711286564979e-5,
            11: 3.030348733401e-4,
            13: -5.472079529853e-4,
            15: 4.627868150233e-4,
            16: -1.031071248199e-3,
            16.5: 3.063400029737e-3,
            17: -2.830810217413e-3,
            18: 6.404456754729e-4,
            20: 1.989036198092e-6,
        },
    ),
    "Zr": (
        0.901364803314,
        {
            60: -1.916246212625e-7,
            70: 4.641872703515e-7,
            80: 6.644829427231e-7,
            85: -2.068025296013e-6,
            90: 1.138713146493e-6,
            100: -1.828135460853e-9,
        },
    ),
}


def phi(pair: str, r: float) -> float:
    """Pair term [eV]."""
    if r < 1.0:
        charge, screens = ZBL[pair]
        weights = (0.1818, 0.5099, 0.2802, 0.02817)
        return charge / r * sum(a * math.exp(-b * r) for a, b in zip(weights, screens, strict=True))
    if r < SWITCH[pair]:
        return math.exp(sum(e * r**n for n, e in enumerate(BRIDGE[pair])))
    return sum(
        c * max(knot - r, 0.0) ** n for knot, row in PHI[pair] for n, c in enumerate(row, start=4)
    )


def rho(pair: str, r: float) -> float:
    """Density."""
    return sum(c * max(knot - r, 0.0) ** n for knot, n, c in RHO[pair])


def embed(element: str, density: float) -> float:
    """Embedding energy [eV]."""
    scale, knots = EMBED[element]
    x = density / scale
    return -math.sqrt(x) + sum(c * max(x - k, 0.0) ** 4 for k, c in knots.items())


def species(pair: str) -> tuple[int, int]:
    return ("Cu", "Zr").index(pair[:2]), ("Cu", "Zr").index(pair[2:])


@pytest.mark.parametrize("pair", PAIRS)
def test_mendelev_is_the_published_closed_form(pair):
    potential = potentials.mendelev2019()
    r = np.concatenate([[0.3, 0.99, 1.0, 1.3], np.linspace(1.7, 7.7, 241)])
    for a, b in {species(pair), species(pair)[::-1]}:
        found = potential.pair(jnp.asarray(r), jnp.asarray(a), jnp.asarray(b))
        # Relative, because the terms reach 1e3 eV and cancel.
        np.testing.assert_allclose(found, [phi(pair, x) for x in r], rtol=1e-11, atol=1e-11)
        found = potential.density(jnp.asarray(r), jnp.asarray(a), jnp.asarray(b))
        np.testing.assert_allclose(found, [rho(pair, x) for x in r], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("element", ("Cu", "Zr"))
def test_mendelev_embedding_is_the_published_closed_form(element):
    density = np.linspace(0.0, 120.0, 501)
    index = jnp.full(density.shape, ("Cu", "Zr").index(element))
    found = potentials.mendelev2019().embedding(jnp.asarray(density), index)
    np.testing.assert_allclose(found, [embed(element, d) for d in density], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_branches_of_mendelev_meet(pair):
    # The published constants leave these gaps: at r0 below 2e-7 eV of 2 to 3 eV, at 1 Å below
    # 4e-5 eV of 134 to 183 eV. A coefficient mistyped in its sixth digit opens them further.
    a, b = species(pair)

    def gap(r):
        above, below = potentials.mendelev2019().pair(jnp.array([r, r - 1e-12]), a, b)
        return abs(float(above - below))

    assert gap(SWITCH[pair]) < 3e-7
    assert gap(1.0) < 4e-5
    assert gap(7.6) < 1e-40


@pytest.mark.parametrize("closest", (2.3, 4.0, 6.0))
def test_what_a_promise_leaves_out_is_zero(closest):
    """Branches and knots below the closest distance contribute nothing beyond it."""
    potential = potentials.mendelev2019()
    r = jnp.linspace(closest, 7.6, 101)
    for pair in PAIRS:
        a, b = (jnp.asarray(s) for s in species(pair))
        full = potential.pair(r, a, b)
        np.testing.assert_allclose(potential.pair(r, a, b, closest=closest), full, rtol=1e-14)
        if closest >= potential.density_cutoff:
            assert not np.any(potential.density(r, a, b))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("r", (0.5, 0.95, 1.05, 1.75, 2.1, 2.25, 2.5, 4.0, 5.9, 7.59, 7.7))
def test_energy_of_two_atoms(pair, r):
    # A dimer in a large box: E = F(ρ) + F(ρ) + φ, and no atom feels its own density.
    structure = stzjax.Structure.create(
        [[0.1, 0.2, 0.97], [0.1 + r / 20.0, 0.2, 0.97]], 20.0 * np.eye(3), species(pair), ELEMENTS
    )
    density = rho(pair, r)
    expected = embed(pair[:2], density) + embed(pair[2:], density) + phi(pair, r)
    found = stzjax.energetics.energy(structure, potentials.mendelev2019())
    assert float(found) == pytest.approx(expected, rel=1e-11, abs=1e-12)


def test_slopes_of_an_isolated_atom_are_finite():
    potential = potentials.mendelev2019()
    zero = jnp.zeros(2)
    slope = eam.slope(lambda d: potential.embedding(d, jnp.arange(2)), zero)
    assert jnp.array_equal(slope, zero)
    gradient = jax.grad(lambda p: jnp.sum(p.embedding(zero, jnp.arange(2))))(potential)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("toy", (cases.SMALL, tables.REORDERED))
def test_splines_follow_the_closed_form(toy):
    # Cubic splines err by 5/384 h⁴ f⁗; with h = 5e-4 Å that is far below 1e-11 eV.
    potential = cases.potential(toy)
    r = np.linspace(1.0, toy.cutoff + 0.3, 1237)
    density = np.linspace(0.1, toy.max_density, 1237)
    for a in range(2):
        found = potential.embedding(jnp.asarray(density), jnp.full(density.shape, a))
        np.testing.assert_allclose(found, toy.embedding(density, a), atol=1e-9)
        for b in range(2):
            found = potential.pair(jnp.asarray(r), jnp.asarray(a), jnp.asarray(b))
            np.testing.assert_allclose(found, toy.pair(r, a, b), atol=1e-11)
            found = potential.density(jnp.asarray(r), jnp.asarray(a), jnp.asarray(b))
            np.testing.assert_allclose(found, toy.density(r, a, b), atol=1e-11)


def test_splines_have_a_continuous_second_derivative():
    potential = cases.potential(tables.ASYMMETRIC, points=101)
    knots = 5.0 * np.arange(20, 100) / 100
    zero = jnp.zeros((), int)
    for side in (-1, 1):
        r = jnp.asarray(knots + side * 1e-9)
        curve = eam.slope(lambda r: eam.slope(lambda x: potential.pair(x, zero, zero), r), r)
        if side < 0:
            before = curve
    np.testing.assert_allclose(curve, before, atol=1e-4, rtol=1e-6)


def test_embedding_is_straight_beyond_the_table():
    toy = tables.ASYMMETRIC
    potential = cases.potential(toy)
    end, zero = toy.max_density, jnp.zeros((), int)
    function = lambda d: potential.embedding(jnp.asarray(d), zero)  # noqa: E731
    slope = float(eam.slope(function, jnp.asarray(end * (1 - 1e-12))))
    for beyond in (1e-6, 1.0, 40.0):
        assert float(function(end + beyond)) == pytest.approx(
            toy.embedding(end, 0) + slope * beyond, abs=1e-9
        )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The built-in potential as a table on disk, and read back."""
    path = tmp_path_factory.mktemp("tables") / "mendelev2019.eam.fs"
    write_setfl(path, potentials.mendelev2019())
    return path, read_setfl(path)


def test_a_written_table_keeps_the_potential(written):
    _, table = written
    analytic = potentials.mendelev2019()
    assert table.elements == analytic.elements
    assert table.cutoff == analytic.cutoff
    density = jnp.linspace(2.0, 99.0, 3001)
    for a in range(2):
        index = jnp.full(density.shape, a)
        found, expected = table.embedding(density, index), analytic.embedding(density, index)
        # Truncated fourth powers are C³ at their knots and √ρ is steep near zero: 1e-9 eV.
        np.testing.assert_allclose(found, expected, atol=1e-9)
    for pair in PAIRS:
        a, b = (jnp.asarray(s) for s in species(pair))
        # Away from the gap at r0, across which a spline rings for some grid steps.
        r = jnp.linspace(SWITCH[pair] + 0.03, 7.6, 3001)
        np.testing.assert_allclose(table.pair(r, a, b), analytic.pair(r, a, b), atol=1e-10)
        np.testing.assert_allclose(table.density(r, a, b), analytic.density(r, a, b), atol=1e-10)
        r = jnp.linspace(0.8, SWITCH[pair] + 0.03, 1001)
        np.testing.assert_allclose(
            table.pair(r, a, b), analytic.pair(r, a, b), atol=4e-5, rtol=1e-7
        )


def test_a_table_ends_at_the_cutoff(written):
    path, table = written
    count, step = (path.read_text().splitlines()[4].split()[i] for i in (2, 3))
    assert (int(count) - 1) * float(step) == pytest.approx(table.cutoff, rel=1e-14)
    r = jnp.array([np.nextafter(7.6, 0.0), 7.6, 7.7, 100.0])
    for pair in PAIRS:
        a, b = (jnp.asarray(s) for s in species(pair))
        for function in (table.pair, table.density):
            values = function(r, a, b)
            assert jnp.array_equal(values[1:], jnp.zeros(3))
            assert abs(float(values[0])) < 1e-12


def test_the_first_row_of_a_table_is_the_limit(written):
    _, table = written
    # r φ at r = 0 is the charge times the sum of the screening weights.
    for pair in PAIRS:
        a, b = species(pair)
        limit = ZBL[pair][0] * (0.1818 + 0.5099 + 0.2802 + 0.02817)
        assert float(table.pair_table[a, b, 0, 3]) == pytest.approx(limit, rel=1e-4)
        assert float(table.density_table[a, b, 0, 3]) == pytest.approx(rho(pair, 0.0), rel=1e-12)


def test_densities_of_a_hot_glass_lie_within_the_written_table():
    structure = cases.stored("glass", "tilted")
    potential = potentials.mendelev2019()
    i, j, vectors = cases.pairs(structure.fractional, structure.cell, potential.cutoff)
    s = np.asarray(structure.species)
    given = potential.density(jnp.asarray(np.linalg.norm(vectors, axis=-1)), s[i], s[j])
    density = np.bincount(i, weights=given)
    assert 5.0 < density.min() and density.max() < 100.0


def test_writing_a_table_that_was_read_gives_it_again(tmp_path, written):
    _, table = written
    write_setfl(tmp_path / "again", table)
    again = read_setfl(tmp_path / "again")
    # Same grids, so the nodes are the same, but for r·φ at r = 0, evaluated at 1e-6 Å.
    for name in ("density_table", "embedding_table"):
        np.testing.assert_allclose(
            getattr(again, name)[..., 3], getattr(table, name)[..., 3], atol=1e-10
        )
    nodes = again.pair_table[:, :, 1:, 3], table.pair_table[:, :, 1:, 3]
    np.testing.assert_allclose(*nodes, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", ("written", "resampled"))
def test_who_receives_the_density_survives(tmp_path, how):
    toy = tables.ASYMMETRIC
    potential = cases.potential(toy)
    if how == "written":
        write_setfl(tmp_path / "table", potential)
        again = read_setfl(tmp_path / "table")
    else:
        again = cases.resampled(potential)
    r = jnp.linspace(2.0, toy.cutoff, 101)
    for a in range(2):
        for b in range(2):
            pair = again.pair(r, jnp.asarray(a), jnp.asarray(b))
            np.testing.assert_allclose(pair, toy.pair(np.asarray(r), a, b), rtol=0, atol=1e-9)
            given = again.density(r, jnp.asarray(a), jnp.asarray(b))
            np.testing.assert_allclose(given, toy.density(np.asarray(r), a, b), rtol=0, atol=1e-9)


def test_the_density_grid_of_a_table_is_its_own(tmp_path):
    # Densities in another unit (Sheng's end at 1): a fixed range would leave a few points.
    toy = dataclasses.replace(tables.ASYMMETRIC, max_density=0.5)
    write_setfl(tmp_path / "fine", cases.potential(toy))
    table = read_setfl(tmp_path / "fine")
    assert float(table.density_step) * table.embedding_table.shape[1] == pytest.approx(0.5)
    found = table.embedding(jnp.asarray(0.123), jnp.asarray(1))
    assert float(found) == pytest.approx(float(toy.embedding(0.123, 1)), abs=1e-12)


@pytest.mark.parametrize(("toy", "fs"), ((tables.ASYMMETRIC, True), (tables.REORDERED, False)))
def test_reading_tells_the_two_forms_apart(tmp_path, toy, fs):
    path = tmp_path / "table"
    path.write_text(toy.text(fs=fs, points=401))
    table = read_setfl(path)
    assert table.elements == toy.elements
    r = jnp.asarray(toy.cutoff * np.arange(100, 400) / 400)
    for a in range(2):
        for b in range(2):
            found = table.density(r, jnp.asarray(a), jnp.asarray(b))
            np.testing.assert_allclose(found, toy.density(np.asarray(r), a, b), atol=1e-6)
            found = table.pair(r, jnp.asarray(a), jnp.asarray(b))
            np.testing.assert_allclose(found, toy.pair(np.asarray(r), a, b), atol=1e-4)


def test_the_reference_tables_are_those_lammps_read():
    meta = cases.lammps()["meta"]
    assert tables.sha256(tables.ASYMMETRIC.text(fs=True)) == meta["asymmetric_sha256"]
    assert tables.sha256(tables.REORDERED.text(fs=False)) == meta["reordered_sha256"]


@pytest.mark.parametrize("columns", (1, 3, 7, 1000))
def test_any_number_of_columns_and_fortran_exponents(tmp_path, columns):
    text = tables.ASYMMETRIC.text(fs=True, columns=columns, points=101)
    path = tmp_path / "table"
    path.write_text(text)
    table = read_setfl(path)
    head, body = text.split("# nrho ... cutoff\n")
    path.write_text(head + "\n" + body.replace("e+", "D+").replace("e-", "d-"))
    fortran = read_setfl(path)
    for found, expected in zip(jax.tree.leaves(fortran), jax.tree.leaves(table), strict=True):
        assert jnp.array_equal(found, expected)


def test_a_packed_table_is_read(tmp_path):
    text = tables.ASYMMETRIC.text(fs=True, points=101)
    (tmp_path / "table").write_text(text)
    (tmp_path / "table.gz").write_bytes(gzip.compress(text.encode()))
    found, expected = (read_setfl(tmp_path / name) for name in ("table.gz", "table"))
    assert jnp.array_equal(found.pair_table, expected.pair_table)
    (tmp_path / "table.gz").write_bytes(gzip.compress(text.encode())[:-100])
    with pytest.raises(ValueError, match="compression is damaged or cut short"):
        read_setfl(tmp_path / "table.gz")


def test_placeholders_below_the_core_are_cut(tmp_path):
    toy = dataclasses.replace(tables.ASYMMETRIC, elements=("Cu", "Zr"))
    clean = toy.text(fs=True, columns=1, points=201).splitlines()
    first = len(clean) - 3 * 201
    for row in range(4):
        clean[first + row] = "1e12"
    path = tmp_path / "table"
    path.write_text("\n".join(clean) + "\n")
    table = read_setfl(path)
    r = jnp.linspace(1.0, 5.0, 50)
    zero = jnp.asarray(0)
    assert float(jnp.abs(table.pair_table).max()) < 1e6
    np.testing.assert_allclose(
        table.pair(r, zero, zero), toy.pair(np.asarray(r), 0, 0), atol=2e-4, rtol=1e-4
    )


def _spoiled(text: str, how: str) -> str:
    lines = text.splitlines()
    if how == "truncated":
        return "\n".join(lines[: len(lines) // 2]) + "\n"
    if how == "one short":
        return "\n".join([*lines[:-1], " ".join(lines[-1].split()[:-1]), ""])
    if how == "one digit short":
        return text.rstrip()[:-1]
    if how == "not a setfl":
        return "lorem ipsum\n" * 20
    if how == "empty":
        return ""
    if how == "too many elements":
        lines[3] = "3 Cu Zr"
    if how == "one name too many":
        lines[3] = "2 Cu Zr Al # three of them"
    if how == "twice":
        lines[3] = "2 Cu Cu"
    if how == "no names":
        lines[3] = "2"
    if how == "fewer elements":
        lines[3] = "1 Cu Zr"
    if how == "cutoff beyond":
        words = lines[4].split()
        lines[4] = " ".join([*words[:4], "50.0"])
    if how == "negative step":
        words = lines[4].split()
        lines[4] = " ".join([words[0], "-0.1", *words[2:5]])
    if how in ("nan", "word", "inf", "1e12"):
        target = len(lines) - 40
        lines[target] = " ".join([how, *lines[target].split()[1:]])
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    ("how", "saying"),
    (
        ("truncated", "truncated"),
        ("one short", "truncated"),
        ("not a setfl", "not a setfl"),
        ("empty", "not a setfl"),
        ("one digit short", r"line \d+ is cut short: the file ends inside '[-0-9.e+]+'"),
        ("too many elements", "line 4 says 3 elements, but names Cu Zr;"),
        ("one name too many", "line 4 says 2 elements, but names Cu Zr Al;"),
        ("twice", "line 4 names an element twice: Cu Cu;"),
        ("no names", "line 4 says 2 elements, but names none;"),
        ("fewer elements", "line 4 says 1 elements, but names Cu Zr;"),
        ("cutoff beyond", "correct line 5"),
        ("negative step", "correct line 5"),
        ("nan", r"line \d+ has 'nan' where a finite number must stand"),
        ("inf", r"line \d+ has 'inf' where a finite number must stand"),
        ("1e12", "damaged"),
        ("word", r"line \d+ has 'word' where a finite number must stand"),
    ),
)
def test_bad_tables_are_refused(tmp_path, how, saying):
    path = tmp_path / f"bad {how}.eam.fs"
    path.write_text(_spoiled(tables.ASYMMETRIC.text(fs=True, points=501), how))
    with pytest.raises(ValueError, match=saying) as caught:
        read_setfl(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ("no such file.eam.fs", "."))
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(ValueError, match="cannot read potential") as caught:
        potentials.load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_anywhere_is_an_error_or_harmless(tmp_path_factory, data):
    # A cut, a swapped or a deleted word never ends in anything but ValueError.
    words = tables.ASYMMETRIC.text(fs=True, points=11).split(" ")
    at = data.draw(st.integers(0, len(words) - 1))
    words[at] = data.draw(st.sampled_from(("", "x", "nan", "-1", "0", "1e400", "\n")))
    path = tmp_path_factory.mktemp("fuzz") / "table"
    path.write_text(" ".join(words))
    try:
        table = read_setfl(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(table))


def test_load_knows_the_built_in_and_paths(written):
    path, table = written
    assert potentials.load("mendelev2019").elements == ("Cu", "Zr")
    assert jnp.array_equal(potentials.load(path).pair_table, table.pair_table)
    assert jnp.array_equal(potentials.load(str(path)).pair_table, table.pair_table)


def test_writing_an_unknown_element_is_refused(tmp_path):
    toy = dataclasses.replace(tables.ASYMMETRIC, elements=("Cu", "Xx"))
    with pytest.raises(ValueError, match="Xx"):
        write_setfl(tmp_path / "table", cases.potential(toy, points=21))
    assert list(tmp_path.iterdir()) == []
