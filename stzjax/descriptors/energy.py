"""Column of the potential energy of an atom."""

from jax import Array

from stzjax.descriptors.family import Family, Inputs
from stzjax.mechanics import energetics


def _measure(inputs: Inputs) -> Array:
    around = inputs.expansion
    return energetics.atomic_energy(around.structure, around.potential, around.neighbors)


FAMILY = Family("energy", ("potential_energy",), _measure, lambda energy, direction: [energy])
"""Energy of each atom [eV]."""
