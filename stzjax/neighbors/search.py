"""The search behind neighbour lists: which atoms are near which, in bits.

Array code without scatter, sort or atomics per pair: atoms are sorted into cells; each atom checks
the runs of atoms in the columns of cells around it; the answers are packed into bits, and the k-th
neighbour is the k-th bit that is set. experiments/results/performance.md compares it with others.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.numerics.unfused import apart

MARGIN = 1e-3
"""Pairs are searched in float32; so much further, that rounding loses none [Å]."""

NEAR, FAR = 1, 2
"""Marks of the candidates within the first and within the second distance of a search."""


class Grid(NamedTuple):
    """Cells of the search; static.

    Attributes:
      cells: number along each cell vector; one where the cell is not divided.
      reach: cells on either side to look into, along each cell vector.
      words: bit words of each column of cells.
      width: bits used of a word; a column has room for words × width atoms.
    """

    cells: tuple[int, int, int]
    reach: tuple[int, int, int]
    words: int
    width: int

    @property
    def columns(self) -> list[tuple[int, int]]:
        """Offsets along the first two cell vectors of the columns around an atom."""
        a, b = (range(-m, m + 1) for m in self.reach[:2])
        return [(i, j) for i in a for j in b]


class Runs(NamedTuple):
    """Stretches of cell-sorted atoms that each atom looks at.

    Attributes:
      order: (E,) atoms sorted by cell; each column twice in a row, so that no stretch wraps.
      start: (W, N) where the stretch of each column begins in `order`.
      length: (W, N) atoms in it.
      itself: (2, N) where the atom itself stands in `order`.
      columns: (3, E) fractional positions in `order`, float32.
      own: (3, N) the same of each atom.
    """

    order: Array
    start: Array
    length: Array
    itself: Array
    columns: Array
    own: Array


def runs(wrapped: Array, grid: Grid) -> Runs:
    """The stretches of fractional positions (N, 3) in [0, 1)."""
    num_atoms = wrapped.shape[0]
    atoms = jnp.arange(num_atoms, dtype=jnp.int32)
    own = wrapped.T.astype(jnp.float32)
    if grid.cells == (1, 1, 1):
        everyone = jnp.full((1, num_atoms), num_atoms, jnp.int32)
        start = jnp.zeros_like(everyone)
        return Runs(atoms, start, everyone, jnp.stack([atoms, atoms]), own, own)
    gx, gy, gz = grid.cells
    at = jnp.minimum((wrapped * jnp.array(grid.cells)).astype(jnp.int32), jnp.array(grid.cells) - 1)
    x, y, z = at.T.astype(jnp.int32)
    flat = (x * gy + y) * gz + z
    # Cell and atom in one number: several times faster to sort than a pair of arrays.
    keys = jnp.sort(flat.astype(jnp.int64) * num_atoms + atoms)
    order = (keys % num_atoms).astype(jnp.int32)
    sizes = jnp.zeros(gx * gy * gz + 1, jnp.int32).at[flat + 1].add(1)
    count = jnp.cumsum(sizes, dtype=jnp.int32)
    # Each column's atoms stand twice in a row: a stretch that leaves at the top goes on below.
    column = (x * gy + y)[order]
    bottom, top = count[column * gz], count[(column + 1) * gz]
    first = atoms + bottom
    second = first + (top - bottom)
    doubled = jnp.zeros(2 * num_atoms, jnp.int32).at[first].set(order).at[second].set(order)
    itself = jnp.zeros((2, num_atoms), jnp.int32).at[:, order].set(jnp.stack([first, second]))
    depth = 2 * grid.reach[2] + 1
    lowest = jnp.where(z < grid.reach[2], z + gz, z) - grid.reach[2]
    i, j = (jnp.array(side, jnp.int32)[:, None] for side in zip(*grid.columns, strict=True))
    base = ((x + i) % gx * gy + (y + j) % gy) * gz
    bottom, top = count[base], count[base + gz]
    begin = count[base + lowest]
    beyond = lowest + depth - gz
    wraps = beyond > 0
    end = count[base + jnp.where(wraps, beyond, lowest + depth)]
    end = jnp.where(wraps, end + (top - bottom), end)
    columns = jnp.take(own, doubled, axis=1, mode="clip")
    return Runs(doubled, begin + bottom, end - begin, itself, columns, own)


def zones(cell: Array, runs: Runs, grid: Grid, near: float, far: float) -> Array:
    """Which candidates are neighbours, (N, W, P): 0, or NEAR or FAR; distances [Å]."""
    places = grid.words * grid.width
    cell = cell.astype(jnp.float32)
    start, length = runs.start.T, runs.length.T

    def component(column: Array, own: Array) -> Array:
        # Slices, not single elements: the loop along a stretch then loads whole vectors.
        padded = jnp.pad(column, (0, places))
        there = jax.vmap(jax.vmap(lambda at: jax.lax.dynamic_slice(padded, (at,), (places,))))
        return geometry.minimum_image(there(start) - own[:, None, None])

    x, y, z = (component(runs.columns[a], runs.own[a]) for a in range(3))
    x, y, z = geometry.cartesian(cell, x, y, z)
    square = x * x + y * y + z * z
    rank = jnp.arange(places, dtype=jnp.int32)
    place = start[..., None] + rank
    itself = runs.itself[:, :, None, None]
    real = (rank < length[..., None]) & (place != itself[0]) & (place != itself[1])
    zone = jnp.where(square < (near + MARGIN) ** 2, NEAR, FAR)
    # Not bytes: XLA's CPU backend vectorises this loop for words only, three times faster.
    return jnp.where(real & (square < (far + MARGIN) ** 2), zone, 0).astype(jnp.int32)


def pack(zone: Array, kind: int, grid: Grid) -> Array:
    """One bit for each candidate (N, W, P) of a kind, NEAR or FAR, in words (W × words, N)."""
    bits = zone.reshape(len(zone), -1, grid.width) == kind
    place = jnp.arange(grid.width, dtype=jnp.uint32)
    return jnp.sum(bits.astype(jnp.uint32) << place, axis=-1, dtype=jnp.uint32).T


def running_count(words: Array) -> Array:
    """Bits set in the words before each and in all, (words + 1, N); unrolled to vectorise."""
    rows = [jnp.zeros(words.shape[1:], jnp.int32)]
    for row in jax.lax.population_count(words).astype(jnp.int32):
        rows.append(rows[-1] + row)
    return jnp.stack(rows)


def pick(
    words: Array, before: Array, runs: Runs, grid: Grid, atoms: Array, capacity: int, anchor: Any
) -> Array:
    """The first candidates of atoms (A,) whose bits are set, (capacity, A) padded with N.

    `words` (W × words, N) are from `pack`, `before` from `running_count`; `unfused.apart` explains
    the anchor.
    """
    counts = jnp.take(before, atoms, axis=1, mode="clip")
    word = apart(lambda counts: _word_of(counts, capacity), anchor, counts)
    args = word, words, before, runs, atoms
    return apart(functools.partial(_atom_of, grid=grid), anchor, *args)


def _word_of(before: Array, capacity: int) -> Array:
    """The word that holds the set bit of each rank, (capacity, A); the number of words if none."""
    rank = jnp.arange(capacity, dtype=jnp.int32)[:, None]
    word = jnp.zeros((capacity, before.shape[1]), jnp.int32)
    for upto in before[1:]:
        word = word + (upto <= rank).astype(jnp.int32)
    return word


def _atom_of(
    word: Array, words: Array, before: Array, runs: Runs, atoms: Array, grid: Grid
) -> Array:
    """The atom behind the set bit of each rank, given the word that holds it; N if none."""
    num_words, num_atoms = words.shape
    rank = jnp.arange(len(word), dtype=jnp.int32)[:, None]
    there = jnp.minimum(word, num_words - 1)
    bits = jnp.take(words.reshape(-1), there * num_atoms + atoms, mode="clip")
    passed = jnp.take(before.reshape(-1), there * num_atoms + atoms, mode="clip")
    start = jnp.take(runs.start.reshape(-1), there // grid.words * num_atoms + atoms, mode="clip")
    place = start + there % grid.words * grid.width + _place_of(bits, rank - passed)
    return jnp.where(word < num_words, jnp.take(runs.order, place, mode="clip"), num_atoms)


def _place_of(bits: Array, rank: Array) -> Array:
    """Place of the set bit with a rank, counted from the lowest; by halving."""
    place = jnp.zeros_like(rank)
    for half in (16, 8, 4, 2, 1):
        low = jax.lax.population_count(bits & jnp.uint32((1 << half) - 1)).astype(jnp.int32)
        above = rank >= low
        rank = jnp.where(above, rank - low, rank)
        bits = jnp.where(above, bits >> half, bits)
        place = place + jnp.where(above, half, 0)
    return place
