"""Derivatives of embedded-atom energies written out: the first by hand, the second bond by bond.

`energy` carries its derivative by hand (forces, virial), so reverse mode needs no scatter either;
every function can be differentiated again by forward mode, and to the potential's parameters.

With the energy of an atom E_i = F(ρ_i) + ½ Σ_j φ(r_ij) and the Green-Lagrange strain η, under
which r² = R·(1 + 2η)R, the derivatives are ∂r/∂η = R⊗R / r and ∂²r/∂η² = -R⊗R⊗R⊗R / r³, hence

    ∂E_i/∂η = Σ_j u'/r R⊗R,   ∂²E_i/∂η² = F'' S_i ⊗ S_i + Σ_j (u'' - u'/r) R⊗R⊗R⊗R / r²

with u = ½ φ + F' ρ at frozen F' and S_i = Σ_j ρ' R⊗R / r.

M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), §III.11.
"""

import itertools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from stzjax.core import geometry
from stzjax.numerics.elementwise import slope, value_and_slope
from stzjax.potentials import eam_kernels
from stzjax.potentials.potential import Bonds, Curvature

if TYPE_CHECKING:
    from stzjax.potentials.eam import EAM


def _sum_energies(fractional, cell, potential: "EAM", species, zones: eam_kernels.Zones) -> Array:
    return jnp.sum(eam_kernels.atomic_energy(fractional, cell, potential, species, zones))


energy = jax.custom_jvp(_sum_energies)
"""Energy of all atoms [eV]; arguments as those of the passes."""


def _energy_rule(primals, tangents):
    fractional, cell, potential, species, zones = primals
    fractional_dot, cell_dot, potential_dot, _, _ = tangents
    value = energy(*primals)
    change = jnp.zeros_like(value)
    moved = not _is_zero(fractional_dot)
    strained = not _is_zero(cell_dot)
    if moved or strained:
        forces, virial = eam_kernels.forces_and_virial(*primals)
    if moved:
        change = change - jnp.sum(geometry.product(forces, cell) * fractional_dot)
    if strained:
        strain = cell_dot @ geometry.inverse(cell)
        change = change + jnp.sum(virial * strain)
    if not all(map(_is_zero, jax.tree.leaves(potential_dot, is_leaf=_is_zero))):
        direction = jax.tree.map(_materialise, potential, potential_dot)

        def total(potential: "EAM") -> Array:
            return _sum_energies(fractional, cell, potential, species, zones)

        change = change + jax.jvp(total, (potential,), (direction,))[1]
    return value, change


energy.defjvp(_energy_rule, symbolic_zeros=True)


def _is_zero(tangent) -> bool:
    return isinstance(tangent, SymbolicZero)


def _materialise(primal: Array, tangent) -> Array:
    return jnp.zeros_like(primal) if _is_zero(tangent) else tangent


def _embedded(potential: "EAM", bonds: Bonds) -> tuple[Array, Array, Array]:
    """Slopes dρ/dr of the bonds (K, N) [1/Å]; F' and F'' of the atoms, (N,) each [eV]."""
    own = bonds.own[0]
    density, given = value_and_slope(lambda r: potential.density(r, own, bonds.other), bonds.r)
    total = jnp.sum(jnp.where(bonds.inside, density, 0.0), axis=0)
    rise, bend = value_and_slope(lambda d: slope(lambda d: potential.embedding(d, own), d), total)
    return given, rise, bend


def curvature(potential: "EAM", bonds: Bonds) -> Curvature:
    """Second derivatives of the energy, bond by bond."""
    r, inside, own, other = bonds.r, bonds.inside, bonds.own, bonds.other
    given, rise, bend = _embedded(potential, bonds)
    taken = slope(lambda r: potential.density(r, other, own), r)
    there = jnp.take(rise, bonds.idx, mode="clip")

    def energy(r: Array) -> Array:
        shared = rise * potential.density(r, own, other) + there * potential.density(r, other, own)
        return potential.pair(r, own, other) + shared

    tension, stiffness = value_and_slope(lambda r: slope(energy, r), r)
    tension = jnp.where(inside, tension / r, 0.0)
    stiffness = jnp.where(inside, stiffness, 0.0)
    unit = jnp.where(inside, bonds.vectors / r, 0.0)
    along = unit[:, None] * unit[None]
    blocks = (stiffness - tension) * along + tension * jnp.eye(3)[:, :, None, None]
    given, taken = (jnp.where(inside, x, 0.0) * unit for x in (given, -taken))
    return Curvature(blocks, given, taken, bend)


def strain_gradient(potential: "EAM", bonds: Bonds) -> Array:
    """First derivative of each atom's energy by the strain, (N, 3, 3) [eV]."""
    given, rise, _ = _embedded(potential, bonds)
    pull = slope(lambda r: potential.pair(r, bonds.own, bonds.other), bonds.r)
    pull = 0.5 * pull + rise * given
    return _moments(jnp.where(bonds.inside, pull / bonds.r, 0.0), bonds.vectors, 2)


def strain_curvature(potential: "EAM", bonds: Bonds) -> Array:
    """Second derivative of each atom's energy by the strain, (N, 3, 3, 3, 3) [eV]."""
    r, own, other = bonds.r, bonds.own, bonds.other
    given, rise, bend = _embedded(potential, bonds)

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
