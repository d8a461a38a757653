"""Many shear runs in one compiled loop, each in a lane of its own and at its own strain step.

In every turn of the loop each lane has its forces evaluated and moves its atoms; a lane that has
converged closes its step and starts the next one at once, so none waits for another. Steps are
closed and neighbours searched only for the lanes that need it.

A step is tried first from the extrapolated non-affine displacement. It is closed only if it was
quiet: the minimiser never met negative curvature, no force grew out of proportion, energy went
where the work done says, and D²min stayed small. Otherwise it is repeated as the reference
protocol has it: from the plain affine displacement, by FIRE.
"""

import functools
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, fire
from stzjax.mechanics.fire import Fire
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import batching, quasi_newton
from stzjax.numerics.quasi_newton import Memory
from stzjax.potentials.potential import Potential, Scales
from stzjax.shear import nonaffine
from stzjax.shear.config import ShearConfig

RUNNING, EVENT, FINAL, NOTED, OUT_OF_ITERATIONS, OVERFLOW, NOT_FINITE, IDLE = range(8)
"""Whether a lane runs, or why it stands still. NOTED: the host must see the step just closed."""

TOO_THIN, CLUMPED = 8, 9
"""Set by the host on a lane that overflowed: no list can be made, or none is long enough."""

_MEMORY = 40
"""Changes that L-BFGS remembers."""

_STIFFNESS = 15.0
"""Curvature that L-BFGS assumes elsewhere, in units of the potential's scales."""

_PATIENCE = 300
"""Force evaluations before a try is given up."""

_GROWTH = 10.0
"""A try whose largest force exceeds its first one by this factor is given up."""

_DISSIPATION = 1e-4
"""Energy that may be lost in a quiet step, in units of the potential's scales."""

_RECORDS = 64
"""Steps a lane may close before the host collects them."""


class Record(NamedTuple):
    """Numbers kept of each closed step, R places: see `run.Run`."""

    energy: Array
    stress: Array
    max_d2min: Array
    iterations: Array
    residual: Array


class Lane(flax.struct.PyTreeNode):
    """State of the run in one lane: one glass sheared in one direction.

    Attributes:
      cell: (3, 3) of the unsheared glass [Å].
      tilt: (3, 3) deformation per engineering strain.
      number: the step that is being relaxed; 0 is the unsheared glass.
      before: (N, 3) fractional positions at the end of the step before.
      drift: (N, 3) their change in the step before; zero where nothing may be extrapolated.
      trial: whether this is a try, not the reference config.
      structure: current configuration.
      neighbors: list that is valid for it, unless it overflowed.
      bonds: short list for D²min, valid for the step before.
      force: (N, 3) in the turn before [eV/Å].
      move: (N, 3) made since then [Å].
      fire: inertia of FIRE.
      memory: moves and changes that the minimiser of tries has learnt from.
      start: largest force at the start of the attempt [eV/Å].
      iterations: force evaluations of the attempt.
      wasted: force evaluations of attempts at this step that were given up.
      residual: largest force now [eV/Å].
      converged: whether the step waits to be closed.
      energy: energy of the last closed step [eV].
      stress: (3, 3) stress of the last closed step [eV/Å³].
      d2min: (N,) of the last closed step [Å²].
      record: closed steps not collected yet.
      closed: their number.
      code: RUNNING, or why the lane stands still.
    """

    cell: Array
    tilt: Array
    number: Array
    before: Array
    drift: Array
    trial: Array
    structure: Structure
    neighbors: Neighbors
    bonds: Neighbors
    force: Array
    move: Array
    fire: Fire
    memory: Memory
    start: Array
    iterations: Array
    wasted: Array
    residual: Array
    converged: Array
    energy: Array
    stress: Array
    d2min: Array
    record: Record
    closed: Array
    code: Array


def begin(
    structure: Structure,
    potential: Potential,
    tilt: Array,
    neighbors: Neighbors,
    bonds: Neighbors,
    config: ShearConfig,
) -> Lane:
    """A lane before its first force evaluation, with lists that are valid for the structure."""
    num_atoms = structure.num_atoms
    field, rows, zero = jnp.zeros((num_atoms, 3)), jnp.zeros(_RECORDS), jnp.zeros(())
    none, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    return Lane(
        cell=structure.cell,
        tilt=jnp.asarray(tilt, field.dtype),
        number=none,
        before=structure.fractional,
        drift=field,
        trial=no,
        structure=structure,
        neighbors=neighbors,
        bonds=bonds,
        force=field,
        move=field,
        fire=fire.at_rest(field, config.relaxation, potential.scales),
        memory=quasi_newton.empty(_MEMORY, num_atoms),
        start=zero,
        iterations=none,
        wasted=none,
        residual=zero,
        converged=no,
        energy=zero,
        stress=jnp.zeros((3, 3)),
        d2min=jnp.zeros(num_atoms),
        record=Record(rows, jnp.zeros((_RECORDS, 3, 3)), rows, rows.astype(jnp.int32), rows),
        closed=none,
        code=none,
    )


