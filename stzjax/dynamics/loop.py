"""The loop of molecular dynamics: many specimens at a time, each with a list of its own.

An integrator is two functions from state to state of one specimen: `move` takes it to its new
positions without looking at its list, `finish` evaluates the forces there and completes the step.
A state has the fields `neighbors` and `steps` and gives its configuration as `structure`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.neighbors import lists
from stzjax.numerics import batching
from stzjax.potentials.potential import Potential


def advance(
    states: Any,
    potential: Potential,
    num_steps: Array,
    move: Callable[[Any], Any],
    finish: Callable[[Any], Any],
    width: int = 1,
) -> Any:
    """Take steps until all specimens have done theirs, or the neighbour list of one overflows.

    Pure. The step in which a list overflows is not taken by its specimen, whose list has the flag
    up; the others stand wherever they are, see `steps`.

    Args:
      states: B specimens, the leading axis of every array.
      potential: a potential in the dtype of the states.
      num_steps: (B,) steps to take; not static.
      move: first part of a step.
      finish: second part of a step.
      width: lists rebuilt at a time.
    """
    last = states.steps + num_steps

    def going(states) -> Array:
        return jnp.any(states.steps < last) & ~jnp.any(states.neighbors.overflow)

    def search(items) -> dict:
        find = batching.mapped(lambda n, s: lists.rebuild(n, s, potential))
        return {"neighbors": find(items.neighbors, _structures(items))}

    def turn(before):
        running = before.steps < last
        after = batching.mapped(move)(before.replace(neighbors=None))
        after = after.replace(neighbors=before.neighbors)
        stale = batching.mapped(lists.is_stale)(after.neighbors, _structures(after))
        after = batching.serve(after, stale & running, search, width)
        neighbors = after.neighbors
        done = batching.mapped(finish)(after)
        done = done.replace(neighbors=None, steps=before.steps + 1)
        # The lists are not chosen: a short one is never used again, and they are large.
        kept = batching.where(running & ~neighbors.overflow, done, before.replace(neighbors=None))
        return kept.replace(neighbors=neighbors)

    return jax.lax.while_loop(going, turn, states)


def alone(
    run_many: Callable, state: Any, potential: Potential, num_steps: int, *constants: Any
) -> tuple[Any, int]:
    """Advance one specimen by an integrator for many.

    Returns:
      The state after the last good step, whose `neighbors.overflow` says whether it was cut
      short, and the steps taken.
    """
    steps = jnp.asarray([num_steps], jnp.int32)
    after = batching.first(run_many(batching.one(state), potential, steps, *constants))
    return after, int(after.steps - state.steps)


def _structures(states):
    return jax.vmap(lambda state: state.structure)(states)
