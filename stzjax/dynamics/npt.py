"""Molecular dynamics at constant temperature and pressure: jax-md's Nosé–Hoover chains and state.

The step is the Martyna-Tobias-Klein integrator of `jax_md.simulate.npt_nose_hoover` (Tuckerman
et al., J. Phys. A 39, 5629 (2006)) with two departures, see BUILD_NOTES.md: the virial is
kept in the state, so a step costs one force evaluation instead of two; and the fractional position
is not displaced by R (exp(x) - 1), a term that jax-md meant for Cartesian positions.

Positions, momenta and forces have the dtype of the structure; the cell, the chains and the sums
over atoms that drive them are float64 in any case.
"""

import functools
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry, units
from stzjax.core.structure import Structure
from stzjax.dynamics import loop, npt_of_jax_md
from stzjax.mechanics import energetics
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential


class Ensemble(NamedTuple):
    """Constants of an NPT run; hashable.

    Attributes:
      timestep: [ps].
      pressure: [eV/Å³].
      thermostat_time: period of the thermostat [ps].
      barostat_time: period of the barostat [ps].
      engine: "own" or "jax_md", the integrator of this module or the reference `npt_of_jax_md`.
    """

    timestep: float = 0.002
    pressure: float = 0.0
    thermostat_time: float = 0.2
    barostat_time: float = 2.0
    engine: str = "own"


class State(flax.struct.PyTreeNode):
    """State of an NPT run of one specimen.

    Attributes:
      md: jax-md's `NPTNoseHooverState`; positions fractional, momenta in eV ps/Å.
      virial: trace of the virial, Σ r ∂E/∂r [eV].
      neighbors: list that is valid for the positions, unless it overflowed.
      steps: time steps taken since `init`.
      species: (N,) index into `elements`.
      elements: chemical symbols; static.
    """

    md: Any
    virial: Array
    neighbors: Neighbors
    steps: Array
    species: Array
    elements: tuple[str, ...] = flax.struct.field(pytree_node=False)

    @property
    def structure(self) -> Structure:
        """Current configuration."""
        cell = self.md.box.astype(self.md.position.dtype)
        return Structure(self.md.position, cell, self.species, self.elements)


# One Trotter step per half step, as in LAMMPS: the chains are slow against the time step.
_CHAIN = {"chain_length": 3, "chain_steps": 1, "sy_steps": 1}
"""Length of the chains and their steps."""


@functools.cache
def _chains(ensemble: Ensemble):
    from jax_md import simulate

    barostat = simulate.nose_hoover_chain(ensemble.timestep, tau=ensemble.barostat_time, **_CHAIN)
    thermostat = simulate.nose_hoover_chain(
        ensemble.timestep, tau=ensemble.thermostat_time, **_CHAIN
    )
    return barostat, thermostat


def init(
    key: Array,
    structure: Structure,
    potential: Potential,
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
    kT = jnp.asarray(units.BOLTZMANN * temperature, jnp.float64)
    mass = jnp.asarray(units.AMU * potential.masses_of(structure.elements), dtype)
    force, virial = energetics.forces_and_trace(structure, potential, neighbors)
    zero = jnp.zeros((), jnp.float64)
    state = simulate.NPTNoseHooverState(
        position=structure.fractional,
        momentum=None,
        force=force,
        mass=mass[structure.species][:, None],
        reference_box=structure.cell.astype(jnp.float64),
        box_position=zero,
        box_momentum=zero,
        box_mass=_box_mass(structure.num_atoms, kT, ensemble),
        barostat=barostat.initialize(1, zero, kT),
        thermostat=None,
    )
    state = simulate.initialize_momenta(state, key, kT.astype(dtype))
    kinetic = _kinetic(state.momentum, state.mass)
    state = state.set(thermostat=thermostat.initialize(force.size, kinetic, kT))
    start, species = jnp.zeros((), jnp.int32), structure.species
    return State(_like(state, dtype), virial, neighbors, start, species, structure.elements)


def _like(md: Any, dtype) -> Any:
    """The state with the arrays of atoms in the dtype of the run, all else in float64."""
    atoms = {
        name: getattr(md, name).astype(dtype) for name in ("position", "momentum", "force", "mass")
    }
    # jax-md leaves Python numbers among the leaves; a compiled loop carries arrays.
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), md).set(**atoms)


def _box_mass(num_atoms: int, kT: Array, ensemble: Ensemble) -> Array:
    return 3 * (num_atoms + 1) * kT * ensemble.barostat_time**2


def _kinetic(momentum: Array, mass: Array) -> Array:
    return 0.5 * jnp.sum(momentum**2 / mass, dtype=jnp.float64)


def _sinhc(x: Array) -> Array:
    """sinh(x) / x near zero."""
    square = x * x
    return 1.0 + square / 6.0 * (1.0 + square / 20.0 * (1.0 + square / 42.0))


