"""Voronoi tessellation of a periodic cell: volumes, indices by face edges, shared faces.

Host code: NumPy in, NumPy out, by one of two methods with the same results. `jax` is
`voronoi_cells`, the array code for accelerators and derivatives. `qhull` finds the
lower convex hull of the lifted points (x, |x|² - w), which is dual to the Voronoi cells, of the
atoms and as many periodic images as can matter.

H. Edelsbrunner and R. Seidel, Discrete Comput. Geom. 1, 25 (1986), for the lifting;
F. Aurenhammer, SIAM J. Comput. 16, 78 (1987), for power (radical) diagrams.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy.spatial import ConvexHull, QhullError

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.descriptors import voronoi_cells, voronoi_faces, voronoi_fit, voronoi_planes
from stzjax.numerics import platform

METHODS = ("auto", "qhull", "jax")

_FIRST_REACH = 2.0
_CORNERS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


class Tessellation(NamedTuple):
    """The Voronoi cells of a periodic structure.

    Attributes:
      volume: (N,) cell volumes [Å³]; they fill the periodic cell.
      indices: (N, M) int; indices[:, k] is the number of faces with k edges, so that the
        customary ⟨n3, n4, n5, n6⟩ is indices[:, 3:7]. M is at least 7.
      pairs: (P, 2) int; atoms that share a face, both (i, j) and (j, i), each once, no
        self-pairs; sorted by the second atom, then the first.
      areas: (P,) area of the face or faces that a pair shares [Å²].
    """

    volume: np.ndarray
    indices: np.ndarray
    pairs: np.ndarray
    areas: np.ndarray


def tessellate(
    structure: Structure, edge_threshold: float = 0.0, radii=None, method: str = "auto"
) -> Tessellation:
    """Voronoi tessellation of a structure in any triclinic periodic cell.

    Args:
      structure: N atoms; concrete arrays.
      edge_threshold: edges up to this length are not counted in `indices`, and a face left with
        fewer than three is not either [Å]. Volumes, pairs and areas do not depend on it.
      radii: (N,) for the radical tessellation [Å]; None for plain cells.
      method: one of `METHODS`; "auto" is "qhull" on CPU, which need not compile, and "jax" on
        accelerators.

    Raises:
      ValueError: atoms coincide, an argument is negative, not finite or of the wrong shape, or the
        method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"the method must be one of {', '.join(METHODS)}, got {method!r}")
    if not (np.isfinite(edge_threshold) and edge_threshold >= 0.0):
        raise ValueError(f"the edge threshold must be a length >= 0 Å, got {edge_threshold}")
    shortest = float(voronoi_cells.shortest_edge(structure, edge_threshold))
    if method == "auto":
        method = "qhull" if platform.target() == "cpu" else "jax"
    return (_by_qhull if method == "qhull" else _by_jax)(structure, radii, shortest)


