"""Voronoi cells as array code: static shapes, any backend, differentiable volumes and areas.

Which faces and edges a cell has is found without derivatives (`topology`), how large they are is a
smooth function of positions, cell and radii (`measure`); `tessellate` does both.

A face is the polygon that all other planes leave of one plane, and an edge the interval that they
leave of one line in it, so nothing is cut step by step and vertices where more than four cells meet
need no tie to be broken. The cost is cubic in the number of planes, so only those count that are
nearer than the farthest vertex of the cell that the nearest planes alone make.

Radical (power) cells: F. Aurenhammer, SIAM J. Comput. 16, 78 (1987).
"""

import functools
import itertools
import math
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax import neighbors as lists
from stzjax import structure as structures
from stzjax.structure import Structure

SAME_VERTEX = 1e-7
"""Vertices closer than this fraction of the mean atomic distance are one, and a face narrower than
that is none: crystals have vertices where more than four cells meet, which rounding pulls apart."""

_FIRST = 20
"""Planes of the cell that bounds how far another plane can matter."""

_FIRST_REACH = 2.1
"""How far neighbours are sought at first [spacing]; glasses need 1.9 to 2."""

_FIRST_PLACES, _ROUNDS = (40, 22, 12), 12
"""Planes of a small structure, faces and edges of a face at first; rounds of making them more."""

_SHARES = (0.5, 0.9, 0.99, 1.0)
"""Shares of the atoms, those with fewest planes first, that are cut with planes of one number."""

_RANKED_FROM = 1000
"""Fewer atoms are cut with planes of the same number: compiling costs more than empty places."""

_CHUNK = 64
"""Atoms cut at a time on CPU; their lines then stay in the cache of a core."""

_CHUNK_GPU = 4096

_FAR, _LINE = 1e6, 1e5
"""Offset of a plane that cuts nothing, and half the length of a line before it is cut [spacing]."""

_PARALLEL = 1e-9
"""Sine below which two lines of a plane are parallel."""

_MOST_IMAGES = 1_000_000


class Spec(NamedTuple):
    """Static shape of a tessellation.

    Attributes:
      search: of the neighbour list whose atoms give the planes.
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
      depth: (F, N) distance of each face's plane from the atom, negative where the atom lies beyond
        it [Å]; 0 where there is no face.
      radius: (N,) distance from the atom to its farthest vertex [Å].
      closed: (N,) bool; faces bound the cell on all sides, and no atom that was not looked at can
        cut it. False for atoms that coincide with others.
      complete: () bool; all cells are closed, no static shape was too small and the volumes add
        up to the periodic cell's. Where False the rest is not to be used.
      topology: what the cells were measured from.
    """

    volume: Array
    area: Array
    length: Array
    depth: Array
    radius: Array
    closed: Array
    complete: Array
    topology: Topology


@functools.partial(jax.jit, static_argnames="spec")
def tessellate(spec: Spec, structure: Structure, radii: Array | None = None) -> Cells:
    """Voronoi cells of a structure in any triclinic periodic cell.

    Pure: for `jit`, `vmap` and `grad`. Volumes and areas are continuously differentiable with
    respect to positions, cell and radii, lengths wherever no edge appears or vanishes.

    Args:
      spec: from `allocate`, for this structure or one like it.
      structure: N atoms.
      radii: (N,) for the radical tessellation [Å]; None for the plain one.
    """
    return measure(structure, topology(spec, structure, radii), radii)


