"""Voronoi cells in JAX: against Voro++ and Qhull, in crystals, and their derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import HalfspaceIntersection
from test_voronoi import assert_voro, in_order, padded, stored

import stzjax
from stzjax.descriptors import voronoi, voronoi_cells, voronoi_faces, voronoi_fit

ROUNDING = 1e-10
RADII = np.array([1.28, 1.60])
# Central differences of step 1e-5 Å, whose own error is 4e-7 for soft icosahedra and 1e-9 else.
STEP, DIFFERENCES = 1e-5, 1e-6


def disordered(seed=0, tilt=1.3):
    """54 atoms in a tilted cell, a close-packed crystal with noise of a tenth of the spacing."""
    cell = np.array([[7.5, tilt, -0.8], [0.0, 7.4, 0.9], [0.0, 0.0, 12.0]])
    corner = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    basis = np.array([[0.1, 0.2, 0.25], [0.43, 0.87, 0.75]])
    fractional = ((corner + basis) / 3.0).reshape(-1, 3)
    noise = np.random.default_rng(seed).normal(scale=0.03, size=fractional.shape)
    species = np.arange(len(fractional)) % 2
    return stzjax.Structure.create(fractional + noise, cell, species, ("Cu", "Zr"))


@functools.cache
def shape():
    return voronoi_fit.fit(disordered(), margin=0.1)[0]


def compare(found, expected, areas=1e-9):
    np.testing.assert_allclose(found.volume, expected.volume, rtol=1e-9)
    np.testing.assert_array_equal(padded(found.indices), padded(expected.indices))
    np.testing.assert_array_equal(found.pairs, expected.pairs)
    np.testing.assert_allclose(found.areas, expected.areas, atol=areas)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case, kind", [("glass", "plain"), ("glass", "radical"), ("few", "radical")]
)
def test_voro_agrees(monkeypatch, case, kind):
    """`few` is five atoms in a flat, oblique cell, whose images take part many times.

    The radical glass is cut in groups of atoms with like numbers of planes, as large ones are.
    """
    structure = stored(case)
    if (case, kind) == ("glass", "radical"):
        monkeypatch.setattr(voronoi_fit, "_RANKED_FROM", 500)
    radii = None if kind == "plain" else RADII[np.asarray(structure.species)]
    cells = voronoi.tessellate(structure, radii=radii, method="jax")
    assert_voro(cells, case, kind)
    compare(cells, voronoi.tessellate(structure, radii=radii, method="qhull"))


def lattice(basis, repeat, cell=None):
    """108 atoms of unit density."""
    basis = np.atleast_2d(basis)
    cell = np.eye(3) if cell is None else np.asarray(cell)
    cell = cell * (len(basis) / np.linalg.det(cell)) ** (1.0 / 3.0)
    corner = np.stack(np.meshgrid(*map(np.arange, repeat), indexing="ij"), -1).reshape(-1, 1, 3)
    fractional = ((corner + basis) / np.array(repeat)).reshape(-1, 3)
    species = np.zeros(len(fractional), int)
    return stzjax.Structure.create(fractional, cell * np.array(repeat), species, ("Cu",))


HALF = [0.0, 0.5, 0.5]
HEXAGONAL = [[1.0, -0.5, 0.0], [0.0, np.sqrt(0.75), 0.0], [0.0, 0.0, np.sqrt(8.0 / 3.0)]]
CRYSTALS = {
    "sc": (lattice([0.0, 0.0, 0.0], (6, 3, 6)), {4: 6}),
    "bcc": (lattice([[0.0] * 3, [0.5] * 3], (3, 3, 6)), {4: 6, 6: 8}),
    "fcc": (lattice([[0.0] * 3, HALF, np.roll(HALF, 1), np.roll(HALF, 2)], (3, 3, 3)), {4: 12}),
    "hcp": (lattice([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], (6, 3, 3), HEXAGONAL), {4: 12}),
}


@functools.cache
def crystal_shape():
    """One shape for all, so that it compiles once: 864 replicated atoms in a single grid cell."""
    spec = voronoi_fit._shape(CRYSTALS["fcc"][0], None, 2.4, 40, 22, 12)
    grid = spec.search.grid._replace(cells=(1, 1, 1), reach=(0, 0, 0), words=28, width=31)
    return spec._replace(search=spec.search._replace(grid=grid, near=(88,)), replicas=(2, 2, 2))


@pytest.mark.slow
@pytest.mark.parametrize("rounded", [0.0, 1e-11, 1e-9])
@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_whose_vertices_are_degenerate(name, rounded):
    """Simple cubic ones too, where Qhull's indices follow the rounding."""
    structure, faces = CRYSTALS[name]
    noise = np.random.default_rng(0).normal(scale=rounded, size=(108, 3))
    structure = structure.replace(fractional=structure.fractional + noise)
    cells = voronoi_cells.tessellate(crystal_shape(), structure)
    assert cells.complete
    expected = np.zeros(13, int)
    expected[list(faces)] = list(faces.values())
    np.testing.assert_array_equal(voronoi_cells.indices(cells), np.tile(expected, (108, 1)))
    # Noise of 1e-9 of the cell pulls vertices apart by up to half of SAME_VERTEX.
    np.testing.assert_allclose(cells.volume, 1.0, rtol=1e-9 + 50.0 * rounded)
    other = voronoi.tessellate(structure, method="qhull")
    np.testing.assert_allclose(np.sum(cells.area), other.areas.sum(), rtol=1e-7)
    neighbor = np.asarray(cells.topology.neighbor)
    pairs = np.stack([np.tile(np.arange(108), len(neighbor)), neighbor.ravel()], axis=1)
    pairs = np.unique(pairs[pairs[:, 1] < 108], axis=0)
    np.testing.assert_array_equal(pairs[in_order(pairs)], other.pairs)


