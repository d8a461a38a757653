"""Forces of a prepared potential as two kernels for NVIDIA GPUs, by Pallas and Triton.

The first kernel sums the densities of the atoms, the second their forces and virials. A thread
goes down the column of its atom in the neighbour list and keeps the sums in registers, so that
nothing of the size of the list is ever written. The kernels wait for gathers, hence what a thread
needs of a neighbour is one record in memory, as are all coefficients of a bond, and each record
takes one wide load.

`eam_kernels` has the same sums as array code, for every other platform and for derivatives.
"""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.neighbors.tables import Block, Zone
from stzjax.numerics.elementwise import slope

if TYPE_CHECKING:
    from stzjax.potentials.prepared import Compact, Pieces


class Tile(NamedTuple):
    """Work of a program.

    Attributes:
      atoms: number of atoms, a thread each; a power of two.
      ahead: neighbours of an atom that are loaded at a time.
    """

    atoms: int = 32
    ahead: int = 2


TILE = Tile()
"""Work of a program that suits an H100; experiments/results/performance.md has the others tried."""

_WARP = 32
"""Threads of a warp."""

_ORDER = 4
"""Coefficients of a piece."""

_ATOM = 4
"""Numbers of an atom's record: three fractional components and dF/dρ."""


class _Column(NamedTuple):
    """What a program knows of its atoms, (A,) each.

    Attributes:
      atoms: their numbers in the block.
      place: fractional components.
      rise: dF/dρ [eV]; zero while densities are summed.
      kind: species.
    """

    atoms: Array
    place: Sequence[Array]
    rise: Array
    kind: Array


class _Shape(NamedTuple):
    """Static sizes of a call.

    Attributes:
      capacity: rows of the block.
      atoms: columns of the block.
      system: atoms of the system, which mark padding.
      pieces: pieces of the potential for a pair of species.
      species: number of species.
      tile: work of a program.
    """

    capacity: int
    atoms: int
    system: int
    pieces: int
    species: int
    tile: Tile


@functools.cache
def available() -> bool:
    """Whether this JAX brings what the kernels are written in; says so once where it does not."""
    try:
        from jax.experimental.pallas import triton

        _ = triton.CompilerParams, triton.load
    except (ImportError, AttributeError):
        logging.warning("this JAX has no Pallas for Triton: forces are evaluated as array code")
        return False
    return True


