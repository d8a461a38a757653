"""Neighbour lists that are strain-aware, batched and never silently short.

A list is made of tables (K, n), one column per atom, so that sums over neighbours run along the
slow axis and vectorise over atoms; empty places carry N. Atoms are ranked by how many neighbours
they have and share a table with their like, or all would be as long as the longest; `table` puts
the whole list together. On request pairs within a shorter, inner cut-off come in tables of their
own, so that code that needs those alone need not look at the rest.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import half_list, search
from stzjax.neighbors.half_list import HalfList
from stzjax.neighbors.search import FAR, NEAR, Grid, Runs
from stzjax.numerics.unfused import apart

SHARES = (0.7, 1.0)
"""Shares of the atoms, those with fewest neighbours first, at which one table ends."""


class Spec(NamedTuple):
    """Static shape of a neighbour list.

    Attributes:
      cutoff: every pair closer than this is in the list while it is valid [Å].
      inner: every pair closer than this is in the first zone [Å].
      skin: extra distance of the search [Å].
      near: places per atom in each table of the first zone, the shortest first; empty where there
        are no tables.
      far: the same for the second zone; empty where `inner` is the cut-off itself.
      grid: cells of the search.
      half: places for pairs of a half list; zero where there is none.
    """

    cutoff: float
    inner: float
    skin: float
    near: tuple[int, ...]
    far: tuple[int, ...]
    grid: Grid
    half: int = 0

    @property
    def capacity(self) -> int:
        """Rows of the whole table, K."""
        return sum(max(rows) for rows in (self.near, self.far) if rows)

    @property
    def size(self) -> tuple[int, int]:
        """Rows of the whole table and places of the half list, to compare lists."""
        return self.capacity, self.half


class Block(flax.struct.PyTreeNode):
    """Neighbours of some atoms.

    Attributes:
      idx: (K, n) neighbours of each atom; N where there is none.
      other: (K, n) their species, as in the structure; arbitrary where there is none.
    """

    idx: Array
    other: Array


class Zone(flax.struct.PyTreeNode):
    """Neighbours of all atoms within a range of distances, in tables for a part of them each.

    Attributes:
      blocks: the tables; a single one holds the atoms in their own order.
      order: (N,) the atoms as they follow each other in the tables.
      place: (N,) where each atom stands in that order.
    """

    blocks: tuple[Block, ...]
    order: Array
    place: Array

    def split(self, values: Array) -> list[Array]:
        """Values of the atoms (N,), table by table."""
        if len(self.blocks) == 1:
            return [values]
        ranked = jnp.take(values, self.order, mode="clip")
        sizes = [block.idx.shape[-1] for block in self.blocks]
        return jnp.split(ranked, np.cumsum(sizes)[:-1])

    def join(self, parts: Sequence[Array]) -> Array:
        """Values of the atoms (..., N) from what was computed for each table (..., n)."""
        if len(self.blocks) == 1:
            return parts[0]
        return jnp.take(jnp.concatenate(parts, axis=-1), self.place, axis=-1, mode="clip")


class Neighbors(flax.struct.PyTreeNode):
    """A neighbour list and the configuration it was made for.

    Attributes:
      zones: the pairs within the inner cut-off and the others; all in one zone if that is the
        cut-off itself, none if there are no tables.
      half: each pair once, or None.
      fractional: (N, 3) positions when the list was made.
      cell: (3, 3) cell when the list was made [Å].
      species: (N,) species when the list was made; the tables hold those of the neighbours.
      overflow: True once a search found more pairs than fit; the list must be made longer.
      spec: static shape.
    """

    zones: tuple[Zone, ...]
    half: HalfList | None
    fractional: Array
    cell: Array
    species: Array
    overflow: Array
    spec: Spec = flax.struct.field(pytree_node=False)


def ends(num_atoms: int, num_tables: int) -> list[int]:
    """Where the tables end in the ranking of the atoms."""
    if num_tables == 1:
        return [num_atoms]
    return [round(share * num_atoms) for share in SHARES]


@functools.partial(jax.jit, static_argnames="spec")
def make(spec: Spec, structure: Structure, anchor: Any = None) -> Neighbors:
    """Search for the pairs of a structure. Pure; under `vmap` too.

    Args:
      spec: static shape; where it is too small, `overflow` is True and pairs are missing.
      structure: N atoms.
      anchor: see `unfused.apart`; for batches, a number that is not batched.
    """
    half, short = None, too_thin(structure.cell, spec)
    inside = spec.inner + spec.skin if spec.inner < spec.cutoff else spec.cutoff + spec.skin
    if spec.half:
        half, full = half_list.make(structure, inside, spec.cutoff + spec.skin, spec.half)
        short = short | full
    anchor = structure.cell if anchor is None else anchor
    zones, full = (
        _zones(spec, structure, inside, anchor) if spec.near else ((), jnp.zeros((), bool))
    )
    made_for = structure.fractional, structure.cell, structure.species
    return Neighbors(zones, half, *made_for, short | full, spec)


def _zones(
    spec: Spec, structure: Structure, inside: float, anchor: Any
) -> tuple[tuple[Zone, ...], Array]:
    """Tables of the pairs nearer than `inside` [Å] and of the others; whether some are short."""
    grid, reach = spec.grid, spec.cutoff + spec.skin
    wrapped = geometry.wrap(structure.fractional)
    runs = apart(functools.partial(search.runs, grid=grid), anchor, wrapped)
    mark = functools.partial(search.zones, grid=grid, near=inside, far=reach)
    marks = apart(mark, anchor, structure.cell, runs)
    short = jnp.any(runs.length > grid.words * grid.width)
    species = structure.species.astype(jnp.int8)
    zones = []
    for kind, rows in ((NEAR, spec.near), (FAR, spec.far)):
        if rows:
            words = apart(functools.partial(search.pack, kind=kind, grid=grid), anchor, marks)
            zone, full = _zone(words, runs, grid, rows, species, anchor)
            zones.append(zone)
            short = short | full
    return tuple(zones), short


def rebuild(neighbors: Neighbors, structure: Structure, anchor: Any = None) -> Neighbors:
    """A list in the shape of another, see `make`; `overflow` stays up once it is."""
    found = make(neighbors.spec, structure, anchor)
    return found.replace(overflow=neighbors.overflow | found.overflow)


def _zone(
    words: Array, runs: Runs, grid: Grid, rows: tuple[int, ...], species: Array, anchor: Any
) -> tuple[Zone, Array]:
    """The atoms whose bits are set, and whether they are too many."""
    num_atoms = words.shape[1]
    before = apart(search.running_count, anchor, words)
    counts, atoms = before[-1], jnp.arange(num_atoms, dtype=jnp.int32)
    order = place = atoms
    if len(rows) > 1:
        order = (jnp.sort(counts.astype(jnp.int64) * num_atoms + atoms) % num_atoms).astype("int32")
        place = jnp.zeros_like(atoms).at[order].set(atoms)
    last = ends(num_atoms, len(rows))
    blocks, full = [], jnp.zeros((), bool)
    for begin, end, capacity in zip([0, *last[:-1]], last, rows, strict=True):
        some = order[begin:end]
        idx = search.pick(words, before, runs, grid, some, capacity, anchor)
        blocks.append(Block(idx, jnp.take(species, idx, mode="clip")))
        full = full | jnp.any(counts[some] > capacity)
    return Zone(tuple(blocks), order, place), full


def table(neighbors: Neighbors) -> Array:
    """The whole list, (K, N): neighbours of each atom, N where there is none; inner pairs first."""
    num_atoms = neighbors.fractional.shape[-2]
    whole = []
    for zone in neighbors.zones:
        rows = max(len(block.idx) for block in zone.blocks)
        padded = [
            jnp.pad(b.idx, ((0, rows - len(b.idx)), (0, 0)), constant_values=num_atoms)
            for b in zone.blocks
        ]
        whole.append(zone.join(padded))
    return jnp.concatenate(whole)


def too_thin(cell: Array, spec: Spec) -> Array:
    """Whether the cell has become too thin for one image of each pair, or for the grid."""
    reach = spec.cutoff + spec.skin
    heights = 1.0 / jnp.linalg.norm(geometry.inverse(cell), axis=-1)
    # The millionth keeps a cell that `allocate` found just wide enough from failing by rounding.
    thin = jnp.any(heights < 2.0 * reach * (1.0 - 1e-6))
    if not spec.near:
        return thin
    sides = [(m, g) for m, g in zip(spec.grid.reach, spec.grid.cells, strict=True)]
    covered = jnp.array([m / g if m else jnp.inf for m, g in sides])
    return thin | jnp.any(heights * covered < reach + search.MARGIN)


def same_species(neighbors: Neighbors, structure: Structure) -> Array:
    """Whether the atoms are of the species that the list was made for, ()."""
    return jnp.all(neighbors.species == structure.species)


@jax.jit
def is_stale(neighbors: Neighbors, structure: Structure) -> Array:
    """True once a pair closer than the cut-off could be missing, or an atom is of another species.

    With the bond d = h Δs now and d0 = h0 Δs0 when the list was made,
    |d0| ≤ ‖h0 h⁻¹‖ |d| + 2 max_i |h0 δs_i|; the bound holds for any motion, shear and change of
    volume, and costs one pass over the atoms. The spectral norm is bounded from above by the
    Frobenius norm of the distance to the identity.
    """
    spec = neighbors.spec
    moved = geometry.minimum_image(structure.fractional - neighbors.fractional)
    travel = jnp.sqrt(jnp.max(jnp.sum(geometry.product(moved, neighbors.cell.T) ** 2, axis=-1)))
    stretch = neighbors.cell @ geometry.inverse(structure.cell) - jnp.eye(3)
    norm = 1.0 + jnp.sqrt(jnp.sum(stretch**2))
    moved_far = norm * spec.cutoff + 2.0 * travel > spec.cutoff + spec.skin
    return moved_far | ~same_species(neighbors, structure)


@jax.jit
def update(neighbors: Neighbors, structure: Structure) -> Neighbors:
    """The list itself while it is valid, a new one when it is not."""
    return jax.lax.cond(
        is_stale(neighbors, structure), lambda: rebuild(neighbors, structure), lambda: neighbors
    )
