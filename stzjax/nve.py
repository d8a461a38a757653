"""Molecular dynamics at constant energy: velocity Verlet.

L. Verlet, Phys. Rev. 159, 98 (1967). For tests and benchmarks, and to watch a glass vibrate;
melts and quenches need `npt`.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax import energetics, units
from stzjax import neighbors as lists
from stzjax import structure as structures
from stzjax.neighbors import Neighbors
from stzjax.potentials.eam import EAM
from stzjax.structure import Structure


class State(flax.struct.PyTreeNode):
    """State of a run of one specimen.

    Attributes:
      structure: current configuration.
      momentum: (N, 3) [eV ps/Å].
      force: (N, 3) [eV/Å].
      mass: (N, 1) [eV ps²/Å²].
      neighbors: list that is valid for the positions, unless it overflowed.
    """

    structure: Structure
    momentum: Array
    force: Array
    mass: Array
    neighbors: Neighbors


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
    return State(structure, momentum.astype(dtype), force, mass, neighbors)


def step(state: State, potential: EAM, timestep: Array) -> State:
    """One time step [ps]."""
    momentum = state.momentum + 0.5 * timestep * state.force
    move = timestep * momentum / state.mass
    structure = structures.displace(state.structure, move)
    neighbors = lists.update(state.neighbors, structure)
    force = energetics.forces(structure, potential, neighbors)
    return state.replace(
        structure=structure,
        momentum=momentum + 0.5 * timestep * force,
        force=force,
        neighbors=neighbors,
    )


@jax.jit
def run(state: State, potential: EAM, num_steps: Array, timestep: Array) -> tuple[State, Array]:
    """Advance by a number of steps; stops before a step whose neighbour list overflows.

    Args:
      state: where to begin.
      potential: in the dtype of the state.
      num_steps: steps to take; not static.
      timestep: [ps].

    Returns:
      The state after the last good step, whose `neighbors.overflow` says whether it was cut
      short, and the steps taken.
    """
    timestep = jnp.asarray(timestep, state.momentum.dtype)

    def going(carry):
        state, taken = carry
        return (taken < num_steps) & ~state.neighbors.overflow

    def advance(carry):
        state, taken = carry
        after = step(state, potential, timestep)
        return lists.unless_overflowed(state, after), taken + ~after.neighbors.overflow

    return jax.lax.while_loop(going, advance, (state, jnp.zeros((), jnp.int32)))


def kinetic_energy(state: State) -> Array:
    """Kinetic energy [eV]."""
    return 0.5 * jnp.sum(state.momentum**2 / state.mass)
