"""Lowest eigenpairs of a symmetric operator: a Chebyshev-filtered block Krylov space, refined.

A polynomial of the operator that is small on the unwanted part of the spectrum and grows steeply
below it takes the place of the operator in a block Lanczos process with full orthogonalisation; a
Rayleigh-Ritz step then takes the best approximations that the whole Krylov space holds. Until they
converge they go through such a polynomial again, written for the residuals, which float32 then
carries to any accuracy. Products with many vectors at a time are all it needs of the operator.

The filter: Y. Zhou, Y. Saad, M. L. Tiago and J. R. Chelikowsky, J. Comput. Phys. 219, 172 (2006);
filtered blocks that are kept: Y. Zhou, J. Comput. Phys. 229, 9188 (2010); the residuals: N. Kodali,
K. Ramakrishnan and P. Motamarri, arXiv:2503.22652; the bound of the spectrum: Y. Zhou and R.-C. Li,
Linear Algebra Appl. 435, 480 (2011); where the filter begins to grow is taken from a density of
states: L. Lin, Y. Saad and C. Yang, SIAM Rev. 58, 34 (2016).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.numerics.batching import cast

_PROBES, _PROBE_STEPS = 8, 80
"""Random vectors and Lanczos steps of each for the density of states."""

_STEPS, _ROOM = 12, 3.4
"""Blocks of the Krylov space, and its vectors for each wanted pair; fewer need longer filters."""

_GROUP = 8
"""Unit of the number of vectors in a block. More equal eigenvalues than this are found late."""

_REACH = 1.3
"""Rank at which the filter of the Krylov space begins to grow, as a factor of the vectors kept."""

_GROWTH, _CONTRAST = 200.0, 1e5
"""Growth of the filter of the Krylov space from there to zero, which costs products and digits of
float32; and largest growth of the filter of a refinement."""

_KNOWN = 0.1
"""Largest residual of a known Ritz value, as a share of its distance from the wanted values. The
known ones beyond these tell where the rest of the spectrum begins."""

_LEAST_ROUNDS, _MOST_ROUNDS = 2, 60
"""Rayleigh-Ritz steps: a refinement at least, which removes the rounding of the Krylov space."""

_MARGIN, _SAFETY = 5.0, 1.01
"""Factor by which a refinement aims below the tolerance; factor of the bound of the spectrum."""

_THINNEST = 1e-4
"""Least share of the spectrum below the first edge: the largest degree reaches no further."""

_LEAST_DEGREE, _LARGEST_DEGREE = 4, 300

_ROUGH = "float32"
"""Precision of the filters."""

Operator = Callable[[Any, Array], Array]
"""(data, (n, M) vectors) to (n, M)."""

Product = Callable[[Array], Array]
"""The same with its data, in the precision of the filters."""


class Pairs(NamedTuple):
    """Approximate eigenpairs, the lowest first.

    Attributes:
      values: (B,) Ritz values.
      vectors: (n, B) orthonormal.
      residual: (B,) norms of A v - λ v.
      rounds: Rayleigh-Ritz steps.
      converged: (B,) whether the distance from the true eigenspace is below the tolerance.
    """

    values: Array
    vectors: Array
    residual: Array
    rounds: Array
    converged: Array


class _Interval(NamedTuple):
    """Interval [edge, bound] on which a filter is small, and the bottom, where it is one."""

    edge: Array
    bound: Array
    bottom: Array


@functools.partial(jax.jit, static_argnames=("operator", "size", "count", "block"))
def lowest(
    operator: Operator,
    data: Any,
    key: Array,
    size: int,
    count: int,
    block: int,
    tolerance: float = 1e-4,
) -> Pairs:
    """The lowest eigenpairs, and further ones that are less accurate.

    Args:
      operator: symmetric.
      data: first argument of the operator; its rounded values serve the filters.
      key: random key of the first block.
      size: n.
      count: pairs that must converge.
      block: B vectors to keep, more than `count`; the more, the easier a refinement.
      tolerance: largest angle between a vector and the true eigenspaces up to an edge. The angle
        is at most residual / (edge - value). The edge is the last Ritz value of the block that is
        itself known. The error of the eigenvalue goes as the square of the angle.
    """
    first, second = jax.random.split(key)
    probes = jax.random.normal(first, (size, _PROBES), _ROUGH)
    steps = min(_PROBE_STEPS, max(2, size // 2))
    product = functools.partial(operator, cast(data, _ROUGH))
    outline = _outline(product, probes, steps, math.ceil(_REACH * block))
    basis = _krylov(product, second, size, max(_ROOM * count, block), outline)

    def ritz(vectors: Array, rounds: Array) -> tuple[Pairs, Array]:
        basis = jnp.linalg.qr(vectors)[0]
        image = operator(data, basis)
        values, turn = jnp.linalg.eigh(basis.T @ image)
        values, turn = values[:block], turn[:, :block]
        vectors = basis @ turn
        defects = image @ turn - vectors * values
        residual = jnp.linalg.norm(defects, axis=0)
        gap = jnp.maximum(_edge(values, residual, count) - values, 0.0)
        converged = residual <= tolerance * gap
        return Pairs(values, vectors, residual, rounds + 1, converged), defects

    def going(state: tuple[Pairs, Array]) -> Array:
        # A value that is not finite never converges and never will.
        pairs = state[0]
        more = ~jnp.all(pairs.converged[:count]) | (pairs.rounds < _LEAST_ROUNDS)
        return more & jnp.all(jnp.isfinite(pairs.values)) & (pairs.rounds < _MOST_ROUNDS)

    def refined(state: tuple[Pairs, Array]) -> tuple[Pairs, Array]:
        pairs, defects = state
        values = pairs.values
        known = _edge(values, pairs.residual, count)
        within = _Interval(
            jnp.where(jnp.isfinite(known), known, values[-1]), outline.bound, values[0]
        )
        # No more than it takes to bring the worst of the wanted pairs below the tolerance.
        gap = jnp.maximum(within.edge - values[:count], 1e-3 * jnp.abs(within.edge))
        excess = jnp.max(pairs.residual[:count] / gap) * _MARGIN / tolerance
        least = within._replace(bottom=within.edge - gap[-1])
        needed = _degree(least, jnp.maximum(excess, 1.0))
        degree = _whole(jnp.minimum(needed, _degree(within, _CONTRAST)))
        vectors = _refiltered(product, pairs, defects, degree, within)
        return ritz(vectors, pairs.rounds)

    start = ritz(basis.astype(jnp.float64), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(going, refined, start)[0]


def _edge(values: Array, residual: Array, count: int) -> Array:
    """The last known Ritz value beyond the wanted ones; -inf if none is known."""
    beyond = values[count:]
    known = residual[count:] <= _KNOWN * (beyond - values[count - 1])
    return jnp.max(jnp.where(known, beyond, -jnp.inf))


def _degree(within: _Interval, growth: Array | float) -> Array:
    """Degree at which a filter has grown by a factor from its edge to its bottom."""
    edge, bound, bottom = within
    return jnp.arccosh(growth) / jnp.arccosh(1.0 + 2.0 * (edge - bottom) / (bound - edge))


def _whole(degree: Array) -> Array:
    return jnp.clip(jnp.ceil(degree), _LEAST_DEGREE, _LARGEST_DEGREE).astype(jnp.int32)


def _krylov(product: Product, key: Array, size: int, room: float, within: _Interval) -> Array:
    """Nearly orthonormal vectors of the space, (n, `room` or more)."""
    width = _GROUP * math.ceil(room / (_STEPS * _GROUP))
    if width * _STEPS >= size:
        return jnp.eye(size, dtype=_ROUGH)
    degree = _whole(_degree(within, _GROWTH))
    scaled = functools.partial(_scaled, product, within)

    def turn(step: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, block = state
        block = _filtered(scaled, block, degree, within)
        # Once would leave the rounding of what is taken out.
        for _ in range(2):
            inside = jnp.matmul(basis.T, block, precision="highest")
            block = jnp.linalg.qr(block - jnp.matmul(basis, inside, precision="highest"))[0]
        return jax.lax.dynamic_update_slice(basis, block, (0, step * width)), block

    block = jnp.linalg.qr(jax.random.normal(key, (size, width), _ROUGH))[0]
    basis = jnp.zeros((size, width * _STEPS), _ROUGH).at[:, :width].set(block)
    return jax.lax.fori_loop(1, _STEPS, turn, (basis, block))[0]


def _outline(product: Product, probes: Array, steps: int, rank: int) -> _Interval:
    """Interval from about the eigenvalue of a rank to a bound above the whole spectrum.

    The bottom is zero, or about the lowest eigenvalue if that is less.
    """
    size, num_probes = probes.shape

    def turn(state, _):
        before, now, beta = state
        image = product(now) - beta * before
        alpha = jnp.sum(image * now, axis=0)
        image = image - alpha * now
        # The end of a Krylov space leaves rounding, which must not be blown up.
        rest = jnp.linalg.norm(image, axis=0)
        rest = jnp.where(rest > 1e-5 * jnp.abs(alpha), rest, 0.0)
        after = jnp.where(rest > 0.0, image / jnp.where(rest > 0.0, rest, 1.0), 0.0)
        return (now, after, rest), (alpha, rest)

    start = probes / jnp.linalg.norm(probes, axis=0)
    begin = jnp.zeros_like(start), start, jnp.zeros(num_probes, start.dtype)
    _, (diagonal, beside) = jax.lax.scan(turn, begin, None, length=steps)

    def spectrum(diagonal: Array, beside: Array):
        off = beside[:-1]
        nodes, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1))
        return nodes, vectors[0] ** 2, nodes[-1] + jnp.abs(vectors[-1, -1]) * beside[-1]

    # One matrix at a time: jaxlib spreads a batch of matrices over XLA's threads and waits for it
    # in one of these threads, so two computations that do so at once block each other for ever.
    columns = diagonal.T.astype(jnp.float64), beside.T.astype(jnp.float64)
    nodes, weights, bounds = jax.lax.map(lambda pair: spectrum(*pair), columns)
    order = jnp.argsort(nodes.reshape(-1))
    below = jnp.cumsum(weights.reshape(-1)[order]) * (size / num_probes)
    edge = jnp.interp(rank, below, nodes.reshape(-1)[order])
    bottom, bound = jnp.minimum(jnp.min(nodes), 0.0), _SAFETY * jnp.max(bounds)
    return _Interval(jnp.maximum(edge, bottom + _THINNEST * (bound - bottom)), bound, bottom)


def _filtered(step: Callable[[Any], Any], start: Any, degree: Array, within: _Interval) -> Any:
    """Chebyshev polynomial p of a linear map, small on the interval and one at its bottom.

    The map is `_scaled`, or an extension of it, on the tree of arrays that `start` is; the degree
    is one at least.
    """
    edge, bound, bottom = within
    first = (bound - edge) / (2.0 * bottom - bound - edge)

    def mixed(factor: Array, new: Any, share: Array, old: Any) -> Any:
        return jax.tree.map(
            lambda x, y: factor.astype(x.dtype) * x - share.astype(x.dtype) * y, new, old
        )

    def turn(_, state):
        before, now, ratio = state
        following = 1.0 / (2.0 / first - ratio)
        after = mixed(2.0 * following, step(now), ratio * following, before)
        return now, after, following

    begin = start, mixed(first, step(start), jnp.zeros_like(first), start), first
    return jax.lax.fori_loop(1, degree, turn, begin)[1]


def _scaled(product: Product, within: _Interval, block: Array) -> Array:
    """The operator times a block, its spectrum above the edge brought to [-1, 1]."""
    middle, half = _middle(within, block.dtype)
    return (product(block) - middle * block) / half


def _middle(within: _Interval, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Middle and half of the length of the interval."""
    edge, bound, _ = within
    return (0.5 * (bound + edge)).astype(dtype), (0.5 * (bound - edge)).astype(dtype)


def _refiltered(
    product: Product, pairs: Pairs, defects: Array, degree: Array, within: _Interval
) -> Array:
    """Polynomial of `_filtered` applied to Ritz vectors v, as p(λ) v + [p(A) - p(λ)] v.

    The second part follows from the defects A v - λ v alone. It is as small as the defects, and so
    is the rounding of its products, which may be of a lower precision.
    """
    middle, half = _middle(within, pairs.values.dtype)
    place = (pairs.values - middle) / half
    source = (defects / half).astype(_ROUGH)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, share = state
        return _scaled(product, within, rest) + share.astype(_ROUGH) * source, place * share

    start = jnp.zeros_like(source), jnp.ones_like(place)
    rest, share = _filtered(step, start, degree, within)
    return share * pairs.vectors + rest
