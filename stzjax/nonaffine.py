"""Non-affine displacement D²min and the local deformation that best explains a bond's change.

M. L. Falk and J. S. Langer, Phys. Rev. E 57, 7192 (1998), eqs. 2.11-2.14.
"""

import jax.numpy as jnp
from jax import Array

from stzjax import structure as structures
from stzjax.neighbors import Neighbors
from stzjax.structure import Structure


def fit(before: Array, after: Array, mask: Array) -> tuple[Array, Array]:
    """Best local affine map of the bonds of each atom, and what it leaves unexplained.

    Args:
      before: (3, K, N) bond vectors of the reference, one column per atom [Å].
      after: (3, K, N) the same bonds after deformation [Å].
      mask: (K, N) bonds that count.

    Returns:
      The map J (N, 3, 3) with after ≈ J before, and the squared residuals summed over the bonds
      (N,) [Å²]. With fewer than three independent bonds the fit is exact and the residual zero.
    """
    before = jnp.where(mask, before, 0.0)
    after = jnp.where(mask, after, 0.0)
    cross = jnp.stack([jnp.sum(a * before, axis=1) for a in after])
    square = jnp.stack([jnp.sum(b * before, axis=1) for b in before])
    cross, square = jnp.moveaxis(cross, -1, 0), jnp.moveaxis(square, -1, 0)
    # Bonds in a plane leave the map undetermined out of it; a grain of identity settles it.
    grain = 1e-12 * jnp.trace(square, axis1=1, axis2=2) + jnp.finfo(square.dtype).tiny
    square = square + grain[:, None, None] * jnp.eye(3, dtype=square.dtype)
    maps = cross @ jnp.linalg.inv(square)
    explained = jnp.einsum("nab,bkn->akn", maps, before)
    return maps, jnp.sum((after - explained) ** 2, axis=(0, 1))


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
      after: the same atoms later, in a cell that may differ.
      neighbors: list that is valid for `before` at the cut-off.
      cutoff: [Å].
      reduction: "sum" over the bonds (OVITO, the default) or "mean".
    """
    bonds, mask = _bonds(before, neighbors, cutoff)
    later, _ = _bonds(after, neighbors, cutoff)
    residual = fit(bonds, later, mask)[1]
    if reduction == "mean":
        return residual / jnp.maximum(jnp.sum(mask, axis=0), 1)
    return residual


def deformation(
    before: Structure, after: Structure, neighbors: Neighbors, cutoff: float = 3.8
) -> Array:
    """Local deformation gradient J of each atom, (N, 3, 3); arguments as `d2min`."""
    bonds, mask = _bonds(before, neighbors, cutoff)
    later, _ = _bonds(after, neighbors, cutoff)
    return fit(bonds, later, mask)[0]


def local_strain(maps: Array) -> Array:
    """Green-Lagrange strain ½ (JᵀJ - 1) of local deformation gradients, (N, 3, 3)."""
    return 0.5 * (jnp.swapaxes(maps, -1, -2) @ maps - jnp.eye(3, dtype=maps.dtype))


def near(structure: Structure, neighbors: Neighbors, cutoff: float = 3.8) -> Array:
    """Which places of a list are bonds shorter than the cut-off, (K, N) bool."""
    return _bonds(structure, neighbors, cutoff)[1]


def _bonds(structure: Structure, neighbors: Neighbors, cutoff: float) -> tuple[Array, Array]:
    columns = structure.fractional.T
    idx = neighbors.idx
    delta = jnp.take(columns, idx, axis=1, mode="clip") - columns[:, None, :]
    vectors = jnp.einsum("ab,bkn->akn", structure.cell, structures.minimum_image(delta))
    near = jnp.sum(vectors * vectors, axis=0) < cutoff * cutoff
    return vectors, near & (idx < idx.shape[1])
