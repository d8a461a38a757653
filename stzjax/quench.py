"""Melt and quench: a liquid at high temperature, snapshots of it, and glasses cooled from them."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax import energetics, npt, relax, units
from stzjax import neighbors as lists
from stzjax import structure as structures
from stzjax.neighbors import Neighbors
from stzjax.npt import Ensemble
from stzjax.potentials.compact import Compact, compact
from stzjax.potentials.eam import EAM
from stzjax.structure import Structure


class QuenchConfig(NamedTuple):
    """Settings of the melt and the quench; the defaults are the paper's.

    Attributes:
      num_atoms: atoms of a specimen.
      elements: chemical symbols.
      fractions: share of each element; rounded to whole atoms.
      melt_temperature: [K].
      final_temperature: [K].
      pressure: [GPa].
      equilibration_time: of the liquid before the snapshots begin [ps].
      melt_time: during which snapshots are taken [ps].
      snapshot_interval: [ps].
      num_specimens: snapshots drawn at random and quenched.
      quench_rate: [K/s].
      timestep: [ps].
      thermostat_time: period of the thermostat [ps].
      barostat_time: period of the barostat [ps].
      precision: "float32" or "float64" of the dynamics; both run on `potentials.compact`, because a
        closed form of high powers loses 0.02 eV/Å to cancellation in float32.
      skin: of the neighbour list [Å].
    """

    num_atoms: int = 10_000
    elements: tuple[str, ...] = ("Cu", "Zr")
    fractions: tuple[float, ...] = (0.64, 0.36)
    melt_temperature: float = 2000.0
    final_temperature: float = 300.0
    pressure: float = 0.0
    equilibration_time: float = 10.0
    melt_time: float = 10_000.0
    snapshot_interval: float = 10.0
    num_specimens: int = 75
    quench_rate: float = 1e10
    timestep: float = 0.002
    thermostat_time: float = 0.2
    barostat_time: float = 2.0
    precision: str = "float64"
    skin: float = 0.8

    @property
    def ensemble(self) -> Ensemble:
        """Constants of the dynamics."""
        return Ensemble(
            timestep=self.timestep,
            pressure=self.pressure / units.GPA,
            thermostat_time=self.thermostat_time,
            barostat_time=self.barostat_time,
        )

    @property
    def num_snapshots(self) -> int:
        """Snapshots taken of the liquid."""
        return int(self.melt_time / self.snapshot_interval + 1e-9)

    @property
    def quench_steps(self) -> int:
        """Time steps from the melt to the final temperature."""
        span = self.melt_temperature - self.final_temperature
        return max(1, round(span / (self.quench_rate * 1e-12 * self.timestep)))

    def steps(self, time: float) -> int:
        """Time steps in a time [ps]."""
        return max(1, round(time / self.timestep))

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense."""
        positive = (
            "num_atoms num_specimens melt_temperature final_temperature melt_time "
            "snapshot_interval quench_rate timestep thermostat_time barostat_time"
        )
        for name in positive.split():
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.equilibration_time < 0:
            raise ValueError(f"equilibration_time is negative: {self.equilibration_time}")
        if self.final_temperature >= self.melt_temperature:
            raise ValueError(
                f"final_temperature {self.final_temperature} K must lie below melt_temperature "
                f"{self.melt_temperature} K"
            )
        if len(self.fractions) != len(self.elements) or abs(sum(self.fractions) - 1.0) > 1e-6:
            raise ValueError(
                f"fractions {self.fractions} must give each of {self.elements} a share and add "
                "up to 1"
            )
        if self.num_snapshots < self.num_specimens:
            raise ValueError(
                f"{self.num_specimens} specimens need as many snapshots, but {self.melt_time} ps "
                f"of melt hold {self.num_snapshots}; lengthen melt_time or shorten "
                "snapshot_interval"
            )
        if self.precision not in ("float32", "float64"):
            raise ValueError(f"precision must be float32 or float64, got {self.precision!r}")


class Trace(NamedTuple):
    """Thermodynamic record of a run, T entries.

    Attributes:
      temperature: thermostat temperature [K].
      kinetic_temperature: instantaneous temperature of the atoms [K].
      energy: potential energy [eV/atom].
      density: [g/cm³].
    """

    temperature: np.ndarray
    kinetic_temperature: np.ndarray
    energy: np.ndarray
    density: np.ndarray


