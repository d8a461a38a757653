"""Voronoi cells as array code: static shapes, any backend, differentiable volumes and areas.

Which faces and edges a cell has is found without derivatives (`topology`), how large they are is a
smooth function of positions, cell and radii (`measure`); `tessellate` does both.

`voronoi_planes` gives the planes between atoms, `voronoi_faces` the faces that they leave of each
other. The cost is cubic in the number of planes, so only those count that are nearer than the
farthest vertex of the cell that the nearest planes alone make. `voronoi_fit` finds the shape.

Radical (power) cells: F. Aurenhammer, SIAM J. Comput. 16, 78 (1987).
"""

import functools
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.descriptors import voronoi_faces, voronoi_planes
from stzjax.neighbors import lists


class Spec(NamedTuple):
    """Static shape of a tessellation.

    Attributes:
      search: shape of the neighbour list whose atoms give the planes.
      replicas: copies of the structure along the cell vectors in which neighbours are looked for.
      groups: (atoms, planes) of each group, those with the fewest planes first.
      faces: most faces of a cell, F.
      edges: most edges of a face, E.
    """

    search: lists.Spec
    replicas: tuple[int, int, int]
    groups: tuple[tuple[int, int], ...]
    faces: int
    edges: int


class Topology(flax.struct.PyTreeNode):
    """Faces and edges of each cell; no geometry and no derivatives.

    Attributes:
      neighbor: (F, N) the atom beyond each face, which may be an image of the atom itself; N
        where there is none.
      image: (3, F, N) int, cell vectors from that atom to the image that is meant.
      edge: (E, F, N) the face on the other side of each edge, counter-clockwise as seen from
        outside; F where there is none.
      overflow: (4,) bool; whether there were too few places for neighbours, for planes, for the
        faces of a cell or for the edges of a face.
      coincident: (N,) bool; another atom is at the same place.
      reach: () every atom within this distance was looked at [Å].
    """

    neighbor: Array
    image: Array
    edge: Array
    overflow: Array
    coincident: Array
    reach: Array


class Cells(flax.struct.PyTreeNode):
    """Voronoi cells; everything of floating point is differentiable.

    Attributes:
      volume: (N,) [Å³]; 0 for an atom without a cell, as radical tessellations may have.
      area: (F, N) of each face [Å²]; 0 where there is none.
      length: (E, F, N) of each edge of each face [Å]; 0 where there is none.
      radius: (N,) distance from the atom to its farthest vertex [Å].
      closed: (N,) bool; faces bound the cell on all sides, and no atom that was not looked at can
        cut it. False for atoms that coincide with others.
      complete: () bool; all cells are closed, no static shape was too small and the volumes add
        up to the periodic cell's. Where False the rest is not to be used.
      topology: the faces and edges that were measured.
    """

    volume: Array
    area: Array
    length: Array
    radius: Array
    closed: Array
    complete: Array
    topology: Topology


@functools.partial(jax.jit, static_argnames="spec")
def tessellate(spec: Spec, structure: Structure, radii: Array | None = None) -> Cells:
    """Voronoi cells of a structure in any triclinic periodic cell; pure.

    Volumes and areas are continuously differentiable with respect to positions, cell and radii,
    lengths wherever no edge appears or vanishes.

    Args:
      spec: from `voronoi_fit.fit`, for this structure or one like it.
      structure: N atoms.
      radii: (N,) for the radical tessellation [Å]; None for plain cells.
    """
    return measure(structure, topology(spec, structure, radii), radii)


