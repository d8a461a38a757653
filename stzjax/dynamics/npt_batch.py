"""Specimens under NPT dynamics: the host's side of their compiled loop.

Follows the temperature, energy and density of each specimen, and names those that cannot go on.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.dynamics import npt
from stzjax.dynamics.config import MeltConfig
from stzjax.io import loop_state
from stzjax.io.archives import Clock, Saved
from stzjax.mechanics import energetics, fire_of_jax_md
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import batching
from stzjax.potentials.potential import Potential
from stzjax.potentials.prepared import prepare


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


def steps_of(saved: Saved) -> int:
    """Steps that a saved specimen had taken."""
    return int(saved.arrays["state.steps"])


NOT_FINITE, TOO_THIN, CLUMPED = "not finite", "cell below twice the cut-off", "neighbour overflow"
"""Reasons why a specimen cannot go on: NaN, a collapsed cell, atoms too close for any list."""

_SLACK = 1.08
"""Spare places of the neighbour lists, at first."""

_LEAST_SKIN = 0.13
"""A cell that leaves less skin than this has collapsed, in units of the potential's length; the
lists would be made in every step."""

_THIN, _MOST_TRIES = 0.5, 3
"""A list that is too short after so many tries at one step: the cell shrinks too quickly if it
leaves less skin than this, else the atoms clump."""


class NptBatch(loop_state.Batch[npt.State]):
    """Specimens of one size with temperatures that change alike, each in a lane of its own.

    Attributes:
      potential: potential of the dynamics, prepared for them.
      rows: entries of the trace of each specimen so far.
      lost: why specimens cannot go on, by their numbers: NOT_FINITE, TOO_THIN or CLUMPED.
    """

    def __init__(
        self,
        keys: Sequence[Array],
        liquids: Sequence[Structure],
        saved: Sequence[Saved | None],
        potential: Potential,
        config: MeltConfig,
        slope: float,
    ):
        """All specimens at their start, or where they were saved; the slope is in K per step."""
        self.config, self.slope = config, slope
        self.potential = prepare(potential, liquids[0].elements, config.precision)
        self.rows = [[] if old is None else old.arrays["trace"].tolist() for old in saved]
        self.lost: dict[int, str] = {}
        self._short: dict[int, tuple[int, int]] = {}
        # Of the start, whatever came after, so that a trace does not depend on interruptions.
        args = self.potential.cutoff, 0.0, _SLACK, self.potential.inner_cutoff
        self._observing = lists.allocate(liquids[0], *args).spec
        native = self.potential.half_lists and config.engine != "jax_md"
        form = lists.HALF if native else lists.TABLES
        if any(saved):
            spec = lists.suited(loop_state.longest(saved, "neighbors"), liquids[0], form)
        else:
            skin = config.skin * self.potential.scales.length
            guard = fire_of_jax_md.GUARD * self.potential.scales.length
            guard *= config.engine == "jax_md"
            reach = self.potential.cutoff + guard, self.potential.inner_cutoff + guard
            spec = lists.allocate(liquids[0], reach[0], skin, _SLACK, reach[1], form).spec
        inside = [batching.cast(structure, config.precision) for structure in liquids]
        searched = zip(inside, saved, strict=True)
        found = lists.fitted(spec, [loop_state.listed(*one, "neighbors") for one in searched])
        start = jnp.asarray(config.melt_temperature), config.ensemble
        states = []
        for key, structure, old, neighbors in zip(keys, inside, saved, found, strict=True):
            state = npt.init(key, structure, self.potential, neighbors, *start)
            states.append(self.resumed(state, old))
        self.begin(states)

    @property
    def steps(self) -> np.ndarray:
        """Steps each specimen has taken, (B,)."""
        return np.array(self.states.steps)

    @property
    def going(self) -> list[int]:
        """Numbers of the specimens that go on."""
        return [place for place in range(len(self.steps)) if place not in self.lost]

    def advance(
        self,
        targets: np.ndarray,
        on_steps: Callable[[int], None] | None,
        save: Callable[[int, Saved], None] | None,
        clock: Clock,
    ) -> None:
        """Bring the specimens to their target steps, saving them now and then on the way."""
        while True:
            before = self.steps
            left = np.zeros_like(before)
            left[self.going] = np.maximum(targets - before, 0)[self.going]
            if not left.any():
                return
            self.offer(save, clock)
            if self.call(functools.partial(self._run, left)) and left.max() > self.turns:
                self.turns *= 2
            broken = ~np.isfinite(self.states.virial)
            self.lost |= {place: NOT_FINITE for place in self.going if broken[place]}
            self.mend()
            if on_steps is not None:
                on_steps(int(np.sum(self.steps - before)))

    def _run(self, left: np.ndarray, states: npt.State, turns: int) -> npt.State:
        """States after the steps that are left, or after so many turns."""
        return npt.run_many(
            states,
            self.potential,
            jnp.asarray(np.minimum(left, turns), jnp.int32),
            jnp.asarray(self.config.melt_temperature),
            jnp.asarray(self.slope),
            self.config.ensemble,
            max(1, len(left) // 8),
        )

    def structure(self, place: int) -> Structure:
        """Configuration of a specimen, in float64."""
        now = self.at(place)
        return Structure.create(now.md.position, now.md.box, now.species, now.elements)

    def observe(self, place: int) -> None:
        """Add an entry to the trace of a specimen."""
        state = self.at(place)
        neighbors = state.neighbors if state.neighbors.zones else self._tables(state.structure)
        energy = energetics.energy(state.structure, self.potential, neighbors)
        self.rows[place].append(
            (
                self.config.melt_temperature + self.slope * float(state.steps),
                float(npt.temperature(state)),
                float(energy) / state.species.shape[0],
                float(npt.density(state)),
            )
        )

    def _tables(self, structure: Structure) -> Neighbors:
        """A list with tables, in one shape where it fits, so that programs are compiled once."""
        (found,) = lists.fitted(self._observing, [structure])
        return found

    def log(self, place: int) -> dict[str, np.ndarray]:
        """The trace of a specimen as an array of rows, for a file."""
        return {"trace": np.array(self.rows[place]).reshape(-1, len(Trace._fields))}

    def trace(self, place: int) -> Trace:
        """Thermodynamic record of a specimen so far."""
        return Trace(*self.log(place)["trace"].T)

    def slack(self, place: int) -> float:
        """Spare places, the more the oftener the list was too short at the step of a specimen."""
        # The step that overflows is not taken: what is short may be the list of the next one.
        step = int(self.steps[place])
        last, tries = self._short.get(place, (-1, 0))
        tries = tries + 1 if step == last else 0
        self._short[place] = step, tries
        if self._spare(place) < _LEAST_SKIN * self.potential.scales.length or tries > _MOST_TRIES:
            raise lists.Clumped(CLUMPED)
        return 1.1 * 1.5**tries

    def refuse(self, place: int, error: ValueError) -> None:
        """A specimen that fits in no list is lost."""
        thin = self._spare(place) < _THIN * self.potential.scales.length
        self.lost[place] = TOO_THIN if thin else CLUMPED

    def _spare(self, place: int) -> float:
        """Skin that the cell of a specimen leaves [Å]."""
        heights = geometry.heights(self.at(place).structure.cell)
        return float(heights.min()) / 2.0 - self.states.neighbors.spec.cutoff
