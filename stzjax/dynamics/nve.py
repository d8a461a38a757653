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
from stzjax.numerics import batching
from stzjax.potentials.eam import EAM


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
    key: Array, structure: Structure, potential: EAM, neighbors: Neighbors, temperature: float
) -> State:
    """State with Maxwell-Boltzmann momenta, without drift of the centre of mass.

    Args:
      key: random key.
      structure: N atoms; its dtype is that of the run.
      potential: in the same dtype.
      neighbors: valid list.
      temperature: [K].
    """
    dtype = structure.fractional.dtype
    mass = jnp.asarray(units.AMU * units.masses(structure.elements), dtype)
    mass = mass[structure.species][:, None]
    noise = jax.random.normal(key, structure.fractional.shape, dtype)
    momentum = noise * jnp.sqrt(mass * units.BOLTZMANN * temperature)
    momentum = momentum - mass * (jnp.sum(momentum, axis=0) / jnp.sum(mass))
    force = energetics.forces(structure, potential, neighbors)
    start = jnp.zeros((), jnp.int32)
    return State(structure, momentum.astype(dtype), force, mass, neighbors, start)


@functools.partial(jax.jit, static_argnames="width")
def run_many(
    states: State, potential: EAM, num_steps: Array, timestep: Array, width: int = 1
) -> State:
    """Advance many specimens; all stop when the list of one overflows, see `loop.advance`.

    Args:
      states: B specimens, the leading axis of every array.
      potential: in the dtype of the states.
      num_steps: (B,) steps to take; not static.
      timestep: [ps].
      width: neighbour lists rebuilt at a time.
    """
    timestep = jnp.asarray(timestep, states.momentum.dtype)

    def move(state: State) -> State:
        momentum = state.momentum + 0.5 * timestep * state.force
        structure = state.structure.displace(timestep * momentum / state.mass)
        return state.replace(structure=structure, momentum=momentum)

    def finish(state: State, potential: EAM) -> State:
        force = energetics.forces(state.structure, potential, state.neighbors)
        return state.replace(momentum=state.momentum + 0.5 * timestep * force, force=force)

    return loop.advance(states, potential, num_steps, move, finish, width)


def run(state: State, potential: EAM, num_steps: int, timestep: float) -> tuple[State, int]:
    """Advance one specimen, see `run_many`.

    Returns:
      The state after the last good step, whose `neighbors.overflow` says whether it was cut
      short, and the steps taken.
    """
    steps = jnp.asarray([num_steps], jnp.int32)
    after = batching.first(run_many(batching.one(state), potential, steps, timestep))
    return after, int(after.steps - state.steps)


def kinetic_energy(state: State) -> Array:
    """Kinetic energy [eV]."""
    return 0.5 * jnp.sum(state.momentum**2 / state.mass)
