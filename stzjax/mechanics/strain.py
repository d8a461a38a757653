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
    r, own, other = bonds.r, bonds.own, bonds.other
    inside = ~(r >= potential.cutoff)
    density, given = value_and_slope(lambda r: potential.density(r, own, other), r)
    total = jnp.sum(jnp.where(inside, density, 0.0), axis=0)
    rise = slope(lambda d: potential.embedding(d, own[0]), total)
    pull = 0.5 * slope(lambda r: potential.pair(r, own, other), r) + rise * given
    return _moments(jnp.where(inside, pull / r, 0.0), bonds.vectors, 2)


@jax.jit
def curvature(structure: Structure, potential: EAM, neighbors: Neighbors) -> Array:
    """Second derivative of each atom's energy by the strain, (N, 3, 3, 3, 3) [eV]."""
    bonds = energetics.bonds(structure, potential, neighbors)
    r, own, other = bonds.r, bonds.own, bonds.other
    # A table's last slope need not vanish at the cut-off, beyond which padding sits; written so
    # that a distance that is not a number counts, and shows in the result.
    inside = ~(r >= potential.cutoff)
    density, given = value_and_slope(lambda r: potential.density(r, own, other), r)
    total = jnp.sum(jnp.where(inside, density, 0.0), axis=0)
    rise, bend = value_and_slope(
        lambda d: slope(lambda d: potential.embedding(d, own[0]), d), total
    )

    def energy(r: Array) -> Array:
        return 0.5 * potential.pair(r, own, other) + rise * potential.density(r, own, other)

    stretch, stiffness = value_and_slope(lambda r: slope(energy, r), r)
    fourth = jnp.where(inside, (stiffness - stretch / r) / r**2, 0.0)
    second = jnp.where(inside, given / r, 0.0)
    from_bonds = _moments(fourth, bonds.vectors, 4)
    slopes = _moments(second, bonds.vectors, 2)
    return from_bonds + jnp.einsum("n,nab,ncd->nabcd", bend, slopes, slopes)


def _moments(weight: Array, vectors: Array, rank: int) -> Array:
    """Σ_j weight R⊗R⊗... of each atom, one distinct component at a time to save memory.

    Args:
      weight: (K, N).
      vectors: (3, K, N) bond vectors R.
      rank: number of factors R.

    Returns:
      (N, 3, ..., 3), fully symmetric.
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