@pytest.mark.slow
def test_an_atom_inside_much_larger_ones_has_no_cell():
    """The vertex that its neighbours share is one of twelve cells."""
    structure = CRYSTALS["fcc"][0]
    radii = jnp.where(jnp.arange(108) == 5, 0.0, 1.3)
    # Planes through that vertex count as near, though none has a face.
    spec = crystal_shape()._replace(groups=((108, 60),))
    cells = voronoi_cells.tessellate(spec, structure, radii)
    expected = voronoi.tessellate(structure, radii=radii, method="qhull")
    assert cells.complete and cells.volume[5] == 0.0 and not np.any(cells.area[:, 5])
    np.testing.assert_allclose(cells.volume, expected.volume, rtol=1e-9)
    np.testing.assert_array_equal(
        padded(np.asarray(voronoi_cells.indices(cells))), padded(expected.indices)
    )


@pytest.mark.slow
def test_short_edges_are_left_out_of_the_indices_alone():
    structure = disordered()
    every, long = (
        padded(voronoi.tessellate(structure, edge_threshold=shortest, method="qhull").indices)
        for shortest in (0.0, 0.4)
    )
    assert (every != long).any()
    cells = voronoi_cells.tessellate(shape(), structure)
    np.testing.assert_array_equal(padded(voronoi_cells.indices(cells)), every)
    np.testing.assert_array_equal(padded(voronoi_cells.indices(cells, 0.4)), long)


@pytest.mark.slow
def test_a_batch_is_one_by_one_and_cells_fill_space():
    batch = [disordered(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batch)
    spec = shape()
    together = jax.jit(jax.vmap(lambda one: voronoi_cells.tessellate(spec, one)))(stacked)
    assert together.complete.all() and together.closed.all()
    for number, structure in enumerate(batch):
        alone = voronoi_cells.tessellate(shape(), structure)
        one = jax.tree.map(lambda x, number=number: x[number], together)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-11), one, alone)
        np.testing.assert_allclose(
            alone.volume, voronoi.tessellate(structure, method="qhull").volume, rtol=ROUNDING
        )
        expected = voronoi.tessellate(structure, method="qhull").indices
        np.testing.assert_array_equal(padded(voronoi_cells.indices(alone)), padded(expected))


ATOM = 11


def numbers(cells):
    """What is differentiated: volumes, areas, soft icosahedra, the whole volume, that of an atom.

    None depends on the order of faces.
    """
    own = jnp.arange(len(cells.volume))
    other = jnp.take(own, cells.topology.neighbor, mode="clip")
    # Wide, for a derivative that is not lost beside the value.
    soft = voronoi_cells.soft_icosahedron(cells, 0.4, 0.7, 8.0)
    found = [
        jnp.sum(cells.volume * jnp.cos(own)),
        jnp.sum(cells.area * (1.0 + jnp.sin(own + other))),
        jnp.sum(soft * jnp.cos(own)),
        jnp.sum(cells.volume),
        cells.volume[ATOM],
    ]
    return jnp.where(cells.complete, jnp.stack(found), jnp.nan)


def points(kind):
    """Positions, cell and radii at which derivatives are taken; equal radii give plain cells."""
    structure = disordered()
    radii = jnp.asarray(RADII)[structure.species] if kind == "radical" else jnp.ones(54)
    return structure.fractional, structure.cell, radii


