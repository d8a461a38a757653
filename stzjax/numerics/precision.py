"""Precision of the arrays of a pytree."""

import jax
import jax.numpy as jnp


def cast(tree, precision: str):
    """A pytree with all its floating-point arrays in one precision."""
    return jax.tree.map(
        lambda x: x.astype(precision) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )
