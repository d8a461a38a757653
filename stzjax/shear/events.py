"""First-event labels from the history of D²min, for any threshold.

A label is 1 for every atom whose D²min exceeds the threshold in the first step in which a group
of at least `min_cluster` mutually bonded atoms does. Everything here is NumPy on the host.
"""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components


def largest_cluster(atoms: np.ndarray, pairs: np.ndarray) -> int:
    """Size of the largest group of marked atoms that hang together.

    Args:
      atoms: (N,) bool, the marked atoms.
      pairs: (P, 2) bonded atoms.
    """
    *_, group = _clusters(atoms, pairs)
    return int(np.bincount(group[atoms], minlength=1).max())


def _clusters(atoms: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, csr_array, np.ndarray]:
    """The bonds (P, 2) among marked atoms, their graph, and the number of each atom's cluster."""
    inside = pairs[atoms[pairs].all(axis=1)]
    graph = csr_array((np.ones(len(inside)), tuple(inside.T)), shape=(len(atoms),) * 2)
    return inside, graph, connected_components(graph, directed=False)[1]


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
    inside, graph, group = _clusters(atoms, pairs)
    one, other = inside.T

    def hop(one, other):
        """Whole cells from an atom's place to that of its neighbour's nearest image."""
        return -np.round(fractional[other] - fractional[one]).astype(int)

    # Where each atom lies if its cluster is followed from bond to bond, in whole cells.
    image = np.zeros((len(atoms), 3), int)
    for place in np.unique(group[one], return_index=True)[1]:
        order, before = breadth_first_order(graph, one[place], directed=False)
        for atom in order[1:]:
            image[atom] = image[before[atom]] + hop(before[atom], atom)
    return bool(np.any(image[one] + hop(one, other) != image[other]))
