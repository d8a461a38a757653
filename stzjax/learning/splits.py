"""Splits by specimen into training, validation and test, and the scaling fitted on training alone.

The six shear directions of a specimen share its atoms, so a specimen is never divided.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array


class Split(NamedTuple):
    """Specimen numbers of each part, sorted; disjoint."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Fold(NamedTuple):
    """A round of cross-validation: specimen numbers, sorted; disjoint."""

    train: np.ndarray
    validation: np.ndarray


def by_specimen(specimens, *, key: Array) -> Split:
    """Training, validation and test specimens drawn at random, 3:1:1 and at least one of each.

    Numbers of specimens may repeat; there must be three different ones.
    """
    shuffled = _shuffled(specimens, key)
    if len(shuffled) < 3:
        raise ValueError(
            f"cannot split {len(shuffled)} specimens into training, validation and test: "
            "make at least 3"
        )
    ideal = len(shuffled) * np.array([3.0, 1.0, 1.0]) / 5
    sizes = np.ones(3, int)
    while sizes.sum() < len(shuffled):
        sizes[np.argmax(ideal - sizes)] += 1
    parts = np.split(shuffled, np.cumsum(sizes)[:-1])
    return Split(*(np.sort(part) for part in parts))


def rotations(specimens, num: int, *, key: Array) -> tuple[Split, ...]:
    """Splits in which every specimen is tested exactly once, validated on exactly once.

    The specimens are divided into `num` parts, three at least; part r is the test of split r, the
    next part its validation, all others are training.
    """
    parts = _parts(specimens, num, 3, key, "rotate {0} specimens through {1} parts")
    return tuple(
        Split(_rest(parts, r, (r + 1) % num), parts[(r + 1) % num], parts[r]) for r in range(num)
    )


def folds(specimens, num_folds: int, *, key: Array) -> tuple[Fold, ...]:
    """Two or more folds; every specimen is validated on exactly once, in parts of equal size ±1."""
    parts = _parts(specimens, num_folds, 2, key, "make {1} folds of {0} specimens")
    return tuple(Fold(_rest(parts, i), parts[i]) for i in range(num_folds))


def _parts(specimens, num: int, least: int, key: Array, task: str) -> list[np.ndarray]:
    """Specimens divided at random into parts of equal size ±1, each sorted."""
    shuffled = _shuffled(specimens, key)
    if not least <= num <= len(shuffled):
        raise ValueError(
            f"cannot {task.format(len(shuffled), num)}: "
            f"take at least {least} and at most one per specimen"
        )
    return [np.sort(part) for part in np.array_split(shuffled, num)]


def _rest(parts: Sequence[np.ndarray], *left_out: int) -> np.ndarray:
    """All specimens but those of the parts that are left out, sorted."""
    return np.sort(np.concatenate([p for i, p in enumerate(parts) if i not in left_out]))


def _shuffled(specimens, key: Array) -> np.ndarray:
    unique = np.unique(np.asarray(specimens))
    return unique[np.asarray(jax.random.permutation(key, len(unique)))]


class Scaler(NamedTuple):
    """Standardisation of feature columns, x -> (x - mean) / scale.

    Attributes:
      mean: (F,) mean of each column over the training atoms.
      scale: (F,) their standard deviation; 1 for a constant column.
    """

    mean: Any
    scale: Any

    def apply(self, features):
        """Standardised features (N, F), in their own float type."""
        if features.shape[-1] != len(self.mean):
            raise ValueError(
                f"the scaler was fitted on {len(self.mean)} feature columns, "
                f"got {features.shape[-1]}: describe with the same table"
            )
        return ((features - self.mean) / self.scale).astype(features.dtype)


def fit_scaler(features: Sequence[Any]) -> Scaler:
    """A scaler fitted on the finite features (N_g, F) of the training graphs, and of no other."""
    arrays = [np.asarray(x) for x in features]
    if not sum(map(len, arrays)):
        raise ValueError("no training features to fit a scaler on: give at least one graph")
    if any(x.ndim != 2 or x.shape[1] != arrays[0].shape[-1] for x in arrays):
        raise ValueError(
            f"training features differ in their columns: {sorted({x.shape[1:] for x in arrays})}"
        )
    total = sum(map(len, arrays))
    mean = sum(x.sum(axis=0, dtype=np.float64) for x in arrays) / total
    # Two passes: the mean square minus the squared mean would cancel for narrow columns.
    variance = sum(((x - mean) ** 2).sum(axis=0) for x in arrays) / total
    if not np.isfinite(variance).all():
        column = int(np.argmin(np.isfinite(variance)))
        raise ValueError(f"training feature column {column} holds a value that is not finite")
    deviation = np.sqrt(variance)
    # float32 features of a constant column leave a residue of rounding.
    constant = deviation <= 1e-10 * np.abs(mean)
    return Scaler(mean=mean, scale=np.where(constant, 1.0, deviation))
