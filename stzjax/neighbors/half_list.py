"""Half lists: each pair of neighbours once, for the kernels of a CPU.

Atoms stand in the order in which the search meets them, so that neighbours are close in memory, and
are known by their places in it. The search is `half_search`, compiled by numba.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core.structure import Structure
from stzjax.neighbors.search import MARGIN
from stzjax.numerics import native

_SEARCH = "stzjax.neighbors.half_search"


class HalfList(flax.struct.PyTreeNode):
    """Pairs of neighbours, each in the row of one of its atoms; numbers are places in `order`.

    Attributes:
      order: (N,) the atoms as they follow each other in the list.
      starts: (2 N + 1,) where the near and where the far neighbours of each atom begin in `pairs`.
      pairs: (E,) neighbours.
    """

    order: Array
    starts: Array
    pairs: Array


def available(precision: str) -> bool:
    """Whether half lists can be made in what is traced now."""
    return native.wanted() and native.loaded(_SEARCH, precision)


def make(structure: Structure, near: float, far: float, room: int) -> tuple[HalfList, Array]:
    """Search for the pairs of a structure; where `available`. Pure; under `vmap` too.

    Args:
      structure: N atoms.
      near: distance of the pairs that come first in each row [Å].
      far: distance of the search [Å].
      room: places for pairs, E.

    Returns:
      The list, and whether pairs are missing in it.
    """
    num_atoms, dtype = structure.num_atoms, structure.fractional.dtype
    shapes = [(num_atoms,), (2 * num_atoms + 1,), (room,)]
    results = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes]
    distances = jnp.asarray([near + MARGIN, far + MARGIN], jnp.float64)
    *lists, short = native.call(
        _SEARCH,
        str(dtype),
        "half_list",
        [*results, jax.ShapeDtypeStruct((), jnp.int32)],
        structure.fractional,
        structure.cell.astype(dtype),
        distances,
    )
    return HalfList(*lists), short != 0
