"""Geometry of a periodic cell: images, volume, inverse.

Pure functions of arrays that can be jitted, batched and differentiated; `heights` alone is for the
host. A cell is upper triangular, its vectors the columns.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def wrap(fractional):
    """Fractional positions brought to [0, 1); works on NumPy and JAX arrays alike."""
    # Not the remainder, which compiles to a call for each number.
    floor = np.floor if isinstance(fractional, np.ndarray) else jnp.floor
    wrapped = fractional - floor(fractional)
    # -1e-17 comes out as 1.0, which is outside the half-open interval.
    return wrapped * (wrapped < 1.0)


def minimum_image(difference: Array) -> Array:
    """Fractional differences brought to the nearest image, each component in [-0.5, 0.5].

    In a tilted cell this finds the nearest image of every pair closer than half the smallest
    distance between opposite cell faces (see `heights`), but not of pairs farther apart.
    """
    return difference - jax.lax.stop_gradient(jnp.round(difference))


def volume(cell: Array) -> Array:
    """Volume of an upper triangular cell [Å³]."""
    return cell[..., 0, 0] * cell[..., 1, 1] * cell[..., 2, 2]


def inverse(cell: Array) -> Array:
    """Inverse of an upper triangular cell, written out: no LAPACK call in a loop, no scatter."""
    a, b, c = (cell[..., i, i] for i in range(3))
    ab, ac, bc = cell[..., 0, 1], cell[..., 0, 2], cell[..., 1, 2]
    zero = jnp.zeros_like(a)
    rows = (
        (1.0 / a, -ab / (a * b), (ab * bc - ac * b) / (a * b * c)),
        (zero, 1.0 / b, -bc / (b * c)),
        (zero, zero, 1.0 / c),
    )
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def product(first: Array, second: Array) -> Array:
    """Matrix product in the precision of the arrays; a GPU would round float32 to ten bits."""
    return jnp.matmul(first, second, precision="highest")


def heights(cell) -> np.ndarray:
    """Distances between the opposite faces of a cell, (3,) [Å], on the host."""
    return 1.0 / np.linalg.norm(np.linalg.inv(np.asarray(cell)), axis=-1)


def cartesian(cell: Array, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    """Cartesian components of vectors given by fractional ones, in an upper triangular cell."""
    return (
        cell[0, 0] * x + cell[0, 1] * y + cell[0, 2] * z,
        cell[1, 1] * y + cell[1, 2] * z,
        cell[2, 2] * z,
    )
