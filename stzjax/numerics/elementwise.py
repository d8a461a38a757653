"""Derivatives of functions that act on each number of an array by itself."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def slope(function: Callable[[Array], Array], x: Array) -> Array:
    """Derivative of an elementwise function, by forward mode."""
    return jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


def value_and_slope(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """An elementwise function and its derivative in one pass."""
    return jax.jvp(function, (x,), (jnp.ones_like(x),))
