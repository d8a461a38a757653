"""The six shear directions: deformation gradient, and the frame in which the load is always +yz.

A direction such as "-xy" shears along the first axis, with the second as the gradient:
u_x = -γ y. The tilt keeps an upper triangular cell upper triangular.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

DIRECTIONS = ("+xy", "+yz", "+xz", "-xy", "-yz", "-xz")
"""The six loads, in the order of the paper."""

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (2, 0), (0, 1))
"""Voigt order 11, 22, 33, 23, 31, 12: index 3 (Voigt 4) is yz."""


def canonical(direction: str) -> str:
    """The direction with its sign written out: "xy" is "+xy".

    Raises:
      ValueError: not one of the six.
    """
    signed = direction if direction[:1] in ("+", "-") else f"+{direction}"
    if signed not in DIRECTIONS:
        raise ValueError(f"unknown direction {direction!r}; choose from {', '.join(DIRECTIONS)}")
    return signed


def axes(direction: str) -> tuple[int, int, float]:
    """Flow axis, gradient axis and sign of a direction."""
    signed = canonical(direction)
    return "xyz".index(signed[1]), "xyz".index(signed[2]), 1.0 if signed[0] == "+" else -1.0


def generator(direction: str) -> np.ndarray:
    """Derivative of the deformation gradient by the strain, (3, 3); one entry of ±1."""
    flow, gradient, sign = axes(direction)
    tensor = np.zeros((3, 3))
    tensor[flow, gradient] = sign
    return tensor


def deformation_gradient(direction: str, strain) -> Array:
    """Simple shear F = 1 + γ s e_flow ⊗ e_gradient, (3, 3), for engineering strain γ."""
    return jnp.eye(3) + jnp.asarray(strain) * generator(direction)


def rotation(direction: str) -> np.ndarray:
    """Proper rotation Q that turns the glass so that the load becomes +yz, (3, 3).

    Q e_flow = s e_y and Q e_gradient = e_z, hence Q G Qᵀ = e_y ⊗ e_z for the generator G. The
    half turn about x maps a +yz load on itself, so Q is one of two choices; the other one flips
    the sign of every component with an odd number of x (C54, C64, σ12, σ31).
    """
    flow, gradient, sign = axes(direction)
    matrix = np.zeros((3, 3))
    matrix[1, flow] = sign
    matrix[2, gradient] = 1.0
    matrix[0] = np.cross(matrix[1], matrix[2])
    return matrix


def rotate(tensor: Array, matrix) -> Array:
    """Turn Cartesian tensors: every trailing axis of length 3 after the first axis.

    Args:
      tensor: (N, 3, ..., 3) one tensor per atom, of rank 1 to 4.
      matrix: (3, 3) rotation Q.
    """
    for axis in range(1, tensor.ndim):
        tensor = jnp.moveaxis(jnp.tensordot(tensor, jnp.asarray(matrix), ((axis,), (1,))), -1, axis)
    return tensor
