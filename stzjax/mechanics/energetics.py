"""Energy of an EAM structure and its derivatives, over a full neighbour list and without scatter.

`energy` carries its derivative by hand (forces, virial), so reverse mode needs no scatter either;
every function can be differentiated again by forward mode, and to the potential's parameters.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.neighbors.tables import Neighbors
from stzjax.potentials import eam_kernels
from stzjax.potentials.eam import EAM, slope, value_and_slope


class Bonds(NamedTuple):
    """The bonds of a neighbour list, one column per atom.

    Attributes:
      idx: (K, N) neighbours; N where there is none.
      vectors: (3, K, N) from the atom to its neighbour [Å]; padding holds arbitrary vectors.
      r: (K, N) lengths [Å]; padding is put beyond the cut-off.
      inside: (K, N) bool, within the cut-off; True for a length that is not a number, which then
        shows in the result. A table's last slope need not vanish beyond it, where padding sits.
      own: (1, N) species of the atom, in the potential's order.
      other: (K, N) species of the neighbour, in the potential's order.
    """

    idx: Array
    vectors: Array
    r: Array
    inside: Array
    own: Array
    other: Array


def bonds(structure: Structure, potential: EAM, neighbors: Neighbors) -> Bonds:
    """Bond vectors, lengths and species of a structure under a neighbour list."""
    species = potential.renumbered(structure.species, structure.elements)
    idx = lists.table(neighbors)
    other = jnp.take(species, idx, mode="clip")
    columns = structure.fractional.T
    r = eam_kernels.lengths(columns, columns, structure.cell, idx, potential.cutoff)
    return Bonds(idx, structure.bonds(idx), r, ~(r >= potential.cutoff), species[None], other)


def embedded(bonds: Bonds, potential: EAM) -> tuple[Array, Array, Array]:
    """Slopes dρ/dr of the bonds (K, N) [1/Å]; F' and F'' of the atoms, (N,) each [eV]."""
    own = bonds.own[0]
    density, given = value_and_slope(lambda r: potential.density(r, own, bonds.other), bonds.r)
    total = jnp.sum(jnp.where(bonds.inside, density, 0.0), axis=0)
    rise, bend = value_and_slope(lambda d: slope(lambda d: potential.embedding(d, own), d), total)
    return given, rise, bend


def _sum_energies(fractional, cell, potential: EAM, species, zones: eam_kernels.Zones) -> Array:
    return jnp.sum(eam_kernels.atomic_energy(fractional, cell, potential, species, zones))


_energy = jax.custom_jvp(_sum_energies)


def _energy_jvp(primals, tangents):
    fractional, cell, potential, species, zones = primals
    fractional_dot, cell_dot, potential_dot, _, _ = tangents
    value = _energy(*primals)
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

        def total(potential: EAM) -> Array:
            return _sum_energies(fractional, cell, potential, species, zones)

        change = change + jax.jvp(total, (potential,), (direction,))[1]
    return value, change


_energy.defjvp(_energy_jvp, symbolic_zeros=True)


def _is_zero(tangent) -> bool:
    return isinstance(tangent, SymbolicZero)


def _materialise(primal: Array, tangent) -> Array:
    return jnp.zeros_like(primal) if _is_zero(tangent) else tangent


def _evaluate(
    kernel: Callable, structure: Structure, potential: EAM, neighbors: Neighbors | None
) -> Any:
    """A kernel for a structure, compiled."""
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)

    def numbered(species: Array) -> Array:
        return potential.renumbered(species, structure.elements)

    zones = tuple(
        zone.replace(blocks=tuple(b.replace(other=numbered(b.other)) for b in zone.blocks))
        for zone in neighbors.zones
    )
    split = 1 if potential.density_cutoff <= neighbors.spec.inner else len(zones)
    near_far = eam_kernels.Zones(zones[:split], zones[split:])
    species = numbered(structure.species)
    return _compiled(kernel, structure.fractional, structure.cell, potential, species, near_far)


@functools.partial(jax.jit, static_argnames="kernel")
def _compiled(kernel: Callable, fractional, cell, potential: EAM, species, zones):
    return kernel(fractional, cell, potential, species, zones)


def energy(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Potential energy [eV].

    Args:
      structure: N atoms.
      potential: an embedded-atom potential that knows their elements.
      neighbors: a valid list for them; made here when None, which needs concrete arrays.

    Raises:
      ValueError: unknown element, cell smaller than twice the cut-off, or no list under jit.
    """
    return _evaluate(_energy, structure, potential, neighbors)


def forces(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]; arguments and errors as `energy`."""
    return _evaluate(eam_kernels.forces, structure, potential, neighbors)


def atomic_energy(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> Array:
    """Energy of each atom, half of its pair terms and its embedding, (N,) [eV]."""
    return _evaluate(eam_kernels.atomic_energy, structure, potential, neighbors)


def atomic_virial(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> Array:
    """Virial of each atom, (N, 3, 3) [eV]: ½ Σ_j r_ij ⊗ ∂E/∂r_ij.

    Positive in tension: the sum over atoms over the volume is the stress. Bonds are shared
    equally, as in LAMMPS' compute stress/atom, whose sign (stress × volume) is the same.
    """
    return _evaluate(eam_kernels.atomic_virial, structure, potential, neighbors)


def stress(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Stress tensor, (3, 3) [eV/Å³]; positive in tension, potential part only (T = 0)."""
    _, virial = _evaluate(eam_kernels.forces_and_virial, structure, potential, neighbors)
    return virial / geometry.volume(structure.cell)


def energy_and_virial(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Energy [eV] and virial (3, 3) [eV] of all atoms from one evaluation."""
    return _evaluate(eam_kernels.energy_and_virial, structure, potential, neighbors)


def forces_and_trace(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and trace of the virial, Σ r ∂E/∂r [eV], for a barostat."""
    return _evaluate(eam_kernels.forces_and_trace, structure, potential, neighbors)


def hessian_vector_product(
    structure: Structure, potential: EAM, displacement: Array, neighbors: Neighbors | None = None
) -> Array:
    """Second derivative of the energy times a displacement field (N, 3) [Å], (N, 3) [eV/Å]."""
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    return -along(lambda moved: forces(moved, potential, neighbors), structure, displacement)


def along(function: Callable[[Structure], Array], structure: Structure, move: Array) -> Array:
    """Derivative of a function of the structure along displacements (N, 3) [Å]."""
    direction = geometry.product(move, geometry.inverse(structure.cell).T)

    def displaced(fractional: Array) -> Array:
        return function(structure.replace(fractional=fractional))

    return jax.jvp(displaced, (structure.fractional,), (direction,))[1]
