"""Atomic stress: the virial of an atom over the volume of its Voronoi cell."""

from jax import Array

from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.eam import EAM


def atomic_stress(
    structure: Structure, potential: EAM, volume: Array, neighbors: Neighbors | None = None
) -> Array:
    """Stress of each atom, (N, 3, 3) [eV/Å³]; potential part only (T = 0), positive in tension.

    The average weighted with the volumes is `energetics.stress`.

    Args:
      structure: N atoms.
      potential: an embedded-atom potential.
      volume: (N,) volumes that the atoms take up, such as `voronoi.tessellate(...).volume` [Å³].
      neighbors: as in `energetics.energy`.
    """
    return energetics.atomic_virial(structure, potential, neighbors) / volume[:, None, None]