def forces_and_trace(
    fractional: Array,
    cell: Array,
    potential: "Compact",
    species: Array,
    near: tuple[Zone, ...],
    far: tuple[Zone, ...],
    tile: Tile = TILE,
    interpret: bool = False,
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the trace of the virial [eV]; without derivatives.

    Args:
      fractional: (N, 3) positions.
      cell: (3, 3) [Å].
      potential: prepared potential in the dtype of the positions.
      species: (N,) in the order of the potential.
      near: zones of the list that densities reach; see `eam_kernels.Zones`.
      far: the other zones.
      tile: work of a program.
      interpret: evaluate the kernels as array code on any platform, to test them.
    """

    def sums(kernel, zones: tuple[Zone, ...], atoms: Array, *tables: "Pieces") -> list[list[Array]]:
        records = _records(tables)
        call = functools.partial(_call, kernel, cell, potential, atoms, records, tile, interpret)
        return [_by_blocks(zone, call, atoms, species) for zone in zones]

    still = jnp.zeros(len(fractional), fractional.dtype)
    atoms = jnp.column_stack([fractional, still])
    if near:
        (density,) = _total(sums(_densities, near, atoms, potential.densities))
        rise = slope(lambda d: potential.embedding(d, species), density)
        atoms = jnp.column_stack([fractional, rise])
    weights = [potential.pair_weights, potential.density_weights]
    if not potential.symmetric:
        weights.append(potential.exchanged(potential.density_weights))
    pulls = sums(_forces, near, atoms, *weights) + sums(_forces, far, atoms, weights[0])
    *parts, trace = _total(pulls)
    force = jnp.stack(geometry.cartesian(cell, *parts), axis=-1)
    # A small difference of large numbers: in float64 whatever the dtype of the run.
    return force, 0.5 * jnp.sum(trace, dtype=jnp.float64)


def _total(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Sums over zones, quantity by quantity."""
    return [functools.reduce(jnp.add, quantity) for quantity in zip(*parts, strict=True)]


def _records(tables: "Sequence[Pieces]") -> Array:
    """Coefficients of a piece in one record, whose width is a power of two; (pieces, width)."""
    record = jnp.stack([x for pieces in tables for x in pieces], axis=-1)
    spare = 2 ** math.ceil(math.log2(record.shape[-1])) - record.shape[-1]
    return jnp.pad(record, ((0, 0), (0, spare)))


def _by_blocks(zone: Zone, call: Callable, atoms: Array, species: Array) -> list[Array]:
    """Results of a kernel for all atoms, from the blocks of a zone."""
    own = zip(*map(zone.split, (*atoms.T, species)), strict=True)
    results = [
        call(block, jnp.column_stack(x), s) for block, (*x, s) in zip(zone.blocks, own, strict=True)
    ]
    return [zone.join(parts) for parts in zip(*results, strict=True)]


def _call(
    kernel: Callable,
    cell: Array,
    potential: "Compact",
    atoms: Array,
    records: Array,
    tile: Tile,
    interpret: bool,
    block: Block,
    own: Array,
    kind: Array,
) -> Sequence[Array]:
    """Results of a kernel for the atoms of a block, (n,) each."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    capacity, count = block.idx.shape
    pieces = len(records) // len(potential.elements) ** 2
    shape = _Shape(capacity, count, len(atoms), pieces, len(potential.elements), tile)
    result = jax.ShapeDtypeStruct((count,), atoms.dtype)
    width = records.shape[-1]
    call = pl.pallas_call(
        functools.partial(kernel, shape=shape, width=width),
        grid=(pl.cdiv(count, tile.atoms),),
        out_shape=[result] * (1 if kernel is _densities else 4),
        compiler_params=triton.CompilerParams(num_warps=tile.atoms // _WARP, num_stages=1),
        interpret=interpret,
    )
    scale = potential.per_length.reshape(1)
    flat = (cell, scale, own, kind, atoms, records, block.idx, block.other)
    return call(*(x.reshape(-1) for x in flat))


def _densities(cell, scale, own, kind, atoms, records, idx, other, density, *, shape, width):
    """Kernel of the densities."""
    metric, mine = _cell(cell), _column(own, kind, shape)

    def add(row, sums):
        j, pair = _neighbour(idx, other, mine, row, shape)
        *there, _ = _atom(atoms, j, shape)
        _, square = _bond(metric, mine, there)
        piece, t = _piece(square, scale[0], j, shape)
        value = _cubic(_record(records, pair * shape.pieces + piece, width, _ORDER), t)
        return [sums[0] + value]

    _sum_rows(add, [density], mine, shape)


def _forces(cell, scale, own, kind, atoms, records, idx, other, x, y, z, trace, *, shape, width):
    """Kernel of the forces' fractional components and the traces of the virials.

    A record of 4 numbers has the pair weight alone, of 8 the density weight too, of 16 in addition
    the density weight with the species exchanged.
    """
    metric, mine = _cell(cell), _column(own, kind, shape)

    def add(row, sums):
        j, pair = _neighbour(idx, other, mine, row, shape)
        *there, rise = _atom(atoms, j, shape)
        parts, square = _bond(metric, mine, there)
        piece, t = _piece(square, scale[0], j, shape)
        at = pair * shape.pieces + piece
        coefficients = _record(records, at, width, min(width, 3 * _ORDER))
        weight, *given = (
            _cubic(coefficients[n : n + 4], t) for n in range(0, len(coefficients), 4)
        )
        if len(given) == 1:
            weight = weight + (mine.rise + rise) * given[0]
        if len(given) == 2:
            weight = weight + mine.rise * given[0] + rise * given[1]
        terms = [*(weight * part for part in parts), weight * square]
        return [old + term for old, term in zip(sums, terms, strict=True)]

    _sum_rows(add, [x, y, z, trace], mine, shape)


def _cell(ref) -> dict[tuple[int, int], Array]:
    return {(a, b): ref[3 * a + b] for a in range(3) for b in range(a, 3)}


def _column(own, kind, shape: _Shape) -> _Column:
    from jax.experimental import pallas as pl

    atoms = pl.program_id(0) * shape.tile.atoms + jnp.arange(shape.tile.atoms, dtype=jnp.int32)
    there = jnp.minimum(atoms, shape.atoms - 1)
    *place, rise = _record(own, there, _ATOM, _ATOM)
    return _Column(atoms, place, rise, _load(kind, there).astype(jnp.int32))


def _load(ref, at: Array) -> Array:
    from jax.experimental.pallas import triton

    return triton.load(ref.at[at])


def _record(ref, at: Array, width: int, count: int) -> list[Array]:
    """The first numbers of a record for each thread, by one load of the whole."""
    column = jax.lax.broadcasted_iota(jnp.int32, (len(at), width), 1)
    record = _load(ref, at[:, None] * width + column)
    # Not a slice, which Triton lacks; all but one term are dropped when the kernel is compiled.
    return [jnp.sum(jnp.where(column == n, record, 0.0), axis=1) for n in range(count)]


def _atom(atoms, j: Array, shape: _Shape) -> list[Array]:
    """Fractional components and dF/dρ of neighbours; arbitrary for padding."""
    return _record(atoms, jnp.minimum(j, shape.system - 1), _ATOM, _ATOM)


def _neighbour(idx, other, mine: _Column, row: Array, shape: _Shape) -> tuple[Array, Array]:
    """The neighbour in a row of the list, N where there is none, and the pair of species."""
    there = jnp.minimum(mine.atoms, shape.atoms - 1)
    at = jnp.minimum(row, shape.capacity - 1) * shape.atoms + there
    j = jnp.where(row < shape.capacity, _load(idx, at), shape.system)
    kind = jnp.where(j < shape.system, _load(other, at).astype(jnp.int32), 0)
    return j, mine.kind * shape.species + kind


def _bond(cell, mine: _Column, there: Sequence[Array]) -> tuple[list[Array], Array]:
    """Fractional components of a bond and its squared length [Å²]."""
    parts = [b - a for a, b in zip(mine.place, there, strict=True)]
    # As `geometry.minimum_image`; Triton does not round to the nearest.
    parts = [part - jnp.floor(part + 0.5) for part in parts]
    x, y, z = geometry.cartesian(cell, *parts)
    return parts, x * x + y * y + z * z


def _piece(square: Array, scale: Array, j: Array, shape: _Shape) -> tuple[Array, Array]:
    """Number of the piece of a bond and the place in it; the last piece, which is 0, if no bond."""
    last = jnp.asarray(shape.pieces - 1, square.dtype)
    x = jnp.sqrt(square) * scale
    # No minimum is taken, which would turn NaN into a number: NaN must show in the forces.
    x = jnp.where((j == shape.system) | (x > last), last, x)
    piece = x.astype(jnp.int32)
    return piece, x - piece.astype(x.dtype)


def _cubic(coefficients: Sequence[Array], t: Array) -> Array:
    a, b, c, d = coefficients
    return ((d * t + c) * t + b) * t + a


def _sum_rows(add: Callable, results: Sequence, mine: _Column, shape: _Shape) -> None:
    """Store sums over the rows of the list, (A,) each."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    ahead = shape.tile.ahead

    def turn(n, sums):
        for step in range(ahead):
            sums = add(n * ahead + step, sums)
        return sums

    start = [jnp.zeros(len(mine.atoms), ref.dtype) for ref in results]
    sums = jax.lax.fori_loop(0, pl.cdiv(shape.capacity, ahead), turn, start)
    for ref, total in zip(results, sums, strict=True):
        triton.store(ref.at[mine.atoms], total, mask=mine.atoms < shape.atoms)
