"""States of compiled loops, taken apart for a file and put together again.

A neighbour list is not stored: it is searched again for the configuration it was made of, so that
a loop goes on with the same list, in the same order, and ends with the same bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import flax.struct
import jax.numpy as jnp
import numpy as np

from stzjax.core.structure import Structure
from stzjax.io import archives
from stzjax.io.archives import Saved
from stzjax.neighbors.lists import Neighbors, Spec
from stzjax.neighbors.search import Grid

State = TypeVar("State", bound=flax.struct.PyTreeNode)


def suspend(state: Any, lists: Sequence[str]) -> Saved:
    """Take a state apart.

    Args:
      state: a pytree node.
      lists: names of its fields that are neighbour lists.
    """
    arrays = archives.named(_bare(state, lists), "state")
    settings = {}
    for name in lists:
        found: Neighbors = getattr(state, name)
        arrays[f"list.{name}.fractional"] = np.asarray(found.fractional)
        arrays[f"list.{name}.cell"] = np.asarray(found.cell)
        settings[name] = {**found.spec._asdict(), "grid": found.spec.grid._asdict()}
    return Saved(arrays, {"lists": settings})


def resume(state: State, saved: Saved, lists: Sequence[str]) -> State:
    """A state with the values that were saved; its neighbour lists are those of `state`.

    Raises:
      ValueError: the saved values are not those of such a state.
    """
    bare = archives.fill(_bare(state, lists), saved.arrays, "state")
    return bare.replace(**{name: getattr(state, name) for name in lists})


def listed(structure: Structure, saved: Saved, name: str) -> Structure:
    """The configuration of which a neighbour list of a saved state was made."""
    return structure.replace(
        fractional=jnp.asarray(saved.arrays[f"list.{name}.fractional"]),
        cell=jnp.asarray(saved.arrays[f"list.{name}.cell"]),
    )


def spec(saved: Saved, name: str) -> Spec:
    """Shape of a neighbour list of a saved state."""
    stored = saved.settings["lists"][name]

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    return Spec(**{**plain(stored), "grid": Grid(**plain(stored["grid"]))})


def _bare(state: Any, lists: Sequence[str]) -> Any:
    return state.replace(**dict.fromkeys(lists))
