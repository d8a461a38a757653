"""First-event labels from the history of D²min, for any threshold.

A label is 1 for every atom whose D²min exceeds the threshold in the first step in which a group
of at least `min_cluster` mutually bonded atoms does. Everything here is NumPy on the host.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def largest_cluster(atoms: np.ndarray, pairs: np.ndarray) -> int:
    """Size of the largest group of marked atoms that hang together.

    Args:
      atoms: (N,) bool, the marked atoms.
      pairs: (P, 2) bonded atoms.
    """
    if not atoms.any():
        return 0
    inside = pairs[atoms[pairs].all(axis=1)]
    graph = coo_array((np.ones(len(inside)), (inside[:, 0], inside[:, 1])), shape=(len(atoms),) * 2)
    group = connected_components(graph, directed=False)[1]
    return int(np.bincount(group[atoms]).max())


def first_event(
    max_d2min: np.ndarray,
    history_step: np.ndarray,
    history_d2min: np.ndarray,
    threshold: float,
    min_cluster: int = 1,
    pairs: np.ndarray | None = None,
) -> int | None:
    """Step of the first event, or None if the threshold is never passed.

    Args:
      max_d2min: (S,) largest D²min of each step [Å²].
      history_step: (H,) steps whose field is kept.
      history_d2min: (H, N) those fields [Å²].
      threshold: [Å²].
      min_cluster: atoms that must hang together.
      pairs: (P, 2) bonded atoms; needed for `min_cluster` above 1.

    Raises:
      ValueError: a field that is needed was not kept, or a parameter makes no sense.
    """
    if not threshold > 0:
        raise ValueError(f"the D²min threshold must be positive, got {threshold}")
    if min_cluster < 1 or (min_cluster > 1 and pairs is None):
        raise ValueError(f"min_cluster must be 1, or larger with bonded pairs, got {min_cluster}")
    for step in np.flatnonzero(np.asarray(max_d2min) > threshold):
        if min_cluster == 1:
            return int(step)
        marked = field(history_step, history_d2min, int(step)) > threshold
        if largest_cluster(marked, np.asarray(pairs)) >= min_cluster:
            return int(step)
    return None


def field(history_step: np.ndarray, history_d2min: np.ndarray, step: int) -> np.ndarray:
    """D²min of every atom in a step, (N,) [Å²].

    Raises:
      ValueError: the field of that step was not kept.
    """
    row = np.flatnonzero(np.asarray(history_step) == step)
    if not row.size:
        raise ValueError(
            f"the D²min field of step {step} was not kept; shear again with a smaller "
            "record_threshold"
        )
    return np.asarray(history_d2min)[row[0]]


def spans(atoms: np.ndarray, pairs: np.ndarray, fractional: np.ndarray) -> bool:
    """Whether marked atoms hang together around the periodic cell.

    Args:
      atoms: (N,) bool, the marked atoms.
      pairs: (P, 2) bonded atoms.
      fractional: (N, 3) positions in units of the cell vectors.
    """
    inside = pairs[atoms[pairs].all(axis=1)]
    gap = fractional[inside[:, 1]] - fractional[inside[:, 0]]
    # Where each atom lies if its cluster is followed from bond to bond, in whole cells.
    hops = -np.round(gap).astype(int)
    bonds: dict[int, list[tuple[int, np.ndarray]]] = {}
    for (a, b), hop in zip(inside.tolist(), hops, strict=True):
        bonds.setdefault(a, []).append((b, hop))
        bonds.setdefault(b, []).append((a, -hop))
    image: dict[int, np.ndarray] = {}
    for first in bonds:
        if first in image:
            continue
        image[first] = np.zeros(3, int)
        waiting = [first]
        while waiting:
            atom = waiting.pop()
            for other, hop in bonds[atom]:
                place = image[atom] + hop
                if other not in image:
                    image[other] = place
                    waiting.append(other)
                elif np.any(image[other] != place):
                    return True
    return False