@functools.cache
def compiled():
    """Numbers and their derivatives with respect to positions, cell and radii."""
    spec, structure = shape(), disordered()

    def cells(fractional, cell, radii):
        moved = structure.replace(fractional=fractional, cell=cell)
        return voronoi_cells.tessellate(spec, moved, radii)

    def both(*at):
        found, back = jax.vjp(lambda *at: numbers(cells(*at)), *at)
        return found, jax.vmap(back)(jnp.eye(len(found)))

    return jax.jit(both)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "radical"])
def test_derivatives_are_those_of_central_differences(kind):
    at = points(kind)
    slopes = compiled()(*at)[1]
    rng = np.random.default_rng(1)
    for which, (value, slope) in enumerate(zip(at, slopes, strict=True)):
        shift = rng.normal(size=value.shape) * (1.0 if which == 1 else 0.1)
        shift = np.triu(shift) if which == 1 else shift
        low, high = (
            compiled()(*at[:which], value + s * shift, *at[which + 1 :])[0] for s in (-STEP, STEP)
        )
        difference = (high - low) / (2.0 * STEP)
        found = jnp.sum(slope * shift, axis=tuple(range(1, slope.ndim)))
        norms = jnp.linalg.norm(slope.reshape(len(slope), -1), axis=1)
        # What a change of this size may bring at random; for rounding, that of the volumes.
        size = np.maximum(norms * np.linalg.norm(shift) / np.sqrt(value.size), 1.0)
        np.testing.assert_allclose((found - difference) / size, 0.0, atol=DIFFERENCES)


@pytest.mark.slow
def test_the_cells_together_keep_the_volume():
    structure = disordered()
    positions, cell, radii = (x[3] for x in compiled()(*points("radical"))[1])
    np.testing.assert_allclose(radii, 0.0, atol=1e-9)
    np.testing.assert_allclose(positions, 0.0, atol=1e-9)
    expected = np.linalg.det(structure.cell) * np.linalg.inv(structure.cell).T
    np.testing.assert_allclose(np.triu(cell), np.triu(expected), rtol=1e-9, atol=1e-9)


def centroid(corners, normal):
    """Centroid of a plane, convex polygon from its corners in any order, (V, 3)."""
    middle = corners.mean(axis=0)
    first = np.linalg.svd(normal[None])[2][1]
    spokes = corners - middle
    angle = np.arctan2(spokes @ np.cross(normal, first), spokes @ first)
    spokes = spokes[np.argsort(angle)]
    after = np.roll(spokes, -1, axis=0)
    twice = np.cross(spokes, after) @ normal
    return middle + (twice[:, None] * (spokes + after)).sum(axis=0) / (3.0 * twice.sum())


def test_a_volume_grows_with_its_faces():
    """dV_i/dx_j = A_ij (x_j - c_ij) / r_ij, with the centroid c of the face from Qhull's vertices.

    A point y of the plane |y - x_i| = |y - x_j| moves along the normal by (x_j - y)·dx_j / r_ij.
    """
    structure, atom = disordered(), ATOM
    cell = np.asarray(structure.cell)
    fractional = np.asarray(structure.fractional)
    cloud, centre, other, vertices, owner = voronoi._closed(fractional, cell, np.zeros(54), 2.5)
    expected = np.zeros((54, 3))
    found = voronoi_cells.tessellate(shape(), structure)
    neighbor, area = np.asarray(found.topology.neighbor)[:, atom], np.asarray(found.area)[:, atom]
    for image in np.unique(other[centre == atom]):
        corners = vertices[(centre == atom) & (other == image)]
        bond = cloud[image] - cloud[atom]
        distance = np.linalg.norm(bond)
        [size] = area[neighbor == owner[image]]
        middle = centroid(corners, bond / distance)
        expected[owner[image]] = size * (cloud[image] - middle) / distance
    expected[atom] = -expected.sum(axis=0)

    slope = compiled()(*points("plain"))[1][0][4]
    np.testing.assert_allclose(slope @ np.linalg.inv(cell), expected, atol=1e-9)


def test_what_a_static_shape_misses_is_recorded():
    structure = disordered()
    assert voronoi_cells.tessellate(shape(), structure).complete
    twice = structure.replace(fractional=structure.fractional.at[7].set(structure.fractional[3]))
    found = voronoi_cells.tessellate(shape(), twice)
    assert not found.complete and not found.closed[3] and not found.closed[7]
    np.testing.assert_array_equal(np.flatnonzero(found.topology.coincident), [3, 7])
    assert not np.isnan(found.volume).any()
    lost = structure.replace(fractional=structure.fractional.at[0].set(jnp.nan))
    assert not voronoi_cells.tessellate(shape(), lost).complete
    # An atom just out of reach could cut the farthest vertex.
    found = voronoi_cells.tessellate(shape(), structure)
    atom = int(jnp.argmax(found.radius))
    for factor in (0.999, 1.001):
        reach = 2.0 * factor * found.radius[atom]
        cells = jax.jit(voronoi_cells.measure)(structure, found.topology.replace(reach=reach))
        assert cells.closed[atom] == cells.complete == (factor > 1.0)
    # A void, whose cells reach farther than the list.
    hollow = structure.replace(fractional=structure.fractional * jnp.array([1.0, 1.0, 0.5]))
    assert not voronoi_cells.tessellate(shape(), hollow).complete