def fit(structure: Structure, radii=None, margin: float = 0.02) -> tuple[Spec, Cells]:
    """Find a shape in which all cells of a structure are closed, and the cells; on the host.

    Args:
      structure: N atoms; concrete arrays.
      radii: as in `tessellate`.
      margin: share by which neighbours are sought farther than they must be, so that the shape
        also serves structures that differ a little.

    Raises:
      ValueError: atoms coincide, the cell is too thin, or an argument is not finite.
    """
    radii = _checked(structure, radii)
    reach = _FIRST_REACH * float(_spacing(structure))
    places = _FIRST_PLACES
    for _ in range(_ROUNDS):
        spec = _shape(structure, radii, reach, *places)
        cells = tessellate(spec, structure, radii)
        if bool(cells.complete):
            return spec, cells
        _check_apart(cells)
        short = np.asarray(cells.topology.overflow)
        if short.any():
            planes, faces, edges = (
                _even(3 * number // 2) if full else number
                for number, full in zip(places, short[1:], strict=True)
            )
            places = planes, faces, edges
            continue
        weights = np.asarray(_weights(structure, radii))
        radius = np.where(cells.closed, cells.radius, np.minimum(cells.radius, reach))
        needed = np.max(radius + np.sqrt(radius**2 + weights.max() - weights))
        reach = min(max(float(needed) * (1.0 + margin), 1.1 * reach), 2.0 * reach)
    raise ValueError(
        f"the Voronoi cells of {structure.num_atoms} atoms in the cell "
        f"{np.asarray(structure.cell).tolist()} do not close; is the cell extremely flat?"
    )


def allocate(structure: Structure, radii=None, margin: float = 0.02) -> Spec:
    """The shape alone, see `fit`; for `tessellate` under `jit`, `vmap` and `grad`."""
    return fit(structure, radii, margin)[0]


def _checked(structure: Structure, radii) -> Array | None:
    if not (np.isfinite(structure.fractional).all() and np.isfinite(structure.cell).all()):
        raise ValueError("positions and cell must be finite, got NaN or infinity")
    if radii is None:
        return None
    radii = np.asarray(radii, np.float64)
    if radii.shape != (structure.num_atoms,) or not np.isfinite(radii).all() or radii.min() < 0.0:
        raise ValueError(
            f"radii must be {structure.num_atoms} finite lengths >= 0 Å, one per atom, got shape "
            f"{radii.shape}"
        )
    return jnp.asarray(radii)


def _check_apart(cells: Cells) -> None:
    coincident = np.asarray(cells.topology.coincident)
    if coincident.any():
        raise ValueError(
            f"atom {int(np.argmax(coincident))} coincides with another atom; remove one of them"
        )


def _shape(structure: Structure, radii, reach: float, planes: int, faces: int, edges: int) -> Spec:
    """A shape in which all atoms within `reach` [Å] of an atom are looked at."""
    # Coarse steps, so that like structures share one shape and its compiled code.
    reach = math.ceil(10.0 * reach) / 10.0
    heights = structures.heights(structure.cell)
    a, b, c = (max(1, math.ceil(2.0 * reach / height)) for height in heights)
    if a * b * c * structure.num_atoms > _MOST_IMAGES:
        raise ValueError(
            f"the cell is {heights.min():.3g} Å across at its thinnest, and atoms up to "
            f"{reach:.3g} Å away matter: that takes {a} x {b} x {c} copies of it; use a less flat "
            "cell of the same crystal"
        )
    search = lists.allocate(_replicate(structure, (a, b, c)), reach, skin=0.0).spec
    if structure.num_atoms < _RANKED_FROM:
        groups = [(structure.num_atoms, min(planes, search.capacity))]
        return Spec(search, (a, b, c), tuple(groups), faces, edges)
    weights = _weights(structure, radii)
    needed = np.sort(_needed(search, (a, b, c), structure, weights))
    ends = [0, *(round(share * structure.num_atoms) for share in _SHARES)]
    groups = [
        (end - begin, min(_even(int(needed[end - 1]) + 1), search.capacity))
        for begin, end in itertools.pairwise(ends)
    ]
    return Spec(search, (a, b, c), tuple(groups), faces, edges)


def _even(count: int) -> int:
    return int(count) + int(count) % 2


@functools.partial(jax.jit, static_argnames=("search", "replicas"))
def _needed(search: lists.Spec, replicas, structure: Structure, weights: Array) -> Array:
    """How many planes can matter to each atom, (N,)."""
    return _ranked(_near(search, replicas, structure, weights), 2 * _FIRST)[1]


def topology(spec: Spec, structure: Structure, radii: Array | None = None) -> Topology:
    """Faces and edges of every cell, see `tessellate`."""
    structure, weights = jax.lax.stop_gradient((structure, _weights(structure, radii)))
    near = _near(spec.search, spec.replicas, structure, weights)
    most = spec.groups[-1][1]
    order, needed = _ranked(near, most)
    sequence = jnp.argsort(needed)
    place = jnp.zeros_like(sequence).at[sequence].set(jnp.arange(len(sequence)))
    direction = jnp.take_along_axis(near.direction, order[None], axis=1)
    offset = jnp.take_along_axis(near.offset, order, axis=0)
    begin, parts, planes_short = 0, [], jnp.zeros((), bool)
    for size, planes in spec.groups:
        some = sequence[begin : begin + size]
        begin += size
        cut = functools.partial(_cut, faces=spec.faces, edges=spec.edges)
        parts.append(_chunked(cut, direction[:, :planes, some], offset[:planes, some]))
        available = jnp.sum(near.offset[:, some] < _FAR, axis=0)
        planes_short |= jnp.any(jnp.minimum(needed[some], available) > planes)
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
        overflow=jnp.stack([near.overflow, planes_short, *jnp.any(full, axis=-1)]),
        coincident=near.coincident,
        reach=jnp.asarray(spec.search.cutoff),
    )