def is_icosahedron(indices: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """True for exactly ⟨0, 0, 12, 0⟩: twelve faces of five edges and no other face, (N,)."""
    return (indices[:, 5] == 12) & (indices.sum(axis=1) == 12)


def _by_jax(structure: Structure, radii, shortest: float) -> Tessellation:
    _, cells = voronoi_fit.fit(structure, radii)
    # Faces that are not there are pairs of an atom with itself.
    beyond, own = np.asarray(voronoi_cells.pairs(cells)).T
    return Tessellation(
        np.asarray(cells.volume),
        np.asarray(voronoi_cells.indices(cells, shortest)),
        *_pairs(own, beyond, np.asarray(cells.area).reshape(-1)),
    )


def _by_qhull(structure: Structure, radii, shortest: float) -> Tessellation:
    cell = np.asarray(structure.cell, np.float64)
    fractional = geometry.wrap(np.asarray(structure.fractional, np.float64))
    num_atoms = len(fractional)
    spacing = float(voronoi_planes.spacing_of(structure))
    weights = np.zeros(num_atoms) if radii is None else voronoi_fit.lengths(radii, num_atoms) ** 2
    points, centre, other, vertices, owner = _closed(fractional, cell, weights, spacing)
    missing = np.bincount(centre, minlength=num_atoms) == 0
    if radii is None and missing.any():
        raise ValueError(
            f"atom {int(np.argmax(missing))} has no Voronoi cell: it coincides with another atom; "
            "remove one of them"
        )
    centre, other, area, volume, edges = _faces(
        points, centre, other, vertices, voronoi_faces.SAME_VERTEX * spacing, shortest
    )
    pairs, areas = _pairs(centre, owner[other], area)
    total = np.bincount(centre, volume, num_atoms)
    return Tessellation(total, _indices(centre, edges, num_atoms), pairs, areas)


def _closed(fractional, cell, weights, spacing):
    """Vertices of every cell, with enough images around that no further one could cut a cell.

    Cells shrink as images are added. So if a point y of the cell found for atom i belongs to an
    image q that was left out, |y - x_i| and |y - x_q| are at most the largest radius found, and q
    is within twice that radius of i. With so many images, the second round is the last.
    """
    reach = _FIRST_REACH * spacing
    for _ in range(8):
        points, owner = _cloud(fractional, cell, reach)
        corners = _vertices(points, weights[owner], len(fractional))
        if corners is None:
            reach *= 1.5
            continue
        centre, other, vertices = corners
        needed = 2.0 * float(np.linalg.norm(vertices - points[centre], axis=1).max())
        if needed <= reach:
            return points, centre, other, vertices, owner
        reach = needed * (1.0 + 1e-9)
    raise ValueError(
        f"the Voronoi cells of {len(fractional)} atoms in the cell {cell.tolist()} do not close; "
        "is the cell extremely flat?"
    )


def _cloud(fractional, cell, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The atoms, every image within `reach` [Å] of an atom and some more, (M, 3) [Å]; their atoms.

    The origin is the middle of the periodic cell.
    """
    # A point within `reach` of the cell is within reach / height of it along every axis.
    margin = reach / geometry.heights(cell)
    counts = np.ceil(margin).astype(int)
    shifts = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    shifts = shifts[np.any(shifts != 0, axis=1)]
    images = fractional[None] + shifts[:, None]
    near = np.all((images >= -margin) & (images <= 1.0 + margin), axis=-1)
    owner = np.concatenate([np.arange(len(fractional)), np.nonzero(near)[1]])
    return (np.concatenate([fractional, images[near]]) - 0.5) @ cell.T, owner


def _vertices(points: np.ndarray, weights: np.ndarray, num_atoms: int):
    """Every Voronoi vertex of the cells of the atoms, once for each face that it belongs to.

    Returns:
      centre (V,), other (V,), vertices (V, 3) [Å]; None if a cell is unbounded.
    """
    scale = np.abs(points).max()
    height = (np.sum(points**2, axis=1) - weights) / scale
    try:
        hull = ConvexHull(np.column_stack([points, height]), qhull_options="Qt")
    except QhullError:
        return None
    below = hull.equations[:, 3] < -1e-12
    # An atom on the rim of the cloud has an unbounded cell.
    if np.any(hull.simplices[~below] < num_atoms):
        return None
    simplices, planes = hull.simplices[below], hull.equations[below]
    ours = np.any(simplices < num_atoms, axis=1)
    simplices, planes = simplices[ours], planes[ours]
    vertices = planes[:, :3] * (-0.5 * scale / planes[:, 3:4])
    ends = simplices[:, _CORNERS].reshape(-1, 2)
    simplex = np.repeat(np.arange(len(simplices)), len(_CORNERS))
    ends, simplex = np.concatenate([ends, ends[:, ::-1]]), np.concatenate([simplex, simplex])
    inside = ends[:, 0] < num_atoms
    return ends[inside, 0], ends[inside, 1], vertices[simplex[inside]]


def _faces(points, centre, other, vertices, same: float, shortest: float):
    """Polygons from the vertices of each (centre, other), without those of no area.

    Returns:
      (F,) each: the atom; the point beyond; the area [Å²]; the volume of the pyramid from the atom
      [Å³], negative where the atom lies beyond the plane of the face, as in radical tessellations;
      and the number of edges longer than `shortest`.
    """
    key = centre.astype(np.int64) * len(points) + other
    order = np.argsort(key, kind="stable")
    key, vertices = key[order], vertices[order]
    start = np.flatnonzero(np.diff(key, prepend=-1))
    count = np.diff(start, append=len(key))
    face = np.repeat(np.arange(len(start)), count)
    centre, other = np.divmod(key[start], len(points))
    bond = points[other] - points[centre]
    normal = bond / np.linalg.norm(bond, axis=1, keepdims=True)
    middle = np.add.reduceat(vertices, start) / count[:, None]
    spokes = _around(vertices - middle[face], normal, face)
    following = np.arange(1, len(key) + 1)
    following[start + count - 1] = start
    edge = spokes[following] - spokes
    length = np.linalg.norm(edge, axis=1)
    swept = np.einsum("va,va->v", np.cross(spokes, edge), normal[face])
    area = 0.5 * np.add.reduceat(swept, start)
    depth = np.einsum("fa,fa->f", middle - points[centre], normal)
    # Cells that meet in a vertex or an edge alone have a point or a needle of two edges between.
    real = np.add.reduceat((length > same).astype(int), start) >= 3
    edges = np.add.reduceat((length > shortest).astype(int), start)
    return centre[real], other[real], area[real], (area * depth / 3.0)[real], edges[real]


def _around(spokes: np.ndarray, normal: np.ndarray, face: np.ndarray) -> np.ndarray:
    """The vertices of each face in the order of their angle about its normal, (V, 3)."""
    axis = np.eye(3)[np.argmin(np.abs(normal), axis=1)]
    first = np.cross(normal, axis)
    second = np.cross(normal, first)
    x = np.einsum("va,va->v", spokes, first[face])
    y = np.einsum("va,va->v", spokes, second[face])
    # Grows with the angle, between 0 and 4.
    size = np.abs(x) + np.abs(y)
    turn = 2.0 + np.copysign(1.0 - x / np.where(size > 0.0, size, 1.0), y)
    return spokes[np.argsort(8.0 * face + turn)]


def _indices(centre: np.ndarray, edges: np.ndarray, num_atoms: int) -> np.ndarray:
    centre, edges = centre[edges >= 3], edges[edges >= 3]
    width = max(7, int(edges.max(initial=0)) + 1)
    flat = np.bincount(centre * width + edges, minlength=num_atoms * width)
    return flat.reshape(num_atoms, width)


def _pairs(first: np.ndarray, second: np.ndarray, area: np.ndarray):
    """Pairs of different atoms, each once, and the areas they share; see `Tessellation`."""
    apart = first != second
    stride = int(first.max()) + 1
    key, which = np.unique(second[apart] * stride + first[apart], return_inverse=True)
    second, first = np.divmod(key, stride)
    return np.stack([first, second], axis=1), np.bincount(which, area[apart], len(key))