def test_the_farthest_vertex_says_which_planes_can_cut():
    """Against Qhull's intersection of half spaces; and that of an open cell is large."""
    rng = np.random.default_rng(2)
    normals = rng.normal(size=(6, 24, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    offsets = np.sort(rng.uniform(0.8, 1.4, (6, 24)), axis=1)
    cut = jax.jit(functools.partial(voronoi_faces.cut_cells, faces=24, edges=16))
    found = cut(jnp.asarray(normals.transpose(2, 1, 0)), jnp.asarray(offsets.T))
    expected = [
        np.linalg.norm(
            HalfspaceIntersection(np.c_[planes, -far], np.zeros(3)).intersections, axis=1
        ).max()
        for planes, far in zip(normals, offsets, strict=True)
    ]
    np.testing.assert_allclose(found[3], expected, rtol=1e-10)
    few = jnp.where(jnp.arange(24)[:, None] < 3, offsets.T, voronoi_faces.FAR)
    assert np.all(cut(jnp.asarray(normals.transpose(2, 1, 0)), few)[3] > 1e3)


@pytest.mark.slow
def test_planes_left_out_are_missed_only_where_they_cut():
    """Fewer and fewer planes: the cells are right, or it is said that there were too few."""
    structure, said = disordered(), []
    exact = np.asarray(voronoi.tessellate(structure, method="qhull").volume)
    [(_, usual)] = shape().groups
    for planes in (usual, 24, 18):
        few = shape()._replace(groups=((54, planes),))
        cells = voronoi_cells.tessellate(few, structure)
        said.append(bool(cells.topology.overflow[1]))
        right = np.allclose(cells.volume, exact, rtol=1e-9, atol=0.0)
        assert right or said[-1], planes
    assert said == sorted(said) and said[-1]


@pytest.mark.slow
def test_too_few_places_are_recorded():
    structure = disordered()
    small = shape()._replace(groups=((54, 14),), faces=8, edges=4)
    found = jax.jit(voronoi_cells.topology, static_argnums=0)(small, structure)
    np.testing.assert_array_equal(found.overflow, [False, True, True, True])
    assert not voronoi_cells.measure(structure, found).complete


def test_bad_input_is_refused():
    structure = disordered()
    twice = structure.replace(fractional=structure.fractional.at[7].set(structure.fractional[3]))
    with pytest.raises(ValueError, match="atom 3 coincides with another atom"):
        voronoi_fit.fit(twice, margin=0.1)
    with pytest.raises(ValueError, match="one of auto, qhull, jax, got 'voro'"):
        voronoi.tessellate(structure, method="voro")
    with pytest.raises(ValueError, match="radii must be 54 finite lengths"):
        voronoi.tessellate(structure, radii=np.ones(3), method="jax")
    with pytest.raises(ValueError, match="NaN"):
        lost = structure.replace(fractional=structure.fractional.at[0].set(np.nan))
        voronoi.tessellate(lost, method="jax")
    flat = structure.replace(cell=jnp.diag(jnp.array([1e4, 1e4, 1e-4])))
    with pytest.raises(ValueError, match="across at its thinnest"):
        voronoi.tessellate(flat, method="jax")


@pytest.mark.slow
def test_the_soft_icosahedron_becomes_the_hard_one():
    cells = voronoi_fit.fit(stored("glass"))[1]
    hard = voronoi.is_icosahedron(voronoi_cells.indices(cells))
    assert 10 < hard.sum() < 300
    narrow = voronoi_cells.soft_icosahedron(cells, 1e-6, 0.1, 0.1)
    np.testing.assert_allclose(narrow, hard, atol=1e-6)
    soft = np.asarray(voronoi_cells.soft_icosahedron(cells))
    assert soft.min() >= 0.0 and soft.max() <= 1.0
    assert np.mean((soft > 0.5) == hard) > 0.98
    # An atom with short edges is neither one nor the other.
    shortest = jnp.min(jnp.where(cells.length > 0.0, cells.length, 9.0), axis=(0, 1))
    clear = hard & (np.asarray(shortest) > 0.3)
    assert clear.any() and soft[clear].min() > 0.99
