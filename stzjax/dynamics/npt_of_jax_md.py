"""The time step of jax-md's own integrator, as a reference for `npt`.

`jax_md.simulate.npt_nose_hoover` on Cartesian positions, since on fractional ones it displaces
atoms by a term that is meant for Cartesian ones. It evaluates the virial of a configuration twice
and holds time step and periods in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential


def step(
    md: Any, start: Structure, potential: Potential, neighbors: Neighbors, **constants: Any
) -> Any:
    """jax-md's state one time step later.

    Args:
      md: state of a specimen in float64, its positions fractional.
      start: its configuration.
      potential: a potential.
      neighbors: valid list that holds `fire_of_jax_md.GUARD` beyond the cut-off.
      constants: arguments of `simulate.npt_nose_hoover`, but for energy and shift.
    """
    from jax_md import simulate, space

    def energy(positions: Array, box: Array, perturbation=1.0, **unused) -> Array:
        del unused
        fractional = geometry.product(positions, geometry.inverse(box).T)
        atoms = start.replace(fractional=fractional, cell=perturbation * box)
        return energetics.energy(atoms, potential, neighbors)

    _, shift = space.periodic_general(start.cell, fractional_coordinates=False)
    _, advance = simulate.npt_nose_hoover(energy, shift, **constants)
    after = advance(md.set(position=start.positions()))
    inside = geometry.product(after.position, geometry.inverse(after.box).T)
    after = after.set(position=geometry.wrap(inside))
    return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, md)
