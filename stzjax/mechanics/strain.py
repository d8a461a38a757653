"""Derivatives of the energy of each atom by strain, at atoms that follow the strain affinely.

With the energy of an atom E_i = F(ρ_i) + ½ Σ_j φ(r_ij) and the Green-Lagrange strain η, under
which r² = R·(1 + 2η)R, the derivatives are ∂r/∂η = R⊗R / r and ∂²r/∂η² = -R⊗R⊗R⊗R / r³, hence

    ∂E_i/∂η = Σ_j u'/r R⊗R,   ∂²E_i/∂η² = F'' S_i ⊗ S_i + Σ_j (u'' - u'/r) R⊗R⊗R⊗R / r²

with u = ½ φ + F' ρ at frozen F' and S_i = Σ_j ρ' R⊗R / r.

M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), §III.11.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.eam import EAM, slope, value_and_slope


def gradient(structure: Structure, potential: EAM, neighbors: Neighbors) -> Array:
    """First derivative of each atom's energy by the strain, (N, 3, 3) [eV]."""
    bonds = energetics.bonds(structure, potential, neighbors)
    given, rise, _ = energetics.embedded(bonds, potential)
    pull = slope(lambda r: potential.pair(r, bonds.own, bonds.other), bonds.r)
    pull = 0.5 * pull + rise * given
    return _moments(jnp.where(bonds.inside, pull / bonds.r, 0.0), bonds.vectors, 2)


@jax.jit
def curvature(structure: Structure, potential: EAM, neighbors: Neighbors) -> Array:
    """Second derivative of each atom's energy by the strain, (N, 3, 3, 3, 3) [eV]."""
    bonds = energetics.bonds(structure, potential, neighbors)
    r, own, other = bonds.r, bonds.own, bonds.other
    given, rise, bend = energetics.embedded(bonds, potential)

    def energy(r: Array) -> Array:
        return 0.5 * potential.pair(r, own, other) + rise * potential.density(r, own, other)

    stretch, stiffness = value_and_slope(lambda r: slope(energy, r), r)
    fourth = jnp.where(bonds.inside, (stiffness - stretch / r) / r**2, 0.0)
    from_bonds = _moments(fourth, bonds.vectors, 4)
    slopes = _moments(jnp.where(bonds.inside, given / r, 0.0), bonds.vectors, 2)
    return from_bonds + jnp.einsum("n,nab,ncd->nabcd", bend, slopes, slopes)


def _moments(weight: Array, vectors: Array, rank: int) -> Array:
    """Σ_j weight R⊗R⊗... of each atom, (N, 3, ..., 3), from weights (K, N) and vectors (3, K, N).

    One distinct component at a time, to save memory.
    """
    distinct = list(itertools.combinations_with_replacement(range(3), rank))
    place = [distinct.index(tuple(sorted(index))) for index in np.ndindex((3,) * rank)]

    # Recomputed in reverse mode, which would otherwise keep every product.
    @jax.checkpoint
    def component(axes: Array) -> Array:
        product = weight
        for n in range(rank):
            product = product * vectors[axes[n]]
        return jnp.sum(product, axis=0)

    components = jax.lax.map(component, jnp.array(distinct))
    return components[jnp.array(place)].T.reshape(-1, *(3,) * rank)
