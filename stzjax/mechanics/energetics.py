"""Energy of a structure and its first derivatives, and the second along a displacement.

The potential says how each is evaluated (`potentials.potential`). Every function can be
differentiated again by forward mode, and to the potential's parameters.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.neighbors.tables import Neighbors
from stzjax.potentials.potential import Atoms, Bonds, Potential, bonds_of


def atoms_of(structure: Structure, potential: Potential, neighbors: Neighbors) -> Atoms:
    """Everything that the potential evaluates, with species in its own order."""

    def numbered(species: Array) -> Array:
        return potential.renumbered(species, structure.elements)

    zones = tuple(
        zone.replace(blocks=tuple(b.replace(other=numbered(b.other)) for b in zone.blocks))
        for zone in neighbors.zones
    )
    species = numbered(structure.species)
    listed = neighbors.replace(zones=zones)
    return Atoms(structure.fractional, structure.cell, species, listed)


def bonds(structure: Structure, potential: Potential, neighbors: Neighbors) -> Bonds:
    """Bond vectors, lengths and species of a structure under a neighbour list."""
    return bonds_of(atoms_of(structure, potential, neighbors), potential.cutoff)


def _evaluate(
    kind: str, structure: Structure, potential: Potential, neighbors: Neighbors | None
) -> Any:
    """A method of the potential for a structure, compiled; NaN under a list of other species."""
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    atoms = atoms_of(structure, potential, neighbors)
    return _compiled(kind, potential, atoms, lists.same_species(neighbors, structure))


@functools.partial(jax.jit, static_argnames="kind")
def _compiled(kind: str, potential: Potential, atoms: Atoms, valid: Array):
    found = getattr(potential, kind)(atoms)
    return jax.tree.map(lambda x: jnp.where(valid, x, jnp.nan), found)


def energy(structure: Structure, potential: Potential, neighbors: Neighbors | None = None) -> Array:
    """Potential energy [eV].

    Args:
      structure: N atoms.
      potential: a potential that knows their elements.
      neighbors: a valid list for them; made here when None, which needs concrete arrays.

    Raises:
      ValueError: unknown element, cell smaller than twice the cut-off, or no list under jit.
    """
    return _evaluate("energy", structure, potential, neighbors)


def forces(structure: Structure, potential: Potential, neighbors: Neighbors | None = None) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]; arguments and errors as `energy`."""
    return _evaluate("forces", structure, potential, neighbors)


def atomic_energy(
    structure: Structure, potential: Potential, neighbors: Neighbors | None = None
) -> Array:
    """Energy of each atom, half of its pair terms and its embedding, (N,) [eV]."""
    return _evaluate("atomic_energy", structure, potential, neighbors)


def atomic_virial(
    structure: Structure, potential: Potential, neighbors: Neighbors | None = None
) -> Array:
    """Virial of each atom, (N, 3, 3) [eV]: ½ Σ_j r_ij ⊗ ∂E/∂r_ij.

    Positive in tension: the sum over atoms over the volume is the stress. Bonds are shared
    equally, as in LAMMPS' compute stress/atom, whose sign (stress × volume) is the same.
    """
    return _evaluate("atomic_virial", structure, potential, neighbors)


def stress(structure: Structure, potential: Potential, neighbors: Neighbors | None = None) -> Array:
    """Stress tensor, (3, 3) [eV/Å³]; positive in tension, potential part only (T = 0)."""
    _, virial = _evaluate("forces_and_virial", structure, potential, neighbors)
    return virial / geometry.volume(structure.cell)


def energy_and_virial(
    structure: Structure, potential: Potential, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Energy [eV] and virial (3, 3) [eV] of all atoms from one evaluation."""
    return _evaluate("energy_and_virial", structure, potential, neighbors)


def forces_and_trace(
    structure: Structure, potential: Potential, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and trace of the virial, Σ r ∂E/∂r [eV], for a barostat."""
    return _evaluate("forces_and_trace", structure, potential, neighbors)


def hessian_vector_product(
    structure: Structure,
    potential: Potential,
    displacement: Array,
    neighbors: Neighbors | None = None,
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
