"""Keeping XLA's CPU backend from fusing what is faster apart.

The backend fuses a chain of array operations into one loop and then evaluates the expensive part
of it once for each consumer. `jax.lax.optimization_barrier` does not stop it; a branch does.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.numerics import platform


def apart(function: Callable, anchor: Any, *args):
    """Evaluate a pure function(*args) as a computation of its own on CPU; elsewhere simply call it.

    The anchor is any pytree whose first array holds finite numbers that the compiler does not know,
    such as a potential: a branch by it is always taken. Under `vmap` it must not be batched, or the
    branch becomes a choice between two results. Where it is not finite the result is NaN. Without
    any array the function is simply called.
    """
    known = jax.tree.leaves(anchor)
    if platform.target() != "cpu" or not known:
        return function(*args)
    shapes = jax.eval_shape(function, *args)

    def never(*_):
        return jax.tree.map(_poison, shapes)

    return jax.lax.cond(
        jnp.all(jnp.isfinite(jnp.reshape(known[0], -1)[:1])), function, never, *args
    )


def _poison(shape: jax.ShapeDtypeStruct) -> Array:
    value = jnp.nan if jnp.issubdtype(shape.dtype, jnp.floating) else 0
    return jnp.full(shape.shape, value, shape.dtype)
