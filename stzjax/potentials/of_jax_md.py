"""An energy of jax-md as a potential: relaxed, sheared and described like any other.

The energy is called with the unit cube as its `box` and the cell as the `perturbation` of all
bonds. So its derivatives by positions and cell are the plain ones to any order, whereas jax-md's
own rule for fractional positions makes first derivatives Cartesian and mixed second ones wrong.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.potentials.potential import Atoms, Potential, Scales, bonds_of

FORMATS = ("Dense", "Sparse", "OrderedSparse")
"""jax-md's formats of lists: rows of neighbours, pairs in both directions, or in one."""


class Calling(NamedTuple):
    """How an energy is called.

    Attributes:
      format: format of its list, one of `FORMATS`.
      species: keyword for the species (N,); None where it takes none.
      mask_self: whether atoms are left out of their own neighbours.
      parameters: whether its first argument are the parameters.
    """

    format: str
    species: str | None
    mask_self: bool
    parameters: bool


class OfJaxMd(Potential):
    """An energy of jax-md.

    Attributes:
      parameters: its parameters; None where it holds them itself.
      function: the energy.
      calling: how it is called.
    """

    parameters: Any
    function: Callable = flax.struct.field(pytree_node=False, kw_only=True)
    calling: Calling = flax.struct.field(pytree_node=False, kw_only=True)

    def _called(self, atoms: Atoms, idx: Array, cell: Array) -> Array:
        """What the energy returns, () or (N,), in a cell that need not be upper triangular.

        Raises:
          ValueError: it does not take the atoms, or returns no energies.
        """
        count, calling = len(atoms.fractional), self.calling
        first = (self.parameters,) if calling.parameters else ()
        named = {calling.species: atoms.species} if calling.species else {}
        named |= {"neighbor": _listed(atoms.fractional, idx, calling)}
        from jax_md import space

        try:
            found = self.function(
                *first,
                atoms.fractional,
                box=jnp.eye(3, dtype=cell.dtype),
                perturbation=cell,
                **named,
            )
        except (TypeError, ValueError, space.UnexpectedBoxException) as error:
            said = str(error).splitlines()[0]
            raise ValueError(f"the energy function does not take {count} atoms: {said}") from error
        shape = jnp.shape(found)
        if shape not in ((), (count,), (count, 1)):
            raise ValueError(
                f"the energy function returned an array of shape {shape}, and not one energy or "
                f"those of the {count} atoms"
            )
        return jnp.reshape(found, shape[:1])

    def _value(self, atoms: Atoms, cell: Array) -> Array:
        return self._called(atoms, _within(atoms, self.cutoff), cell)

    def _shares(self, atoms: Atoms, cell: Array) -> Array:
        value = self._value(atoms, cell)
        if value.ndim == 0:
            _say_equal_shares()
            return jnp.broadcast_to(value / len(atoms.fractional), len(atoms.fractional))
        return value

    def energy(self, atoms: Atoms) -> Array:
        """Energy."""
        return jnp.sum(self._value(atoms, atoms.cell))

    def atomic_energy(self, atoms: Atoms) -> Array:
        """Energies of the atoms, (N,); equal shares where the energy tells only their sum."""
        return self._shares(atoms, atoms.cell)

    def atomic_virial(self, atoms: Atoms) -> Array:
        """Virials of the atoms, (N, 3, 3): changes of their energies with strain.

        The sum over the atoms is that of `Potential.atomic_virial`, whose shares of the bonds
        cannot be had here.
        """
        return self.strain_gradient(atoms)

    def _strained(self, atoms: Atoms) -> Callable[[Array], Array]:
        def energies(strain: Array) -> Array:
            stretch = jnp.eye(3) + strain - 0.5 * strain @ strain
            return self._shares(atoms, stretch @ atoms.cell)

        return energies


@functools.cache
def _say_equal_shares() -> None:
    logging.warning(
        "the energy function tells only the total energy: atomic energies and virials are equal "
        "shares of it"
    )


def _within(atoms: Atoms, cutoff: float) -> Array:
    """Neighbours closer than the cut-off, (K, N); the margin of a list must not be felt."""
    bonds = bonds_of(atoms, cutoff)
    return jnp.where(bonds.inside, bonds.idx, len(atoms.fractional))


def _listed(fractional: Array, idx: Array, calling: Calling) -> Any:
    """A table of neighbours (K, N) as a list of jax-md."""
    from jax_md import partition

    count = len(fractional)
    itself = jnp.arange(count, dtype=idx.dtype)
    if not calling.mask_self:
        idx = jnp.concatenate([idx, itself[None]])
    places = idx.T if calling.format == "Dense" else _pairs(idx, calling.format == "OrderedSparse")
    return partition.NeighborList(
        idx=places,
        reference_position=fractional,
        error=partition.PartitionError(jnp.zeros((), jnp.uint8)),
        cell_list_capacity=None,
        max_occupancy=places.shape[1],
        format=partition.NeighborListFormat[calling.format],
        cell_size=None,
        cell_list_fn=None,
        update_fn=None,
    )


