"""Melt and quench: a liquid at high temperature, snapshots of it, and glasses cooled from them."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core.structure import Structure
from stzjax.dynamics.config import MeltConfig, QuenchConfig
from stzjax.dynamics.npt_batch import NptBatch, Trace
from stzjax.io.archives import Clock, Saved
from stzjax.mechanics import relax
from stzjax.potentials.potential import Potential

_DENSITY = 0.055
"""Number density of the start, roughly that of the melt, in units of the potential's length."""


def random_liquid(key: Array, potential: Potential, config: MeltConfig) -> Structure:
    """A disordered start: jittered lattice sites, random species, pushed apart by FIRE.

    Args:
      key: random key.
      potential: for the relaxation that removes overlaps.
      config: number of atoms and composition.

    Raises:
      ValueError: the cell would be smaller than twice the cut-off.
    """
    site_key, jitter_key, species_key = jax.random.split(key, 3)
    side = next(n for n in itertools.count(1) if n**3 >= config.num_atoms)
    chosen = jax.random.permutation(site_key, side**3)[: config.num_atoms]
    sites = np.stack(np.unravel_index(np.asarray(chosen), (side,) * 3), axis=1)
    jitter = jax.random.uniform(jitter_key, sites.shape, jnp.float64, -0.2, 0.2)
    cell = np.eye(3) * potential.scales.length * (config.num_atoms / _DENSITY) ** (1.0 / 3.0)
    counts = np.floor(np.cumsum(config.fractions) * config.num_atoms + 0.5).astype(int)
    ordered = np.searchsorted(counts, np.arange(config.num_atoms), side="right")
    species = np.asarray(jax.random.permutation(species_key, jnp.asarray(ordered)))
    start = Structure.create(
        (sites + 0.5 + np.asarray(jitter)) / side, cell, species, config.elements
    )
    # Far from a minimum on purpose: only the overlaps have to go.
    tolerance = 0.5 * potential.scales.energy / potential.scales.length
    return relax.relax(start, potential, relax.RelaxConfig(tolerance, max_iterations=300)).structure


class Melting(NamedTuple):
    """A melt on its way: its saved state, and the snapshots so far that are wanted, by number."""

    saved: Saved
    taken: Mapping[int, Structure]


def melt(
    key: Array,
    potential: Potential,
    config: MeltConfig,
    on_steps: Callable[[int], None] | None = None,
    *,
    wanted: Sequence[int] | None = None,
    begun: Melting | None = None,
    save: Callable[[Melting], None] | None = None,
    save_every: float = 120.0,
) -> tuple[list[Structure], Trace]:
    """Snapshots of one equilibrated liquid, evenly spaced in time.

    Args:
      key: random key.
      potential: a potential.
      config: settings.
      on_steps: called with the steps just done, for progress.
      wanted: numbers of the snapshots to keep, see `drawn`; all by default.
      begun: where to go on; the result has the same bits as if the melt had never stopped.
      save: called now and then with the melt on its way.
      save_every: time between saves [s].

    Returns:
      The snapshots that are wanted, of `config.num_snapshots`, and the trace with one entry for
      each of them all.

    Raises:
      ValueError: wrong settings, a cell that is too small, or a melt that blew up.
    """
    config.validate()
    chosen = set(range(config.num_snapshots) if wanted is None else map(int, wanted))
    start_key, velocity_key = jax.random.split(key)
    liquid = random_liquid(start_key, potential, config)
    saved = [begun.saved if begun else None]
    batch = NptBatch([velocity_key], [liquid], saved, potential, config, 0.0)
    taken = dict(begun.taken) if begun else {}
    clock = Clock(save_every)
    keep = None if save is None else lambda _, saved: save(Melting(saved, taken))
    equilibrated = config.steps(config.equilibration_time) if config.equilibration_time else 0
    for count in range(len(batch.rows[0]), config.num_snapshots):
        target = equilibrated + (count + 1) * config.steps(config.snapshot_interval)
        batch.advance(np.array([target]), on_steps, keep, clock)
        if batch.lost:
            raise ValueError(f"the melt blew up ({batch.lost[0]}); {_ADVICE}")
        if count in chosen:
            taken[count] = batch.structure(0)
        batch.observe(0)
    return [taken[count] for count in sorted(chosen)], batch.trace(0)


