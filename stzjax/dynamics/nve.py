"""Molecular dynamics at constant energy: velocity Verlet.

L. Verlet, Phys. Rev. 159, 98 (1967). For tests and benchmarks, and to watch a glass vibrate;
melts and quenches need `npt`.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import units
from stzjax.core.structure import Structure
from stzjax.dynamics import loop
from stzjax.mechanics import energetics
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential


class State(flax.struct.PyTreeNode):
    """State of a run of one specimen.

    Attributes:
      structure: current configuration.
      momentum: (N, 3) [eV ps/Å].
      force: (N, 3) [eV/Å].
      mass: (N, 1) [eV ps²/Å²].
      neighbors: list that is valid for the positions, unless it overflowed.
      steps: time steps taken since `init`.
    """

    structure: Structure
    momentum: Array
    force: Array
    mass: Array
    neighbors: Neighbors
    steps: Array


def init(
    key: Array, structure: Structure, potential: Potential, neighbors: Neighbors, temperature: float
) -> State:
    """State with Maxwell-Boltzmann momenta, without drift; arguments as `npt.init`."""
    dtype = structure.fractional.dtype
    mass = jnp.asarray(units.AMU * potential.masses_of(structure.elements), dtype)
    mass = mass[structure.species][:, None]
    noise = jax.random.normal(key, structure.fractional.shape, dtype)
    momentum = noise * jnp.sqrt(mass * units.BOLTZMANN * temperature)
    momentum = momentum - mass * (jnp.sum(momentum, axis=0) / jnp.sum(mass))
    force = energetics.forces(structure, potential, neighbors)
    start = jnp.zeros((), jnp.int32)
    return State(structure, momentum.astype(dtype), force, mass, neighbors, start)


@functools.partial(jax.jit, static_argnames="width", donate_argnames="states")
def run_many(
    states: State, potential: Potential, num_steps: Array, timestep: Array, width: int = 1
) -> State:
    """Advance many specimens by time steps in ps; other arguments as `loop.advance`.

    The arrays of `states` are given up: the result takes their place in memory.
    """
    timestep = jnp.asarray(timestep, states.momentum.dtype)

    def move(state: State) -> State:
        momentum = state.momentum + 0.5 * timestep * state.force
        structure = state.structure.displace(timestep * momentum / state.mass)
        return state.replace(structure=structure, momentum=momentum)

    def finish(state: State) -> State:
        force = energetics.forces(state.structure, potential, state.neighbors)
        return state.replace(momentum=state.momentum + 0.5 * timestep * force, force=force)

    return loop.advance(states, potential, num_steps, move, finish, width)


def run(state: State, potential: Potential, num_steps: int, timestep: float) -> tuple[State, int]:
    """Advance one specimen, see `loop.alone`."""
    return loop.alone(run_many, state, potential, num_steps, timestep)