class _Near(NamedTuple):
    """Planes between each atom and those around it; lengths in units of the mean spacing.

    Attributes:
      direction: (3, K, N) unit normals, away from the atom.
      offset: (K, N) distances of the planes from the atom, negative where it lies beyond;
        `_FAR` where there is no plane.
      owner: (K, N) atom whose image is beyond the plane.
      image: (3, K, N) cell vectors from that atom to its image.
      coincident: (N,) bool.
      overflow: () bool, of the neighbour list.
    """

    direction: Array
    offset: Array
    owner: Array
    image: Array
    coincident: Array
    overflow: Array


def _near(search: lists.Spec, replicas, structure: Structure, weights: Array) -> _Near:
    num_atoms = structure.num_atoms
    whole = _replicate(structure, replicas)
    found = lists.make(search, whole)
    idx = lists.table(found)[:, :num_atoms]
    owner = idx % num_atoms
    there = idx < whole.num_atoms
    away = jnp.stack(
        [
            structures.minimum_image(jnp.take(column, idx, mode="clip") - column[:num_atoms])
            for column in whole.fractional.T
        ]
    ) * jnp.array(replicas).reshape(3, 1, 1)
    spacing = _spacing(structure)
    bond = jnp.stack(structures.cartesian(structure.cell, *away)) / spacing
    distance = jnp.sqrt(jnp.sum(bond**2, axis=0))
    same = there & (distance < SAME_VERTEX)
    there = there & ~same
    distance = jnp.where(there, distance, 1.0)
    step = (weights - jnp.take(weights, owner, mode="clip")) / spacing**2
    fractional = structure.fractional.T
    straight = jnp.take(fractional, owner, axis=1, mode="clip") - fractional[:, None]
    return _Near(
        direction=bond / distance,
        offset=jnp.where(there, (distance**2 + step) / (2.0 * distance), _FAR),
        owner=owner,
        image=jnp.round(away - straight).astype(jnp.int32),
        coincident=jnp.any(same, axis=0),
        overflow=found.overflow,
    )


def _replicate(structure: Structure, replicas: tuple[int, int, int]) -> Structure:
    """Copies of a structure side by side; its own atoms come first."""
    if replicas == (1, 1, 1):
        return structure
    corners = np.stack(np.meshgrid(*map(np.arange, replicas), indexing="ij"), -1).reshape(-1, 3)
    wrapped = structures.wrap(structure.fractional)
    fractional = (corners[:, None] + wrapped) / jnp.array(replicas)
    return structure.replace(
        fractional=fractional.reshape(-1, 3),
        cell=structure.cell * jnp.array(replicas),
        species=jnp.tile(structure.species, len(corners)),
    )


def _weights(structure: Structure, radii: Array | None) -> Array:
    if radii is None:
        return jnp.zeros(structure.num_atoms, structure.cell.dtype)
    return jnp.asarray(radii) ** 2


def _spacing(structure: Structure) -> Array:
    return jnp.cbrt(structures.volume(structure.cell) / structure.num_atoms)


def _chunked(function, *columns: Array):
    """function(*columns) for some atoms (..., N) at a time, which bounds the memory."""
    num_atoms = columns[0].shape[-1]
    size = min(_CHUNK if jax.default_backend() == "cpu" else _CHUNK_GPU, num_atoms)
    count = -(-num_atoms // size)

    def split(x):
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, count * size - num_atoms)], mode="edge")
        return jnp.moveaxis(padded.reshape(*x.shape[:-1], count, size), -2, 0)

    def join(x):
        return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], count * size)[..., :num_atoms]

    split_columns = tuple(split(x) for x in columns)
    return jax.tree.map(join, jax.lax.map(lambda some: function(*some), split_columns))


def _ranked(near: _Near, most: int) -> tuple[Array, Array]:
    """The planes of each atom, nearest first, (most, N), and how many of them can matter, (N,)."""
    single = near.direction.astype(jnp.float32), near.offset.astype(jnp.float32)
    return _chunked(functools.partial(_rank, most=most), *single)


