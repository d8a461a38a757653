"""Neighbour lists that are strain-aware, batched and never silently short.

A list is a (K, N) table, one column per atom, so that sums over neighbours run along the slow
axis and vectorise over atoms. Empty places carry N. On request the first rows hold every pair
within a shorter, inner cut-off, so that what needs those alone need not look at the rest.

The search is array code without scatter, sort or atomics per pair: atoms are sorted into cells;
each atom checks the runs of atoms in the columns of cells around it; the answers are packed into
bits, and the k-th neighbour is the k-th bit that is set. BUILD_NOTES.md compares it with others.
"""

import functools
import math
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax import structure as structures
from stzjax.fusion import apart
from stzjax.structure import Structure

_MARGIN = 1e-3
"""Pairs are searched in float32; so much further, that rounding loses none [Å]."""

_WORD = 32
_NEAR, _FAR = 1, 2


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


class Spec(NamedTuple):
    """Static shape of a neighbour list.

    Attributes:
      cutoff: every pair closer than this is in the list while it is valid [Å].
      inner: every pair closer than this is in the first `inner_capacity` rows [Å].
      skin: extra distance of the search [Å].
      capacity: places per atom, K.
      inner_capacity: rows for the inner pairs; K where `inner` is the cut-off itself.
      grid: cells of the search.
    """

    cutoff: float
    inner: float
    skin: float
    capacity: int
    inner_capacity: int
    grid: Grid


class Neighbors(flax.struct.PyTreeNode):
    """A neighbour list and the configuration it was made for.

    Attributes:
      idx: (K, N) neighbours of each atom; N where there is none.
      other: (K, N) species of the neighbours, as in the structure; arbitrary where there is none.
      fractional: (N, 3) positions when the list was made.
      cell: (3, 3) cell when the list was made [Å].
      overflow: True once a search found more pairs than fit; the list must be allocated anew.
      spec: static shape.
    """

    idx: Array
    other: Array
    fractional: Array
    cell: Array
    overflow: Array
    spec: Spec = flax.struct.field(pytree_node=False)


def allocate(
    structure: Structure,
    cutoff: float,
    skin: float = 1.0,
    slack: float = 1.15,
    inner: float | None = None,
) -> Neighbors:
    """Make a list for one structure, on the host.

    Args:
      structure: N atoms; the distances between its cell faces must be twice the cut-off.
      cutoff: [Å].
      skin: extra distance [Å]; shortened where the cell is too small for it.
      slack: factor of spare places per atom.
      inner: shorter cut-off whose pairs come first [Å]; such as that of the potential's densities.

    Raises:
      ValueError: the cell is smaller than twice the cut-off.
    """
    heights = structures.heights(structure.cell)
    if heights.min() < 2.0 * cutoff:
        raise ValueError(
            f"the cell is {heights.min():.2f} Å across at its thinnest, less than twice the "
            f"cut-off {cutoff:.2f} Å; use more atoms or replicate the structure"
        )
    skin = min(skin, math.floor(1e3 * (float(heights.min()) / 2.0 - cutoff)) / 1e3)
    inner = cutoff if inner is None else min(inner, cutoff)
    grid = _grid(structure, cutoff + skin, heights, slack)
    rows = _places(structure, grid, inner + skin, cutoff + skin, slack)
    if inner == cutoff:
        rows[1] = 0  # All pairs are near.
    spec = Spec(float(cutoff), float(inner), skin, sum(rows), rows[0], grid)
    empty = jnp.zeros((spec.capacity, structure.num_atoms), jnp.int32)
    blank = Neighbors(
        idx=empty,
        other=empty.astype(jnp.int8),
        fractional=structure.fractional,
        cell=structure.cell,
        overflow=jnp.zeros((), bool),
        spec=spec,
    )
    return rebuild(blank, structure)


def _round_up(count: float, multiple: int) -> int:
    return multiple * math.ceil(count / multiple)


