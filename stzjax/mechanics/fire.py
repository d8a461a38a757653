"""FIRE at fixed cell, compiled: the way of a structure to a local minimum of its energy.

E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), with the mid-step correction of
J. Guénolé et al., Comput. Mater. Sci. 175, 109584 (2020) (no inertia on the way uphill).

jax-md's `minimize.fire_descent` is not used: it mixes with max(‖F‖, 1e-3), which the tight
tolerances of the shear loop live far below, and stores its parameters in reduced precision.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential, Scales

CONVERGED, OUT_OF_ITERATIONS, OVERFLOW, NOT_FINITE = range(4)
OUTCOMES = ("converged", "out of iterations", "neighbour overflow", "not finite")
"""Names of the outcome codes."""


class RelaxConfig(NamedTuple):
    """Settings of FIRE; hashable, so a change recompiles.

    Attributes:
      force_tolerance: done when the largest force norm is at most this [eV/Å].
      max_iterations: give up after that many force evaluations.
      step: first time step, in units of length/√energy of the potential's scales for unit masses;
        those of metals are 1 Å and 1 eV.
      max_step: largest time step, in the same units.
      max_move: largest displacement of an atom in one iteration, in units of the length.
      min_uphill_delay: downhill iterations before the step may grow.
      grow: factor of the time step going downhill.
      shrink: factor of the time step after going uphill.
      mixing: first mixing of velocity and force direction.
      mixing_decay: factor of the mixing going downhill.
      engine: "own" or "jax_md", this FIRE or that of jax-md as a reference.
    """

    force_tolerance: float = 1e-6
    max_iterations: int = 20_000
    step: float = 0.25
    max_step: float = 0.3
    max_move: float = 0.1
    min_uphill_delay: int = 5
    grow: float = 1.1
    shrink: float = 0.5
    mixing: float = 0.2
    mixing_decay: float = 0.99
    engine: str = "own"


class Fire(NamedTuple):
    """Inertia of FIRE.

    Attributes:
      velocity: (N, 3) [√eV] for unit masses.
      step: time step.
      mixing: mixing of velocity and force direction.
      downhill: iterations since the last uphill one.
    """

    velocity: Array
    step: Array
    mixing: Array
    downhill: Array


def at_rest(field: Array, config: RelaxConfig, scales: Scales) -> Fire:
    """Inertia before the first iteration, for a field (N, 3) of the atoms."""
    first = config.step * scales.time
    step, mixing = (jnp.asarray(x, field.dtype) for x in (first, config.mixing))
    return Fire(jnp.zeros_like(field), step, mixing, downhill=jnp.zeros((), jnp.int32))


def fire_move(fire: Fire, force: Array, config: RelaxConfig, scales: Scales) -> tuple[Fire, Array]:
    """One iteration of FIRE with semi-implicit Euler, by the forces (N, 3) [eV/Å].

    Returns:
      The inertia, and the displacement (N, 3) [Å].
    """
    power = jnp.sum(force * fire.velocity)
    uphill = power < 0
    downhill = jnp.where(uphill, 0, fire.downhill + 1)
    confident = downhill > config.min_uphill_delay
    grown = jnp.minimum(fire.step * config.grow, config.max_step * scales.time)
    step = jnp.where(confident, grown, fire.step)
    step = jnp.where(uphill, fire.step * config.shrink, step)
    mixing = fire.mixing * jnp.where(confident, config.mixing_decay, 1.0)
    mixing = jnp.where(uphill, config.mixing, mixing)
    # Uphill: half a step back along the old velocity, then start again from rest.
    back = jnp.where(uphill, -0.5 * fire.step, 0.0) * fire.velocity
    velocity = jnp.where(uphill, 0.0, fire.velocity) + step * force
    tiny = jnp.finfo(velocity.dtype).tiny
    ratio = jnp.sqrt(jnp.sum(velocity**2) / jnp.maximum(jnp.sum(force**2), tiny))
    velocity = (1.0 - mixing) * velocity + mixing * ratio * force
    move = limited(step * velocity + back, config.max_move * scales.length)
    return Fire(velocity, step, mixing, downhill), move


def limited(move: Array, longest: float) -> Array:
    """Displacements (N, 3) scaled down so that none is longer than a limit [Å]."""
    length = jnp.sqrt(jnp.max(jnp.sum(move**2, axis=-1)))
    return move * jnp.minimum(1.0, longest / jnp.maximum(length, jnp.finfo(move.dtype).tiny))


def largest_force(force: Array) -> Array:
    """Largest norm of the forces (N, 3) [eV/Å]."""
    return jnp.sqrt(jnp.max(jnp.sum(force**2, axis=-1)))


class Relaxed(NamedTuple):
    """A relaxed structure with the outcome of the search.

    Attributes:
      structure: the last configuration.
      neighbors: its neighbour list.
      residual: largest force norm [eV/Å].
      iterations: force evaluations.
      outcome: CONVERGED, OUT_OF_ITERATIONS, OVERFLOW or NOT_FINITE.
    """

    structure: Structure
    neighbors: Neighbors
    residual: Array
    iterations: Array
    outcome: Array

    @property
    def converged(self) -> bool:
        """Whether the force tolerance was reached."""
        return bool(self.outcome == CONVERGED)


def outcome_of(residual: Array, neighbors: Neighbors, config: RelaxConfig) -> Array:
    """Outcome of a search that ended with a largest force [eV/Å]."""
    outcome = jnp.where(residual <= config.force_tolerance, CONVERGED, OUT_OF_ITERATIONS)
    outcome = jnp.where(jnp.isfinite(residual), outcome, NOT_FINITE)
    return jnp.where(neighbors.overflow, OVERFLOW, outcome)


class _State(NamedTuple):
    """A configuration with its list and forces, the inertia, and the force evaluations so far."""

    structure: Structure
    neighbors: Neighbors
    force: Array
    fire: Fire
    iterations: Array


def minimise(
    structure: Structure, potential: Potential, neighbors: Neighbors, config: RelaxConfig
) -> Relaxed:
    """FIRE to convergence as one compiled loop: pure, for `jit` and `vmap`.

    Ends early, with its outcome, on neighbour overflow and on forces that are not finite.
    """

    def arrived(structure: Structure, neighbors: Neighbors, fire: Fire, iterations) -> _State:
        neighbors = lists.update(neighbors, structure)
        force = energetics.forces(structure, potential, neighbors)
        return _State(structure, neighbors, force, fire, iterations)

    def going(state: _State) -> Array:
        residual = largest_force(state.force)
        # A NaN residual compares False and so ends the loop.
        return (
            (residual > config.force_tolerance)
            & (state.iterations < config.max_iterations)
            & ~state.neighbors.overflow
            & jnp.isfinite(residual)
        )

    def turn(state: _State) -> _State:
        fire, move = fire_move(state.fire, state.force, config, potential.scales)
        return arrived(state.structure.displace(move), state.neighbors, fire, state.iterations + 1)

    rest = at_rest(structure.fractional, config, potential.scales)
    start = arrived(structure, neighbors, rest, jnp.ones((), jnp.int32))
    state = jax.lax.while_loop(going, turn, start)
    residual = largest_force(state.force)
    outcome = outcome_of(residual, state.neighbors, config)
    return Relaxed(state.structure, state.neighbors, residual, state.iterations, outcome)
