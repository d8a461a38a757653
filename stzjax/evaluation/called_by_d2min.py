"""Share of the atoms that a network calls positive, against the distance they then move."""

from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from stzjax.evaluation import metrics

OPERATING = 0.5
"""Confidence from which the paper calls an atom positive."""

_QUIET = 1e-10
"""Smaller D²min is rounding noise [Å²]."""


class Share(NamedTuple):
    """Share of the atoms called positive in each of B bins of D²min.

    Attributes:
      edges: (B + 1,) edges of the bins [Å²].
      atoms: (B,) number of atoms in each bin.
      share: (B,) share of the atoms of the bin, NaN if it is empty.
      low: (B,) lower end of the interval.
      high: (B,) upper end of the interval.
      specimens: number of specimens behind the interval.
    """

    edges: np.ndarray
    atoms: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    specimens: int


def bins(d2min, threshold: float, per_decade: int = 4) -> np.ndarray:
    """Logarithmic bin edges around the threshold and all values above rounding noise.

    Args:
      d2min: (A,) [Å²].
      threshold: an edge, so that no bin holds values from both sides of it [Å²].
      per_decade: number of bins for a factor 10.
    """
    d2min = np.asarray(d2min, float)
    values = np.append(d2min[d2min > _QUIET], [threshold / 10, threshold])
    place = per_decade * np.log10(np.array([values.min(), values.max()]) / threshold)
    first, last = int(np.floor(place[0])), int(np.floor(place[1])) + 1
    return threshold * 10.0 ** (np.arange(first, last + 1) / per_decade)


def at_operating(d2min, confidence, specimen, threshold: float, seed: int) -> Share:
    """Share of atoms with a confidence of `OPERATING` or more, on bins around a threshold [Å²]."""
    edges, key = bins(d2min, threshold), jax.random.key(seed)
    return by_d2min(d2min, np.asarray(confidence) >= OPERATING, specimen, edges, key=key)


def by_d2min(d2min, called, specimen, edges, *, key: Array, num_samples: int = 1000) -> Share:
    """Share of atoms called positive against their D²min, with intervals.

    The interval of a bin is the wider of two: Wilson's, J. Am. Stat. Assoc. 22, 209 (1927), takes
    atoms for independent; the bootstrap over specimens does not, but collapses where a bin holds
    atoms of a single specimen, or is all or nothing. With one specimen there is only Wilson's.

    Args:
      d2min: (A,) D²min of each atom [Å²].
      called: (A,) bool, whether the network calls the atom positive.
      specimen: (A,) number of the specimen.
      edges: (B + 1,) edges of the bins [Å²].
      key: `jax.random` key.
      num_samples: number of resamples of the bootstrap.
    """
    names, member = np.unique(specimen, return_inverse=True)
    place = np.digitize(d2min, edges) - 1
    num = len(edges) - 1
    inside = (place >= 0) & (place < num) & np.isfinite(d2min)
    flat, size = member[inside] * num + place[inside], len(names) * num
    every = np.bincount(flat, minlength=size).reshape(-1, num)
    yes = np.bincount(flat[np.asarray(called)[inside]], minlength=size).reshape(-1, num)
    count, value = every.sum(0), metrics.ratio(yes.sum(0), every.sum(0))
    low, high = _wilson(value, count)
    if len(names) > 1 and count.any():
        times = metrics.redraws(key, num_samples, len(names))
        samples = metrics.ratio(times @ yes, times @ every)
        filled = count > 0
        ends = np.nanquantile(samples[:, filled], metrics.TAILS, axis=0)
        low[filled] = np.fmin(low[filled], ends[0])
        high[filled] = np.fmax(high[filled], ends[1])
    return Share(np.asarray(edges), count, value, low, high, len(names))


def _wilson(value, count) -> tuple[np.ndarray, np.ndarray]:
    """Score interval of a binomial share; NaN where nothing was counted."""
    z = float(jax.scipy.special.ndtri(metrics.TAILS[1]))
    count = np.maximum(count, 1)
    middle = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(value * (1 - value) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