def _grid(structure: Structure, distance: float, heights: np.ndarray, slack: float) -> Grid:
    """The division of the cell that leaves the fewest candidates, from the occupancy found."""
    best: tuple[float, Grid] | None = None
    for across in (1, 2, 3):
        for along in (1, 2, 3):
            divided = [
                _divide(height, reach, distance)
                for height, reach in zip(heights, (across, across, along), strict=True)
            ]
            cells, reach = zip(*divided, strict=True)
            longest = _longest_run(structure, cells, reach)
            room = min(_round_up(longest * slack, 4), _round_up(structure.num_atoms, 4))
            words = math.ceil(room / _WORD)
            grid = Grid(cells, reach, words, math.ceil(room / words))
            cost = len(grid.columns) * (words * grid.width + 8)
            if best is None or cost < best[0]:
                best = cost, grid
    assert best is not None
    return best[1]


def _divide(height: float, reach: int, distance: float) -> tuple[int, int]:
    """Cells along one cell vector and how many to look into; no division if that is nearly all."""
    # A little spare, so that a cell that shrinks or shears a little keeps its grid.
    cells = int(0.97 * reach * height / (distance + _MARGIN))
    return (cells, reach) if cells > 2 * reach + 1 else (1, 0)


def _longest_run(structure: Structure, cells, reach) -> int:
    """Most atoms in the stretch of a column that one atom looks at."""
    # What is not finite shows in the forces, whatever its neighbours.
    finite = np.nan_to_num(structures.wrap(np.asarray(structure.fractional)))
    at = np.floor(finite * cells).astype(int)
    counts = np.zeros(cells, int)
    np.add.at(counts, tuple(np.minimum(at, np.array(cells) - 1).T), 1)
    runs = sum(np.roll(counts, shift, axis=2) for shift in range(-reach[2], reach[2] + 1))
    return int(np.max(runs))


def _places(structure: Structure, grid: Grid, near: float, far: float, slack: float) -> list[int]:
    """Rows for the pairs within `near` and for those between `near` and `far`."""
    wrapped = structures.wrap(structure.fractional)
    zone = _jit_zones(structure.cell, _jit_runs(wrapped, grid), grid, near, far)
    occupancy = [int(jnp.max(jnp.sum(zone == kind, axis=(1, 2)))) for kind in (_NEAR, _FAR)]
    most = max(structure.num_atoms - 1, 1)
    # Coarse steps, so that lists of like structures share one shape and one compiled loop.
    return [min(_round_up(max(count, 1) * slack, 8), _round_up(most, 8)) for count in occupancy]


class _Runs(NamedTuple):
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


def _runs(wrapped: Array, grid: Grid) -> _Runs:
    num_atoms = wrapped.shape[0]
    atoms = jnp.arange(num_atoms, dtype=jnp.int32)
    own = wrapped.T.astype(jnp.float32)
    if grid.cells == (1, 1, 1):
        everyone = jnp.full((1, num_atoms), num_atoms, jnp.int32)
        start = jnp.zeros_like(everyone)
        return _Runs(atoms, start, everyone, jnp.stack([atoms, atoms]), own, own)
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
    return _Runs(doubled, begin + bottom, end - begin, itself, columns, own)


def _zones(cell: Array, runs: _Runs, grid: Grid, near: float, far: float) -> Array:
    """Which candidates are neighbours, (N, W, P): 0 none, 1 within `near`, 2 within `far` [Å]."""
    places = grid.words * grid.width
    cell = cell.astype(jnp.float32)
    start, length = runs.start.T, runs.length.T

    def component(column: Array, own: Array) -> Array:
        # Slices, not single elements: the loop along a stretch then loads whole vectors.
        padded = jnp.pad(column, (0, places))
        there = jax.vmap(jax.vmap(lambda at: jax.lax.dynamic_slice(padded, (at,), (places,))))
        return structures.minimum_image(there(start) - own[:, None, None])

    x, y, z = (component(runs.columns[a], runs.own[a]) for a in range(3))
    x, y, z = structures.cartesian(cell, x, y, z)
    square = x * x + y * y + z * z
    rank = jnp.arange(places, dtype=jnp.int32)
    place = start[..., None] + rank
    itself = runs.itself[:, :, None, None]
    real = (rank < length[..., None]) & (place != itself[0]) & (place != itself[1])
    zone = jnp.where(square < (near + _MARGIN) ** 2, _NEAR, _FAR)
    # Not bytes: XLA's CPU backend vectorises this loop for words only, three times faster.
    return jnp.where(real & (square < (far + _MARGIN) ** 2), zone, 0).astype(jnp.int32)


