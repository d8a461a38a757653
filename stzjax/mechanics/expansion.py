"""The expansion of the energy around a structure at rest, in displacements and strain.

One object holds what soft modes, linear response and stiffness have in common, so that it is made
once: the list of neighbours and the Hessian as an operator; `strain` has the derivatives by affine
strain. Everything here is pure and runs under `jit`, `vmap` and derivatives; `allocation` makes an
expansion of concrete arrays on the host.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, hessians
from stzjax.mechanics.hessians import Operator, Tiling
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential


class Expansion(flax.struct.PyTreeNode):
    """The energy around a structure of N atoms, as far as it was asked for.

    Attributes:
      structure: N atoms, at a minimum of the energy where a function here asks for it.
      potential: a potential that knows their elements.
      neighbors: a valid list for them.
      hessian: second derivative by the positions, an operator without derivatives: functions that
        can be differentiated take its change from `products`. None where nobody asked for it.
    """

    structure: Structure
    potential: Potential
    neighbors: Neighbors
    hessian: Operator | None = None

    def operator(self) -> Operator:
        """The Hessian of the structure.

        Raises:
          ValueError: it was not asked for.
        """
        if self.hessian is None:
            raise ValueError("this expansion has no Hessian: give `expand` the tiling")
        return self.hessian


def expand(
    structure: Structure,
    potential: Potential,
    neighbors: Neighbors | None = None,
    tiling: Tiling | None = None,
) -> Expansion:
    """The expansion of the energy of a structure, in compiled code too.

    Args:
      structure: N atoms.
      potential: a potential.
      neighbors: as in `energetics.energy`.
      tiling: static shape of the Hessian, from `allocation.tiling`; without it there is none.
    """
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    if tiling is None:
        return Expansion(structure, potential, neighbors)
    fixed, frozen = jax.lax.stop_gradient((structure, potential))
    hessian = hessians.assemble(fixed, frozen, neighbors, tiling)
    return Expansion(structure, potential, neighbors, hessian)


def forces(expansion: Expansion) -> Array:
    """First derivative by the positions with the opposite sign, (N, 3) [eV/Å]; zero at rest."""
    return energetics.forces(expansion.structure, expansion.potential, expansion.neighbors)


def products(expansion: Expansion, fields: Array) -> Array:
    """The Hessian times fields (N, 3, M) [Å], in eV/Å; differentiable, unlike `hessian`."""
    structure, potential, neighbors = expansion.structure, expansion.potential, expansion.neighbors

    def product(field: Array) -> Array:
        return energetics.hessian_vector_product(structure, potential, field, neighbors)

    return jax.vmap(product, in_axes=2, out_axes=2)(fields)


def third_order(expansion: Expansion, move: Array, fields: Array) -> Array:
    """The third derivative times a move (N, 3) [Å] and fields (N, 3, M) [Å], (N, 3, M) [eV/Å].

    It is the change of `products` along the move: Σ ∂³E/∂x∂x∂x · move · field.
    """

    def there(moved: Structure) -> Array:
        return products(expansion.replace(structure=moved), fields)

    return energetics.along(there, expansion.structure, move)


def affine_forces(expansion: Expansion) -> Array:
    """-Ξ: change of the forces per unit affine strain, (N, 3, 6) [eV/Å], in Voigt order.

    Engineering strain for the shears; see `loads.VOIGT`. At a minimum of the energy only.
    """
    structure = expansion.structure
    # At a minimum a simple shear and the symmetric one differ by a rotation, which brings no force.
    # The simple one keeps the cell upper triangular.
    generators = np.zeros((6, 3, 3))
    for place, (a, b) in enumerate(loads.VOIGT):
        generators[place, min(a, b), max(a, b)] = 1.0

    def strained(cell: Array) -> Array:
        return forces(expansion.replace(structure=structure.replace(cell=cell)))

    def along(generator: Array) -> Array:
        return jax.jvp(strained, (structure.cell,), (generator @ structure.cell,))[1]

    return jnp.moveaxis(jax.lax.map(along, jnp.asarray(generators)), 0, -1)
