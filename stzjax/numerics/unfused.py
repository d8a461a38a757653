"""Keeping XLA's CPU backend from fusing what is faster apart.

The backend fuses a chain of array operations into one loop and then evaluates the expensive part
of it once for each consumer. `jax.lax.optimization_barrier` does not stop it; a branch does.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.numerics import platform


def apart(function: Callable, anchor: Array, *args):
    """Evaluate a pure function(*args) as a computation of its own on CPU; elsewhere simply call it.

    The anchor is any array of finite numbers that the compiler does not know, such as a parameter
    of the potential: a branch by it is always taken. Under `vmap` it must not be batched, or the
    branch becomes a choice between two results. Where it is not finite the result is NaN.
    """
    if platform.target() != "cpu":
        return function(*args)
    shapes = jax.eval_shape(function, *args)

    def never(*_):
        return jax.tree.map(_poison, shapes)

    return jax.lax.cond(jnp.isfinite(anchor.reshape(-1)[0]), function, never, *args)


def _poison(shape: jax.ShapeDtypeStruct) -> Array:
    value = jnp.nan if jnp.issubdtype(shape.dtype, jnp.floating) else 0
    return jnp.full(shape.shape, value, shape.dtype)
