"""Base of the embedded-atom potentials: the functions that each of them offers.

    E = Σ_i F_{s(i)}(ρ_i) + ½ Σ_{i≠j} φ_{s(i)s(j)}(r_ij),   ρ_i = Σ_{j≠i} ρ_{s(i)s(j)}(r_ij)

The density at atom i depends on both species (Finnis-Sinclair form); eam/alloy is the case where
it depends on the source j alone. A potential is a pytree: its parameters are array leaves, so it
goes through `jit`, `vmap` and `grad` as an argument.
"""

from collections.abc import Callable, Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array


class EAM(flax.struct.PyTreeNode):
    """Base of the embedded-atom potentials.

    The functions of a subclass act elementwise on arrays that broadcast together.

    Attributes:
      elements: chemical symbols; species index into them.
      cutoff: distance from which every function of r is zero [Å].
      density_cutoff: distance from which every density is zero [Å]; at most `cutoff`.
      core: below this distance `pair` has branches that few pairs need [Å]; zero if it has none.
      symmetric: the density does not change when receiver and source are exchanged.
    """

    elements: tuple[str, ...] = flax.struct.field(pytree_node=False, kw_only=True)
    cutoff: float = flax.struct.field(pytree_node=False, kw_only=True)
    density_cutoff: float = flax.struct.field(pytree_node=False, kw_only=True)
    core: float = flax.struct.field(pytree_node=False, kw_only=True, default=0.0)
    symmetric: bool = flax.struct.field(pytree_node=False, kw_only=True, default=False)

    @property
    def anchor(self) -> Array:
        """A parameter, whose value the compiler does not know: for `unfused.apart`."""
        return jax.tree.leaves(self)[0]

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

    def renumbered(self, species: Array, elements: Sequence[str]) -> Array:
        """Numbers of the potential's elements for species that index into other elements.

        Raises:
          ValueError: unknown element.
        """
        if missing := [e for e in elements if e not in self.elements]:
            raise ValueError(
                f"the potential knows {', '.join(self.elements)}, but the structure holds "
                f"{', '.join(missing)}; choose another potential or rename the elements"
            )
        order = [self.elements.index(e) for e in elements]
        if order == list(range(len(order))):
            return species
        return jnp.take(jnp.asarray(order, species.dtype), species, mode="clip")


def slope(function: Callable[[Array], Array], x: Array) -> Array:
    """Derivative of an elementwise function, by forward mode."""
    return jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


def value_and_slope(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """An elementwise function and its derivative in one pass."""
    return jax.jvp(function, (x,), (jnp.ones_like(x),))
