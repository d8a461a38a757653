"""Soft vibrational modes of a structure at hand: the lowest eigenvectors of the dynamical matrix.

Host code, which checks and refuses; `participation` is the array code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from stzjax.descriptors import participation
from stzjax.mechanics.expansion import Expansion

METHODS = ("auto", "dense", "chebyshev")
"""Methods for the lowest modes: the faster one, a matrix of 8 (3 N)² bytes, or none at all."""

_DENSE_UP_TO = 150
_ROUNDING = 1e-11


class Modes(NamedTuple):
    """The lowest vibrational modes, the three translations left out.

    Attributes:
      eigenvalues: (M,) ascending [eV/Å²/amu]; eV/Å² if not mass-weighted. Angular frequencies
        are sqrt(eigenvalues / units.AMU) [rad/ps].
      vectors: (M, N, 3) orthonormal eigenvectors; the sign is arbitrary.
      residuals: (M,) norms of D e - λ e, in the units of the eigenvalues; each eigenvalue is off
        by less.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


def modes(
    expansion: Expansion, fraction: float = 0.01, mass_weighted: bool = True, method: str = "auto"
) -> Modes:
    """The lowest modes of the dynamical matrix of a relaxed structure.

    Args:
      expansion: from `allocation.expand`, of N atoms at a minimum of the energy.
      fraction: share of the 3 N - 3 vibrations, rounded; one at least.
      mass_weighted: eigenvectors of the dynamical matrix; else of the Hessian.
      method: one of `METHODS`.

    Raises:
      ValueError: not a minimum, modes that do not converge, or an argument out of range.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    num_atoms = expansion.structure.num_atoms
    count = participation.num_modes(num_atoms, fraction)
    if method == "auto":
        # A block that is a good part of all vectors gains nothing over the whole matrix.
        small = num_atoms <= _DENSE_UP_TO or fraction > 0.1
        method = "dense" if small else "chebyshev"
    if method == "dense":
        return _dense(expansion, count, mass_weighted)
    pairs, stiffness = jax.device_get(participation.lowest(expansion, count, mass_weighted))
    _check(stiffness, pairs.values[0], pairs.residual[:count], np.all(pairs.converged[:count]))
    vectors = np.ascontiguousarray(pairs.vectors[:, :count].T).reshape(count, -1, 3)
    return Modes(pairs.values[:count], vectors, pairs.residual[:count])


def _check(stiffness: float, lowest: float, residuals: np.ndarray, converged=True) -> None:
    if not np.isfinite(stiffness):
        raise ValueError("the Hessian is not finite; do atoms coincide?")
    # Without any bond there is nothing to iterate with.
    lowest = lowest if stiffness != 0.0 else 0.0
    if lowest <= _ROUNDING * abs(stiffness):
        raise ValueError(
            f"not a minimum: the lowest mode has the eigenvalue {lowest:.3e}; relax the structure "
            "first, to a tighter force tolerance if it was relaxed already"
        )
    if not converged or not np.isfinite(lowest):
        raise ValueError(
            f"the soft modes did not converge (largest residual {np.max(residuals):.1e}); "
            'ask for more or fewer modes, or use method="dense"'
        )


def participation_fraction(vectors: np.ndarray) -> np.ndarray:
    """N times the mean of |e_i|² over normalised modes (M, N, 3), (N,); one on average."""
    return vectors.shape[1] * np.mean(np.sum(np.asarray(vectors) ** 2, axis=-1), axis=0)


_product = jax.jit(participation.dynamical)


def _dense(expansion: Expansion, count: int, mass_weighted: bool) -> Modes:
    hessian, root, mean = participation.operator(expansion, mass_weighted)
    size = 3 * len(root)
    # The translations go to the trace, which is above each vibration where all are positive.
    matrix = np.asarray(_product((hessian, root, size * mean), jnp.eye(size)))
    if not np.isfinite(matrix).all():
        raise ValueError("the Hessian is not finite; do atoms coincide?")
    eigenvalues, vectors = scipy.linalg.eigh(
        matrix, subset_by_index=(0, count - 1), check_finite=False
    )
    residuals = np.linalg.norm(matrix @ vectors - vectors * eigenvalues, axis=0)
    _check(float(mean), eigenvalues[0], residuals)
    return Modes(eigenvalues, np.ascontiguousarray(vectors.T).reshape(count, -1, 3), residuals)
