"""A potential handed to jax-md, as the pair of functions that it holds an energy by.

`neighbor_fn` makes and updates a list, `energy_fn` evaluates positions under it. jax-md passes the
cell as `box` and a change of it as `perturbation`, and wants Cartesian derivatives by fractional
positions.

S. Schoenholz and E. D. Cubuk, Adv. Neural Inf. Process. Syst. 33, 11428 (2020).
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.neighbors.tables import Neighbors
from stzjax.potentials.potential import Atoms, Potential


class ListForJaxMd(flax.struct.PyTreeNode):
    """A neighbour list with the manners of jax-md's.

    Attributes:
      neighbors: the list.
      atoms: species and elements of the atoms; its positions and cell are not looked at.
      fractional_coordinates: whether positions are fractional, or Cartesian.
    """

    neighbors: Neighbors
    atoms: Structure
    fractional_coordinates: bool = flax.struct.field(pytree_node=False, default=True)

    @property
    def idx(self) -> Array:
        """Neighbours of each atom, (N, K); N where there is none."""
        return lists.table(self.neighbors).T

    @property
    def reference_position(self) -> Array:
        """Positions when the list was made, (N, 3)."""
        cell = jnp.eye(3) if self.fractional_coordinates else self.neighbors.cell
        return geometry.product(self.neighbors.fractional, cell.T)

    @property
    def format(self) -> Any:
        """jax-md's name for the shape of `idx`."""
        from jax_md import partition

        return partition.Dense

    @property
    def did_buffer_overflow(self) -> Array:
        """Whether pairs are missing, so that a longer list has to be allocated."""
        return self.neighbors.overflow

    def update(self, position: Array, box: Array | None = None, **unused: Any) -> "ListForJaxMd":
        """The list itself while it is valid, a new one when it is not; in compiled code, too.

        Args:
          position: (N, 3) positions.
          box: cell, in any of jax-md's forms; by default that for which the list was made.
          unused: what tools of jax-md pass to all functions alike.
        """
        del unused
        cell = self.neighbors.cell if box is None else _cell(box)
        inside = _inside(position, cell, self.fractional_coordinates)
        here = self.atoms.replace(fractional=inside, cell=cell)
        return self.replace(neighbors=lists.update(self.neighbors, here))


def to_jax_md(
    potential: Potential, structure: Structure, fractional_coordinates: bool = True
) -> tuple[Any, Callable]:
    """A potential as jax-md has energies, `(neighbor_fn, energy_fn)`.

        neighbor_fn, energy_fn = potentials.to_jax_md(potential, structure)
        neighbors = neighbor_fn.allocate(structure.fractional, box=structure.cell)
        energy_fn(structure.fractional, neighbor=neighbors, box=structure.cell)

    Integrators take the shift of `space.periodic_general(cell, fractional_coordinates)`. The list
    notices shear and change of volume, unlike jax-md's. Derivatives by positions are Cartesian;
    those by the box are at fixed positions, which should be fractional then.

    `simulate.npt_nose_hoover` of jax-md 0.2.29 conserves its invariant on Cartesian positions
    alone: it displaces atoms by a term that is meant for those.

    Args:
      potential: a potential, prepared for long runs (`potentials.prepare`) or not.
      structure: N atoms; their cell is taken where no box is passed.
      fractional_coordinates: whether positions are fractional, or Cartesian.

    Returns:
      jax-md's `NeighborListFns`; and a function of positions (N, 3) and the keywords `neighbor`,
      `box` and `perturbation`, a factor or a matrix (3, 3) that acts on all bonds. It ignores other
      keywords, which jax-md's tools pass to all functions alike.

    Raises:
      ValueError: unknown element.
    """
    from jax_md import partition

    species = potential.renumbered(structure.species, structure.elements)
    own = structure.replace(species=species, elements=potential.elements)

    def allocate(position: Array, extra_capacity: int = 0, box=None, **unused) -> ListForJaxMd:
        del unused
        cell = own.cell if box is None else _cell(box)
        inside = _inside(jnp.asarray(position), cell, fractional_coordinates)
        here = own.replace(fractional=geometry.wrap(inside), cell=cell)
        near = _listed(here, potential, extra_capacity)
        return ListForJaxMd(near, own, fractional_coordinates)

    def update(position: Array, neighbors: ListForJaxMd, **others) -> ListForJaxMd:
        return neighbors.update(position, **others)

    def energy(position: Array, neighbor: ListForJaxMd, box=None, perturbation=None, **unused):
        del unused
        cell = own.cell if box is None else _cell(box)
        inside = _inside(position, cell, fractional_coordinates)
        if perturbation is not None:
            cell = _upper(_cell(perturbation) @ cell)
        return potential.energy(Atoms(inside, cell, own.species, neighbor.neighbors))

    return partition.NeighborListFns(allocate, update), energy


_SLACK, _SKIN, _GUARD = 1.15, 1.0, 0.2
"""Spare places of a list, and what it holds beyond the cut-off in units of the potential's length:
a margin that motion uses up, and one that is kept, for jax-md moves atoms and evaluates forces
between two looks at the list."""


def _listed(structure: Structure, potential: Potential, more: int) -> Neighbors:
    """A list with some more places for each atom than it needs, on the host."""
    room = max(float(geometry.heights(structure.cell).min()) / 2.0 - potential.cutoff, 0.0)
    # A quarter of the room is left to a cell that shrinks.
    guard = min(_GUARD * potential.scales.length, room / 4.0)
    skin = min(_SKIN * potential.scales.length, room / 2.0)
    reach, inner = potential.cutoff + guard, potential.inner_cutoff + guard
    found = lists.allocate(structure, reach, skin, _SLACK, inner)
    if more:
        slack = _SLACK * (1.0 + more / found.spec.capacity)
        found = lists.allocate(structure, reach, skin, slack, inner)
    return found


def _cell(box: Any) -> Array:
    """A matrix (3, 3) from a factor, the three sides of a box, or itself."""
    box = jnp.asarray(box)
    return box if box.ndim == 2 else box * jnp.eye(3)


def _inside(position: Array, cell: Array, fractional_coordinates: bool) -> Array:
    """Fractional positions, whose derivatives are by Cartesian ones in either case."""
    if fractional_coordinates:
        return _with_cartesian_slope(position, cell)
    return geometry.product(position, geometry.inverse(cell).T)


@jax.custom_jvp
def _with_cartesian_slope(fractional: Array, cell: Array) -> Array:
    """Fractional positions, whose changes are given as Cartesian ones."""
    del cell
    return fractional


@_with_cartesian_slope.defjvp
def _with_cartesian_slope_rule(primals, tangents):
    fractional, cell = primals
    move = geometry.product(tangents[0], geometry.inverse(cell).T)
    return _with_cartesian_slope(fractional, cell), move


def _upper(cell: Array) -> Array:
    """A cell turned so that it is upper triangular: the factor of Cholesky of its metric."""
    metric = cell.T @ cell
    a = jnp.sqrt(metric[0, 0])
    ab, ac = metric[0, 1] / a, metric[0, 2] / a
    b = jnp.sqrt(metric[1, 1] - ab * ab)
    bc = (metric[1, 2] - ab * ac) / b
    c = jnp.sqrt(metric[2, 2] - ac * ac - bc * bc)
    zero = jnp.zeros_like(a)
    return jnp.stack([jnp.stack(row) for row in ((a, ab, ac), (zero, b, bc), (zero, zero, c))])