def topology(spec: Spec, structure: Structure, radii: Array | None = None) -> Topology:
    """Faces and edges of every cell, see `tessellate`."""
    structure, weights = jax.lax.stop_gradient(
        (structure, voronoi_planes.weights_of(structure, radii))
    )
    near = voronoi_planes.around(spec.search, spec.replicas, structure, weights)
    most = spec.groups[-1][1]
    order, needed = voronoi_faces.ranked(near.direction, near.offset, most)
    sequence = jnp.argsort(needed)
    place = jnp.zeros_like(sequence).at[sequence].set(jnp.arange(len(sequence)))
    direction = jnp.take_along_axis(near.direction, order[None], axis=1)
    offset = jnp.take_along_axis(near.offset, order, axis=0)
    begin, parts, short = 0, [], jnp.zeros((), bool)
    for size, planes in spec.groups:
        some = sequence[begin : begin + size]
        begin += size
        cut = functools.partial(voronoi_faces.cut_cells, faces=spec.faces, edges=spec.edges)
        *part, radius = voronoi_faces.chunked(
            cut, direction[:, :planes, some], offset[:planes, some]
        )
        parts.append(part)
        left_out = jnp.sum(near.offset[:, some] < voronoi_faces.FAR, axis=0) > planes
        # The planes come nearest first, in single precision.
        short |= jnp.any(left_out & (radius * (1.0 + 1e-5) > offset[planes - 1, some]))
    plane, edge, full = (
        jnp.take(jnp.concatenate(found, axis=-1), place, axis=-1)
        for found in zip(*parts, strict=True)
    )
    slot = jnp.take_along_axis(order, jnp.minimum(plane, most - 1), axis=0)
    exists = plane < most
    return Topology(
        neighbor=jnp.where(exists, jnp.take_along_axis(near.owner, slot, axis=0), len(place)),
        image=jnp.where(exists, jnp.take_along_axis(near.image, slot[None], axis=1), 0),
        edge=edge,
        overflow=jnp.stack([near.overflow, short, *jnp.any(full, axis=-1)]),
        coincident=near.coincident,
        reach=jnp.asarray(spec.search.cutoff),
    )


def measure(structure: Structure, found: Topology, radii: Array | None = None) -> Cells:
    """Volumes, areas and lengths of given faces and edges; see `tessellate`."""
    num_atoms = structure.num_atoms
    weights = voronoi_planes.weights_of(structure, radii)
    there = found.neighbor < num_atoms
    columns = structure.fractional.T
    away = jnp.take(columns, found.neighbor, axis=1, mode="clip") - columns[:, None] + found.image
    bond = jnp.stack(geometry.cartesian(structure.cell, *away))
    bond = jnp.where(there, bond, 1.0)
    distance = jnp.sqrt(jnp.sum(bond**2, axis=0))
    step = weights - jnp.take(weights, found.neighbor, mode="clip")
    offset = jnp.where(there, (distance**2 + step) / (2.0 * distance), 0.0)
    direction = bond / distance
    # Without keeping what derivatives need of each chunk, for it takes ten times the memory.
    polygons = jax.checkpoint(_polygons)
    area, length, radius, proper = voronoi_faces.chunked(polygons, direction, offset, found.edge)
    volume = jnp.sum(offset * area, axis=0) / 3.0
    whole = jnp.all(proper | ~there, axis=0) & ~found.coincident
    # The faces of a closed surface balance; what one of them lacks would be seen here.
    open_by = jnp.sqrt(jnp.sum(jnp.sum(area * direction, axis=1) ** 2, axis=0))
    whole = whole & (open_by <= 1e-5 * jnp.sum(area, axis=0))
    behind = jnp.max(weights) - weights
    closed = whole & (found.reach**2 - 2.0 * found.reach * radius >= behind - 1e-9)
    if radii is None:
        closed = closed & jnp.any(there, axis=0)
    total = geometry.volume(structure.cell)
    filled = jnp.abs(jnp.sum(volume) - total) <= 1e-7 * total
    complete = jnp.all(closed) & filled & ~jnp.any(found.overflow)
    return Cells(volume, area, length, radius, closed, complete, found)


