"""Voronoi tessellation: against Voro++ and OVITO, closed forms of crystals, and its invariances."""

import functools
import json
import pathlib

import numpy as np
import pytest

import stzjax
from stzjax.descriptors import voronoi

REFERENCE = pathlib.Path(__file__).parent.parent / "reference" / "voronoi.npz"
ROUNDING = 1e-10
# Areas are stored in single precision; a face of 1e-5 Å² is lost in the rounding of Voro++.
SINGLE = {"rtol": 3e-7, "atol": 1e-9}
LATTICES = {
    "sc": ([[0, 0, 0]], {4: 6}),
    "bcc": ([[0, 0, 0], [0.5, 0.5, 0.5]], {4: 6, 6: 8}),
    "fcc": ([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], {4: 12}),
}


@functools.cache
def reference():
    with np.load(REFERENCE) as file:
        return dict(file)


def stored(case):
    fields = (reference()[f"{case}_{name}"] for name in ("fractional", "cell", "species"))
    return stzjax.Structure.create(*fields, ("Cu", "Zr"))


def crystal(name, repeat, constant=3.61):
    basis = np.array(LATTICES[name][0])
    corner = np.stack(np.meshgrid(*[np.arange(repeat)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    fractional = ((corner + basis) / repeat).reshape(-1, 3)
    cell = np.eye(3) * constant * repeat
    return stzjax.Structure.create(fractional, cell, np.zeros(len(fractional), int), ("Cu",))


def padded(counts, width=20):
    assert counts.shape[1] <= width
    return np.pad(counts, ((0, 0), (0, width - counts.shape[1])))


def in_order(pairs):
    return np.lexsort((pairs[:, 0], pairs[:, 1]))


def assert_voro(cells: voronoi.Tessellation, case: str, kind: str) -> None:
    """The cells are those of Voro++."""
    expected = {
        name: reference()[f"{case}_{kind}_{name}"] for name in ("volume", "faces", "pairs", "areas")
    }
    np.testing.assert_allclose(cells.volume, expected["volume"], rtol=ROUNDING)
    np.testing.assert_array_equal(padded(cells.indices), expected["faces"])
    order = in_order(expected["pairs"])
    np.testing.assert_array_equal(cells.pairs, expected["pairs"][order])
    np.testing.assert_allclose(cells.areas, expected["areas"][order], **SINGLE)


@pytest.mark.parametrize("kind", ["plain", "radical"])
@pytest.mark.parametrize("case", ["glass", "few"])
def test_voro_agrees(case, kind):
    structure = stored(case)
    radii = np.array(json.loads(str(reference()["meta"]))["radii"])[np.asarray(structure.species)]
    cells = voronoi.tessellate(structure, radii=None if kind == "plain" else radii)
    assert_voro(cells, case, kind)


def test_ovito_agrees():
    cells = voronoi.tessellate(stored("glass"))
    np.testing.assert_allclose(cells.volume, reference()["ovito_volume"], rtol=ROUNDING)
    np.testing.assert_array_equal(padded(cells.indices), reference()["ovito_zero_faces"])


def test_short_edges_are_left_out_of_the_indices_alone():
    threshold = json.loads(str(reference()["meta"]))["edge_threshold"]
    plain = voronoi.tessellate(stored("glass"))
    cells = voronoi.tessellate(stored("glass"), edge_threshold=threshold)
    np.testing.assert_array_equal(padded(cells.indices), reference()["ovito_cut_faces"])
    for name in ("volume", "pairs", "areas"):
        np.testing.assert_array_equal(getattr(cells, name), getattr(plain, name))


@pytest.mark.parametrize("repeat", [1, 2, 4])
@pytest.mark.parametrize("name", LATTICES)
def test_crystals_whose_vertices_are_degenerate(name, repeat):
    structure = crystal(name, repeat)
    cells = voronoi.tessellate(structure)
    expected = np.zeros(cells.indices.shape[1], int)
    for edges, count in LATTICES[name][1].items():
        expected[edges] = count
    np.testing.assert_array_equal(cells.indices, np.tile(expected, (structure.num_atoms, 1)))
    each = (3.61 * repeat) ** 3 / structure.num_atoms
    np.testing.assert_allclose(cells.volume, each, rtol=ROUNDING)
    if repeat == 4:
        assert len(cells.pairs) == structure.num_atoms * expected.sum()


def noisy(structure):
    noise = np.random.default_rng(0).normal(scale=1e-11, size=structure.fractional.shape)
    return structure.replace(fractional=structure.fractional + noise)


@pytest.mark.parametrize("name", ["bcc", "fcc"])
def test_a_vertex_that_rounding_pulls_apart_is_one(name):
    structure = crystal(name, 3)
    expected, found = voronoi.tessellate(structure), voronoi.tessellate(noisy(structure))
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.pairs, expected.pairs)


def test_an_edge_that_rounding_pulls_apart_is_no_face():
    """Four cells of the simple cubic lattice share each edge; the two diagonals are needles."""
    structure = crystal("sc", 4)
    expected, found = voronoi.tessellate(structure), voronoi.tessellate(noisy(structure))
    np.testing.assert_array_equal(found.pairs, expected.pairs)
    np.testing.assert_allclose(found.volume, expected.volume, rtol=1e-9)


def test_an_atom_alone_is_a_neighbour_of_nothing_but_itself():
    cells = voronoi.tessellate(crystal("sc", 1))
    assert cells.pairs.shape == (0, 2) and cells.areas.shape == (0,)


@pytest.mark.parametrize("case", ["glass", "few"])
def test_cells_fill_space_and_faces_are_mutual(case):
    structure = stored(case)
    cells = voronoi.tessellate(structure)
    total = stzjax.geometry.volume(structure.cell)
    np.testing.assert_allclose(cells.volume.sum(), total, rtol=ROUNDING)
    np.testing.assert_array_equal(in_order(cells.pairs), np.arange(len(cells.pairs)))
    assert len(np.unique(cells.pairs, axis=0)) == len(cells.pairs)
    assert not np.any(cells.pairs[:, 0] == cells.pairs[:, 1])
    back = in_order(cells.pairs[:, ::-1])
    np.testing.assert_array_equal(cells.pairs[back][:, ::-1], cells.pairs)
    np.testing.assert_allclose(cells.areas[back], cells.areas, rtol=1e-7, atol=ROUNDING)


def test_another_choice_of_lattice_vectors_changes_nothing():
    """The same crystal, turned, with another origin and a far more oblique cell."""
    structure = stored("glass")
    mixing = np.array([[1, 2, 1], [0, 1, -1], [0, 0, 1]])
    fractional = np.asarray(structure.fractional) @ np.linalg.inv(mixing).T + 0.3
    turn, cell = np.linalg.qr(np.asarray(structure.cell) @ mixing)
    signs = np.sign(np.diag(cell))
    assert np.linalg.det(turn * signs) > 0
    other = stzjax.Structure.create(
        fractional, np.triu(cell * signs[:, None]), structure.species, structure.elements
    )
    expected, found = voronoi.tessellate(structure), voronoi.tessellate(other)
    np.testing.assert_allclose(found.volume, expected.volume, rtol=ROUNDING)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.pairs, expected.pairs)


@pytest.mark.parametrize("reach", [0.1, 0.6, 1.1, 1.6])
@pytest.mark.parametrize("contrast", [0.0, 1.5])
@pytest.mark.parametrize("case", ["glass", "few"])
def test_images_are_added_until_none_could_matter(monkeypatch, case, contrast, reach):
    """From whatever number of images the search sets out, also for very unlike radii."""
    structure = stored(case)
    radii = 0.5 + contrast * np.asarray(structure.species)
    monkeypatch.setattr(voronoi, "_FIRST_REACH", 6.0)
    expected = voronoi.tessellate(structure, radii=radii)
    monkeypatch.setattr(voronoi, "_FIRST_REACH", reach)
    found = voronoi.tessellate(structure, radii=radii)
    np.testing.assert_allclose(found.volume, expected.volume, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found.pairs, expected.pairs)


def test_a_void_is_closed_off_by_distant_images():
    """Two thirds of the cell are empty, so the first shell of images cannot be enough."""
    rng = np.random.default_rng(3)
    fractional = rng.random((60, 3)) * [1.0, 1.0, 0.33]
    structure = stzjax.Structure.create(
        fractional, np.diag([8.0, 9.0, 40.0]), np.zeros(60, int), ("Cu",)
    )
    cells = voronoi.tessellate(structure)
    np.testing.assert_allclose(cells.volume.sum(), 8.0 * 9.0 * 40.0, rtol=ROUNDING)
    samples = rng.random((50_000, 3))
    delta = samples[:, None] - np.asarray(structure.fractional)[None]
    nearest = np.linalg.norm((delta - np.round(delta)) * [8.0, 9.0, 40.0], axis=-1).argmin(1)
    share = np.bincount(nearest, minlength=60) / len(samples)
    # Five standard deviations of a count.
    spread = np.sqrt(share / len(samples))
    assert np.all(np.abs(cells.volume / 2880.0 - share) < 5.0 * spread + 1e-5)


def test_an_atom_inside_a_much_larger_one_has_no_cell():
    structure = crystal("fcc", 2)
    cells = voronoi.tessellate(structure, radii=np.where(np.arange(32) == 5, 0.0, 4.0))
    assert cells.volume[5] == 0.0 and not cells.indices[5].any() and 5 not in cells.pairs
    np.testing.assert_allclose(cells.volume.sum(), (2 * 3.61) ** 3, rtol=ROUNDING)


def test_icosahedra_have_twelve_pentagons_and_nothing_else():
    indices = np.zeros((4, 9), int)
    indices[:, 5] = [12, 12, 12, 11]
    indices[1, 3] = 1
    indices[2, 8] = 1
    np.testing.assert_array_equal(voronoi.is_icosahedron(indices), [True, False, False, False])
    glass = voronoi.tessellate(stored("glass")).indices
    expected = [tuple(row) == (0, 0, 0, 0, 0, 12) + (0,) * (len(row) - 6) for row in glass]
    assert sum(expected) > 10
    np.testing.assert_array_equal(voronoi.is_icosahedron(glass), expected)


def test_bad_input_is_refused():
    structure = crystal("fcc", 2)
    twice = structure.replace(fractional=structure.fractional.at[7].set(structure.fractional[3]))
    with pytest.raises(ValueError, match="coincides with another atom"):
        voronoi.tessellate(twice)
    with pytest.raises(ValueError, match="edge threshold must be"):
        voronoi.tessellate(structure, edge_threshold=-0.1)
    for radii in (np.ones(3), np.full(structure.num_atoms, np.nan), -np.ones(structure.num_atoms)):
        with pytest.raises(ValueError, match="radii must be 32 finite lengths"):
            voronoi.tessellate(structure, radii=radii)
    with pytest.raises(ValueError, match="NaN"):
        voronoi.tessellate(structure.replace(fractional=structure.fractional.at[0].set(np.nan)))
