"""Neighbour lists that are strain-aware and never silently short.

jax-md's `partition` finds the pairs. When to look again is decided here: jax-md measures
displacements under the current cell, so an affine shear would never trigger it.

A list is a (K, N) table, one column per atom, so that sums over neighbours run along the slow
axis and vectorise over atoms on CPU. Empty places carry N. On request the first rows hold every
pair within a shorter, inner cut-off, so that what needs those alone need not look at the rest.
"""

import contextlib
import functools
import math
import warnings
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax import structure as structures
from stzjax.structure import Structure


class Spec(NamedTuple):
    """Static shape of a neighbour list.

    Attributes:
      cutoff: every pair closer than this is in the list while it is valid [Å].
      inner: every pair closer than this is in the first `inner_capacity` rows [Å].
      skin: extra distance of the search [Å].
      capacity: places per atom, K.
      inner_capacity: rows for the inner pairs; K where `inner` is the cut-off itself.
      search_capacity: places per atom in jax-md's search, before the pairs are put in order.
      cells: cells per side of the search grid, or None for a search over all pairs.
      cell_capacity: atoms per cell, or None.
    """

    cutoff: float
    inner: float
    skin: float
    capacity: int
    inner_capacity: int
    search_capacity: int
    cells: int | None
    cell_capacity: int | None


class Neighbors(flax.struct.PyTreeNode):
    """A neighbour list and the configuration it was made for.

    Attributes:
      idx: (K, N) neighbours of each atom; N where there is none.
      fractional: (N, 3) positions when the list was made.
      cell: (3, 3) cell when the list was made [Å].
      overflow: True once a search found more pairs than fit; the list must be allocated anew.
      spec: static shape.
    """

    idx: Array
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
      ValueError: the cell is smaller than twice the cut-off, or atoms coincide.
    """
    height = float(structures.heights(structure.cell).min())
    if height < 2.0 * cutoff:
        raise ValueError(
            f"the cell is {height:.2f} Å across at its thinnest, less than twice the cut-off "
            f"{cutoff:.2f} Å; use more atoms or replicate the structure"
        )
    skin = min(skin, math.floor(1e3 * (height / 2.0 - cutoff)) / 1e3)
    with _quiet():
        found = _search(cutoff + skin).allocate(structure.fractional, box=structure.cell)
    grid = found.cell_list_fn is not None
    inner = cutoff if inner is None else min(inner, cutoff)

    def places(occupancy: int) -> int:
        return max(1, min(_round_up(occupancy * slack), structure.num_atoms - 1))

    search_capacity = capacity = inner_capacity = places(int(found.max_occupancy))
    if inner < cutoff:
        near, far = (int(n) for n in _occupancy(found.idx.T, structure, inner + skin))
        inner_capacity = places(near)
        capacity = inner_capacity + places(far)
    spec = Spec(
        cutoff=float(cutoff),
        inner=float(inner),
        skin=skin,
        capacity=capacity,
        inner_capacity=inner_capacity,
        search_capacity=search_capacity,
        cells=round(1.0 / float(found.cell_size)) if grid else None,
        cell_capacity=_round_up(found.cell_list_capacity * slack, 8) if grid else None,
    )
    return rebuild(_empty(structure, spec), structure)


@contextlib.contextmanager
def _quiet():
    """Without the warning of jax-md's int64 candidates under x64, which fit int32."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
        yield


def _round_up(count: float, multiple: int = 16) -> int:
    # Coarse, so that lists of like structures share one shape and one compiled loop.
    return multiple * math.ceil(count / multiple)


def _empty(structure: Structure, spec: Spec) -> Neighbors:
    return Neighbors(
        idx=jnp.full((spec.capacity, structure.num_atoms), structure.num_atoms, jnp.int32),
        fractional=structure.fractional,
        cell=structure.cell,
        overflow=jnp.zeros((), bool),
        spec=spec,
    )


@functools.cache
def _search(distance: float):
    """jax-md's dense list within a distance; always rebuilt when asked."""
    from jax_md import partition, space

    displacement, _ = space.periodic_general(jnp.eye(3), fractional_coordinates=True)
    return partition.neighbor_list(
        displacement,
        jnp.eye(3),
        distance,
        dr_threshold=0.0,
        capacity_multiplier=1.0,
        fractional_coordinates=True,
        format=partition.NeighborListFormat.Dense,
    )