def _sheared(lane: Lane, number: Array, config: ShearConfig) -> Array:
    """The cell in a step, (3, 3) [Å]."""
    strain = number * config.step
    return lane.cell + strain * lane.tilt @ lane.cell


def relaxed(lane: Lane, config: ShearConfig) -> Structure:
    """Configuration at the end of the last closed step, or as it was given."""
    cell = _sheared(lane, jnp.maximum(lane.number - 1, 0), config)
    return lane.structure.replace(fractional=lane.before, cell=cell)


def _attempt(lane: Lane, trial: Array, config: ShearConfig, scales: Scales) -> Lane:
    """The lane at the start of an attempt at its step."""
    start = geometry.wrap(lane.before + jnp.where(trial, lane.drift, 0.0))
    cell = _sheared(lane, lane.number, config)
    return lane.replace(
        trial=trial,
        structure=lane.structure.replace(fractional=start, cell=cell),
        fire=fire.at_rest(lane.force, config.relaxation, scales),
        iterations=jnp.zeros_like(lane.iterations),
        converged=jnp.zeros_like(lane.converged),
    )


def _give_up(lane: Lane, config: ShearConfig, scales: Scales) -> Lane:
    """The step again, as the reference protocol has it."""
    again = _attempt(lane, jnp.zeros_like(lane.trial), config, scales)
    return again.replace(wasted=lane.wasted + lane.iterations)


def _turn(lane: Lane, force: Array, config: ShearConfig, potential: Potential) -> Lane:
    """Look at the forces, and move the atoms of a running lane unless it has converged."""
    limits = config.relaxation
    active = lane.code == RUNNING
    residual = fire.largest_force(force)
    first = lane.iterations == 0
    iterations = lane.iterations + 1
    start = jnp.where(first, residual, lane.start)
    finite = jnp.isfinite(residual)
    converged = residual <= limits.force_tolerance
    spent = iterations >= jnp.where(lane.trial, _PATIENCE, limits.max_iterations)
    lost = ~finite | (spent & ~converged)
    suspicious = jnp.zeros((), bool)
    inertia, move = fire.fire_move(lane.fire, force, limits, potential.scales)
    memory = lane.memory
    if config.minimizer != "fire":
        change = lane.force - force
        # The memory of a step that went wrong, or of one before an event, is not to be trusted.
        memory = quasi_newton.forget(memory, active & first & ~lane.trial)
        learn = active & ~first & lane.trial
        fields = lane.move, change, force, learn
        stiffness = _STIFFNESS * potential.scales.stiffness
        memory, quick = quasi_newton.advance(memory, *fields, potential, stiffness)
        quick = fire.limited(quick, limits.max_move * potential.scales.length)
        move = jnp.where(lane.trial, quick, move)
        bent = ~first & (jnp.sum(lane.move * change) <= 0.0)
        grown = residual > _GROWTH * jnp.maximum(start, limits.force_tolerance)
        suspicious = (bent | grown) & ~converged
    move = jnp.where(converged | lost, 0.0, move)
    seen = lane.replace(start=start, iterations=iterations, residual=residual, force=force)
    moved = seen.replace(
        structure=lane.structure.displace(move),
        move=move,
        fire=inertia,
        converged=converged,
        code=jnp.where(lost, jnp.where(finite, OUT_OF_ITERATIONS, NOT_FINITE), RUNNING),
    )
    result = batching.where(
        lane.trial & (lost | suspicious), _give_up(seen, config, potential.scales), moved
    )
    return batching.where(active, result, lane).replace(memory=memory)


