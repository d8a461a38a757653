"""Lowest eigenpairs of a symmetric operator by Chebyshev-filtered subspace iteration.

A block of vectors goes through a polynomial of the operator that is small on the unwanted part of
the spectrum and grows steeply below it; a Rayleigh-Ritz step then takes the best approximations
that the block holds. Products with many vectors at a time are all it needs of the operator.

Y. Zhou, Y. Saad, M. L. Tiago and J. R. Chelikowsky, J. Comput. Phys. 219, 172 (2006); the bound of
the spectrum: Y. Zhou and R.-C. Li, Linear Algebra Appl. 435, 480 (2011); where the filter begins to
grow is first taken from a density of states: L. Lin, Y. Saad and C. Yang, SIAM Rev. 58, 34 (2016).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

_PROBES, _PROBE_STEPS = 8, 80
"""Random vectors and Lanczos steps of each for the density of states."""

_CONTRAST = 1e5
"""The filter grows by so much, at most, from the edge of the block to its lowest value: float32
vectors then keep two digits of what is smallest in them."""

_TRUSTED = 4
"""Rounds for which the first estimate of the edge is taken at its word."""

_ROUNDING = 8.0
"""Residuals below so many roundings of the largest eigenvalue are left to the full precision."""

_MARGIN = 5.0
"""Of the last filter, which aims at the tolerance."""

_SAFETY = 1.01
"""Factor of the bound of the spectrum."""

_LEAST_DEGREE, _LARGEST_DEGREE = 4, 300

Operator = Callable[[Any, Array], Array]
"""(data, (n, M) vectors) to (n, M)."""


class Pairs(NamedTuple):
    """Approximate eigenpairs, the lowest first.

    Attributes:
      values: (B,) Ritz values.
      vectors: (n, B) orthonormal.
      residual: (B,) norms of A v - λ v.
      products: vectors multiplied by the operator.
      rounds: Rayleigh-Ritz steps.
      converged: (B,) whether the distance from the true eigenspace is below the tolerance.
    """

    values: Array
    vectors: Array
    residual: Array
    products: Array
    rounds: Array
    converged: Array


@functools.partial(jax.jit, static_argnames=("operator", "size", "count", "block", "max_rounds"))
def lowest(
    operator: Operator,
    data: Any,
    rough: Any,
    key: Array,
    size: int,
    count: int,
    block: int,
    tolerance: float = 1e-4,
    max_rounds: int = 60,
) -> Pairs:
    """The lowest eigenpairs, and some more that are less accurate.

    Args:
      operator: symmetric.
      data: what it takes, for the Rayleigh-Ritz steps.
      rough: the same, in the precision of the filter; float32 will do. Its rounding shows in the
        residuals; where the tolerance asks for smaller ones the last filter runs on `data`.
      key: for the first block.
      size: n.
      count: pairs that must converge.
      block: B vectors, more than `count`; the more, the fewer rounds.
      tolerance: of the angle between a vector and the true eigenspaces up to the block's edge,
        estimated as residual / (edge - value); the edge is that of the last filter, since the last
        Ritz values come down late. The error of the eigenvalue goes as its square.
      max_rounds: Rayleigh-Ritz steps to take at most.
    """
    low = next(x.dtype for x in jax.tree.leaves(rough) if jnp.issubdtype(x.dtype, jnp.floating))
    first, second = jax.random.split(key)
    probes = jax.random.normal(first, (size, _PROBES), low)
    steps = min(_PROBE_STEPS, max(2, size // 2))
    guess, bound = _outline(operator, rough, probes, steps, block)

    def improve(vectors: Array) -> tuple[Array, Array, Array]:
        basis = jnp.linalg.qr(vectors)[0]
        image = operator(data, basis)
        values, turn = jnp.linalg.eigh(basis.T @ image)
        vectors = basis @ turn
        residual = jnp.linalg.norm(image @ turn - vectors * values, axis=0)
        return values, vectors, residual

    def going(pairs: Pairs) -> Array:
        # A value that is not finite never converges and never will.
        more = ~jnp.all(pairs.converged[:count]) & jnp.all(jnp.isfinite(pairs.values))
        return more & (pairs.rounds < max_rounds)

    def refined(pairs: Pairs, edge: Array) -> Pairs:
        bottom = pairs.values[0]
        far = 1.0 + 2.0 * (edge - bottom) / (bound - edge)
        most = jnp.arccosh(_CONTRAST) / jnp.arccosh(far)
        # No more than it takes to bring the worst of the wanted pairs below the tolerance.
        room = jnp.maximum(edge - pairs.values[count - 1], 1e-3 * edge)
        growth = jnp.arccosh(1.0 + 2.0 * room / (bound - edge))
        worst = jnp.max((pairs.residual / _gap(pairs.values, edge))[:count])
        needed = jnp.log(jnp.maximum(_MARGIN * worst / tolerance, 1.0)) / growth
        degree = jnp.clip(jnp.minimum(most, needed), _LEAST_DEGREE, _LARGEST_DEGREE)
        degree = jnp.where(pairs.rounds == 0, most, degree).astype(jnp.int32)
        ends = edge, bound, bottom
        noise = _ROUNDING * jnp.finfo(low).eps * bound
        vectors = jax.lax.cond(
            jnp.max(pairs.residual[:count]) > noise,
            lambda block: _filtered(operator, rough, block, degree, *ends, low),
            lambda block: _filtered(operator, data, block, degree, *ends, block.dtype),
            pairs.vectors,
        )
        values, vectors, residual = improve(vectors)
        return Pairs(
            values,
            vectors,
            residual,
            pairs.products + block * (degree + 1),
            pairs.rounds + 1,
            residual <= tolerance * _gap(values, edge),
        )

    def turn(pairs: Pairs) -> Pairs:
        # Ritz values come down to the eigenvalues; the first lie far above. A guess too low for
        # the wanted ones would stop them from converging.
        middle = 0.5 * (pairs.values[count] + pairs.values[-1])
        least = jnp.where(pairs.rounds < _TRUSTED, guess, middle)
        return refined(pairs, jnp.minimum(jnp.maximum(guess, least), pairs.values[-1]))

    zero = jnp.zeros((), jnp.int32)
    start = Pairs(
        values=jnp.zeros(block),
        vectors=jax.random.normal(second, (size, block)),
        residual=jnp.full(block, jnp.inf),
        products=zero + _PROBES * steps,
        rounds=zero,
        converged=jnp.zeros(block, bool),
    )
    return jax.lax.while_loop(going, turn, refined(start, guess))


def _gap(values: Array, edge: Array) -> Array:
    """Distance of the values from the edge of the block."""
    return jnp.maximum(jnp.minimum(edge, values[-1]) - values, 0.0)


def _outline(
    operator: Operator, data: Any, probes: Array, steps: int, rank: int
) -> tuple[Array, Array]:
    """Roughly the eigenvalue of a rank from below, and a number above the whole spectrum."""
    size, num_probes = probes.shape

    def turn(state, _):
        before, now, beta = state
        image = operator(data, now) - beta * before
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

    # One at a time: jaxlib spreads a batch of them over XLA's threads and waits for it in one of
    # those, so two computations that do so at once wait for each other for good.
    columns = diagonal.T.astype(jnp.float64), beside.T.astype(jnp.float64)
    nodes, weights, bounds = jax.lax.map(lambda pair: spectrum(*pair), columns)
    order = jnp.argsort(nodes.reshape(-1))
    below = jnp.cumsum(weights.reshape(-1)[order]) * (size / num_probes)
    guess = jnp.interp(rank, below, nodes.reshape(-1)[order])
    return guess, _SAFETY * jnp.max(bounds)


def _filtered(
    operator: Operator, data: Any, block: Array, degree: Array, edge, bound, bottom, dtype
) -> Array:
    """Chebyshev polynomial that is small on [edge, bound], scaled to one at the bottom."""
    full = block.dtype
    block, edge, bound, bottom = (x.astype(dtype) for x in (block, edge, bound, bottom))
    half, middle = 0.5 * (bound - edge), 0.5 * (bound + edge)
    first = half / (bottom - middle)

    def shifted(x: Array) -> Array:
        return operator(data, x) - middle * x

    def turn(_, state):
        before, now, ratio = state
        following = 1.0 / (2.0 / first - ratio)
        after = (2.0 * following / half) * shifted(now) - (ratio * following) * before
        return now, after, following

    start = block, shifted(block) * (first / half), first
    return jax.lax.fori_loop(1, degree, turn, start)[1].astype(full)
