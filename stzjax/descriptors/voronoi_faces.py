"""Faces and edges of cells that planes enclose, found atom by atom, without derivatives.

A face is the polygon that all other planes leave of one plane, and an edge the interval that they
leave of one line in it, so nothing is cut step by step and vertices where more than four cells meet
need no tie to be broken. Lengths are in units of the mean spacing of the atoms.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.numerics import platform

SAME_VERTEX = 1e-7
"""Vertices closer than this fraction of the mean atomic distance are one, and a face narrower than
that is none: crystals have vertices where more than four cells meet, which rounding pulls apart."""

FIRST = 20
"""Planes of the cell that bounds how far another plane can matter."""

_CHUNK = 64
"""Atoms cut at a time on CPU; their lines then stay in the cache of a core."""

_CHUNK_GPU = 4096

FAR = 1e6
"""Offset of a plane that cuts nothing [spacing]."""

_LINE = 1e5
"""Half the length of a line before it is cut [spacing]."""

_PARALLEL = 1e-9
"""Sine below which two lines of a plane are parallel."""


def chunked(function, *columns: Array):
    """function(*columns) for some atoms (..., N) at a time, which bounds the memory."""
    num_atoms = columns[0].shape[-1]
    size = min(_CHUNK if platform.target() == "cpu" else _CHUNK_GPU, num_atoms)
    count = -(-num_atoms // size)

    def split(x):
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, count * size - num_atoms)], mode="edge")
        return jnp.moveaxis(padded.reshape(*x.shape[:-1], count, size), -2, 0)

    def join(x):
        return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], count * size)[..., :num_atoms]

    split_columns = tuple(split(x) for x in columns)
    return jax.tree.map(join, jax.lax.map(lambda some: function(*some), split_columns))


def ranked(direction: Array, offset: Array, most: int) -> tuple[Array, Array]:
    """The planes of each atom, nearest first, (most, N), and how many of them can matter, (N,).

    They have unit normals (3, K, N) and distances from the atom (K, N), `FAR` for no plane.
    """
    single = direction.astype(jnp.float32), offset.astype(jnp.float32)
    return chunked(functools.partial(_rank, most=most), *single)


def _rank(direction: Array, offset: Array, most: int) -> tuple[Array, Array]:
    """`ranked` for some atoms, in single precision: (3, K, n), (K, n) -> (most, n), (n,)."""
    order = jnp.argsort(offset, axis=0)[:most]
    first = order[:FIRST]
    nearest = jnp.take_along_axis(offset, first, axis=0)
    lines = _lines(jnp.take_along_axis(direction, first[None], axis=1), nearest)
    low, high = _clip(*lines, parallel=1e-5, same=1e-4)
    # An edge that rounding may have cut off counts, so that no plane is missed.
    counts = (high - low > -1e-4) & _pairs_of(nearest)
    end = jnp.maximum(low**2, high**2) + lines[2] ** 2 + nearest[:, None] ** 2
    radius = jnp.sqrt(jnp.max(jnp.where(counts, end, 0.0), axis=(0, 1)))
    return order, jnp.sum(offset < radius * 1.001 + 1e-3, axis=0, dtype=jnp.int32)


def _pairs_of(offset: Array) -> Array:
    """Pairs of two different planes that are both there, (C, C, n) bool."""
    there = offset < 0.5 * FAR
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
      atom. Lines that cut nothing, such as those of parallel planes, are `FAR` away.
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
    height = jnp.where(there & ~parallel, rise / sine, jnp.where(there & beyond, -FAR, FAR))
    flat = parallel | ~there
    return jnp.where(flat, 1.0, x / sine), jnp.where(flat, 0.0, y / sine), height


def _clip(x: Array, y: Array, height: Array, parallel: float, same: float) -> tuple[Array, Array]:
    """The interval, (C, C, n) each, that all other lines of its plane leave of a line of `_lines`.

    It runs along the normal turned by a right angle; low > high where nothing is left. Lines are
    parallel below a sine, and do not cut each other if they are also closer than `same` [spacing].
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


def cut_cells(
    direction: Array, offset: Array, faces: int, edges: int
) -> tuple[Array, Array, Array, Array]:
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
      radius: (n,) distance to the farthest vertex, large where the cell is open, 0 where there is
        none. A plane that is no nearer cannot cut the cell.
    """
    pairs = _pairs_of(offset)
    x, y, height = _lines(direction, offset)

    def polygons(height):
        low, high = _clip(x, y, height, _PARALLEL, SAME_VERTEX)
        length = jnp.where(pairs, high - low, -1.0)
        real = _is_face(jnp.maximum(length, 0.0), 0.5 * (low + high), x, y, height)
        return length, jnp.maximum(low**2, high**2), real

    length, end, real = polygons(height)

    def again(_):
        # Planes that only touch the cell would take edges away from those that bound it.
        length, end, still = polygons(jnp.where(real[None] | ~pairs, height, FAR))
        return length, end, real & still

    near = (length > -1e-5) & (height < 0.5 * FAR)
    touched = jnp.any(near & real[:, None] & ~real[None])
    length, end, real = jax.lax.cond(touched, again, lambda _: (length, end, real), None)
    exists = real[:, None] & real[None] & (length > SAME_VERTEX)
    square = jnp.where(exists, end + height**2 + offset[:, None] ** 2, 0.0)
    radius = jnp.sqrt(jnp.max(square, axis=(0, 1)))
    return *_compress(exists, x, y, real, faces, edges), radius


def _is_face(length: Array, along: Array, x: Array, y: Array, height: Array) -> Array:
    """Whether the polygon in each plane has some width, (C, n).

    Its edges on the lines of `_lines` have lengths, 0 for none, and middles, (C, C, n) each.
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
    """Lists of faces and edges made of matrices of planes, see `cut_cells`."""
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
