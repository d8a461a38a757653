"""Melt and quench: a liquid at high temperature, snapshots of it, and glasses cooled from them."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import units
from stzjax.core.settings import check, setting
from stzjax.core.structure import Structure
from stzjax.dynamics.npt import Ensemble
from stzjax.dynamics.npt_batch import NptBatch, Schedule, Trace
from stzjax.io.archives import Clock, Saved
from stzjax.mechanics import relax
from stzjax.potentials.eam import EAM

_MOST_SNAPSHOTS, _MOST_STEPS = 1e7, 2e9
"""More are a slip of the pen; steps are counted in 32 bits."""


@dataclasses.dataclass(frozen=True)
class MeltConfig:
    """Settings of the melt; the defaults are the paper's."""

    num_atoms: int = setting(10_000, "Atoms of a specimen.", limits="[1, inf)")
    elements: tuple[str, ...] = setting(
        ("Cu", "Zr"), "Chemical symbols of the alloy; the potential must know them."
    )
    fractions: tuple[float, ...] = setting(
        (0.64, 0.36), "Share of each element; the atoms are rounded.", limits="(0, 1]"
    )
    num_specimens: int = setting(75, "Glasses to make.", limits="[1, inf)")
    melt_temperature: float = setting(2000.0, "Temperature of the liquid [K].", limits="(0, inf)")
    pressure: float = setting(0.0, "Pressure of melt and quench [GPa].")
    equilibration_time: float = setting(
        10.0, "Time before the first snapshot [ps].", limits="[0, inf)"
    )
    melt_time: float = setting(
        10_000.0, "Time during which snapshots are taken [ps].", limits="(0, inf)"
    )
    snapshot_interval: float = setting(
        10.0, "Time between snapshots of the liquid [ps].", limits="(0, inf)"
    )
    timestep: float = setting(0.002, "Time step of the dynamics [ps].", limits="(0, inf)")
    thermostat_time: float = setting(0.2, "Period of the thermostat [ps].", limits="(0, inf)")
    barostat_time: float = setting(2.0, "Period of the barostat [ps].", limits="(0, inf)")
    # Both run on `potentials.compact`: a closed form of high powers loses 0.02 eV/Å to
    # cancellation in float32.
    precision: str = setting("float64", "Precision of the dynamics.", ("float32", "float64"))
    skin: float = 0.8
    """Margin of the neighbour list [Å]; it changes the speed and not the result."""

    @property
    def ensemble(self) -> Ensemble:
        """Constants of the dynamics."""
        return Ensemble(
            timestep=self.timestep,
            pressure=self.pressure / units.GPA,
            thermostat_time=self.thermostat_time,
            barostat_time=self.barostat_time,
        )

    def schedule(self, slope: float) -> Schedule:
        """Schedule of a run from the temperature of the melt; the slope is in K per step."""
        return Schedule(self.melt_temperature, slope, self.ensemble, self.precision, self.skin)

    @property
    def num_snapshots(self) -> int:
        """Snapshots taken of the liquid."""
        return int(self.melt_time / self.snapshot_interval + 1e-9)

    def steps(self, time: float) -> int:
        """Time steps in a time [ps]."""
        return max(1, round(time / self.timestep))

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense, each by itself or together."""
        check(self)
        self._check_composition()
        if not self.melt_time / self.snapshot_interval < _MOST_SNAPSHOTS:
            raise ValueError(
                f"melt_time {self.melt_time} ps holds too many snapshots every "
                f"{self.snapshot_interval} ps; lengthen snapshot_interval"
            )
        if not max(self.equilibration_time, self.melt_time) / self.timestep < _MOST_STEPS:
            raise ValueError(
                f"melt_time {self.melt_time} ps or equilibration_time {self.equilibration_time} ps "
                f"takes too many steps of timestep {self.timestep} ps; shorten it"
            )
        if self.num_snapshots < self.num_specimens:
            raise ValueError(
                f"{self.num_specimens} specimens need as many snapshots, but {self.melt_time} ps "
                f"of melt hold {self.num_snapshots}; lengthen melt_time or shorten "
                "snapshot_interval"
            )

    def _check_composition(self) -> None:
        units.masses(self.elements)
        if not self.elements or len(set(self.elements)) < len(self.elements):
            raise ValueError(
                f"elements must name each element of the alloy once, got {','.join(self.elements)}"
            )
        if len(self.fractions) != len(self.elements) or abs(sum(self.fractions) - 1.0) > 1e-6:
            raise ValueError(
                f"fractions must give each of {', '.join(self.elements)} a share and add up to 1, "
                f"got {', '.join(map(str, self.fractions))}"
            )


@dataclasses.dataclass(frozen=True)
class QuenchConfig(MeltConfig):
    """Settings of the quench, and of the melt that it begins with."""

    final_temperature: float = setting(
        300.0, "Temperature at which the quench ends [K].", limits="(0, inf)"
    )
    quench_rate: float = setting(1e10, "Cooling rate [K/s].", limits="(0, inf)")
    relax_cell: bool = setting(
        False, "Relax the quenched glass to zero stress, cell included, and not the atoms alone."
    )

    @property
    def quench_steps(self) -> int:
        """Time steps from the melt to the final temperature."""
        span = self.melt_temperature - self.final_temperature
        return max(1, round(span / (self.quench_rate * 1e-12 * self.timestep)))

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense, each by itself or together."""
        super().validate()
        if self.final_temperature >= self.melt_temperature:
            raise ValueError(
                f"final_temperature {self.final_temperature} K must lie below melt_temperature "
                f"{self.melt_temperature} K"
            )
        kelvins = self.melt_temperature - self.final_temperature
        if not kelvins < _MOST_STEPS * self.quench_rate * 1e-12 * self.timestep:
            raise ValueError(
                f"quench_rate {self.quench_rate} K/s takes too many steps of timestep "
                f"{self.timestep} ps; raise it"
            )


