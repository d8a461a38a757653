"""Batches of like systems, and loops in which a few of the systems need work at a time."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

Items = TypeVar("Items", bound=flax.struct.PyTreeNode)


def mapped(function: Callable) -> Callable:
    """`jax.vmap`, but for a batch of one the function itself, whose branches then stay branches."""

    def call(*items):
        if len(jax.tree.leaves(items)[0]) > 1:
            return jax.vmap(function)(*items)
        return one(function(*first(items)))

    return call


def one(item):
    """A batch that holds one item: a leading axis for every array."""
    return jax.tree.map(lambda x: x[None], item)


def first(items):
    """The first item of a batch."""
    return jax.tree.map(lambda x: x[0], items)


@jax.jit
def stack(items: Sequence):
    """A batch of like pytrees."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *items)


# Leaf by leaf, each would be a compilation for every shape at every start of a process.
@jax.jit
def pick(items, place: int):
    """The item at a place of a batch."""
    return jax.tree.map(lambda x: x[place], items)


@jax.jit
def put(items, place: int, item):
    """The batch with one of its items replaced."""
    return jax.tree.map(lambda x, new: x.at[place].set(new), items, item)


def cast(items, precision: str):
    """A pytree with all its floating-point arrays in one precision."""
    return jax.tree.map(
        lambda x: x.astype(precision) if jnp.issubdtype(x.dtype, jnp.floating) else x, items
    )


def where(condition: Array, chosen, otherwise):
    """`jnp.where` for two like pytrees; what both share is not copied.

    The condition is a scalar, or (B,) for the leading axis of all leaves.
    """

    def choose(a, b):
        if a is b:
            return a
        return jnp.where(jnp.expand_dims(condition, range(condition.ndim, a.ndim)), a, b)

    return jax.tree.map(choose, chosen, otherwise)


def serve(items: Items, waiting: Array, work: Callable[[Items], dict], width: int) -> Items:
    """The items, with fields replaced in the waiting items; a few items at a time.

    Args:
      items: B of them, the leading axis of every array.
      waiting: (B,) bool.
      work: maps a part of the items to the new values of the fields that it changes.
      width: items at a time.
    """
    count = len(waiting)
    # The loop carries only the fields that change.
    names = tuple(jax.eval_shape(work, items))
    start = {name: getattr(items, name) for name in names}

    def everyone(carry):
        fields, waiting = carry
        served = work(items.replace(**fields))
        served = where(waiting, served, fields) if count > 1 else served
        return served, jnp.zeros_like(waiting)

    def some(carry):
        fields, waiting = carry
        chosen = jnp.nonzero(waiting, size=width, fill_value=0)[0]
        real = jnp.arange(width) < jnp.sum(waiting)
        served = work(jax.tree.map(lambda x: x[chosen], items.replace(**fields)))
        # Places without an item repeat the first one.
        served = where(real, served, one(first(served)))
        chosen = jnp.where(real, chosen, chosen[0])
        fields = jax.tree.map(lambda x, new: x.at[chosen].set(new), fields, served)
        return fields, waiting.at[chosen].set(False)

    step = everyone if count <= width else some
    fields, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), step, (start, waiting))
    return items.replace(**fields)
