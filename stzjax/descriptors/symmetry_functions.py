"""Symmetry functions: an atom's surroundings in radial and angular sums, with parameters to learn.

J. Behler and M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007), the second and fourth kind; for
yielding in glasses: E. D. Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015). The geometry
(`surroundings`) is kept apart from the functions of it (`functions`): a network learns the
parameters of these from geometry that was measured once, and all of it differentiates.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors

_SMALLEST = 1e-6
"""Least value of 1 + λ cos θ, whose logarithm is taken."""


class Shape(NamedTuple):
    """Static shape of the surroundings.

    Attributes:
      cutoff: reach of the radial functions [Å].
      angular_cutoff: reach of both sides of an angle [Å].
      places: neighbours within the first, at most.
      angular_places: neighbours within the second, at most.
    """

    cutoff: float
    angular_cutoff: float
    places: int
    angular_places: int


class Surroundings(NamedTuple):
    """Distances and angles around each atom; the atoms first, so that graphs can carry them.

    Attributes:
      length: (N, K) distances [Å].
      weight: (N, K) cut-off function of the distance, zero where there is no neighbour.
      other: (N, K) species of the neighbour.
      cosine: (N, T) of the angle between two neighbours.
      square: (N, T) sum of both squared distances [Å²].
      angular_weight: (N, T) product of both cut-off functions.
      kind: (N, T) which two species: the smaller s ≤ t as t (t + 1) / 2 + s.
    """

    length: Array | np.ndarray
    weight: Array | np.ndarray
    other: Array | np.ndarray
    cosine: Array | np.ndarray
    square: Array | np.ndarray
    angular_weight: Array | np.ndarray
    kind: Array | np.ndarray


class Basis(NamedTuple):
    """Parameters of the functions.

    Attributes:
      centre: (R,) of the radial Gaussians [Å].
      width: (R,) their standard deviations [Å].
      reach: (A,) decay length of the angular functions [Å].
      exponent: (A,) ζ of 2^(1-ζ) (1 + λ cos θ)^ζ; large ones are sharp in the angle.
      sign: (A,) λ, 1 or -1.
    """

    centre: Array
    width: Array
    reach: Array
    exponent: Array
    sign: Array


def initial(num_radial: int, num_angular: int, cutoff: float = 5.0) -> Basis:
    """R Gaussians that tile the distances, and A angular functions of either sign and rising ζ."""
    centre = jnp.linspace(2.2, cutoff - 0.4, max(num_radial, 1))[:num_radial]
    spacing = (cutoff - 2.6) / max(num_radial - 1, 1)
    pairs = jnp.arange(num_angular) // 2
    return Basis(
        centre=centre,
        width=jnp.full(num_radial, 0.6 * spacing),
        reach=jnp.full(num_angular, 4.0),
        exponent=2.0**pairs,
        sign=1.0 - 2.0 * (jnp.arange(num_angular) % 2),
    )


@jax.jit
def lengths(structure: Structure, neighbors: Neighbors) -> tuple[Array, Array, Array]:
    """Distances (K, N) [Å], infinite for padding; bond vectors (3, K, N) [Å]; neighbours."""
    idx = lists.table(neighbors)
    vectors = structure.bonds(idx)
    real = idx < structure.num_atoms
    # The root of a padding bond, which may have no length, must not reach a derivative.
    square = jnp.where(real, jnp.sum(vectors**2, axis=0), 1.0)
    return jnp.where(real, jnp.sqrt(square), jnp.inf), vectors, idx


@functools.partial(jax.jit, static_argnames="shape")
def surroundings(structure: Structure, neighbors: Neighbors, shape: Shape) -> Surroundings:
    """The surroundings of each atom; NaN where an atom has more neighbours than places. Pure.

    The list must be valid at the cut-off of the shape, which is from `symmetry_places.allocate`.
    """
    length, vectors, idx = lengths(structure, neighbors)
    # A list may be shorter than the shape, which holds the surroundings of other structures too.
    rows = ((0, max(0, shape.places - len(length))), (0, 0))
    length = jnp.pad(length, rows, constant_values=jnp.inf)
    vectors, idx = jnp.pad(vectors, ((0, 0), *rows)), jnp.pad(idx, rows)
    order = jnp.argsort(length, axis=0)[: shape.places]
    near = jnp.take_along_axis(length, order, axis=0)
    sides = jnp.take_along_axis(vectors, order[None], axis=1)
    other = jnp.take(structure.species, jnp.take_along_axis(idx, order, axis=0), mode="clip")
    limits = (shape.cutoff, shape.places), (shape.angular_cutoff, shape.angular_places)
    short = [jnp.any(jnp.sum(length < cutoff, axis=0) > places) for cutoff, places in limits]
    first, second = np.triu_indices(shape.angular_places, 1)
    weight = _fade(near, shape.cutoff)
    angular = _fade(near, shape.angular_cutoff)
    near = jnp.where(jnp.isfinite(near), near, shape.cutoff)
    product = jnp.sum(sides[:, first] * sides[:, second], axis=0)
    low, high = jnp.minimum(other[first], other[second]), jnp.maximum(other[first], other[second])
    found = Surroundings(
        length=near,
        weight=jnp.where(short[0] | short[1], jnp.nan, weight),
        other=other,
        cosine=jnp.clip(product / (near[first] * near[second]), -1.0, 1.0),
        square=near[first] ** 2 + near[second] ** 2,
        angular_weight=angular[first] * angular[second],
        kind=high * (high + 1) // 2 + low,
    )
    return jax.tree.map(jnp.transpose, found)


def _fade(length: Array, cutoff: float) -> Array:
    """Cut-off function ½ (1 + cos π r / r_c); zero beyond."""
    inside = length < cutoff
    return jnp.where(inside, 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.where(inside, length, 0) / cutoff), 0)


def functions(basis: Basis, around: Surroundings, num_species: int = 2) -> Array:
    """The symmetry functions of each atom, (N, S R + S (S + 1) / 2 A).

    Radial functions of neighbours of the first of S species come first; then the angular ones of
    each pair of species in the order of `Surroundings.kind`.
    """
    offset = around.length[..., None] - basis.centre
    radial = jnp.exp(-0.5 * (offset / basis.width) ** 2)
    base = jnp.maximum(1.0 + basis.sign * around.cosine[..., None], _SMALLEST)
    angular = 2.0 ** (1.0 - basis.exponent) * base**basis.exponent
    angular = angular * jnp.exp(-around.square[..., None] / basis.reach**2)
    columns = [
        jnp.einsum("nk,nkr->nr", around.weight * (around.other == species), radial)
        for species in range(num_species)
    ]
    columns += [
        jnp.einsum("nt,nta->na", around.angular_weight * (around.kind == kind), angular)
        for kind in range(num_species * (num_species + 1) // 2)
    ]
    return jnp.concatenate(columns, axis=-1)
