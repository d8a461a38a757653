"""Derivatives of the energy of each atom by strain, at atoms that follow the strain affinely.

The strain is that of Green and Lagrange, η, under which r² = R·(1 + 2η)R. What an atom's energy is
says the potential; the sum over the atoms does not depend on it.
"""

import jax
from jax import Array

from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential


def gradient(structure: Structure, potential: Potential, neighbors: Neighbors) -> Array:
    """First derivative of each atom's energy by the strain, (N, 3, 3) [eV]."""
    return potential.strain_gradient(energetics.atoms_of(structure, potential, neighbors))


@jax.jit
def curvature(structure: Structure, potential: Potential, neighbors: Neighbors) -> Array:
    """Second derivative of each atom's energy by the strain, (N, 3, 3, 3, 3) [eV]."""
    return potential.strain_curvature(energetics.atoms_of(structure, potential, neighbors))