def _rank(direction: Array, offset: Array, most: int) -> tuple[Array, Array]:
    """`_ranked` for some atoms, in single precision: (3, K, n), (K, n) -> (most, n), (n,)."""
    count = len(offset)
    slots = jnp.arange(count).reshape(-1, 1)

    def compare(other, rank):
        value = jax.lax.dynamic_slice_in_dim(offset, other, 1)
        return rank + ((value < offset) | ((value == offset) & (other < slots)))

    rank = jax.lax.fori_loop(0, count, compare, jnp.zeros(offset.shape, jnp.int32))

    def place(slot, order):
        at = jax.lax.dynamic_slice_in_dim(rank, slot, 1)
        return jnp.where(jnp.arange(most).reshape(-1, 1) == at, slot, order)

    order = jnp.zeros((most, offset.shape[1]), jnp.int32)
    order = jax.lax.fori_loop(0, count, place, order)
    first = order[:_FIRST]
    nearest = jnp.take_along_axis(offset, first, axis=0)
    lines = _lines(jnp.take_along_axis(direction, first[None], axis=1), nearest)
    low, high = _clip(*lines, parallel=1e-5, same=1e-4)
    # What rounding may have cut off counts, so that the bound is one.
    counts = (high - low > -1e-4) & _pairs_of(nearest)
    end = jnp.maximum(low**2, high**2) + lines[2] ** 2 + nearest[:, None] ** 2
    radius = jnp.sqrt(jnp.max(jnp.where(counts, end, 0.0), axis=(0, 1)))
    return order, jnp.sum(offset < radius * 1.001 + 1e-3, axis=0, dtype=jnp.int32)


def _pairs_of(offset: Array) -> Array:
    """Which pairs of planes (C, C, n) are of two planes that are there."""
    there = offset < 0.5 * _FAR
    other = ~np.eye(len(offset), dtype=bool)[:, :, None]
    return there[:, None] & there[None] & other


def _lines(direction: Array, offset: Array) -> tuple[Array, Array, Array]:
    """Where the other planes meet each plane: lines in two dimensions.

    Args:
      direction: (3, C, n) unit normals.
      offset: (C, n) distances from the atom.

    Returns:
      x, y, height, each (C, C, n); in plane j the unit vector (x, y)[j, k] is normal to the line
      of plane k, away from the cell, and `height` the distance of the line from the foot of the
      atom. Lines that cut nothing, such as those of parallel planes, are `_FAR` away.
    """
    smallest = jnp.argmin(jnp.abs(direction), axis=0)
    axis = (jnp.arange(3).reshape(3, 1, 1) == smallest).astype(direction.dtype)
    first = jnp.cross(direction, axis, axis=0)
    first = first / jnp.sqrt(jnp.sum(first**2, axis=0))
    second = jnp.cross(direction, first, axis=0)

    def dot(a, b):
        return sum(a[i][:, None] * b[i][None] for i in range(3))

    x, y, cosine = dot(first, direction), dot(second, direction), dot(direction, direction)
    sine = jnp.sqrt(x**2 + y**2)
    rise = offset[None] - offset[:, None] * cosine
    parallel = sine < (1e-8 if direction.dtype == jnp.float64 else 1e-4)
    sine = jnp.where(parallel, 1.0, sine)
    beyond = parallel & (rise < -SAME_VERTEX)
    there = _pairs_of(offset)
    height = jnp.where(there & ~parallel, rise / sine, jnp.where(there & beyond, -_FAR, _FAR))
    flat = parallel | ~there
    return jnp.where(flat, 1.0, x / sine), jnp.where(flat, 0.0, y / sine), height


def _clip(x: Array, y: Array, height: Array, parallel: float, same: float) -> tuple[Array, Array]:
    """The interval of each line that all other lines of its plane leave, (C, C, n) each.

    Args:
      x: of the lines' normals; see `_lines`.
      y: likewise.
      height: likewise.
      parallel: sine below which lines are parallel.
      same: parallel lines closer than this do not cut each other [spacing].

    Returns:
      low, high; along the normal turned by a right angle. low > high where nothing is left.
    """

    def cut(other, ends):
        low, high = ends
        a, b, far = (jax.lax.dynamic_slice_in_dim(v, other, 1, 1) for v in (x, y, height))
        sine = x * b - y * a
        room = far - height * (x * a + y * b)
        at = room / sine
        high = jnp.where((sine > parallel) & (at < high), at, high)
        low = jnp.where((sine < -parallel) & (at > low), at, low)
        gone = (jnp.abs(sine) <= parallel) & (room < -same)
        return low, jnp.where(gone, -2.0 * _LINE, high)

    whole = jnp.full(x.shape, _LINE, x.dtype)
    return jax.lax.fori_loop(0, x.shape[1], cut, (-whole, whole))


