"""Atomic stiffness: of Born, at frozen atoms, and relaxed, with their non-affine motion.

The Born stiffness of an atom is the curvature of its energy by affine strain (`mechanics.strain`)
over its volume; the relaxed moduli of a glass are smaller, since the first derivative by strain
also changes along the non-affine velocity field.

J. F. Lutsko, J. Appl. Phys. 65, 2991 (1989), for the atomic level and for the relaxed moduli.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import loads
from stzjax.core.loads import VOIGT
from stzjax.core.structure import Structure
from stzjax.descriptors.family import Family
from stzjax.mechanics import energetics, strain
from stzjax.mechanics.expansion import Expansion

PLACE = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Number of each pair of axes in the order of `VOIGT`."""


def atomic_stiffness(around: Expansion, volume: Array) -> Array:
    """Born stiffness of each atom with respect to Green-Lagrange strain, (N, 3, 3, 3, 3) [eV/Å³].

    The average weighted with the volumes is the affine stiffness of the structure. Pair energies
    are shared equally, embedding energies belong to the atom, as in `energetics.atomic_energy`.
    Volumes (N,) [Å³] such as those of `voronoi.tessellate`; the Hessian is not needed.
    """
    born = strain.curvature(around.structure, around.potential, around.neighbors)
    return born / volume[:, None, None, None, None]


def relaxed_stiffness(around: Expansion, born: Array, volume: Array, fields: Array) -> Array:
    """Stiffness of each atom when all follow the strain as they like, (N, 3, 3, 3, 3) [eV/Å³].

    The change of ∂E_i/∂η, over the volume, with the strain. The average weighted with the volumes
    is the stiffness of the relaxed structure; atom by atom the first pair of indices (what
    changes) and the last pair (the strain) do not commute.

    Args:
      around: expansion of N atoms at a minimum of the energy.
      born: (N, 3, 3, 3, 3) from `atomic_stiffness` [eV/Å³].
      volume: (N,) as in `atomic_stiffness` [Å³].
      fields: (6, N, 3) from `linear_response` [Å].
    """
    change = _along(around, fields) / volume[:, None, None, None]
    return born + change[..., PLACE]


@jax.jit
def _along(around: Expansion, fields: Array) -> Array:
    """Change of the strain derivative of each atom's energy along fields, (N, 3, 3, 6) [eV]."""

    def gradient(moved: Structure) -> Array:
        return strain.gradient(moved, around.potential, around.neighbors)

    def single(field: Array) -> Array:
        return energetics.along(gradient, around.structure, field)

    return jnp.moveaxis(jax.lax.map(single, fields), 0, -1)


def to_voigt(tensor: Array) -> Array:
    """Stiffness tensors (..., 3, 3, 3, 3) as matrices (..., 6, 6), in the order of `VOIGT`."""
    first, second = np.array(VOIGT).T
    return tensor[..., first[:, None], second[:, None], first, second]


def column_of_load(tensor: Array, direction: str) -> list[Array]:
    """Components 14 to 64 of tensors (N, 3, 3, 3, 3) in the frame of a load, (N,) each."""
    turned = to_voigt(loads.rotate(jnp.asarray(tensor), loads.rotation(direction)))
    return list(turned[:, :, 3].T)


FAMILY = Family(
    "stiffness",
    ("C14", "C24", "C34", "C44", "C54", "C64"),
    lambda inputs: inputs.stiffness,
    column_of_load,
)
"""Born stiffness [eV/Å³]; C14 is the Voigt component 11,23 in the frame of the load, see
`loads.VOIGT`."""
