"""Molecular dynamics at constant temperature and pressure: jax-md's Nosé–Hoover chains and state.

The step is the Martyna-Tobias-Klein integrator of `jax_md.simulate.npt_nose_hoover` (Tuckerman
et al., J. Phys. A 39, 5629 (2006)) with two departures, measured in BUILD_NOTES.md: the virial is
kept in the state, so a step costs one force evaluation instead of two; and the fractional position
is not displaced by R (exp(x) - 1), a term that jax-md meant for Cartesian positions.
"""

import functools
from typing import Any, NamedTuple

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


class Ensemble(NamedTuple):
    """Constants of an NPT run; hashable.

    Attributes:
      timestep: [ps].
      pressure: [eV/Å³].
      thermostat_time: period of the thermostat [ps].
      barostat_time: period of the barostat [ps].
    """

    timestep: float = 0.002
    pressure: float = 0.0
    thermostat_time: float = 0.2
    barostat_time: float = 2.0


class State(flax.struct.PyTreeNode):
    """State of an NPT run of one specimen.

    Attributes:
      md: jax-md's `NPTNoseHooverState`; positions fractional, momenta in eV ps/Å.
      virial: trace of the virial, Σ r ∂E/∂r [eV].
      neighbors: list that is valid for the positions, unless it overflowed.
      species: (N,) index into `elements`.
      elements: chemical symbols; static.
    """

    md: Any
    virial: Array
    neighbors: Neighbors
    species: Array
    elements: tuple[str, ...] = flax.struct.field(pytree_node=False)

    @property
    def structure(self) -> Structure:
        """Current configuration."""
        return Structure(self.md.position, self.md.box, self.species, self.elements)


@functools.cache
def _chains(ensemble: Ensemble):
    from jax_md import simulate

    # One Trotter step per half step, as in LAMMPS: the chains are slow against the time step.
    plain = {"chain_length": 3, "chain_steps": 1, "sy_steps": 1}
    barostat = simulate.nose_hoover_chain(ensemble.timestep, tau=ensemble.barostat_time, **plain)
    thermostat = simulate.nose_hoover_chain(
        ensemble.timestep, tau=ensemble.thermostat_time, **plain
    )
    return barostat, thermostat


def init(
    key: Array,
    structure: Structure,
    potential: EAM,
    neighbors: Neighbors,
    temperature: Array,
    ensemble: Ensemble,
) -> State:
    """State with Maxwell-Boltzmann momenta, without drift of the centre of mass.

    Args:
      key: random key.
      structure: N atoms; its dtype is that of the run.
      potential: in the same dtype.
      neighbors: valid list.
      temperature: [K].
      ensemble: constants of the run.
    """
    from jax_md import simulate

    barostat, thermostat = _chains(ensemble)
    dtype = structure.fractional.dtype
    kT = jnp.asarray(units.BOLTZMANN * temperature, dtype)
    mass = jnp.asarray(units.AMU * units.masses(structure.elements), dtype)
    force, virial = energetics.forces_and_trace(structure, potential, neighbors)
    zero = jnp.zeros((), dtype)
    state = simulate.NPTNoseHooverState(
        position=structure.fractional,
        momentum=None,
        force=force,
        mass=mass[structure.species][:, None],
        reference_box=structure.cell,
        box_position=zero,
        box_momentum=zero,
        box_mass=_box_mass(structure.num_atoms, kT, ensemble),
        barostat=barostat.initialize(1, zero, kT),
        thermostat=None,
    )
    state = simulate.initialize_momenta(state, key, kT)
    kinetic = _kinetic(state.momentum, state.mass)
    state = state.set(thermostat=thermostat.initialize(force.size, kinetic, kT))
    # jax-md leaves Python numbers among the leaves; a compiled loop carries arrays of one type.
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), state)
    return State(state, virial, neighbors, structure.species, structure.elements)


def _box_mass(num_atoms: int, kT: Array, ensemble: Ensemble) -> Array:
    return 3 * (num_atoms + 1) * kT * ensemble.barostat_time**2


def _kinetic(momentum: Array, mass: Array) -> Array:
    return 0.5 * jnp.sum(momentum**2 / mass)


def _sinhc(x: Array) -> Array:
    """sinh(x) / x near zero."""
    square = x * x
    return 1.0 + square / 6.0 * (1.0 + square / 20.0 * (1.0 + square / 42.0))


def step(state: State, potential: EAM, temperature: Array, ensemble: Ensemble) -> State:
    """One time step at a temperature [K] that may change from step to step."""
    state = _step(state, potential, temperature, ensemble)
    # Some of jax-md's constants promote their result; the dtype of the run is kept.
    dtype = state.md.position.dtype
    return state.replace(md=jax.tree.map(lambda leaf: leaf.astype(dtype), state.md))


