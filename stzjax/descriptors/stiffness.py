"""Atomic stiffness: of Born, at frozen atoms, and relaxed, with their non-affine motion.

With the energy of an atom E_i = F(ρ_i) + ½ Σ_j φ(r_ij) and the Green-Lagrange strain η, under
which r² = R·(1 + 2η)R, the derivatives are ∂r/∂η = R⊗R / r and ∂²r/∂η² = -R⊗R⊗R⊗R / r³, hence

    V_i C_i = F'' S_i ⊗ S_i + Σ_j (u'' - u'/r) R⊗R⊗R⊗R / r²,   S_i = Σ_j ρ' R⊗R / r,

with u = ½ φ + F' ρ at frozen F'. Atoms move affinely here: the relaxed moduli of a glass are
smaller. There the first derivative Σ_j u'/r R⊗R changes along the non-affine velocity field too.

M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), §III.11; J. F. Lutsko,
J. Appl. Phys. 65, 2991 (1989), for the atomic level and for the relaxed moduli.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.loads import VOIGT
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.eam import EAM, slope, value_and_slope


def atomic_stiffness(
    structure: Structure, potential: EAM, volume: Array, neighbors: Neighbors | None = None
) -> Array:
    """Born stiffness of each atom with respect to Green-Lagrange strain, (N, 3, 3, 3, 3) [eV/Å³].

    The average weighted with the volumes is the affine stiffness of the structure. Pair energies
    are shared equally, embedding energies belong to the atom, as in `energetics.atomic_energy`.

    Args:
      structure: N atoms.
      potential: an embedded-atom potential.
      volume: (N,) volumes that the atoms take up, such as `voronoi.tessellate(...).volume` [Å³].
      neighbors: as in `energetics.energy`.
    """
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    return _strain_curvature(structure, potential, neighbors) / volume[:, None, None, None, None]


def relaxed_stiffness(
    structure: Structure,
    potential: EAM,
    volume: Array,
    fields: Array,
    neighbors: Neighbors | None = None,
) -> Array:
    """Stiffness of each atom when all follow the strain as they like, (N, 3, 3, 3, 3) [eV/Å³].

    The change of ∂E_i/∂η, over the volume, with the strain. The average weighted with the volumes
    is the stiffness of the relaxed structure; atom by atom the first pair of indices (what
    changes) and the last pair (the strain) do not commute.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      volume: (N,) as in `atomic_stiffness` [Å³].
      fields: (6, N, 3) from `response.respond` [Å].
      neighbors: as in `energetics.energy`.
    """
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    affine = _strain_curvature(structure, potential, neighbors)
    change = _along(structure, potential, neighbors, fields)
    places = {frozenset(pair): place for place, pair in enumerate(VOIGT)}
    at = np.array([[places[frozenset((c, d))] for d in range(3)] for c in range(3)])
    return (affine + change[..., at]) / volume[:, None, None, None, None]


@jax.jit
def _along(structure: Structure, potential: EAM, neighbors: Neighbors, fields: Array) -> Array:
    """Change of the strain derivative of each atom's energy along fields, (N, 3, 3, 6) [eV]."""
    back = geometry.inverse(structure.cell).T

    def gradient(fractional: Array) -> Array:
        moved = structure.replace(fractional=fractional)
        return _strain_gradient(moved, potential, neighbors)

    def one(field: Array) -> Array:
        return jax.jvp(gradient, (structure.fractional,), (field @ back,))[1]

    return jnp.moveaxis(jax.lax.map(one, fields), 0, -1)


def _strain_gradient(structure: Structure, potential: EAM, neighbors: Neighbors) -> Array:
    """First derivative of each atom's energy by the strain, (N, 3, 3) [eV]."""
    bonds = energetics.bonds(structure, potential, neighbors)
    r, own, other = bonds.r, bonds.own, bonds.other
    inside = ~(r >= potential.cutoff)
    density, given = value_and_slope(lambda r: potential.density(r, own, other), r)
    total = jnp.sum(jnp.where(inside, density, 0.0), axis=0)
    rise = slope(lambda d: potential.embedding(d, own[0]), total)
    pull = 0.5 * slope(lambda r: potential.pair(r, own, other), r) + rise * given
    return _moments(jnp.where(inside, pull / r, 0.0), bonds.vectors, 2)


def to_voigt(tensor: Array) -> Array:
    """Stiffness tensors (..., 3, 3, 3, 3) as matrices (..., 6, 6), in the order of `VOIGT`."""
    first, second = np.array(VOIGT).T
    return tensor[..., first[:, None], second[:, None], first, second]


@jax.jit
def _strain_curvature(structure: Structure, potential: EAM, neighbors: Neighbors) -> Array:
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
    gradient = _moments(second, bonds.vectors, 2)
    return from_bonds + jnp.einsum("n,nab,ncd->nabcd", bend, gradient, gradient)


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
