"""Atomic stress: the virial of an atom over the volume of its Voronoi cell."""

import jax.numpy as jnp
from jax import Array

from stzjax.core import loads
from stzjax.descriptors.family import Family
from stzjax.mechanics import energetics
from stzjax.mechanics.expansion import Expansion

_COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))


def atomic_stress(expansion: Expansion, volume: Array) -> Array:
    """Stress of each atom, (N, 3, 3) [eV/Å³]; potential part only (T = 0), positive in tension.

    The average weighted with the volumes (N,) [Å³], such as those of `voronoi.tessellate`, is
    `energetics.stress`. The Hessian is not needed.
    """
    virial = energetics.atomic_virial(expansion.structure, expansion.potential, expansion.neighbors)
    return virial / volume[:, None, None]


def _project(stress: Array, direction: str) -> list[Array]:
    turned = loads.rotate(jnp.asarray(stress), loads.rotation(direction))
    return [turned[:, a, b] for a, b in _COMPONENTS]


FAMILY = Family(
    "stress",
    ("s11", "s22", "s33", "s12", "s23", "s31"),
    lambda inputs: atomic_stress(inputs.expansion, inputs.volume),
    _project,
)
"""Components of the atomic stress in the frame of the load [eV/Å³]."""
