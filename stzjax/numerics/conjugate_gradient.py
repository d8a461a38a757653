"""Preconditioned conjugate gradients for many right-hand sides at a time.

M. R. Hestenes and E. Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952). Own code and not `lineax`
or `jax.scipy`, because here a direction of negative curvature is an outcome of its own (the
structure is not at a minimum), every column has its outcome, and the null space is projected out.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

CONVERGED, OUT_OF_ITERATIONS, INDEFINITE, NOT_FINITE = range(4)
"""Outcomes of a column."""

OUTCOMES = ("converged", "out of iterations", "not a minimum of the energy", "not finite")
"""Texts for the outcomes."""

Map = Callable[[Array], Array]


class Solution(NamedTuple):
    """Solutions for M right-hand sides, each with its outcome.

    Attributes:
      fields: (..., M) solutions.
      residual: (M,) norm of what is left of the right-hand side, relative to it.
      iterations: (M,) products with the operator.
      outcome: (M,) one of `OUTCOMES`.
    """

    fields: Array
    residual: Array
    iterations: Array
    outcome: Array


class _Progress(NamedTuple):
    fields: Array
    left: Array
    search: Array
    product: Array
    iterations: Array
    indefinite: Array


def _dot(x: Array, y: Array) -> Array:
    return jnp.sum(x * y, axis=tuple(range(x.ndim - 1)))


def solve(
    operator: Map,
    sides: Array,
    tolerance: float,
    max_iterations: int,
    precondition: Map,
    project: Map,
    start: Array | None = None,
) -> Solution:
    """Fields u with A u = b for a symmetric A that is positive on what `project` leaves.

    Pure; the columns do not influence each other.

    Args:
      operator: A, (..., M) to (..., M).
      sides: (..., M) right-hand sides b.
      tolerance: largest norm of the residual, relative to the norm of b.
      max_iterations: products with A.
      precondition: approximate inverse of A, symmetric and positive.
      project: takes out the null space of A.
      start: (..., M) first guess; zero by default.
    """
    sides = project(sides)
    size = jnp.sqrt(_dot(sides, sides))
    fields = jnp.zeros_like(sides) if start is None else project(start)

    def active(state: _Progress) -> Array:
        large = jnp.sqrt(_dot(state.left, state.left)) > tolerance * size
        return large & ~state.indefinite & (state.iterations < max_iterations)

    def turn(state: _Progress) -> _Progress:
        going = active(state)
        image = operator(state.search)
        bend = _dot(state.search, image)
        indefinite = state.indefinite | (going & (bend <= 0.0))
        step = jnp.where(going & ~indefinite, state.product / jnp.where(bend > 0, bend, 1.0), 0.0)
        left = project(state.left - step * image)
        better = project(precondition(left))
        product = _dot(left, better)
        ratio = product / jnp.where(state.product > 0.0, state.product, 1.0)
        return _Progress(
            state.fields + step * state.search,
            left,
            jnp.where(going, better + ratio * state.search, state.search),
            jnp.where(going, product, state.product),
            state.iterations + going,
            indefinite,
        )

    left = sides if start is None else project(sides - operator(fields))
    search = project(precondition(left))
    counts = jnp.zeros(sides.shape[-1], jnp.int32)
    begin = _Progress(fields, left, search, _dot(left, search), counts, counts.astype(bool))
    end = jax.lax.while_loop(lambda s: jnp.any(active(s)), turn, begin)
    fields = project(end.fields)
    rest = project(sides - operator(fields))
    residual = jnp.sqrt(_dot(rest, rest)) / jnp.where(size > 0.0, size, 1.0)
    # The true residual exceeds the one that is updated by rounding.
    outcome = jnp.where(residual <= 2.0 * tolerance, CONVERGED, OUT_OF_ITERATIONS)
    outcome = jnp.where(end.indefinite, INDEFINITE, outcome)
    finite = jnp.isfinite(residual) & jnp.isfinite(_dot(fields, fields))
    return Solution(fields, residual, end.iterations, jnp.where(finite, outcome, NOT_FINITE))
