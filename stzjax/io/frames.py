"""Frames: atoms as a file holds them, and the structures that they make."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from stzjax.core import units
from stzjax.core.structure import Structure

_COINCIDENT = 0.01
"""Distance below which two atoms are in one place [Å]: no nuclei come so close."""


class Frame(NamedTuple):
    """Atoms as a file holds them.

    Attributes:
      vectors: (3, 3) cell vectors as columns, in any orientation and of either hand [Å].
      fractional: (N, 3) positions in units of the vectors.
      symbols: (N,) chemical symbols.
      names: (N,) what the file calls the atoms: ids, or the order counted from 1.
    """

    vectors: np.ndarray
    fractional: np.ndarray
    symbols: Sequence[str]
    names: Sequence[int]


def in_cell(vectors: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Positions (N, 3) [Å] in units of the cell vectors, (3, 3) as columns [Å].

    Raises:
      ValueError: the cell has no volume.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        volume, largest = np.linalg.det(vectors), np.prod(np.linalg.norm(vectors, axis=0))
    if not 1e-9 * largest < abs(volume) < np.inf:
        raise ValueError("its cell has no volume; stzjax needs three periodic directions")
    return np.linalg.solve(vectors, positions.T).T


def structure_of(frame: Frame, elements: tuple[str, ...] | None) -> Structure:
    """The structure of a frame, turned so that its cell is upper triangular.

    Species index into `elements`, by default the symbols of the frame, sorted.

    Raises:
      ValueError: a symbol that is no element or that `elements` does not name, or two atoms in
        one place.
    """
    vectors, fractional, symbols, names = frame
    if elements is None:
        elements = tuple(sorted(set(symbols)))
        units.masses(elements)
    unknown = sorted(set(symbols) - set(elements))
    if unknown:
        raise ValueError(
            f"it holds {', '.join(unknown)}, but elements names {', '.join(elements)}; "
            "pass the elements of the file"
        )
    if np.linalg.det(vectors) < 0:
        # The same lattice and the same places from the opposite vectors, not a mirror image.
        vectors, fractional = -vectors, -fractional
    upper = np.linalg.qr(vectors).R
    species = np.array([elements.index(symbol) for symbol in symbols])
    cell = np.triu(upper * np.sign(np.diag(upper))[:, None])
    structure = Structure.create(fractional, cell, species, elements)
    check_apart(structure, names)
    return structure


def check_apart(structure: Structure, names: Sequence[int] | None = None) -> None:
    """Raise ValueError for two atoms in one place, also where a box length lies between them.

    Their names (N,) are those in the file, by default their order counted from 1.
    """
    fractional, cell = np.asarray(structure.fractional), np.asarray(structure.cell)
    reach = _COINCIDENT * np.linalg.norm(np.linalg.inv(cell), 2)
    pairs = cKDTree(fractional, boxsize=1.0).query_pairs(reach, output_type="ndarray")
    gaps = fractional[pairs[:, 0]] - fractional[pairs[:, 1]]
    apart = np.linalg.norm((gaps - np.round(gaps)) @ cell.T, axis=1)
    if np.any(apart < _COINCIDENT):
        nearest = pairs[np.argmin(apart)]
        first, second = sorted(names[k] if names else int(k) + 1 for k in nearest)
        raise ValueError(
            f"atoms {first} and {second} are in one place ({apart.min():.2g} Å apart); "
            "remove one of them, or write the file anew"
        )