def _pairs(idx: Array, once: bool) -> Array:
    """The bonds of a table (K, N) as pairs (2, P), in both directions or once; N behind the last.

    Graphs of jraph's have their edges first, then those that are none.
    """
    count = idx.shape[1]
    own = jnp.broadcast_to(jnp.arange(count, dtype=idx.dtype), idx.shape)
    kept = ((idx < count) & (own < idx if once else True)).reshape(-1)
    room = idx.size // 2 if once else idx.size
    place = jnp.where(kept, jnp.cumsum(kept) - 1, room)
    both = jnp.stack([own, idx]).reshape(2, -1)
    return jnp.full((2, room), count, idx.dtype).at[:, place].set(both, mode="drop")


def from_jax_md(
    energy_fn: Callable,
    elements: Sequence[str],
    cutoff: float,
    *,
    parameters: Any = None,
    format: str = "Dense",
    species: str | None = None,
    mask_self: bool = True,
    masses: Sequence[float] | None = None,
    scales: Scales | None = None,
    structure: Structure | None = None,
) -> OfJaxMd:
    """A potential of an energy of jax-md's, such as its `energy.*_neighbor_list` return.

        displacement, _ = space.periodic_general(cell, fractional_coordinates=True)
        _, energy_fn = energy.lennard_jones_neighbor_list(displacement, cell, per_particle=True)
        potential = potentials.from_jax_md(energy_fn, ("A",), cutoff=2.5, structure=structure)

    The energy must hand `box` and `perturbation` on to its displacement function, which must be one
    of `space.periodic_general`. In jax-md 0.2.29 the angles of Behler-Parrinello networks do so
    without `species` alone, and are right under "Dense" lists alone; give a `structure` to have
    such things found out.

    Args:
      energy_fn: energy_fn(R, neighbor=..., box=..., perturbation=...) of all atoms together, or of
        each (`per_particle`), which descriptors of single atoms need.
      elements: labels of the species.
      cutoff: distance beyond which atoms do not feel each other directly.
      parameters: arrays that energy_fn takes before R; the potential differentiates by them.
      format: shape of the lists, one of `FORMATS`.
      species: keyword for the species (N,), numbers into `elements`, in energy_fn.
      mask_self: False for graph networks with an edge from each atom to itself.
      masses: of the elements [amu]; those of chemical symbols are known.
      scales: units of the constants of minimisers, see `Scales`; those of metals by default.
      structure: atoms on which the energy is tried.

    Raises:
      ValueError: unknown format, a cut-off that is not positive, masses that do not fit the
        elements; or for the structure: unknown element, a cell smaller than twice the cut-off, an
        energy that is not finite, not one number per system or atom, or does not follow the cell.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if not 0.0 < cutoff < np.inf:
        raise ValueError(f"the cut-off must be positive, got {cutoff}")
    if masses is not None and len(masses) != len(elements):
        raise ValueError(f"there are {len(masses)} masses for {len(elements)} elements")
    made = OfJaxMd(
        parameters=parameters,
        function=energy_fn,
        calling=Calling(format, species, mask_self, parameters is not None),
        elements=tuple(elements),
        cutoff=float(cutoff),
        masses=None if masses is None else tuple(map(float, masses)),
        scales=scales or Scales(),
    )
    if structure is not None:
        _try(made, structure)
    return made


_DIFFERENT = 1e-4
"""Relative difference of two energies that should be equal; float32 inside a network is allowed."""


def _try(potential: OfJaxMd, structure: Structure) -> None:
    """Evaluate an energy where its value has to be the same, on the host."""
    species = potential.renumbered(structure.species, structure.elements)
    own = structure.replace(species=species, elements=potential.elements)
    near = lists.allocate(own, potential.cutoff, skin=0.0)
    atoms = Atoms(own.fractional, own.cell, species, near)
    first, moved, one, other = map(float, _equal_energies(potential, atoms))
    if not np.isfinite(first):
        raise ValueError(f"the energy function gives {first} for {own.num_atoms} atoms")
    if _differ(first, moved):
        raise ValueError(
            "the energy changes when all atoms move together: make it with the displacement of "
            "space.periodic_general"
        )
    if _differ(one, other):
        raise ValueError(
            "the energy does not follow the cell: a part of it does not hand `box` and "
            "`perturbation` on to the displacement"
        )


@jax.jit
def _equal_energies(potential: OfJaxMd, atoms: Atoms) -> tuple[Array, Array, Array, Array]:
    """Energies as they are, of atoms moved by half the cell, and twice without bonds across faces.

    Then all atoms stand in a share of the cell, which is larger in turn, so that all bonds keep
    their lengths whatever the share.
    """
    whole, idx = atoms.fractional, _within(atoms, potential.cutoff)
    there = jnp.take(whole, idx, axis=0, mode="clip")
    kept = jnp.where(jnp.max(jnp.abs(there - whole), axis=-1) < 0.5, idx, len(whole))

    def cluster(share: float) -> Array:
        inside = atoms._replace(fractional=0.5 + share * (whole - 0.5))
        return jnp.sum(potential._called(inside, kept, atoms.cell / share))

    moved = atoms._replace(fractional=geometry.wrap(whole + 0.5))
    return potential.energy(atoms), potential.energy(moved), cluster(0.9), cluster(0.7)


def _differ(one: float, other: float) -> bool:
    return not abs(one - other) <= _DIFFERENT * max(abs(one), abs(other))