def _polygons(direction: Array, offset: Array, edge: Array):
    """Areas, edge lengths and farthest corners from the planes of the faces.

    In face j the line of face k is at the height h = (d_k - d_j c) / s above the foot of the atom,
    with c and s the cosine and sine between the normals. Lines that follow each other, turned by Δ,
    meet at (h' - h cos Δ) / sin Δ along the first and (h - h' cos Δ) / sin Δ back along the second.

    Directions (3, F, N), offsets (F, N) [Å] and edges (E, F, N) give areas (F, N) [Å²], lengths
    (E, F, N) [Å], radii (N,) [Å] and whether each face is a proper polygon, (F, N).
    """
    num_edges, num_faces, num_atoms = edge.shape
    there = edge < num_faces
    flat = jnp.minimum(edge, num_faces - 1).reshape(-1, num_atoms)
    shape = (3, num_edges, num_faces, num_atoms)
    other = jnp.take_along_axis(direction, flat[None], axis=1).reshape(shape)
    far = jnp.take_along_axis(offset, flat, axis=0).reshape(shape[1:])
    cosine = jnp.sum(other * direction[:, None], axis=0)
    normal = other - cosine * direction[:, None]
    square = jnp.where(there, jnp.sum(normal**2, axis=0), 1.0)
    sine = jnp.sqrt(jnp.where(square > 0.0, square, 1.0))
    normal = normal / sine
    height = (far - offset * cosine) / sine

    count = jnp.sum(there, axis=0)
    last = jnp.arange(num_edges).reshape(-1, 1, 1) + 1 >= count

    def following(values):
        return jnp.where(last, values[..., :1, :, :], jnp.roll(values, -1, axis=-3))

    turned, above = following(normal), following(height)
    turn_cosine = jnp.sum(normal * turned, axis=0)
    turn_sine = jnp.sum(jnp.cross(normal, turned, axis=0) * direction[:, None], axis=0)
    proper = (count >= 3) & jnp.all((turn_sine > 0.0) | ~there, axis=0)
    corner = there & (turn_sine > 0.0)
    turn_sine = jnp.where(corner, turn_sine, 1.0)
    ahead = jnp.where(corner, (above - height * turn_cosine) / turn_sine, 0.0)
    back = jnp.where(corner, (height - above * turn_cosine) / turn_sine, 0.0)
    area = 0.5 * jnp.sum(height * ahead + above * back, axis=0)
    radius = jnp.where(corner, offset**2 + height**2 + ahead**2, 0.0)
    farthest = jnp.max(radius, axis=(0, 1))
    farthest = jnp.sqrt(jnp.where(farthest > 0.0, farthest, 1.0)) * (farthest > 0.0)
    ends = jnp.roll(back, 1, axis=0)
    final = jnp.sum(jnp.where(last & there, back, 0.0), axis=0)
    length = jnp.where(there, ahead + ends.at[0].set(final), 0.0)
    return area, length, farthest, proper


def shortest_edge(structure: Structure, edge_threshold: float = 0.0) -> Array:
    """Length up to which an edge does not count [Å]: as asked, or since its ends are one vertex."""
    same = voronoi_faces.SAME_VERTEX * voronoi_planes.spacing_of(structure)
    return jnp.maximum(edge_threshold, same)


def pairs(cells: Cells) -> Array:
    """Atoms beyond the faces and of the faces, (F N, 2); N for both where there is no face."""
    faces = cells.topology.neighbor
    num_atoms = faces.shape[1]
    atoms = jnp.where(faces < num_atoms, jnp.arange(num_atoms), faces)
    return jnp.stack([faces.reshape(-1), atoms.reshape(-1)], axis=1)


def indices(cells: Cells, edge_threshold: Array | float = 0.0) -> Array:
    """Faces by number of edges, (N, M); see `voronoi.Tessellation`.

    Edges up to the threshold [Å] do not count, nor do faces that are left with fewer than three.
    """
    edge = cells.topology.edge < len(cells.area)
    edges = jnp.sum(edge & (cells.length > edge_threshold), axis=0)
    width = max(7, len(cells.length) + 1)
    counted = [jnp.sum((edges == k) & (k >= 3), axis=0) for k in range(width)]
    return jnp.stack(counted, axis=1)


def soft_icosahedron(
    cells: Cells, edge_width: float = 0.1, face_width: float = 0.5, count_width: float = 1.0
) -> Array:
    """A smooth twin of ⟨0, 0, 12, 0⟩, (N,) between 0 and 1.

    With s(u) = 1 - exp(-u²), the soft number of edges of face j is m_j = Σ s(L / edge_width) over
    its edges, its weight w_j = s(A_j / edge_width²), and g_j = exp(-((m_j - 5) / face_width)²) says
    how much it is a pentagon. With p = Σ w_j g_j pentagons and o = Σ w_j (1 - g_j) other faces, the
    result is exp(-((p - 12)² + o²) / count_width²), the hard indicator as all widths go to 0.

    Edges fade out below `edge_width` [Å]. Continuously differentiable with respect to positions
    also where edges or faces appear, as s starts with no slope.
    """

    def step(u):
        return -jnp.expm1(-(u**2))

    edges = jnp.sum(step(cells.length / edge_width), axis=0)
    weight = step(cells.area / edge_width**2)
    pentagon = jnp.exp(-(((edges - 5.0) / face_width) ** 2))
    pentagons = jnp.sum(weight * pentagon, axis=0)
    others = jnp.sum(weight * (1.0 - pentagon), axis=0)
    return jnp.exp(-((pentagons - 12.0) ** 2 + others**2) / count_width**2)
