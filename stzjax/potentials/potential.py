"""The protocol of a potential: what it must give, and what follows from that for all alike.

A potential is a pytree whose parameters are array leaves, so it goes through `jit`, `vmap` and
`grad` as an argument. It must give its elements, its cut-off, and the energies of the atoms as a
pure function of their bonds (`Potential.energies`). Everything else has a general form here, by
automatic differentiation; a potential that knows a faster way overrides the method.

    class Morse(Potential):
        depth: Array

        def energies(self, bonds):
            return 0.5 * bonds.total(self.depth * (1.0 - jnp.exp(2.7 - bonds.r)) ** 2 - self.depth)

    potential = Morse(elements=("Cu",), cutoff=8.0, depth=jnp.asarray(0.3))

Lengths may be in any unit and energies in any other; "Å" and "eV" stand for them.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry, units
from stzjax.neighbors import tables
from stzjax.neighbors.tables import Neighbors
from stzjax.numerics.unfused import apart

_GENERATORS = np.array(
    [
        0.5 * (np.outer(a, b) + np.outer(b, a))
        for a, b in itertools.combinations_with_replacement(np.eye(3), 2)
    ]
)
"""The six symmetric unit strains, in the order of `_PLACE`."""

_PLACE = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
"""Number of the unit strain of each pair of axes."""


class Scales(NamedTuple):
    """Units of a potential, in which minimisers have their constants; metals have one of each.

    Attributes:
      length: about 0.4 of the distance between neighbours [Å].
      energy: about three times the energy of a bond [eV].
    """

    length: float = 1.0
    energy: float = 1.0

    @property
    def time(self) -> float:
        """Unit of time for atoms of mass one."""
        return self.length / self.energy**0.5

    @property
    def stiffness(self) -> float:
        """Unit of a curvature."""
        return self.energy / self.length**2

    @property
    def stress(self) -> float:
        """Unit of stresses and moduli."""
        return self.energy / self.length**3


METALS = Scales()
"""Scales of metals in Å and eV."""


class Atoms(NamedTuple):
    """Everything that a potential evaluates.

    Attributes:
      fractional: (N, 3) positions in units of the cell vectors.
      cell: (3, 3) cell vectors as columns, upper triangular [Å].
      species: (N,) in the potential's order.
      neighbors: a valid list whose species are in the potential's order, too.
    """

    fractional: Array
    cell: Array
    species: Array
    neighbors: Neighbors


class Bonds(NamedTuple):
    """The bonds of a neighbour list, one column per atom.

    Attributes:
      idx: (K, N) neighbours; N where there is none.
      vectors: (3, K, N) from the atom to its neighbour [Å].
      r: (K, N) lengths [Å]; padding is a quarter beyond the cut-off.
      inside: (K, N) bool, within the cut-off; True for a length that is not a number, which then
        shows in the result.
      own: (1, N) species of the atom, in the potential's order.
      other: (K, N) species of the neighbour; arbitrary for padding.
    """

    idx: Array
    vectors: Array
    r: Array
    inside: Array
    own: Array
    other: Array

    def total(self, values: Array) -> Array:
        """Σ of values (..., K, N) over the neighbours within the cut-off, (..., N)."""
        return jnp.sum(jnp.where(self.inside, values, 0.0), axis=-2)

    def of_neighbors(self, values: Array) -> Array:
        """Values (N, ...) of the atoms for their neighbours, (K, N, ...): messages of a network."""
        return jnp.take(values, self.idx, axis=0, mode="clip")

    def moved(self, vectors: Array) -> "Bonds":
        """The same bonds with other vectors."""
        return self._replace(vectors=vectors, r=_length(vectors))


class Curvature(NamedTuple):
    """Second derivatives of an energy that is ψ of bonds and F of sums ρ over them, bond by bond.

    Attributes:
      blocks: (3, 3, K, N) second derivative of ψ at frozen F' by the bond vector [eV/Å²].
      given: (3, K, N) ∂ρ_i/∂x_j, for the atom i and its neighbour j [1/Å].
      taken: (3, K, N) ∂ρ_j/∂x_i [1/Å].
      bend: (N,) F'' [eV].
    """

    blocks: Array
    given: Array
    taken: Array
    bend: Array


def _length(vectors: Array) -> Array:
    x, y, z = vectors
    return jnp.sqrt(x * x + y * y + z * z)


@jax.custom_jvp
def _length_apart(vectors: Array, anchor: Array) -> Array:
    """Lengths of vectors (3, K, N); what is multiplied by their slopes is evaluated once for all.

    XLA's CPU backend would evaluate the slope of the energy again for each component, at five times
    the cost.
    """
    del anchor
    return _length(vectors)


@_length_apart.defjvp
def _length_rule(primals, tangents):
    (vectors, anchor), (move, _) = primals, tangents
    r = _length_apart(vectors, anchor)

    def change(vectors, r, move):
        return jnp.sum(vectors / r * move, axis=0)

    return r, apart(change, anchor, vectors, r, move)


def bonds_of(atoms: Atoms, cutoff: float, anchor: Any = None) -> Bonds:
    """Bond vectors, lengths and species under a neighbour list; for the anchor see `apart`."""
    idx = tables.table(atoms.neighbors)
    parts = (
        geometry.minimum_image(jnp.take(column, idx, mode="clip") - column)
        for column in atoms.fractional.T
    )
    vectors = jnp.stack(geometry.cartesian(atoms.cell, *parts))
    # Well beyond the cut-off: at the cut-off rounding decides whether a table is still read.
    beyond = jnp.array([1.25 * cutoff, 0.0, 0.0], vectors.dtype)[:, None, None]
    vectors = jnp.where(idx < len(atoms.fractional), vectors, beyond)
    known = jax.tree.leaves(anchor)
    r = _length_apart(vectors, known[0]) if known else _length(vectors)
    other = jnp.take(atoms.species, idx, mode="clip")
    return Bonds(idx, vectors, r, ~(r >= cutoff), atoms.species[None], other)


class Potential(flax.struct.PyTreeNode):
    """Base of all potentials.

    Attributes:
      elements: labels of the species, chemical symbols or not; species index into them.
      cutoff: distance beyond which atoms have no bond [Å].
      masses: of the elements [amu]; None for the standard masses of chemical symbols.
      scales: units of the constants of minimisers.
    """

    elements: tuple[str, ...] = flax.struct.field(pytree_node=False, kw_only=True)
    cutoff: float = flax.struct.field(pytree_node=False, kw_only=True)
    masses: tuple[float, ...] | None = flax.struct.field(
        pytree_node=False, kw_only=True, default=None
    )
    scales: Scales = flax.struct.field(pytree_node=False, kw_only=True, default=METALS)
    coefficients: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays that may be scaled without moving a knot or the cut-off; empty: all."""

    def energies(self, bonds: Bonds) -> Array:
        """Energies of the atoms, (N,) [eV]: all that a potential must give.

        They depend smoothly on `bonds.vectors` or `bonds.r`, do not change when all is turned, and
        go to zero with the bonds that reach the cut-off. `Bonds.total` leaves padding out.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no energies of bonds")

    @property
    def inner_cutoff(self) -> float:
        """Shorter cut-off whose pairs should come first in a list [Å]."""
        return self.cutoff

    @property
    def half_lists(self) -> bool:
        """Whether forces need nothing but a half list (`neighbors.half_list`) on this platform."""
        return False

    def masses_of(self, elements: Sequence[str]) -> np.ndarray:
        """Masses of elements [amu].

        Raises:
          ValueError: an element that the potential does not know and that is none of chemistry.
        """
        if self.masses is None:
            return units.masses(tuple(elements))
        return np.array([self.masses[place] for place in self.places(elements)])

    def places(self, elements: Sequence[str]) -> list[int]:
        """Numbers of elements among those of the potential.

        Raises:
          ValueError: unknown element.
        """
        if set(elements) - set(self.elements):
            raise ValueError(
                f"the potential knows {', '.join(self.elements)}, but the elements are "
                f"{', '.join(elements)}; choose another potential or rename the elements"
            )
        return [self.elements.index(e) for e in elements]

    def renumbered(self, species: Array, elements: Sequence[str]) -> Array:
        """Numbers of the potential's elements for species that index into others; as `places`."""
        order = self.places(elements)
        if order == list(range(len(order))):
            return species
        return jnp.take(jnp.asarray(order, species.dtype), species, mode="clip")

    def atomic_energy(self, atoms: Atoms) -> Array:
        """Energies of the atoms, (N,) [eV].

        Raises:
          ValueError: `energies` gives anything else.
        """
        found, number = self.energies(bonds_of(atoms, self.cutoff, self)), len(atoms.fractional)
        if jnp.shape(found) != (number,):
            raise ValueError(
                f"{type(self).__name__}.energies must give a number for each of the {number} "
                f"atoms, got the shape {jnp.shape(found)}"
            )
        return found

    def energy(self, atoms: Atoms) -> Array:
        """Energy [eV]."""
        return jnp.sum(self.atomic_energy(atoms))

    def forces(self, atoms: Atoms) -> Array:
        """Forces on the atoms, (N, 3) [eV/Å]."""
        gradient = jax.grad(lambda moved: self.energy(atoms._replace(fractional=moved)))
        return -geometry.product(gradient(atoms.fractional), geometry.inverse(atoms.cell))

    def _derivatives(self, atoms: Atoms) -> tuple[Array, Array, Array]:
        """Energy [eV], forces (N, 3) [eV/Å] and virial (3, 3) [eV]."""

        def total(fractional: Array, cell: Array) -> Array:
            return self.energy(atoms._replace(fractional=fractional, cell=cell))

        found = jax.value_and_grad(total, argnums=(0, 1))(atoms.fractional, atoms.cell)
        energy, (by_position, by_cell) = found
        upper = jnp.triu(geometry.product(by_cell, atoms.cell.T))
        # The cell has no lower triangle, and the virial of an energy that may be turned is even.
        virial = upper + jnp.triu(upper, 1).T
        return energy, -geometry.product(by_position, geometry.inverse(atoms.cell)), virial

    def forces_and_virial(self, atoms: Atoms) -> tuple[Array, Array]:
        """Forces (N, 3) [eV/Å] and the virial of all atoms, (3, 3) [eV]."""
        return self._derivatives(atoms)[1:]

    def energy_and_virial(self, atoms: Atoms) -> tuple[Array, Array]:
        """Energy [eV] and virial (3, 3) [eV] of all atoms."""
        energy, _, virial = self._derivatives(atoms)
        return energy, virial

    def forces_and_trace(self, atoms: Atoms) -> tuple[Array, Array]:
        """Forces (N, 3) [eV/Å] and the trace of the virial [eV], in float64."""
        forces, virial = self.forces_and_virial(atoms)
        return forces, jnp.trace(virial).astype(jnp.float64)

    def atomic_virial(self, atoms: Atoms) -> Array:
        """Virials of the atoms, (N, 3, 3) [eV]: ½ Σ_j r_ij ⊗ ∂E/∂r_ij, each bond shared equally."""
        bonds = bonds_of(atoms, self.cutoff)
        pull = jax.grad(lambda vectors: jnp.sum(self.energies(bonds.moved(vectors))))(bonds.vectors)
        half = 0.5 * jnp.einsum("akn,bkn->knab", bonds.vectors, jnp.where(bonds.inside, pull, 0.0))
        whole = jnp.sum(half, axis=0).at[bonds.idx].add(half, mode="drop")
        # Bond by bond an energy of many bodies need not pull along the bond.
        return 0.5 * (whole + jnp.swapaxes(whole, 1, 2))

    def strain_gradient(self, atoms: Atoms) -> Array:
        """First derivative of each atom's energy by Green-Lagrange strain, (N, 3, 3) [eV]."""
        strained = self._strained(atoms)

        def along(generator: Array) -> Array:
            return jax.jvp(strained, (jnp.zeros((3, 3)),), (generator,))[1]

        return jax.lax.map(along, jnp.asarray(_GENERATORS))[_PLACE].transpose(2, 0, 1)

    def strain_curvature(self, atoms: Atoms) -> Array:
        """Second derivative of each atom's energy by the strain, (N, 3, 3, 3, 3) [eV]."""
        strained = self._strained(atoms)
        none = jnp.zeros((3, 3))
        first, second = np.triu_indices(6)
        place = np.zeros((6, 6), int)
        place[first, second] = place[second, first] = np.arange(len(first))

        def twice(pair: Array) -> Array:
            one, other = jnp.asarray(_GENERATORS)[pair]

            def along(strain: Array) -> Array:
                return jax.jvp(strained, (strain,), (one,))[1]

            return jax.jvp(along, (none,), (other,))[1]

        found = jax.lax.map(twice, jnp.stack([first, second], axis=1))
        return jnp.moveaxis(found[place[_PLACE[:, :, None, None], _PLACE]], -1, 0)

    def _strained(self, atoms: Atoms) -> Callable[[Array], Array]:
        """Energies of the atoms under a strain η (3, 3) of all bonds, right to second order."""
        bonds = bonds_of(atoms, self.cutoff)

        def energies(strain: Array) -> Array:
            # The root of 1 + 2 η, as far as two derivatives see it.
            stretch = jnp.eye(3) + strain - 0.5 * strain @ strain
            return self.energies(bonds.moved(jnp.einsum("ab,bkn->akn", stretch, bonds.vectors)))

        return energies

    def curvature(self, atoms: Atoms) -> Curvature | None:
        """Second derivatives bond by bond, where the potential has them in that form."""
        del atoms
        return None
