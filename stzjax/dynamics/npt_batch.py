"""Specimens under NPT dynamics: the host's side of the compiled loop.

Advances a batch in calls of a few seconds, mends neighbour lists that overflow, follows each
specimen's temperature, energy and density, saves and restores.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.dynamics import npt
from stzjax.dynamics.npt import Ensemble
from stzjax.io import loop_state
from stzjax.io.archives import Saved
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Spec
from stzjax.numerics import batching, precision
from stzjax.potentials.eam import EAM
from stzjax.potentials.prepared import compact


class Schedule(NamedTuple):
    """How specimens are driven.

    Attributes:
      start: temperature of the first step [K].
      slope: change of the temperature per step [K].
      ensemble: constants of the dynamics.
      precision: "float32" or "float64".
      skin: of the neighbour lists [Å].
    """

    start: float
    slope: float
    ensemble: Ensemble
    precision: str
    skin: float


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
"""Why a specimen cannot go on: NaN; a collapsed cell; atoms so close that no list holds them."""


class Lost(NamedTuple):
    """A specimen that cannot go on.

    Attributes:
      place: its number in the batch.
      temperature: of the thermostat [K].
      reason: NOT_FINITE, TOO_THIN or CLUMPED.
    """

    place: int
    temperature: float
    reason: str


_FIRST_CHUNK, _PATIENCE = 256, 10.0
"""Steps of the first call of the compiled loop; calls get longer until they take so long [s]."""

_LIST = "neighbors"
"""The neighbour list among the fields of a state."""

_SLACK = 1.08
"""Spare places of the neighbour lists, at first."""


_LEAST_SKIN = 0.13
"""A cell that leaves less skin than this has collapsed; the lists would be made in every step."""

_THIN, _MOST_TRIES = 0.5, 3
"""A list that is too short after so many tries at one step: the cell shrinks too quickly if it
leaves less skin than this, else the atoms clump."""


class Specimens:
    """Specimens of one size on one schedule.

    Attributes:
      potential: of the dynamics; prepared for them once `begin` knows the elements.
      schedule: how they are driven.
      states: B specimens, the leading axis of every array.
      lost: the specimens that cannot go on.
    """

    def __init__(
        self, potential: EAM, schedule: Schedule, on_steps: Callable[[int], None] | None = None
    ):
        """Nothing yet; see `begin`."""
        self.potential, self.schedule, self.on_steps = potential, schedule, on_steps
        self.chunk = _FIRST_CHUNK
        self.states: Any = None
        self.lost: list[Lost] = []
        self._short: dict[int, tuple[int, int]] = {}

    def begin(
        self,
        keys: Sequence[Array],
        liquids: Sequence[Structure],
        saved: Sequence[Saved | None] = (),
    ) -> None:
        """Put all specimens at their start, or where they were saved."""
        schedule = self.schedule
        self.potential = compact(self.potential, liquids[0].elements, schedule.precision)
        saved = saved or [None] * len(liquids)
        specs = [loop_state.spec(one, _LIST) for one in saved if one is not None]
        longest = max(specs, key=lambda spec: spec.capacity) if specs else None
        spec = longest or self._shape(liquids[0])
        listed = [precision.cast(structure, schedule.precision) for structure in liquids]
        for place, old in enumerate(saved):
            if old is not None:
                listed[place] = loop_state.listed(listed[place], old, _LIST)
        found = lists.fitted(spec, listed)
        temperature = jnp.asarray(schedule.start)
        states = []
        for key, structure, old, neighbors in zip(keys, liquids, saved, found, strict=True):
            inside = precision.cast(structure, schedule.precision)
            args = key, inside, self.potential, neighbors, temperature, schedule.ensemble
            state = npt.init(*args)
            states.append(state if old is None else loop_state.resume(state, old, [_LIST]))
        self.states = batching.stack(states)

    @property
    def steps(self) -> np.ndarray:
        """Steps each specimen has taken, (B,)."""
        return np.asarray(self.states.steps)

    @property
    def going(self) -> list[int]:
        """Numbers of the specimens that go on."""
        lost = {one.place for one in self.lost}
        return [place for place in range(len(self.steps)) if place not in lost]

    def advance(self, targets: np.ndarray, pause: Callable[[], None] | None = None) -> None:
        """Bring the specimens to their target steps; longer lists as often as one overflows."""
        while True:
            before = self.steps
            left = np.zeros_like(before)
            left[self.going] = np.maximum(targets - before, 0)[self.going]
            if not left.any():
                return
            if pause is not None:
                pause()
            began = time.monotonic()
            self.states = npt.run_many(
                self.states,
                self.potential,
                jnp.asarray(np.minimum(left, self.chunk), jnp.int32),
                jnp.asarray(self.schedule.start),
                jnp.asarray(self.schedule.slope),
                self.schedule.ensemble,
                max(1, len(before) // 8),
            )
            after = self.steps
            if left.max() > self.chunk and time.monotonic() - began < 0.5 * _PATIENCE:
                self.chunk *= 2
            finite = np.isfinite(self.states.virial)
            for place in self.going:
                if not finite[place]:
                    self._lose(place, NOT_FINITE)
            if np.any(self.states.neighbors.overflow):
                self._widen()
            if self.on_steps is not None:
                self.on_steps(int(np.sum(after - before)))

    def temperature(self, place: int) -> float:
        """That of the thermostat of a specimen [K]."""
        return self.schedule.start + self.schedule.slope * float(self.steps[place])

    def structure(self, place: int) -> Structure:
        """Configuration of a specimen, in float64."""
        now = self._one(place)
        species = np.asarray(now.species)
        return Structure.create(now.md.position, now.md.box, species, now.elements)

    def observe(self, place: int) -> tuple[float, ...]:
        """A row of the trace of a specimen."""
        state = self._one(place)
        energy = energetics.energy(state.structure, self.potential, state.neighbors)
        return (
            self.temperature(place),
            float(npt.temperature(state)),
            float(energy) / state.species.shape[0],
            float(npt.density(state.structure)),
        )

    def saved(self, place: int, rows: list) -> Saved:
        """State and trace of a specimen."""
        kept = loop_state.suspend(self._one(place), [_LIST])
        trace = np.array(rows).reshape(-1, len(Trace._fields))
        return kept._replace(arrays={**kept.arrays, "trace": trace})

    def _one(self, place: int) -> npt.State:
        return batching.pick(self.states, place)

    def _shape(self, structure: Structure) -> Spec:
        """Of a list for a specimen."""
        inner = self.potential.density_cutoff
        args = self.potential.cutoff, self.schedule.skin, _SLACK, inner
        return lists.allocate(precision.cast(structure, "float64"), *args).spec

    def _lose(self, place: int, reason: str) -> None:
        self.lost.append(Lost(place, self.temperature(place), reason))

    def _tries(self, place: int) -> int:
        """How often the list of a specimen has been made longer at the step where it stands."""
        step = int(self.steps[place])
        last, tries = self._short.get(place, (-1, 0))
        self._short[place] = step, tries + 1 if step == last else 0
        return self._short[place][1]

    def _widen(self) -> None:
        """Longer lists for all specimens, until none overflows; who fits in none is lost."""
        now = [self._one(place).structure for place in range(len(self.steps))]
        spec = self.states.neighbors.spec
        for place in np.flatnonzero(np.asarray(self.states.neighbors.overflow)).tolist():
            if place not in self.going:
                continue
            spare = geometry.heights(now[place].cell).min() / 2.0 - spec.cutoff
            # The step that overflows is not taken: what is short may be the list of the next one.
            tries = self._tries(place)
            if spare < _LEAST_SKIN or tries > _MOST_TRIES:
                self._lose(place, TOO_THIN if spare < _THIN else CLUMPED)
                continue
            try:
                spec = lists.longer(spec, now[place], 1.1 * 1.5**tries)
                lists.fitted(spec, [now[place]])
            except lists.Clumped:
                self._lose(place, TOO_THIN if spare < _THIN else CLUMPED)
        found = lists.fitted(spec, now, self.going)
        # The lists of the lost are short for good; nothing may wait for them.
        still = [one.replace(overflow=jnp.zeros((), bool)) for one in found]
        self.states = self.states.replace(neighbors=batching.stack(still))
