"""Relaxation by `jax_md.minimize.fire_descent`, as a reference for `fire`.

It mixes velocities with max(‖F‖, 1e-3 eV/Å) and limits no displacement.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, fire
from stzjax.mechanics.fire import RelaxConfig, Relaxed
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential

GUARD = 0.2
"""What a list must hold beyond the cut-off, in units of the potential's length: jax-md's steps
evaluate forces at their end, and the list is looked after between two of them."""


@functools.partial(jax.jit, static_argnames="config")
def minimise(
    structure: Structure, potential: Potential, neighbors: Neighbors, config: RelaxConfig
) -> Relaxed:
    """Relaxation at fixed cell; arguments and result as those of `fire.minimise`.

    The list must hold `GUARD` beyond the cut-off.
    """
    from jax_md import minimize, space

    inverse, scales = geometry.inverse(structure.cell).T, potential.scales

    def at(positions: Array) -> Structure:
        inside = geometry.wrap(geometry.product(positions, inverse))
        return structure.replace(fractional=inside)

    def energy(positions: Array, neighbor: Neighbors) -> Array:
        return energetics.energy(at(positions), potential, neighbor)

    _, shift = space.periodic_general(structure.cell, fractional_coordinates=False)
    times = config.step * scales.time, config.max_step * scales.time
    begin, step = minimize.fire_descent(energy, shift, *times, n_min=config.min_uphill_delay)

    def going(carry: tuple[Any, Neighbors, Array]) -> Array:
        md, neighbors, count = carry
        residual = fire.largest_force(md.force)
        below = (residual > config.force_tolerance) & (count < config.max_iterations)
        return below & jnp.isfinite(residual) & ~neighbors.overflow

    def turn(carry: tuple[Any, Neighbors, Array]) -> tuple[Any, Neighbors, Array]:
        md, neighbors, count = carry
        after = step(md, neighbor=neighbors)
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, md)
        return after, lists.update(neighbors, at(after.position)), count + 1

    neighbors = lists.update(neighbors, structure)
    start = jax.tree.map(jnp.asarray, begin(structure.positions(), neighbor=neighbors))
    first = start, neighbors, jnp.ones((), jnp.int32)
    md, neighbors, count = jax.lax.while_loop(going, turn, first)
    residual = fire.largest_force(md.force)
    outcome = fire.outcome_of(residual, neighbors, config)
    return Relaxed(at(md.position), neighbors, residual, count, outcome)