def _close(lane: Lane, potential: Potential, config: ShearConfig) -> Lane:
    """Close the step of a lane that has converged, or repeat it if it was a try and not quiet.

    With too short a list of bonds the lane stands still as it is, to be closed later.
    """
    past, after = relaxed(lane, config), lane.structure
    energy, virial = energetics.energy_and_virial(after, potential, lane.neighbors)
    stress = virial / geometry.volume(after.cell)
    bonds = lists.update(lane.bonds, past)
    field = nonaffine.d2min(past, after, bonds, config.d2min_cutoff, config.d2min_reduction)
    unsheared = lane.number == 0
    field = jnp.where(unsheared, 0.0, field)
    largest = jnp.max(field)
    # Work of the mean stress through the step; what is missing in the energy is dissipated.
    work = 0.5 * jnp.sum((lane.stress + stress) * lane.tilt) * config.step
    lost = lane.energy + work * geometry.volume(after.cell) - energy
    quiet = (largest <= config.record_threshold) & (lost <= _DISSIPATION * potential.scales.energy)
    drift = geometry.minimum_image(after.fractional - lane.before)
    noted = (largest > config.record_threshold) | unsheared
    full = lane.closed + 1 >= _RECORDS
    code = jnp.where(noted | full, NOTED, RUNNING)
    code = jnp.where(lane.number >= config.num_steps, FINAL, code)
    code = jnp.where(largest > config.stop, EVENT, code)
    row = Record(energy, stress, largest, lane.iterations, lane.residual)
    closed = lane.replace(
        number=lane.number + 1,
        before=after.fractional,
        drift=jnp.where(unsheared | ~quiet, 0.0, drift) * config.extrapolate,
        wasted=jnp.zeros_like(lane.wasted),
        energy=energy,
        stress=stress,
        d2min=field,
        record=jax.tree.map(lambda rows, value: rows.at[lane.closed].set(value), lane.record, row),
        closed=lane.closed + 1,
        code=code,
    )
    following = _attempt(closed, jnp.asarray(config.tries), config, potential.scales)
    result = batching.where(
        lane.trial & ~quiet, _give_up(lane, config, potential.scales), following
    )
    short = lane.replace(code=jnp.asarray(OVERFLOW, lane.code.dtype))
    return batching.where(bonds.overflow, short, result).replace(bonds=bonds)


_CLOSING = (
    "number before drift trial structure bonds fire iterations wasted converged energy stress "
    "d2min record closed code"
).split()


def _search(lanes: Lane, potential: Potential, width: int) -> Lane:
    """New neighbour lists for the running lanes whose own has become invalid."""
    stale = batching.mapped(lists.is_stale)(lanes.neighbors, lanes.structure)

    def search(some: Lane) -> dict:
        find = batching.mapped(lambda old, atoms: lists.rebuild(old, atoms, potential))
        found = find(some.neighbors, some.structure)
        return {"neighbors": found, "code": jnp.where(found.overflow, OVERFLOW, some.code)}

    return batching.serve(lanes, stale & (lanes.code == RUNNING), search, width)


@functools.partial(jax.jit, static_argnames=("config", "width"), donate_argnames="lanes")
def advance(
    lanes: Lane, potential: Potential, config: ShearConfig, width: int, turns: Array
) -> Lane:
    """Advance all running lanes until the host is needed by one of them, or for so many turns.

    Pure. A lane whose neighbour list overflows stands still before the force evaluation. Where a
    call ends makes no difference to its lanes.

    Args:
      lanes: B lanes; the arrays of `Lane` with a leading axis.
      potential: a potential, prepared by `potentials.prepare` or not.
      config: settings.
      width: lanes whose step is closed, or list rebuilt, at a time.
      turns: force evaluations of each lane, at most; not static.
    """

    def going(carry: tuple[Lane, Array]) -> Array:
        code = carry[0].code
        smooth = jnp.all((code == RUNNING) | (code == IDLE))
        return smooth & jnp.any(code == RUNNING) & (carry[1] > 0)

    def close(some: Lane) -> dict:
        closed = batching.mapped(lambda lane: _close(lane, potential, config))(some)
        return {name: getattr(closed, name) for name in _CLOSING}

    def turn(carry: tuple[Lane, Array]) -> tuple[Lane, Array]:
        lanes, left = carry
        evaluate = batching.mapped(lambda atoms, near: energetics.forces(atoms, potential, near))
        forces = evaluate(lanes.structure, lanes.neighbors)
        move = batching.mapped(lambda lane, force: _turn(lane, force, config, potential))
        # The lists do not change here, and are large: they stay outside.
        moved = move(lanes.replace(neighbors=None), forces)
        lanes = moved.replace(neighbors=lanes.neighbors)
        lanes = batching.serve(lanes, lanes.converged & (lanes.code == RUNNING), close, width)
        return _search(lanes, potential, width), left - 1

    start = _search(lanes, potential, width), jnp.asarray(turns, jnp.int32)
    return jax.lax.while_loop(going, turn, start)[0]