def _move(state: State, kT: Array, ensemble: Ensemble) -> State:
    """Half steps of the chains, then cell and atoms to where they are next."""
    barostat, thermostat = _chains(ensemble)
    md, dt = state.md, ensemble.timestep
    dtype = md.position.dtype
    bath = thermostat.update_mass(md.thermostat, kT)
    piston = barostat.update_mass(md.barostat, kT)
    md = md.set(box_mass=_box_mass(state.species.shape[0], kT, ensemble))
    box_momentum, piston = barostat.half_step(md.box_momentum, piston, kT)
    momentum, bath = thermostat.half_step(md.momentum, bath, kT)
    md = md.set(momentum=momentum, box_momentum=box_momentum, thermostat=bath, barostat=piston)
    md = _push_atoms(_push_box(md, state.virial, ensemble), ensemble)
    rate = md.box_momentum / md.box_mass
    md = md.set(box_position=md.box_position + rate * dt)
    half = 0.5 * rate * dt
    move = (dt * jnp.exp(half) * _sinhc(half)).astype(dtype) * md.momentum / md.mass
    change = geometry.product(move, geometry.inverse(md.box).T.astype(dtype))
    md = md.set(position=geometry.wrap(md.position + change))
    return state.replace(md=_like(md, dtype))


def _finish(state: State, potential: Potential, kT: Array, ensemble: Ensemble) -> State:
    """Forces where the atoms are now, and the second half of the step."""
    barostat, thermostat = _chains(ensemble)
    dtype = state.md.position.dtype
    force, virial = energetics.forces_and_trace(state.structure, potential, state.neighbors)
    md = _push_atoms(state.md.set(force=force), ensemble)
    md = _push_box(md, virial, ensemble)
    bath = md.thermostat.set(kinetic_energy=_kinetic(md.momentum, md.mass))
    piston = md.barostat.set(kinetic_energy=0.5 * md.box_momentum**2 / md.box_mass)
    momentum, bath = thermostat.half_step(md.momentum, bath, kT)
    box_momentum, piston = barostat.half_step(md.box_momentum, piston, kT)
    md = md.set(momentum=momentum, box_momentum=box_momentum, thermostat=bath, barostat=piston)
    return state.replace(md=_like(md, dtype), virial=virial)


def _by_jax_md(state: State, potential: Potential, kT: Array, ensemble: Ensemble) -> State:
    """A whole step by jax-md's integrator, which keeps no virial: that of the start stays."""
    taus = {
        "barostat_kwargs": ensemble.barostat_time,
        "thermostat_kwargs": ensemble.thermostat_time,
    }
    chains = {name: {**_CHAIN, "tau": tau} for name, tau in taus.items()}
    given = {"dt": ensemble.timestep, "pressure": ensemble.pressure, "kT": kT, **chains}
    md = npt_of_jax_md.step(state.md, state.structure, potential, state.neighbors, **given)
    finite = jnp.isfinite(jnp.sum(md.force))
    return state.replace(md=md, virial=jnp.where(finite, state.virial, jnp.nan))


def _coupling(md: Any) -> float:
    """1 + 1/N: how strongly the motion of the cell acts on that of the atoms."""
    return 1.0 + 1.0 / md.position.shape[0]


def _push_box(md: Any, virial: Array, ensemble: Ensemble) -> Any:
    kinetic = 2.0 * _kinetic(md.momentum, md.mass)
    work = _coupling(md) * kinetic - virial
    work = work - 3.0 * ensemble.pressure * geometry.volume(md.box)
    return md.set(box_momentum=md.box_momentum + 0.5 * ensemble.timestep * work)


def _push_atoms(md: Any, ensemble: Ensemble) -> Any:
    dtype, dt = md.position.dtype, ensemble.timestep
    x = 0.5 * _coupling(md) * md.box_momentum / md.box_mass * dt
    kick = (0.5 * dt * _sinhc(0.5 * x) * jnp.exp(-0.5 * x)).astype(dtype) * md.force
    return md.set(momentum=md.momentum * jnp.exp(-x).astype(dtype) + kick)


def temperature(state: State) -> Array:
    """Instantaneous temperature [K], 3N degrees of freedom as jax-md counts."""
    degrees = state.md.momentum.size
    return 2.0 * _kinetic(state.md.momentum, state.md.mass) / (degrees * units.BOLTZMANN)


def density(state: State) -> Array:
    """Mass density [g/cm³]."""
    mass = jnp.sum(state.md.mass, dtype=jnp.float64) / units.AMU
    return units.GRAM_PER_CM3 * mass / geometry.volume(state.md.box)


@functools.partial(jax.jit, static_argnames=("ensemble", "width"), donate_argnames="states")
def run_many(
    states: State,
    potential: Potential,
    num_steps: Array,
    start: Array,
    slope: Array,
    ensemble: Ensemble,
    width: int = 1,
) -> State:
    """Advance many specimens, each with its own cell and thermostat; arguments as `loop.advance`.

    The temperature [K] is `start` in step 0 and changes by `slope` in each step. It depends on the
    number of the step alone, so a run in pieces is the whole run. The arrays of `states` are given
    up: the result takes their place in memory.
    """

    def kT(state: State) -> Array:
        return units.BOLTZMANN * (start + slope * state.steps.astype(jnp.float64))

    def move(state: State) -> State:
        return state if ensemble.engine == "jax_md" else _move(state, kT(state), ensemble)

    def finish(state: State) -> State:
        form = _by_jax_md if ensemble.engine == "jax_md" else _finish
        return form(state, potential, kT(state), ensemble)

    return loop.advance(states, potential, num_steps, move, finish, width)


def run(
    state: State,
    potential: Potential,
    num_steps: int,
    start: float,
    slope: float,
    ensemble: Ensemble,
) -> tuple[State, int]:
    """Advance one specimen, see `run_many` and `loop.alone`."""
    schedule = (jnp.asarray(x, jnp.float64) for x in (start, slope))
    return loop.alone(run_many, state, potential, num_steps, *schedule, ensemble)
