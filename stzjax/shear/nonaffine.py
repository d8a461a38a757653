"""Non-affine displacement D²min: the change of bonds that no local deformation explains.

M. L. Falk and J. S. Langer, Phys. Rev. E 57, 7192 (1998), eqs. 2.11-2.14.
"""

import jax.numpy as jnp
from jax import Array

from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors


def residual(before: Array, after: Array, mask: Array) -> Array:
    """Squared change of the bonds of each atom that its best local affine map leaves unexplained.

    Args:
      before: (3, K, N) bond vectors of the reference, one column per atom [Å].
      after: (3, K, N) the same bonds after deformation [Å].
      mask: (K, N) bonds that count.

    Returns:
      Sums over the bonds (N,) [Å²]. With fewer than three independent bonds the map is exact and
      the residual zero.
    """
    before = jnp.where(mask, before, 0.0)
    change = jnp.where(mask, after, 0.0) - before
    # The map of the changes, not of the bonds, so that small residuals keep their digits.
    square = {(a, b): jnp.sum(before[a] * before[b], axis=0) for a, b in _UPPER}
    inverse = _inverse(square)
    cross = [[jnp.sum(change[a] * before[b], axis=0) for b in range(3)] for a in range(3)]
    gradient = [
        [sum(row[c] * inverse[min(b, c), max(b, c)] for c in range(3)) for b in range(3)]
        for row in cross
    ]
    total = jnp.zeros_like(before[0, 0])
    for a in range(3):
        explained = sum(gradient[a][b] * before[b] for b in range(3))
        total = total + jnp.sum((change[a] - explained) ** 2, axis=0)
    return total


_UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _inverse(square: dict) -> dict:
    """Inverse of symmetric positive 3 × 3 matrices, given and returned by upper components."""
    # Bonds in a plane leave the map undetermined out of it; a grain of identity settles it.
    trace = square[0, 0] + square[1, 1] + square[2, 2]
    grain = 1e-12 * trace + jnp.finfo(trace.dtype).tiny
    xx, yy, zz = (square[a, a] + grain for a in range(3))
    xy, xz, yz = square[0, 1], square[0, 2], square[1, 2]
    minors = {
        (0, 0): yy * zz - yz * yz,
        (0, 1): xz * yz - xy * zz,
        (0, 2): xy * yz - xz * yy,
        (1, 1): xx * zz - xz * xz,
        (1, 2): xy * xz - xx * yz,
        (2, 2): xx * yy - xy * xy,
    }
    determinant = xx * minors[0, 0] + xy * minors[0, 1] + xz * minors[0, 2]
    scale = 1.0 / jnp.where(determinant > 0.0, determinant, 1.0)
    return {place: minor * scale for place, minor in minors.items()}


def d2min(
    before: Structure,
    after: Structure,
    neighbors: Neighbors,
    cutoff: float = 3.8,
    reduction: str = "sum",
) -> Array:
    """Non-affine displacement of each atom between two configurations, (N,) [Å²].

    Args:
      before: reference configuration; bonds shorter than the cut-off in it count.
      after: configuration of the same atoms later, in a cell that may differ.
      neighbors: list that is valid for `before` at the cut-off.
      cutoff: [Å].
      reduction: "sum" over the bonds (OVITO, the default) or "mean".
    """
    vectors, mask = bonds(before, neighbors, cutoff)
    later, _ = bonds(after, neighbors, cutoff)
    total = residual(vectors, later, mask)
    if reduction == "mean":
        return total / jnp.maximum(jnp.sum(mask, axis=0), 1)
    return total


def bonds(structure: Structure, neighbors: Neighbors, cutoff: float) -> tuple[Array, Array]:
    """Vectors of a list (3, K, N) [Å], and which are bonds shorter than the cut-off (K, N)."""
    idx = lists.table(neighbors)
    vectors = structure.bonds(idx)
    near = jnp.sum(vectors * vectors, axis=0) < cutoff * cutoff
    return vectors, near & (idx < structure.num_atoms)