def random_liquid(
    key: Array, potential: EAM, config: QuenchConfig, number_density: float = 0.055
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
    start = structures.create(
        (sites + 0.5 + np.asarray(jitter)) / side, cell, species, config.elements
    )
    # Far from a minimum on purpose: only the overlaps have to go.
    return relax.relax(start, potential, relax.RelaxConfig(0.5, max_iterations=300)).structure


def melt(
    key: Array,
    potential: EAM,
    config: QuenchConfig,
    on_steps: Callable[[int], None] | None = None,
) -> tuple[list[Structure], Trace]:
    """Snapshots of one equilibrated liquid, evenly spaced in time.

    Args:
      key: random key.
      potential: an embedded-atom potential.
      config: settings.
      on_steps: called with the steps just done, for progress.

    Returns:
      `config.num_snapshots` structures, and the trace with one entry per snapshot.
    """
    config.validate()
    start_key, velocity_key = jax.random.split(key)
    liquid = random_liquid(start_key, potential, config)
    potential = _for_dynamics(potential, config)
    state = _begin(velocity_key, liquid, potential, config)
    temperature = config.melt_temperature
    if config.equilibration_time:
        steps = config.steps(config.equilibration_time)
        state = _advance(state, potential, steps, temperature, 0.0, config)
        _tell(on_steps, steps)
    snapshots, rows = [], []
    steps = config.steps(config.snapshot_interval)
    for _ in range(config.num_snapshots):
        state = _advance(state, potential, steps, temperature, 0.0, config)
        _tell(on_steps, steps)
        snapshots.append(_finished(state))
        rows.append(_observe(state, potential, temperature))
    return snapshots, _trace(rows)


def draw(key: Array, snapshots: Sequence[Structure], number: int) -> list[Structure]:
    """A number of different snapshots at random, in the order of time."""
    chosen = jax.random.choice(key, len(snapshots), (number,), replace=False)
    return [snapshots[i] for i in sorted(np.asarray(chosen).tolist())]


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
    """
    potential = _for_dynamics(potential, config)
    state = _begin(key, structure, potential, config)
    slope = (config.final_temperature - config.melt_temperature) / config.quench_steps
    edges = np.linspace(0, config.quench_steps, num_records + 1).round().astype(int)
    rows = []
    for first, last in itertools.pairwise(edges):
        start = config.melt_temperature + slope * first
        state = _advance(state, potential, int(last - first), start, slope, config)
        _tell(on_steps, int(last - first))
        rows.append(_observe(state, potential, config.melt_temperature + slope * last))
    return _finished(state), _trace(rows)


def _cast(tree, precision: str):
    def cast(leaf):
        return leaf.astype(precision) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)


def _for_dynamics(potential: EAM, config: QuenchConfig) -> Compact:
    return compact(potential, config.elements, config.precision)


def _begin(key: Array, structure: Structure, potential: EAM, config: QuenchConfig) -> npt.State:
    neighbors = _list(structure, potential, config, slack=1.08)
    structure, neighbors = _cast((structure, neighbors), config.precision)
    temperature = jnp.asarray(config.melt_temperature, config.precision)
    return npt.init(key, structure, potential, neighbors, temperature, config.ensemble)


def _list(structure: Structure, potential: EAM, config: QuenchConfig, slack: float) -> Neighbors:
    return lists.allocate(
        structure, potential.cutoff, config.skin, slack, inner=potential.density_cutoff
    )


def _advance(
    state: npt.State, potential: EAM, steps: int, start: float, slope: float, config: QuenchConfig
) -> npt.State:
    """Take all the steps, with a longer neighbour list as often as it overflows."""
    taken, slack = 0, 1.1
    while True:
        now, per_step = (jnp.asarray(x, config.precision) for x in (start + slope * taken, slope))
        state, done = npt.run(state, potential, steps - taken, now, per_step, config.ensemble)
        taken += int(done)
        if not bool(jnp.isfinite(state.virial)):
            raise ValueError(
                f"the dynamics blew up at {start + slope * taken:.0f} K (forces are not finite); "
                "use a shorter timestep or precision float64"
            )
        if taken >= steps:
            return state
        wide = _cast(state.structure, "float64")
        neighbors = _list(wide, potential, config, slack)
        state = state.replace(neighbors=_cast(neighbors, config.precision))
        slack *= 1.1


def _finished(state: npt.State) -> Structure:
    structure = state.structure
    return structures.create(
        structure.fractional, structure.cell, np.asarray(structure.species), structure.elements
    )


def _observe(state: npt.State, potential: EAM, temperature: float) -> tuple[float, ...]:
    energy = energetics.energy(state.structure, potential, state.neighbors)
    return (
        temperature,
        float(npt.temperature(state)),
        float(energy) / state.species.shape[0],
        float(npt.density(state.structure)),
    )


def _trace(rows: list[tuple[float, ...]]) -> Trace:
    return Trace(*np.array(rows).T)


def _tell(on_steps: Callable[[int], None] | None, steps: int) -> None:
    if on_steps is not None:
        on_steps(steps)
