"""Energy of an EAM structure and its derivatives, over a full neighbour list and without scatter.

`energy` carries its derivative by hand (forces, virial), so reverse mode needs no scatter either;
every function can be differentiated again by forward mode, and to the potential's parameters.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.neighbors.tables import Neighbors, Zone
from stzjax.potentials import eam_kernels
from stzjax.potentials.eam import EAM


class Bonds(NamedTuple):
    """The bonds of a neighbour list, one column per atom.

    Attributes:
      idx: (K, N) neighbours; N where there is none.
      vectors: (3, K, N) from the atom to its neighbour [Å]; padding holds arbitrary vectors.
      r: (K, N) lengths [Å]; padding is put beyond the cut-off.
      own: (1, N) species of the atom, in the potential's order.
      other: (K, N) species of the neighbour, in the potential's order.
    """

    idx: Array
    vectors: Array
    r: Array
    own: Array
    other: Array


def species_in(structure: Structure, potential: EAM) -> Array:
    """Species of the atoms in the order of the potential's elements, (N,).

    Raises:
      ValueError: the potential does not know an element.
    """
    return _renumber(structure.species, structure.elements, potential)


def _renumber(species: Array, elements: tuple[str, ...], potential: EAM) -> Array:
    missing = [e for e in elements if e not in potential.elements]
    if missing:
        raise ValueError(
            f"the potential knows {', '.join(potential.elements)}, but the structure holds "
            f"{', '.join(missing)}; choose another potential or rename the elements"
        )
    order = np.array([potential.elements.index(e) for e in elements], np.int32)
    if np.array_equal(order, np.arange(len(order))):
        return species
    return jnp.take(jnp.asarray(order, species.dtype), species, mode="clip")


def bonds(structure: Structure, potential: EAM, neighbors: Neighbors) -> Bonds:
    """Bond vectors, lengths and species of a structure under a neighbour list."""
    species = species_in(structure, potential)
    idx = lists.table(neighbors)
    other = jnp.take(species, idx, mode="clip")
    r = eam_kernels.lengths(structure.fractional, structure.cell, idx, potential.cutoff)
    return Bonds(idx, structure.bonds(idx), r, species[None], other)


@jax.custom_jvp
def _energy(fractional, cell, potential: EAM, species, zones: eam_kernels.Zones) -> Array:
    return jnp.sum(eam_kernels.atomic_energy(fractional, cell, potential, species, zones))


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
        change = change - jnp.sum((forces @ cell) * fractional_dot)
    if strained:
        strain = cell_dot @ geometry.inverse(cell)
        change = change + jnp.sum(virial * strain)
    if not all(map(_is_zero, jax.tree.leaves(potential_dot, is_leaf=_is_zero))):
        direction = jax.tree.map(_materialise, potential, potential_dot)
        change = (
            change
            + jax.jvp(
                lambda p: jnp.sum(eam_kernels.atomic_energy(fractional, cell, p, species, zones)),
                (potential,),
                (direction,),
            )[1]
        )
    return value, change


_energy.defjvp(_energy_jvp, symbolic_zeros=True)


def _is_zero(tangent) -> bool:
    return isinstance(tangent, SymbolicZero)


def _materialise(primal: Array, tangent) -> Array:
    return jnp.zeros_like(primal) if _is_zero(tangent) else tangent


def _arguments(structure: Structure, potential: EAM, neighbors: Neighbors | None):
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    species = species_in(structure, potential)
    zones = tuple(_renumbered(zone, structure.elements, potential) for zone in neighbors.zones)
    split = 1 if potential.density_cutoff <= neighbors.spec.inner else len(zones)
    near_far = eam_kernels.Zones(zones[:split], zones[split:])
    return structure.fractional, structure.cell, potential, species, near_far


def _renumbered(zone: Zone, elements: tuple[str, ...], potential: EAM) -> Zone:
    blocks = (
        block.replace(other=_renumber(block.other, elements, potential)) for block in zone.blocks
    )
    return zone.replace(blocks=tuple(blocks))


def energy(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Potential energy [eV].

    Args:
      structure: N atoms.
      potential: an embedded-atom potential that knows their elements.
      neighbors: a valid list for them; made here when None, which needs concrete arrays.

    Raises:
      ValueError: unknown element, cell smaller than twice the cut-off, or no list under jit.
    """
    return _jit_energy(*_arguments(structure, potential, neighbors))


def forces(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]; arguments and errors as `energy`."""
    return _jit_forces(*_arguments(structure, potential, neighbors))


def atomic_energy(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> Array:
    """Energy of each atom, half of its pair terms and its embedding, (N,) [eV]."""
    return _jit_atomic_energy(*_arguments(structure, potential, neighbors))


def atomic_virial(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> Array:
    """Virial of each atom, (N, 3, 3) [eV]: ½ Σ_j r_ij ⊗ ∂E/∂r_ij.

    Positive in tension: the sum over atoms over the volume is the stress. Bonds are shared
    equally, as in LAMMPS' compute stress/atom, whose sign (stress × volume) is the same.
    """
    return _jit_atomic_virial(*_arguments(structure, potential, neighbors))


def stress(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Stress tensor, (3, 3) [eV/Å³]; positive in tension, potential part only (T = 0)."""
    return forces_and_stress(structure, potential, neighbors)[1]


def forces_and_stress(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and stress (3, 3) [eV/Å³] from one evaluation."""
    force, virial = _jit_forces_and_virial(*_arguments(structure, potential, neighbors))
    return force, virial / geometry.volume(structure.cell)


def energy_and_virial(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Energy [eV] and virial (3, 3) [eV] of all atoms from one evaluation."""
    return _jit_energy_and_virial(*_arguments(structure, potential, neighbors))


def forces_and_trace(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and trace of the virial, Σ r ∂E/∂r [eV], for a barostat."""
    return _jit_forces_and_trace(*_arguments(structure, potential, neighbors))


def hessian_vector_product(
    structure: Structure, potential: EAM, displacement: Array, neighbors: Neighbors | None = None
) -> Array:
    """Second derivative of the energy times a displacement field, (N, 3) [eV/Å].

    Args:
      structure: N atoms.
      potential: an embedded-atom potential.
      displacement: (N, 3) [Å].
      neighbors: as in `energy`.
    """
    return _jit_hvp(displacement, *_arguments(structure, potential, neighbors))


@jax.jit
def _jit_hvp(displacement, fractional, cell, potential, species, zones):
    direction = displacement @ geometry.inverse(cell).T
    change = jax.jvp(
        lambda s: eam_kernels.forces(s, cell, potential, species, zones),
        (fractional,),
        (direction,),
    )[1]
    return -change


_jit_energy = jax.jit(_energy)
_jit_atomic_energy = jax.jit(eam_kernels.atomic_energy)
_jit_forces = jax.jit(eam_kernels.forces)
_jit_atomic_virial = jax.jit(eam_kernels.atomic_virial)
_jit_forces_and_trace = jax.jit(eam_kernels.forces_and_trace)
_jit_forces_and_virial = jax.jit(eam_kernels.forces_and_virial)
_jit_energy_and_virial = jax.jit(eam_kernels.energy_and_virial)
