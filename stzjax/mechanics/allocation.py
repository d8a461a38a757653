"""Expansions of structures at hand: lists of neighbours and static shapes made on the host."""

import math

import numpy as np

from stzjax.core.structure import Structure
from stzjax.mechanics import expansion, hessians
from stzjax.mechanics.expansion import Expansion
from stzjax.mechanics.hessians import Tiling
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential

_TILE = 10
"""Atoms of a tile, roughly: more waste arithmetic on zeros, fewer waste copies of neighbours."""


def expand(
    structure: Structure, potential: Potential, neighbors: Neighbors | None = None
) -> Expansion:
    """The expansion of the energy of a structure with its Hessian; see `expansion.expand`.

    Raises:
      ValueError: the potential does not know an element, or the cell is too small.
    """
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    return expansion.expand(structure, potential, neighbors, tiling(structure, neighbors))


def tiling(structure: Structure, neighbors: Neighbors, slack: float = 1.0) -> Tiling:
    """The static shape of a structure's Hessian; slack is a factor of room for others like it."""
    num_atoms = structure.num_atoms
    levels = max(0, round(math.log2(max(num_atoms, 1) / _TILE)))
    size = math.ceil(num_atoms / (1 << levels))
    members = np.asarray(hessians.members_of(structure, levels, size))
    table = np.concatenate([np.asarray(lists.table(neighbors)), np.arange(num_atoms)[None]], axis=0)
    table = np.pad(table, ((0, 0), (0, 1)), constant_values=num_atoms)
    most = max(len(np.unique(table[:, tile])) for tile in members)
    return Tiling(levels, size, min(8 * math.ceil(most * slack / 8), 8 * math.ceil(num_atoms / 8)))