def random_liquid(
    key: Array, potential: EAM, config: MeltConfig, number_density: float = 0.055
) -> Structure:
    """A disordered start: jittered lattice sites, random species, pushed apart by FIRE.

    Args:
      key: random key.
      potential: for the relaxation that removes overlaps.
      config: number of atoms and composition.
      number_density: [1/Å³]; that of the melt, roughly.

    Raises:
      ValueError: the cell would be smaller than twice the cut-off.
    """
    site_key, jitter_key, species_key = jax.random.split(key, 3)
    side = int(np.ceil(config.num_atoms ** (1.0 / 3.0)))
    while side**3 < config.num_atoms:
        side += 1
    chosen = jax.random.permutation(site_key, side**3)[: config.num_atoms]
    sites = np.stack(np.unravel_index(np.asarray(chosen), (side,) * 3), axis=1)
    jitter = jax.random.uniform(jitter_key, sites.shape, jnp.float64, -0.2, 0.2)
    cell = np.eye(3) * (config.num_atoms / number_density) ** (1.0 / 3.0)
    counts = np.floor(np.cumsum(config.fractions) * config.num_atoms + 0.5).astype(int)
    ordered = np.searchsorted(counts, np.arange(config.num_atoms), side="right")
    species = np.asarray(jax.random.permutation(species_key, jnp.asarray(ordered)))
    start = Structure.create(
        (sites + 0.5 + np.asarray(jitter)) / side, cell, species, config.elements
    )
    # Far from a minimum on purpose: only the overlaps have to go.
    return relax.relax(start, potential, relax.RelaxConfig(0.5, max_iterations=300)).structure


class Melting(NamedTuple):
    """A melt on its way.

    Attributes:
      saved: the liquid as it is.
      taken: the snapshots so far that are wanted, by number.
      trace: a row of every snapshot so far.
    """

    saved: Saved
    taken: Mapping[int, Structure]
    trace: Sequence[tuple[float, ...]]


