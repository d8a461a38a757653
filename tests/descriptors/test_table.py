"""The 19 features: what they are made of, and how they turn with the load."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, small_glass

import stzjax
from stzjax.core import loads
from stzjax.descriptors import (
    composition,
    linear_response,
    soft_modes,
    stiffness,
    stress,
    table,
    voronoi,
)
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.mechanics import allocation

# Soft modes amplify the rounding of the positions; everything else is better.
ROUNDING = 1e-8
RESPONDING = table.columns(FeatureConfig(response=True))


@pytest.fixture(scope="module")
def glass():
    """54 atoms at a minimum in a cubic cell, so that the six loads only exchange its axes."""
    structure = small_glass.relaxed(small_glass.CUBIC, seed=4, tolerance=1e-10)
    return structure, small_glass.potential()


@pytest.fixture(scope="module")
def specimen(glass):
    return table.describe(*glass)


def column(features, name):
    return np.asarray(features)[:, table.COLUMNS.index(name)]


def test_columns_are_the_parts(glass, specimen):
    structure, potential = glass
    features = np.asarray(table.rotate_to(specimen, "+yz"))
    assert features.shape == (54, 19) and features.dtype == np.float64
    assert len(set(table.COLUMNS)) == 19
    cells = voronoi.tessellate(structure)
    around = allocation.expand(structure, potential)
    soft = soft_modes.modes(around, 0.01)
    species = np.asarray(structure.species)
    icosahedron = voronoi.is_icosahedron(cells.indices) & (species == 0)
    moduli = stiffness.to_voigt(stiffness.atomic_stiffness(around, cells.volume))
    stresses = np.asarray(stress.atomic_stress(around, cells.volume))
    expected = {
        "Cu": species == 0,
        "Zr": species == 1,
        "icosahedron": icosahedron,
        "not_icosahedron": ~icosahedron,
        "voronoi_volume": cells.volume,
        "potential_energy": cases.oracle(structure, small_glass.TOY),
        "participation_fraction": soft_modes.participation_fraction(soft.vectors),
        **{f"C{k + 1}4": moduli[:, k, 3] for k in range(6)},
        **{
            f"s{a}{b}": stresses[:, a - 1, b - 1]
            for a, b in ((1, 1), (2, 2), (3, 3), (1, 2), (2, 3), (3, 1))
        },
    }
    assert set(expected) == set(table.COLUMNS)
    for name, values in expected.items():
        np.testing.assert_allclose(column(features, name), values, atol=ROUNDING, err_msg=name)
    np.testing.assert_array_equal(specimen.pairs, cells.pairs)


@pytest.mark.parametrize("direction", loads.DIRECTIONS)
def test_a_turned_glass_under_the_turned_load_has_the_same_features(glass, specimen, direction):
    structure, potential = glass
    expected = table.rotate_to(specimen, direction)
    turn = loads.rotation(direction)
    turned = stzjax.Structure.create(
        np.asarray(structure.fractional) @ turn.T,
        structure.cell,
        structure.species,
        structure.elements,
    )
    found = table.features(turned, potential, "+yz")
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("direction", loads.DIRECTIONS)
def test_the_load_selects_its_own_shear_stress_and_modulus(specimen, direction):
    """s23 and C44 by contraction with the strain of the load, without any rotation."""
    features = table.rotate_to(specimen, direction)
    strain = loads.generator(direction)
    resolved = np.einsum("nab,ab->n", specimen.values["stress"], strain)
    modulus = np.einsum("ab,nabcd,cd->n", strain, specimen.values["stiffness"], strain)
    np.testing.assert_allclose(column(features, "s23"), resolved, atol=1e-13)
    np.testing.assert_allclose(column(features, "C44"), modulus, atol=1e-13)
    plane = np.eye(3)[loads.axes(direction)[1]]
    normal = np.einsum("nab,a,b->n", specimen.values["stress"], plane, plane)
    np.testing.assert_allclose(column(features, "s33"), normal, atol=1e-13)


def test_the_sign_of_a_load_matters_and_its_name_may_omit_plus(specimen):
    plus, minus = (np.asarray(table.rotate_to(specimen, d)) for d in ("+xy", "-xy"))
    odd = [table.COLUMNS.index(name) for name in ("s23", "C24", "C34")]
    np.testing.assert_allclose(plus[:, odd], -minus[:, odd], atol=1e-13)
    np.testing.assert_array_equal(plus, table.rotate_to(specimen, "xy"))


def test_relabelled_atoms_have_relabelled_features(glass, specimen):
    structure, potential = glass
    order = np.random.default_rng(0).permutation(54)
    other = structure.replace(
        fractional=structure.fractional[order], species=structure.species[order]
    )
    expected = np.asarray(table.rotate_to(specimen, "-xy"))[order]
    np.testing.assert_allclose(table.features(other, potential), expected, atol=ROUNDING)


def test_a_translation_changes_nothing(glass, specimen):
    structure, potential = glass
    moved = stzjax.Structure.create(
        structure.fractional + np.array([0.31, -0.77, 0.123]),
        structure.cell,
        structure.species,
        structure.elements,
    )
    expected = table.rotate_to(specimen, "+xz")
    np.testing.assert_allclose(table.features(moved, potential, "+xz"), expected, atol=ROUNDING)


@pytest.mark.slow
def test_the_order_of_the_elements_does_not_matter(glass, specimen):
    structure, potential = glass
    swapped = structure.replace(species=1 - structure.species, elements=("Zr", "Cu"))
    expected = table.rotate_to(specimen, "-yz")
    np.testing.assert_allclose(table.features(swapped, potential, "-yz"), expected, atol=ROUNDING)


@pytest.mark.parametrize(
    ("elements", "columns"),
    [
        (("Cu", "Zr"), [0, 1]),
        (("Zr", "Cu"), [1, 0]),
        (("Ni", "Al"), [1, 0]),
        (("Cu",), [0]),
        (("Zr",), [1]),
    ],
)
def test_element_columns(elements, columns):
    assert composition.places(elements).tolist() == columns


def test_the_elements_of_the_settings_name_the_columns():
    """Their order counts, and the first is the centre of icosahedra."""
    plain = table.COLUMNS[2:]
    reversed_ = FeatureConfig(elements=("Zr", "Cu"))
    assert table.columns(reversed_) == ("Zr", "Cu", *plain)
    assert composition.places(("Cu", "Zr"), ("Zr", "Cu")).tolist() == [1, 0]
    assert table.columns(elements=("Ni", "Al")) == ("Al", "Ni", *plain)
    assert table.columns(elements=("Al",)) == ("Al", *plain)
    assert table.columns(elements=("Zr",)) == table.COLUMNS
    with pytest.raises(ValueError, match="columns for Al, Ni, but the structure holds Cu"):
        table.columns(FeatureConfig(elements=("Al", "Ni")), ("Al", "Cu"))


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="no descriptors cubic; further ones are response"):
        table.columns(FeatureConfig(further=("cubic",)))
    asked = table.columns(FeatureConfig(further=("response",), response=True))
    assert asked == table.columns(FeatureConfig(response=True)) and len(asked) == 26


def test_icosahedra_are_centred_on_the_first_element(monkeypatch, glass):
    structure, potential = glass
    monkeypatch.setattr(voronoi, "is_icosahedron", lambda indices: np.ones(len(indices), bool))
    for first, elements in (("Cu", ()), ("Zr", ("Zr", "Cu"))):
        config = FeatureConfig(elements=elements)
        names = table.columns(config)
        features = np.asarray(table.features(structure, potential, config=config))
        found = [features[:, names.index(name)] for name in ("icosahedron", first)]
        np.testing.assert_array_equal(*found)


def test_turning_runs_under_jit(specimen):
    found = jax.jit(table.rotate_to, static_argnames="direction")(specimen, direction="-xz")
    np.testing.assert_allclose(found, table.rotate_to(specimen, "-xz"), atol=1e-14)


def test_bad_input_is_refused(glass):
    structure, potential = glass
    with pytest.raises(ValueError, match="unknown direction 'yx'"):
        table.features(structure, potential, "yx")
    with pytest.raises(ValueError, match="knows Cu, Zr, but the elements are Cu, Zr, Al"):
        table.describe(structure.replace(elements=("Cu", "Zr", "Al")), potential)
    shape = table.Shape(None, None, FeatureConfig(response=True))
    with pytest.raises(ValueError, match="the shape was made for FeatureConfig"):
        table.features(structure, potential, config=FeatureConfig(), shape=shape)
    with pytest.raises(ValueError, match="not a minimum"):
        table.features(small_glass.rough(small_glass.TILTED, jitter=0.05), potential)


@pytest.fixture(scope="module")
def tilted():
    """54 atoms at a minimum in a tilted cell, with a list and the shape of compiled features."""
    structure = small_glass.relaxed(small_glass.TILTED, tolerance=1e-10)
    potential = small_glass.potential()
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff, skin=0.3, slack=1.4)
    config = FeatureConfig(response=True, smooth=True)
    return structure, potential, neighbors, table.allocate(structure, neighbors, config)


@pytest.fixture(scope="module")
def compiled(tilted):
    """Features with the response, smooth, of a structure and its list; compiled once."""
    _, potential, _, shape = tilted
    return jax.jit(
        lambda structure, neighbors: table.describe(
            structure, potential, neighbors=neighbors, shape=shape
        )
    )


@pytest.fixture(scope="module")
def measured(tilted, compiled):
    structure, _, neighbors, _ = tilted
    return compiled(structure, neighbors)


@pytest.mark.slow
def test_compiled_features_are_those_of_the_host(tilted, measured):
    structure, potential, neighbors, _ = tilted
    config = FeatureConfig(response=True)
    host = table.describe(structure, potential, config, neighbors=neighbors)
    assert bool(measured.good) and bool(host.good)
    names = RESPONDING
    # Modes are iterated here and diagonalised there; the smooth indicator is another feature.
    tolerance = {"participation_fraction": 1e-4, "icosahedron": 1.0, "not_icosahedron": 1.0}
    for direction in ("+yz", "-xz"):
        found = np.asarray(table.rotate_to(measured, direction))
        expected = np.asarray(table.rotate_to(host, direction))
        assert found.shape == expected.shape == (54, len(names))
        for column, name in enumerate(names):
            one, other = found[:, column], expected[:, column]
            atol = tolerance.get(name, 1e-7) * np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=name)
    pairs = np.asarray(measured.pairs)
    real = pairs[pairs[:, 0] < 54]
    assert {tuple(p) for p in real.tolist()} == {tuple(p) for p in host.pairs.tolist()}
    assert np.all(pairs[pairs[:, 0] == 54] == 54)


@pytest.mark.slow
def test_features_with_a_shape_are_pure(tilted):
    """The public function under jit: with the hard indicator, and without the response."""
    structure, potential, neighbors, shape = tilted
    shape = shape._replace(config=FeatureConfig())
    expected = np.asarray(table.features(structure, potential, "-xy", neighbors=neighbors))
    pure = jax.jit(lambda s: table.features(s, potential, "-xy", neighbors=neighbors, shape=shape))
    found = np.asarray(pure(structure))
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.slow
def test_response_columns_are_of_the_load(tilted, measured):
    """R44 by contraction with the strain of the load, D²min of its own field."""
    structure, potential, neighbors, _ = tilted
    answer = linear_response.respond(allocation.expand(structure, potential, neighbors))
    for direction in loads.DIRECTIONS:
        features = np.asarray(table.rotate_to(measured, direction))
        strain = loads.generator(direction)
        modulus = np.einsum("ab,nabcd,cd->n", strain, measured.values["response"][0], strain)
        np.testing.assert_allclose(features[:, 19 + 3], modulus, atol=1e-12)
        field = answer.fields[linear_response.place(direction)]
        local = linear_response.local_d2min(structure, field, neighbors)
        np.testing.assert_allclose(features[:, -1], local, rtol=1e-5)


@pytest.mark.slow
def test_features_that_are_not_to_be_used_say_so(tilted, compiled):
    """A structure that is not at a minimum: flagged, and not a number."""
    _, _, neighbors, _ = tilted
    rough = small_glass.rough(small_glass.TILTED, jitter=0.06)
    pairs = stzjax.neighbors.make(neighbors.spec, rough)
    assert not pairs.overflow
    saddle = compiled(rough, pairs)
    assert not saddle.good and np.all(np.isnan(table.rotate_to(saddle, "-xy")))

    def total(stress):
        values = saddle.values | {"stress": stress}
        return jnp.sum(table.rotate_to(saddle.replace(values=values), "-xy"))

    assert np.all(np.isnan(jax.grad(total)(saddle.values["stress"])))


@pytest.mark.slow
def test_gradients_of_features(tilted, compiled):
    """Reverse mode through all columns at once, along a move of all atoms and of the cell.

    Participation is left out: of modes known to 2e-5 there is no difference to take, see
    test_soft_modes. The step is short because the third derivatives of a spline jump at its knots.
    """
    structure, _, neighbors, _ = tilted
    rng = np.random.default_rng(0)
    move, strain = rng.normal(size=(54, 3)) / 300.0, np.triu(rng.normal(size=(3, 3))) / 100.0
    names = RESPONDING
    size = np.abs(np.asarray(table.rotate_to(compiled(structure, neighbors), "-xy"))).max(axis=0)
    weight = rng.normal(size=(54, len(names))) / np.where(size > 0.0, size, 1.0)
    weight[:, names.index("participation_fraction")] = 0.0

    def value(x):
        moved = structure.replace(
            fractional=structure.fractional + x * move, cell=structure.cell + x * strain
        )
        features = table.rotate_to(compiled(moved, neighbors), "-xy")
        return jnp.sum(weight * features)

    # Not compiled as a whole: the differences use the program that the other tests use.
    expected = cases.derivative(lambda x: float(value(x)), 1e-5)
    np.testing.assert_allclose(jax.jit(jax.grad(value))(0.0), expected, rtol=1e-4)