def _cut(direction: Array, offset: Array, faces: int, edges: int) -> tuple[Array, Array, Array]:
    """The faces and edges of some cells.

    Args:
      direction: (3, C, n) unit normals of the planes, double precision.
      offset: (C, n) their distances.
      faces: most faces, F.
      edges: most edges of a face, E.

    Returns:
      plane: (F, n) of each face; a large number where there is none.
      edge: (E, F, n) face beyond each edge, counter-clockwise; F where there is none.
      full: (2, n) bool; there were more faces, and more edges.
    """
    pairs = _pairs_of(offset)
    x, y, height = _lines(direction, offset)

    def polygons(height):
        low, high = _clip(x, y, height, _PARALLEL, SAME_VERTEX)
        length = jnp.where(pairs, high - low, -1.0)
        return length, _is_face(jnp.maximum(length, 0.0), 0.5 * (low + high), x, y, height)

    length, real = polygons(height)

    def again(_):
        # Planes that only touch the cell would take edges away from those that bound it.
        length, still = polygons(jnp.where(real[None] | ~pairs, height, _FAR))
        return length, real & still

    near = (length > -1e-5) & (height < 0.5 * _FAR)
    touched = jnp.any(near & real[:, None] & ~real[None])
    length, real = jax.lax.cond(touched, again, lambda _: (length, real), None)
    exists = real[:, None] & real[None] & (length > SAME_VERTEX)
    return _compress(exists, x, y, real, faces, edges)


def _is_face(length: Array, along: Array, x: Array, y: Array, height: Array) -> Array:
    """Whether the polygon in each plane has some width, (C, n).

    Args:
      length: (C, C, n) of its edges; 0 for lines that are none.
      along: (C, C, n) middles of the edges on their lines.
      x: of the lines' normals; see `_lines`.
      y: likewise.
      height: likewise.
    """
    around = jnp.sum(length, axis=1)
    share = length / jnp.where(around > 0.0, around, 1.0)[:, None]
    # From a point inside no edge counts as negative: lines that coincide, and are there twice,
    # cannot give a needle an area.
    inside_x = jnp.sum(share * (x * height - y * along), axis=1)
    inside_y = jnp.sum(share * (y * height + x * along), axis=1)
    depth = height - x * inside_x[:, None] - y * inside_y[:, None]
    return jnp.sum(share * depth, axis=1) > SAME_VERTEX


def _compress(exists: Array, x: Array, y: Array, real: Array, faces: int, edges: int):
    """From matrices of planes to lists of faces and edges, see `_cut`."""
    count, num_atoms = real.shape
    # Grows with the angle of the normal, between -2 and 2.
    angle = jnp.where(y < 0.0, -1.0, 1.0) * (1.0 - x / (jnp.abs(x) + jnp.abs(y)))
    angle = jnp.where(exists, angle, 9.0)
    before = jnp.cumsum(real, axis=0, dtype=jnp.int32)
    face = before - 1

    def compare(other, rank):
        return rank + (jax.lax.dynamic_slice_in_dim(angle, other, 1, 1) < angle)

    rank = jax.lax.fori_loop(0, count, compare, jnp.zeros(angle.shape, jnp.int8))
    rank = jnp.where(exists, rank, -1)

    def place(other, found):
        at = jax.lax.dynamic_slice_in_dim(rank, other, 1, 1)[None, :, 0]
        name = jax.lax.dynamic_slice_in_dim(face, other, 1, 0)[None]
        return jnp.where(jnp.arange(edges).reshape(-1, 1, 1) == at, name, found)

    edge = jnp.full((edges, count, num_atoms), faces, jnp.int32)
    edge = jax.lax.fori_loop(0, count, place, edge)
    slots = jnp.arange(faces).reshape(-1, 1, 1)
    plane = jnp.sum(before[None] <= slots, axis=1, dtype=jnp.int32)
    missing = plane >= count
    edge = jnp.take_along_axis(edge, jnp.minimum(plane, count - 1)[None], axis=1)
    full = [before[-1] > faces, jnp.any(jnp.sum(exists, axis=1) > edges, axis=0)]
    return jnp.where(missing, 2**30, plane), jnp.where(missing, faces, edge), jnp.stack(full)