def melt(
    key: Array,
    potential: EAM,
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
      potential: an embedded-atom potential.
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
    batch = NptBatch(potential, config.schedule(0.0), on_steps)
    batch.start([velocity_key], [liquid], [begun.saved if begun else None])
    equilibrated = config.steps(config.equilibration_time) if config.equilibration_time else 0
    taken, rows = (dict(begun.taken), list(begun.trace)) if begun else ({}, [])
    clock = Clock(save_every if save else math.inf)

    def pause() -> None:
        if save is not None and clock.struck():
            clock.saving(lambda: save(Melting(batch.saved_with(0, []), taken, rows)))

    for count in range(len(rows), config.num_snapshots):
        target = equilibrated + (count + 1) * config.steps(config.snapshot_interval)
        batch.advance(np.array([target]), pause)
        if batch.lost:
            raise ValueError(f"the melt blew up ({batch.lost[0]}); {_ADVICE}")
        if count in chosen:
            taken[count] = batch.structure(0)
        rows.append(batch.observe(0))
    return [taken[count] for count in sorted(chosen)], Trace(*np.array(rows).T)


def drawn(key: Array, num_snapshots: int, number: int) -> list[int]:
    """Numbers of different snapshots at random, in the order of time."""
    chosen = jax.random.choice(key, num_snapshots, (number,), replace=False)
    return sorted(np.asarray(chosen).tolist())


def quench(
    key: Array,
    structure: Structure,
    potential: EAM,
    config: QuenchConfig,
    on_steps: Callable[[int], None] | None = None,
    num_records: int = 50,
) -> tuple[Structure, Trace]:
    """Cool one liquid at constant rate to the final temperature, at constant pressure.

    Args:
      key: random key of the initial momenta.
      structure: a liquid configuration.
      potential: an embedded-atom potential.
      config: settings.
      on_steps: called with the steps just done, for progress.
      num_records: entries of the trace.

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


COOLED = "cooled"
"""Outcome of a quench that reached the final temperature; the others are those of `npt_batch`."""

_ADVICE = "use a shorter timestep or precision float64"


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
    potential: EAM,
    config: QuenchConfig,
    on_steps: Callable[[int], None] | None = None,
    num_records: int = 50,
    saved: Sequence[Saved | None] | None = None,
    save: Callable[[int, Saved], None] | None = None,
    save_every: float = 120.0,
) -> Iterator[Quenched]:
    """Cool many liquids in one compiled loop, each with its own cell and thermostat.

    A quench resumed from what `save` was given ends with the same bits as one that was never
    interrupted, if it shares its loop with as many others on the same machine. One that blows up
    does not stop the others.

    Args:
      keys: random keys of the initial momenta, B of them.
      structures: B liquid configurations of one size.
      potential: an embedded-atom potential.
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
    batch = NptBatch(potential, config.schedule(slope), on_steps)
    saved = list(saved or [None] * len(structures))
    batch.start(keys, structures, saved)
    edges = np.linspace(0, total, num_records + 1).round().astype(int)[1:]
    rows = [[] if s is None else np.asarray(s.arrays["trace"]).tolist() for s in saved]
    clock = Clock(save_every if save else math.inf)

    def save_all() -> None:
        assert save is not None
        for place in batch.going:
            save(place, batch.saved_with(place, rows[place]))

    def pause() -> None:
        if clock.struck():
            clock.saving(save_all)

    while len(batch.going) and np.any(batch.steps[batch.going] < total):
        following = edges[np.minimum(np.searchsorted(edges, batch.steps, "right"), len(edges) - 1)]
        behind = batch.steps < following
        batch.advance(following, pause)
        for place in batch.going:
            if behind[place]:
                rows[place].append(batch.observe(place))
    ended = [(place, COOLED) for place in batch.going]
    for place, outcome in ended + list(batch.lost.items()):
        trace = Trace(*np.array(rows[place]).reshape(-1, len(Trace._fields)).T)
        cold = batch.structure(place) if outcome == COOLED else structures[place]
        yield Quenched(place, cold, trace, outcome)
