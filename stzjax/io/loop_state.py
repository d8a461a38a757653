"""The host's side of compiled loops: batches of states, advanced, given longer lists, saved.

A neighbour list is not stored: it is searched again for the configuration it was made of, so that
a loop goes on with the same list, in the same order, and ends with the same bits.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from stzjax.core.structure import Structure
from stzjax.io import archives
from stzjax.io.archives import Clock, Saved
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors, Spec
from stzjax.neighbors.search import Grid
from stzjax.numerics import batching

State = TypeVar("State", bound=flax.struct.PyTreeNode)

_FIRST_TURNS, _PATIENCE = 256, 10.0
"""Turns of the first call of a compiled loop; calls get longer until they take so long [s]."""


class Batch(Generic[State]):
    """States of a compiled loop side by side, one in each lane.

    A subclass says which lanes go on, and what becomes of a lane that cannot.

    Attributes:
      list_names: fields of a state that are neighbour lists.
      states: B states, the leading axis of every array.
      turns: turns of the next call of the loop, at most.
    """

    list_names: tuple[str, ...] = ("neighbors",)
    states: Any
    turns: int

    def begin(self, states: Sequence[State]) -> None:
        """Put a state in every lane."""
        self.states, self.turns = batching.stack(states), _FIRST_TURNS

    @property
    def going(self) -> list[int]:
        """Numbers of the lanes that go on."""
        raise NotImplementedError

    def refuse(self, lane: int, error: ValueError) -> None:
        """Take note that a lane cannot go on, for TooThin or Clumped."""
        raise NotImplementedError

    def configuration(self, name: str, state: Any) -> Structure:
        """Structure for which a list of a state has to be valid."""
        return state.structure

    def slack(self, lane: int) -> float:
        """Factor of spare places for a lane whose list was too short; raises to refuse it."""
        return 1.1

    def call(self, loop: Callable[[Any, int], Any]) -> bool:
        """Advance the states by one call of the loop, which stops where a list overflows.

        True if the next call may take twice as many turns.
        """
        began = time.monotonic()
        self.states = jax.block_until_ready(loop(self.states, self.turns))
        return time.monotonic() - began < 0.5 * _PATIENCE

    def mend(self) -> None:
        """Give longer lists to all lanes if that of one overflowed; refuse those that fit none."""
        for name in self.list_names:
            held = getattr(self.states, name)
            overflow = np.asarray(held.overflow)
            if not overflow.any():
                continue
            found, refused = lists.widened(
                held.spec,
                [self.configuration(name, self.at(lane)) for lane in range(len(overflow))],
                [lane for lane in self.going if overflow[lane]],
                self.going,
                self.slack,
            )
            for lane, error in refused.items():
                self.refuse(lane, error)
            self.states = self.states.replace(**{name: batching.stack(found)})

    def at(self, lane: int) -> State:
        """State in a lane."""
        return batching.pick(self.states, lane)

    def log(self, lane: int) -> Mapping[str, np.ndarray]:
        """Arrays that the host has collected of a lane."""
        raise NotImplementedError

    def offer(self, save: Callable[[int, Saved], None] | None, clock: Clock) -> None:
        """Have the lanes that go on saved, by number and state, if it is time."""
        if save is not None and clock.struck():
            with clock.saving():
                for lane in self.going:
                    save(lane, self.saved(lane))

    def saved(self, lane: int) -> Saved:
        """State in a lane and what was collected of it, taken apart for a file."""
        state: Any = self.at(lane)
        arrays, shapes = archives.named(self._bare(state), "state"), {}
        for name in self.list_names:
            found: Neighbors = getattr(state, name)
            arrays[f"list.{name}.fractional"] = np.asarray(found.fractional)
            arrays[f"list.{name}.cell"] = np.asarray(found.cell)
            shapes[name] = {**found.spec._asdict(), "grid": found.spec.grid._asdict()}
        return Saved({**arrays, **self.log(lane)}, {"lists": shapes})

    def resumed(self, state: State, saved: Saved | None) -> State:
        """The state with the values that were saved, if any; its neighbour lists stay."""
        if saved is None:
            return state
        bare = archives.fill(self._bare(state), saved.arrays, "state")
        return bare.replace(**{name: getattr(state, name) for name in self.list_names})

    def _bare(self, state: Any) -> Any:
        return state.replace(**dict.fromkeys(self.list_names))


def listed(structure: Structure, saved: Saved | None, name: str) -> Structure:
    """The configuration of which a neighbour list was made, if saved; else the structure."""
    if saved is None:
        return structure
    return structure.replace(
        fractional=jnp.asarray(saved.arrays[f"list.{name}.fractional"]),
        cell=jnp.asarray(saved.arrays[f"list.{name}.cell"]),
    )


def longest(saved: Iterable[Saved | None], name: str) -> Spec:
    """Shape of the longest neighbour list among saved states."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    stored = [plain(one.settings["lists"][name]) for one in saved if one is not None]
    found = [Spec(**{**values, "grid": Grid(**plain(values["grid"]))}) for values in stored]
    return max(found, key=lambda spec: spec.size)