def _step(state: State, potential: EAM, temperature: Array, ensemble: Ensemble) -> State:
    barostat, thermostat = _chains(ensemble)
    md = state.md
    kT = jnp.asarray(units.BOLTZMANN * temperature, md.position.dtype)
    bath = thermostat.update_mass(md.thermostat, kT)
    piston = barostat.update_mass(md.barostat, kT)
    md = md.set(box_mass=_box_mass(state.species.shape[0], kT, ensemble))

    box_momentum, piston = barostat.half_step(md.box_momentum, piston, kT)
    momentum, bath = thermostat.half_step(md.momentum, bath, kT)
    md = md.set(momentum=momentum, box_momentum=box_momentum)
    state = _inner(state.replace(md=md), potential, ensemble)
    md = state.md

    bath = bath.set(kinetic_energy=_kinetic(md.momentum, md.mass))
    piston = piston.set(kinetic_energy=0.5 * md.box_momentum**2 / md.box_mass)
    momentum, bath = thermostat.half_step(md.momentum, bath, kT)
    box_momentum, piston = barostat.half_step(md.box_momentum, piston, kT)
    md = md.set(momentum=momentum, box_momentum=box_momentum, thermostat=bath, barostat=piston)
    return state.replace(md=md)


def _inner(state: State, potential: EAM, ensemble: Ensemble) -> State:
    """Velocity Verlet of atoms and cell between the half steps of the chains."""
    md, dt = state.md, ensemble.timestep
    alpha = 1.0 + 1.0 / state.species.shape[0]

    def push_box(md, virial):
        kinetic = 2.0 * _kinetic(md.momentum, md.mass)
        work = alpha * kinetic - virial - 3.0 * ensemble.pressure * structures.volume(md.box)
        return md.set(box_momentum=md.box_momentum + 0.5 * dt * work)

    def push_atoms(md):
        x = 0.5 * alpha * md.box_momentum / md.box_mass * dt
        kick = 0.5 * dt * md.force * _sinhc(0.5 * x) * jnp.exp(-0.5 * x)
        return md.set(momentum=md.momentum * jnp.exp(-x) + kick)

    md = push_atoms(push_box(md, state.virial))
    rate = md.box_momentum / md.box_mass
    md = md.set(box_position=md.box_position + rate * dt)
    half = 0.5 * rate * dt
    move = dt * md.momentum / md.mass * jnp.exp(half) * _sinhc(half)
    fractional = structures.wrap(md.position + move @ structures.inverse(md.box).T)
    md = md.set(position=fractional)
    state = state.replace(md=md)
    neighbors = lists.update(state.neighbors, state.structure)
    force, virial = energetics.forces_and_trace(state.structure, potential, neighbors)
    md = push_box(push_atoms(md.set(force=force)), virial)
    return state.replace(md=md, virial=virial, neighbors=neighbors)


def temperature(state: State) -> Array:
    """Instantaneous temperature [K], 3N degrees of freedom as jax-md counts."""
    degrees = state.md.momentum.size
    return 2.0 * _kinetic(state.md.momentum, state.md.mass) / (degrees * units.BOLTZMANN)


def pressure(state: State) -> Array:
    """Instantaneous pressure [eV/Å³]: kinetic part minus virial."""
    kinetic = 2.0 * _kinetic(state.md.momentum, state.md.mass)
    return (kinetic - state.virial) / (3.0 * structures.volume(state.md.box))


def density(structure: Structure) -> Array:
    """Mass density [g/cm³]."""
    mass = jnp.asarray(units.masses(structure.elements))[structure.species]
    return units.GRAM_PER_CM3 * jnp.sum(mass) / structures.volume(structure.cell)


def invariant(state: State, potential: EAM, temperature: Array, ensemble: Ensemble) -> Array:
    """Energy of the extended system [eV], conserved at constant temperature and pressure."""
    md = state.md
    kT = units.BOLTZMANN * temperature
    total = energetics.energy(state.structure, potential, state.neighbors)
    total += _kinetic(md.momentum, md.mass) + ensemble.pressure * structures.volume(md.box)
    total += 0.5 * md.box_momentum**2 / md.box_mass
    for chain in (md.thermostat, md.barostat):
        total += jnp.sum(chain.momentum**2 / (2.0 * chain.mass))
        total += kT * (chain.degrees_of_freedom * chain.position[0] + jnp.sum(chain.position[1:]))
    return total


@functools.partial(jax.jit, static_argnames="ensemble")
def run(
    state: State,
    potential: EAM,
    num_steps: Array,
    start: Array,
    slope: Array,
    ensemble: Ensemble,
) -> tuple[State, Array]:
    """Advance by a number of steps while the temperature changes linearly.

    Stops where it is when the neighbour list overflows: the overflowing step is not taken.

    Args:
      state: where to begin.
      potential: in the dtype of the state.
      num_steps: steps to take; not static.
      start: temperature of the first step [K].
      slope: change of the temperature per step [K].
      ensemble: constants of the run.

    Returns:
      The state after the last good step, whose `neighbors.overflow` says whether it was cut
      short, and the steps taken.
    """

    def going(carry):
        state, taken = carry
        return (taken < num_steps) & ~state.neighbors.overflow

    def advance(carry):
        state, taken = carry
        after = step(state, potential, start + slope * taken, ensemble)
        return lists.unless_overflowed(state, after), taken + ~after.neighbors.overflow

    return jax.lax.while_loop(going, advance, (state, jnp.zeros((), jnp.int32)))