def measure(structure: Structure, found: Topology, radii: Array | None = None) -> Cells:
    """Volumes, areas and lengths of given faces and edges; see `tessellate`."""
    num_atoms = structure.num_atoms
    weights = _weights(structure, radii)
    there = found.neighbor < num_atoms
    columns = structure.fractional.T
    away = jnp.take(columns, found.neighbor, axis=1, mode="clip") - columns[:, None] + found.image
    bond = jnp.stack(structures.cartesian(structure.cell, *away))
    bond = jnp.where(there, bond, 1.0)
    distance = jnp.sqrt(jnp.sum(bond**2, axis=0))
    step = weights - jnp.take(weights, found.neighbor, mode="clip")
    offset = jnp.where(there, (distance**2 + step) / (2.0 * distance), 0.0)
    direction = bond / distance
    # Without keeping what derivatives need of each chunk, for it takes ten times the memory.
    polygons = jax.checkpoint(_polygons)
    area, length, radius, proper = _chunked(polygons, direction, offset, found.edge)
    volume = jnp.sum(offset * area, axis=0) / 3.0
    whole = jnp.all(proper | ~there, axis=0) & ~found.coincident
    # The faces of a closed surface balance; what one of them lacks would be seen here.
    open_by = jnp.sqrt(jnp.sum(jnp.sum(area * direction, axis=1) ** 2, axis=0))
    whole = whole & (open_by <= 1e-5 * jnp.sum(area, axis=0))
    behind = jnp.max(weights) - weights
    closed = whole & (found.reach**2 - 2.0 * found.reach * radius >= behind - 1e-9)
    if radii is None:
        closed = closed & jnp.any(there, axis=0)
    total = structures.volume(structure.cell)
    filled = jnp.abs(jnp.sum(volume) - total) <= 1e-7 * total
    complete = jnp.all(closed) & filled & ~jnp.any(found.overflow)
    return Cells(volume, area, length, offset, radius, closed, complete, found)


def _polygons(direction: Array, offset: Array, edge: Array):
    """Areas, edge lengths and farthest corners from the planes of the faces.

    In face j the line of face k is at the height h = (d_k - d_j c) / s above the foot of the atom,
    with c and s the cosine and sine between the normals. Lines that follow each other, turned by Δ,
    meet at (h' - h cos Δ) / sin Δ along the first and (h - h' cos Δ) / sin Δ back along the second.

    Args:
      direction: (3, F, N).
      offset: (F, N) [Å].
      edge: (E, F, N).

    Returns:
      area (F, N) [Å²], length (E, F, N) [Å], radius (N,) [Å] and whether each face is a proper
      polygon, (F, N).
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


def edge_counts(cells: Cells, edge_threshold: Array | float = 0.0) -> Array:
    """Edges of each face longer than a threshold [Å], (F, N) int; 0 where there is no face."""
    return jnp.sum(
        (cells.topology.edge < len(cells.area)) & (cells.length > edge_threshold), axis=0
    )


def indices(cells: Cells, edge_threshold: Array | float = 0.0) -> Array:
    """Faces by number of edges, (N, M) int: column k counts those with k; M is at least 7.

    The customary ⟨n3, n4, n5, n6⟩ is indices[:, 3:7]. Edges up to the threshold [Å] do not count,
    nor do faces that are left with fewer than three.
    """
    edges = edge_counts(cells, edge_threshold)
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
    result is exp(-((p - 12)² + o²) / count_width²).

    Continuously differentiable with respect to positions also where edges or faces appear, as s
    starts with no slope. 1 for twelve pentagons with edges much longer than `edge_width`; the hard
    indicator as all widths go to 0.

    Args:
      cells: measured cells.
      edge_width: below which edges fade out [Å].
      face_width: how far from five edges a face is a pentagon still.
      count_width: how far from twelve pentagons, and from no other face.
    """

    def step(u):
        return -jnp.expm1(-(u**2))

    edges = jnp.sum(step(cells.length / edge_width), axis=0)
    weight = step(cells.area / edge_width**2)
    pentagon = jnp.exp(-(((edges - 5.0) / face_width) ** 2))
    pentagons = jnp.sum(weight * pentagon, axis=0)
    others = jnp.sum(weight * (1.0 - pentagon), axis=0)
    return jnp.exp(-((pentagons - 12.0) ** 2 + others**2) / count_width**2)
