"""Base of the embedded-atom potentials: the functions that each of them offers.

    E = Σ_i F_{s(i)}(ρ_i) + ½ Σ_{i≠j} φ_{s(i)s(j)}(r_ij),   ρ_i = Σ_{j≠i} ρ_{s(i)s(j)}(r_ij)

The density at atom i depends on both species (Finnis-Sinclair form); eam/alloy is the case where
it depends on the source j alone. A potential is a pytree: its parameters are array leaves, so it
goes through `jit`, `vmap` and `grad` as an argument.
"""

from collections.abc import Sequence
from typing import ClassVar

import flax.struct
import jax.numpy as jnp
from jax import Array

from stzjax.numerics.elementwise import slope
from stzjax.potentials import eam_derivatives, eam_kernels
from stzjax.potentials.eam_kernels import Zones
from stzjax.potentials.potential import Atoms, Bonds, Curvature, Potential, bonds_of


class EAM(Potential):
    """Base of the embedded-atom potentials.

    The functions of a subclass act elementwise on arrays that broadcast together.

    Attributes:
      density_cutoff: distance from which every density is zero [Å]; at most `cutoff`.
      core: below this distance `pair` has branches that few pairs need [Å]; zero if it has none.
      symmetric: the density does not change when receiver and source are exchanged.
    """

    density_cutoff: float = flax.struct.field(pytree_node=False, kw_only=True)
    core: float = flax.struct.field(pytree_node=False, kw_only=True, default=0.0)
    symmetric: bool = flax.struct.field(pytree_node=False, kw_only=True, default=False)

    prepared_pieces: ClassVar[bool] = False
    """Whether forces come from uniform pieces, for which platforms have kernels of their own."""

    @property
    def inner_cutoff(self) -> float:
        """Cut-off of the densities [Å], or of the pairs where there are none."""
        return self.density_cutoff or self.cutoff

    def pair(self, r: Array, first: Array, second: Array, closest: float = 0.0) -> Array:
        """Pair term φ [eV] at distance r [Å] between two species.

        Args:
          r: distances.
          first: species of one atom.
          second: species of the other.
          closest: promised lower limit of r [Å], which saves the branches below it.
        """
        raise NotImplementedError

    def density(self, r: Array, receiver: Array, source: Array) -> Array:
        """Density that an atom of species `source` gives one of species `receiver` at r [Å]."""
        raise NotImplementedError

    def embedding(self, density: Array, species: Array) -> Array:
        """Embedding energy F [eV] of an atom of a species in a density."""
        raise NotImplementedError

    def bond_weight(
        self, r: Array, own: Array, other: Array, rises: Sequence[Array] = (), closest: float = 0.0
    ) -> Array:
        """(dE/dr) / r of a bond [eV/Å²] inside the cut-off, zero beyond.

        Args:
          r: length of the bond [Å].
          own: species of the atom.
          other: species of its neighbour.
          rises: dF/dρ of the atom and of its neighbour [eV]; empty for the pair term alone.
          closest: lower limit of r, see `pair` [Å].
        """
        pull = slope(lambda x: self.pair(x, own, other, closest), r)
        if rises:
            given = slope(lambda x: self.density(x, own, other), r)
            if self.symmetric:
                pull = pull + (rises[0] + rises[1]) * given
            else:
                taken = slope(lambda x: self.density(x, other, own), r)
                pull = pull + rises[0] * given + rises[1] * taken
        # A table's last slope need not vanish at the cut-off. NaN stays.
        return jnp.where(r >= self.cutoff, 0.0, pull / r)

    def energies(self, bonds: Bonds) -> Array:
        """Energies of the atoms; see `Potential.energies`."""
        own, other = bonds.own, bonds.other
        energy = 0.5 * bonds.total(self.pair(bonds.r, own, other))
        if self.density_cutoff:
            density = bonds.total(self.density(bonds.r, own, other))
            energy = energy + self.embedding(density, own[0])
        return energy

    def _parts(self, atoms: Atoms) -> tuple:
        """Arguments of the passes."""
        spec, zones = atoms.neighbors.spec, atoms.neighbors.zones
        split = 1 if self.density_cutoff <= spec.inner else len(zones)
        split = split if self.density_cutoff else 0
        # Its near pairs must be those that densities reach.
        half = atoms.neighbors.half if self.density_cutoff <= spec.inner else None
        near_far = Zones(zones[:split], zones[split:], half)
        return atoms.fractional, atoms.cell, self, atoms.species, near_far

    def atomic_energy(self, atoms: Atoms) -> Array:
        """Energies of the atoms, half of their pair terms and their embedding, (N,) [eV]."""
        return eam_kernels.atomic_energy(*self._parts(atoms))

    def energy(self, atoms: Atoms) -> Array:
        """Energy [eV], with its first derivative by hand."""
        return eam_derivatives.energy(*self._parts(atoms))

    def forces(self, atoms: Atoms) -> Array:
        """Forces on the atoms, (N, 3) [eV/Å]."""
        return eam_kernels.forces(*self._parts(atoms))

    def forces_and_virial(self, atoms: Atoms) -> tuple[Array, Array]:
        """Forces (N, 3) [eV/Å] and the virial of all atoms, (3, 3) [eV]."""
        return eam_kernels.forces_and_virial(*self._parts(atoms))

    def energy_and_virial(self, atoms: Atoms) -> tuple[Array, Array]:
        """Energy [eV] and virial (3, 3) [eV] of all atoms."""
        return eam_kernels.energy_and_virial(*self._parts(atoms))

    def forces_and_trace(self, atoms: Atoms) -> tuple[Array, Array]:
        """Forces (N, 3) [eV/Å] and the trace of the virial [eV]."""
        return eam_kernels.forces_and_trace(*self._parts(atoms))

    def atomic_virial(self, atoms: Atoms) -> Array:
        """Virials of the atoms, (N, 3, 3) [eV]."""
        return eam_kernels.atomic_virial(*self._parts(atoms))

    def strain_gradient(self, atoms: Atoms) -> Array:
        """First derivative of each atom's energy by Green-Lagrange strain, (N, 3, 3) [eV]."""
        return eam_derivatives.strain_gradient(self, bonds_of(atoms, self.cutoff))

    def strain_curvature(self, atoms: Atoms) -> Array:
        """Second derivative of each atom's energy by the strain, (N, 3, 3, 3, 3) [eV]."""
        return eam_derivatives.strain_curvature(self, bonds_of(atoms, self.cutoff))

    def curvature(self, atoms: Atoms) -> Curvature:
        """Second derivatives of the energy, bond by bond."""
        return eam_derivatives.curvature(self, bonds_of(atoms, self.cutoff))