@functools.cache
def _grid(cells: int):
    from jax_md import partition

    # A hair below 1 / cells, because floor(1 / (1 / cells)) may round down.
    return partition.cell_list(1.0, (1.0 - 1e-6) / cells, 1.0)


def _near_and_far(idx: Array, structure: Structure, distance: float) -> tuple[Array, Array]:
    """Which places of a list (S, N) hold pairs closer than a distance, and which further ones."""
    columns = structure.fractional.T
    delta = jnp.take(columns, idx, axis=1, mode="clip") - columns[:, None]
    vectors = jnp.einsum("ab,bkn->akn", structure.cell, structures.minimum_image(delta))
    # A hair more than the distance: what is far must be so beyond rounding.
    near = jnp.sum(vectors**2, axis=0) < (distance + 1e-4) ** 2
    real = idx < structure.num_atoms
    return near & real, ~near & real


def _occupancy(idx: Array, structure: Structure, distance: float) -> list[Array]:
    """Largest number of near and of far pairs of an atom."""
    return [jnp.max(jnp.sum(m, axis=0)) for m in _near_and_far(idx, structure, distance)]


def _compact(idx: Array, keep: Array, capacity: int) -> Array:
    """The kept places of each column moved up into `capacity` rows, padded with N.

    The k-th kept place is where the running count reaches k: a binary search, no scatter.
    """
    count = jnp.cumsum(keep, axis=0, dtype=jnp.int32)
    wanted = jnp.arange(1, capacity + 1, dtype=jnp.int32)
    place = jax.vmap(jnp.searchsorted, (1, None), 1)(count, wanted)
    padded = jnp.concatenate([idx, jnp.full_like(idx[:1], idx.shape[1])])
    return jnp.take_along_axis(padded, place, axis=0)


def rebuild(neighbors: Neighbors, structure: Structure) -> Neighbors:
    """Search again for the pairs of `structure`, with the static shape of `neighbors`.

    Pure; under `vmap` too. `overflow` stays up once it is.
    """
    from jax_md import partition

    spec = neighbors.spec
    search = _search(spec.cutoff + spec.skin)
    template = partition.NeighborList(
        idx=jnp.zeros((structure.num_atoms, spec.search_capacity), jnp.int32),
        reference_position=neighbors.fractional,
        error=partition.PartitionError(jnp.zeros((), jnp.uint8)),
        cell_list_capacity=spec.cell_capacity,
        max_occupancy=spec.search_capacity,
        format=partition.NeighborListFormat.Dense,
        cell_size=None if spec.cells is None else 1.0 / spec.cells,
        cell_list_fn=None if spec.cells is None else _grid(spec.cells),
        update_fn=search.update,
    )
    wrapped = structures.wrap(structure.fractional)
    with _quiet():
        found = template.update(wrapped, box=structure.cell)
    codes = partition.PartitionErrorCode
    # MALFORMED_BOX is inverted in jax-md 0.2.29, so only these bits are asked.
    short = int(codes.NEIGHBOR_LIST_OVERFLOW | codes.CELL_LIST_OVERFLOW | codes.CELL_SIZE_TOO_SMALL)
    # Beyond half the thinnest height a pair may have a second image, which no list holds. The
    # millionth keeps a cell that `allocate` found just wide enough from failing by rounding.
    thin = _thinnest(structure.cell) < 2.0 * (spec.cutoff + spec.skin) * (1.0 - 1e-6)
    idx, squeezed = _near_first(found.idx.T, structure, spec)
    return neighbors.replace(
        idx=idx,
        fractional=structure.fractional,
        cell=structure.cell,
        overflow=neighbors.overflow | thin | squeezed | ((found.error.code & short) != 0),
    )


def _near_first(idx: Array, structure: Structure, spec: Spec) -> tuple[Array, Array]:
    """A list (S, N) with its inner pairs in the first rows, and whether the rows are too few."""
    if spec.inner_capacity == spec.capacity:
        return idx, jnp.zeros((), bool)
    zones = _near_and_far(idx, structure, spec.inner + spec.skin)
    rows = (spec.inner_capacity, spec.capacity - spec.inner_capacity)
    parts = [_compact(idx, keep, n) for keep, n in zip(zones, rows, strict=True)]
    short = [jnp.any(jnp.sum(keep, axis=0) > n) for keep, n in zip(zones, rows, strict=True)]
    return jnp.concatenate(parts), short[0] | short[1]


def _thinnest(cell: Array) -> Array:
    return jnp.min(1.0 / jnp.linalg.norm(structures.inverse(cell), axis=-1))


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