def drawn(key: Array, num_snapshots: int, number: int) -> list[int]:
    """Numbers of different snapshots at random, in the order of time."""
    chosen = jax.random.choice(key, num_snapshots, (number,), replace=False)
    return sorted(np.asarray(chosen).tolist())


COOLED = "cooled"
"""Outcome of a quench that reached the final temperature; the others are those of `npt_batch`."""

_ADVICE = "use a shorter timestep or precision float64"


def quench(
    key: Array,
    structure: Structure,
    potential: Potential,
    config: QuenchConfig,
    on_steps: Callable[[int], None] | None = None,
    num_records: int = 50,
) -> tuple[Structure, Trace]:
    """Cool one liquid; arguments as `quench_many`.

    Returns:
      The configuration at the final temperature (not relaxed) and the trace.

    Raises:
      ValueError: the dynamics blew up.
    """
    (found,) = quench_many([key], [structure], potential, config, on_steps, num_records)
    if found.outcome != COOLED:
        last = found.trace.temperature[-1] if len(found.trace.temperature) else math.nan
        raise ValueError(f"the quench blew up below {last:.0f} K ({found.outcome}); {_ADVICE}")
    return found.structure, found.trace


class Quenched(NamedTuple):
    """A quench that has ended.

    Attributes:
      place: number of the specimen among those given.
      structure: configuration at the end (not relaxed); the liquid as given unless it COOLED.
      trace: thermodynamic record.
      outcome: COOLED, or why it could not go on.
    """

    place: int
    structure: Structure
    trace: Trace
    outcome: str


def quench_many(
    keys: Sequence[Array],
    structures: Sequence[Structure],
    potential: Potential,
    config: QuenchConfig,
    on_steps: Callable[[int], None] | None = None,
    num_records: int = 50,
    saved: Sequence[Saved | None] | None = None,
    save: Callable[[int, Saved], None] | None = None,
    save_every: float = 120.0,
) -> Iterator[Quenched]:
    """Cool liquids at constant rate and pressure in one compiled loop, each with its own cell.

    A quench resumed from what `save` was given ends with the same bits as one that was never
    interrupted, if it shares its loop with as many others on the same machine. One that blows up
    does not stop the others.

    Args:
      keys: random keys of the initial momenta, B of them.
      structures: B liquid configurations of one size.
      potential: a potential.
      config: settings.
      on_steps: called with the steps just done by all specimens, for progress.
      num_records: entries of each trace.
      saved: for each specimen where to resume, or None to begin.
      save: called now and then with the number of a specimen and its state.
      save_every: time between saves [s].

    Yields:
      The quenches that reached the final temperature, then the others.

    Raises:
      ValueError: a saved state is not one of this specimen.
    """
    total = config.quench_steps
    slope = (config.final_temperature - config.melt_temperature) / total
    saved = saved or [None] * len(structures)
    batch = NptBatch(keys, structures, saved, potential, config, slope)
    clock = Clock(save_every)
    edges = np.linspace(0, total, num_records + 1).round().astype(int)[1:]
    while len(batch.going) and np.any(batch.steps[batch.going] < total):
        following = edges[np.minimum(np.searchsorted(edges, batch.steps, "right"), len(edges) - 1)]
        behind = batch.steps < following
        batch.advance(following, on_steps, save, clock)
        for place in batch.going:
            if behind[place]:
                batch.observe(place)
    for place, outcome in [(going, COOLED) for going in batch.going] + [*batch.lost.items()]:
        cold = batch.structure(place) if outcome == COOLED else structures[place]
        yield Quenched(place, cold, batch.trace(place), outcome)
