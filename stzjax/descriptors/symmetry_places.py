"""Static shapes of the surroundings of atoms, found on the host for structures at hand."""

from collections.abc import Sequence

import numpy as np

from stzjax.core.structure import Structure
from stzjax.descriptors import symmetry_functions
from stzjax.descriptors.symmetry_functions import Shape
from stzjax.neighbors import lists


def allocate(
    configurations: Sequence[Structure], cutoff: float = 5.0, angular_cutoff: float = 3.8
) -> Shape:
    """A shape that holds the surroundings of all of some structures, on the host.

    Raises:
      ValueError: a cut-off that is not positive, or a cell too small for it.
    """
    if not 0.0 < angular_cutoff <= cutoff:
        raise ValueError(
            f"the cut-offs must satisfy 0 < angular ≤ radial, got {angular_cutoff} and {cutoff} Å"
        )
    most = np.ones(2, int)
    for structure in configurations:
        neighbors = lists.allocate(structure, cutoff, skin=0.0)
        length, _, _ = symmetry_functions.lengths(structure, neighbors)
        counts = [int((length < c).sum(axis=0).max()) for c in (cutoff, angular_cutoff)]
        most = np.maximum(most, counts)
    places, angular = (2 * -(-int(n) // 2) for n in most)
    return Shape(float(cutoff), float(angular_cutoff), places, angular)