def _pack(zone: Array, kind: int, grid: Grid) -> Array:
    """One bit for each candidate (N, W, P) of a kind, in words (W × words, N)."""
    bits = zone.reshape(len(zone), -1, grid.width) == kind
    place = jnp.arange(grid.width, dtype=jnp.uint32)
    return jnp.sum(bits.astype(jnp.uint32) << place, axis=-1, dtype=jnp.uint32).T


def _running_count(words: Array) -> Array:
    """Bits set in the words before each and in all, (words + 1, N); unrolled to vectorise."""
    rows = [jnp.zeros(words.shape[1:], jnp.int32)]
    for row in jax.lax.population_count(words).astype(jnp.int32):
        rows.append(rows[-1] + row)
    return jnp.stack(rows)


def _word_of(before: Array, capacity: int) -> Array:
    """The word that holds the set bit of each rank, (capacity, N); the number of words if none."""
    rank = jnp.arange(capacity, dtype=jnp.int32)[:, None]
    word = jnp.zeros((capacity, before.shape[1]), jnp.int32)
    for upto in before[1:]:
        word = word + (upto <= rank).astype(jnp.int32)
    return word


def _atom_of(word: Array, words: Array, before: Array, runs: _Runs, grid: Grid) -> Array:
    """The atom behind the set bit of each rank, given the word that holds it; N if none."""
    num_words, num_atoms = words.shape
    rank = jnp.arange(len(word), dtype=jnp.int32)[:, None]
    column = jnp.arange(num_atoms, dtype=jnp.int32)
    there = jnp.minimum(word, num_words - 1)
    bits = jnp.take(words.reshape(-1), there * num_atoms + column, mode="clip")
    passed = jnp.take(before.reshape(-1), there * num_atoms + column, mode="clip")
    start = jnp.take(runs.start.reshape(-1), there // grid.words * num_atoms + column, mode="clip")
    place = start + there % grid.words * grid.width + _place_of(bits, rank - passed)
    return jnp.where(word < num_words, jnp.take(runs.order, place, mode="clip"), num_atoms)


def _list(
    words: Array, runs: _Runs, grid: Grid, capacity: int, anchor: Array
) -> tuple[Array, Array]:
    """The atoms whose bits are set, (capacity, N) padded with N; and whether they are too many."""
    before = apart(_running_count, anchor, words)
    word = apart(lambda before: _word_of(before, capacity), anchor, before)
    args = word, words, before, runs
    idx = apart(functools.partial(_atom_of, grid=grid), anchor, *args)
    return idx, jnp.any(before[-1] > capacity)


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


@jax.jit
def rebuild(neighbors: Neighbors, structure: Structure, anchor: Array | None = None) -> Neighbors:
    """Search again for the pairs of `structure`, with the static shape of `neighbors`.

    Pure; under `vmap` too. `overflow` stays up once it is.

    Args:
      neighbors: a list of the shape that is wanted.
      structure: N atoms.
      anchor: see `fusion.apart`; for batches, a number that is not batched.
    """
    spec = neighbors.spec
    grid, reach = spec.grid, spec.cutoff + spec.skin
    anchor = structure.cell if anchor is None else anchor
    wrapped = structures.wrap(structure.fractional)
    runs = apart(lambda w: _runs(w, grid), anchor, wrapped)
    inside = spec.inner + spec.skin if spec.inner < spec.cutoff else reach
    zone = apart(
        lambda cell, runs: _zones(cell, runs, grid, inside, reach),
        anchor,
        structure.cell,
        runs,
    )
    short = _too_thin(structure.cell, spec) | jnp.any(runs.length > grid.words * grid.width)
    rows = [(_NEAR, spec.inner_capacity), (_FAR, spec.capacity - spec.inner_capacity)]
    parts = []
    for kind, capacity in rows:
        if capacity:
            words = apart(lambda z, kind=kind: _pack(z, kind, grid), anchor, zone)
            found, full = _list(words, runs, grid, capacity, anchor)
            parts.append(found)
            short = short | full
    idx = jnp.concatenate(parts)
    return neighbors.replace(
        idx=idx,
        other=jnp.take(structure.species.astype(jnp.int8), idx, mode="clip"),
        fractional=structure.fractional,
        cell=structure.cell,
        overflow=neighbors.overflow | short,
    )


def _too_thin(cell: Array, spec: Spec) -> Array:
    """Whether the cell has become too thin for one image of each pair, or for the grid."""
    reach = spec.cutoff + spec.skin
    heights = 1.0 / jnp.linalg.norm(structures.inverse(cell), axis=-1)
    # The millionth keeps a cell that `allocate` found just wide enough from failing by rounding.
    thin = jnp.any(heights < 2.0 * reach * (1.0 - 1e-6))
    sides = [(m, g) for m, g in zip(spec.grid.reach, spec.grid.cells, strict=True)]
    covered = jnp.array([m / g if m else jnp.inf for m, g in sides])
    return thin | jnp.any(heights * covered < reach + _MARGIN)


_jit_zones = jax.jit(_zones, static_argnames=("grid", "near", "far"))
_jit_runs = jax.jit(_runs, static_argnames="grid")


@jax.jit
def is_stale(neighbors: Neighbors, structure: Structure) -> Array:
    """True once a pair closer than the cut-off could be missing from the list.

    With the bond d = h Δs now and d0 = h0 Δs0 when the list was made,
    |d0| ≤ ‖h0 h⁻¹‖ |d| + 2 max_i |h0 δs_i|; the bound holds for any motion, shear and change of
    volume, and costs one pass over the atoms. The spectral norm is bounded from above by the
    Frobenius norm of the distance to the identity.
    """
    spec = neighbors.spec
    moved = structures.minimum_image(structure.fractional - neighbors.fractional)
    travel = jnp.sqrt(jnp.max(jnp.sum((moved @ neighbors.cell.T) ** 2, axis=-1)))
    stretch = neighbors.cell @ structures.inverse(structure.cell) - jnp.eye(3)
    norm = 1.0 + jnp.sqrt(jnp.sum(stretch**2))
    return norm * spec.cutoff + 2.0 * travel > spec.cutoff + spec.skin


@jax.jit
def update(neighbors: Neighbors, structure: Structure) -> Neighbors:
    """The list itself while it is valid, a new one when it is not."""
    return jax.lax.cond(
        is_stale(neighbors, structure), lambda: rebuild(neighbors, structure), lambda: neighbors
    )


def inner_rows(neighbors: Neighbors, distance: float) -> int:
    """Rows that hold every pair closer than a distance while the list is valid; static."""
    spec = neighbors.spec
    return spec.inner_capacity if distance <= spec.inner else spec.capacity


def ensure(neighbors: Neighbors | None, structure: Structure, cutoff: float) -> Neighbors:
    """The given list, or one made on the spot for concrete arrays.

    Raises:
      ValueError: no list was given where the arrays are being traced.
    """
    if neighbors is not None:
        return neighbors
    if isinstance(structure.fractional, jax.core.Tracer) or isinstance(
        structure.cell, jax.core.Tracer
    ):
        raise ValueError(
            "under jit, grad or vmap pass a neighbour list: "
            "neighbors = stzjax.neighbors.allocate(structure, potential.cutoff)"
        )
    return allocate(structure, cutoff, skin=0.0)
