"""Static shapes of Voronoi cells, found on the host for a structure at hand."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.descriptors import voronoi_cells, voronoi_faces, voronoi_planes
from stzjax.descriptors.voronoi_cells import Cells, Spec
from stzjax.neighbors import lists

_FIRST_REACH = 2.1
"""Distance within which neighbours are sought at first [spacing]; glasses need 1.9 to 2."""

_FIRST_PLACES, _ROUNDS = (40, 22, 12), 12
"""Planes of a small structure, faces and edges of a face at first; rounds of making them more."""

_SHARES = (0.5, 0.9, 0.99, 1.0)
"""Shares of the atoms, those with fewest planes first, that are cut with planes of one number."""

_RANKED_FROM = 1000
"""Fewer atoms are cut with planes of the same number: compiling costs more than empty places."""

_MOST_IMAGES = 1_000_000


def fit(structure: Structure, radii=None, margin: float = 0.02) -> tuple[Spec, Cells]:
    """Find a shape in which all cells of a structure are closed, and the cells; on the host.

    Neighbours are sought farther than they must be by the margin, so that the shape also serves
    structures that differ a little. Radii as in `voronoi_cells.tessellate`.

    Raises:
      ValueError: atoms coincide, the cell is too thin, or an argument is not finite.
    """
    if not (np.isfinite(structure.fractional).all() and np.isfinite(structure.cell).all()):
        raise ValueError("positions and cell must be finite, got NaN or infinity")
    if radii is not None:
        radii = jnp.asarray(lengths(radii, structure.num_atoms))
    reach = _FIRST_REACH * float(voronoi_planes.spacing_of(structure))
    places: tuple[int, ...] = _FIRST_PLACES
    for _ in range(_ROUNDS):
        spec = _shape(structure, radii, reach, *places)
        cells = voronoi_cells.tessellate(spec, structure, radii)
        if bool(cells.complete):
            return spec, cells
        coincident = np.asarray(cells.topology.coincident)
        if coincident.any():
            raise ValueError(
                f"atom {int(np.argmax(coincident))} coincides with another atom; remove one of them"
            )
        short = np.asarray(cells.topology.overflow)[1:]
        places = tuple(
            _even(3 * number // 2) if full else number
            for number, full in zip(places, short, strict=True)
        )
        # With too few planes a cell is too large, with too few faces or edges it is none.
        if not (np.asarray(cells.closed).all() or short[1:].any()):
            weights = np.asarray(voronoi_planes.weights_of(structure, radii))
            radius = np.where(cells.closed, cells.radius, np.minimum(cells.radius, reach))
            needed = np.max(radius + np.sqrt(radius**2 + weights.max() - weights))
            reach = min(max(float(needed) * (1.0 + margin), 1.1 * reach), 2.0 * reach)
    raise ValueError(
        f"the Voronoi cells of {structure.num_atoms} atoms in the cell "
        f"{np.asarray(structure.cell).tolist()} do not close; is the cell extremely flat?"
    )


def lengths(radii, num_atoms: int) -> np.ndarray:
    """Radii of the atoms, (N,) [Å].

    Raises:
      ValueError: another number of them, or a radius that is negative or not finite.
    """
    radii = np.asarray(radii, np.float64)
    if radii.shape != (num_atoms,) or not np.isfinite(radii).all() or (radii < 0.0).any():
        raise ValueError(
            f"radii must be {num_atoms} finite lengths >= 0 Å, one per atom, got shape "
            f"{radii.shape}"
        )
    return radii


def _shape(structure: Structure, radii, reach: float, planes: int, faces: int, edges: int) -> Spec:
    """A shape in which all atoms within `reach` [Å] of an atom are looked at."""
    # Coarse steps, so that like structures share one shape and its compiled code.
    reach = math.ceil(10.0 * reach) / 10.0
    heights = geometry.heights(structure.cell)
    a, b, c = (max(1, math.ceil(2.0 * reach / height)) for height in heights)
    if a * b * c * structure.num_atoms > _MOST_IMAGES:
        raise ValueError(
            f"the cell is {heights.min():.3g} Å across at its thinnest, and atoms up to "
            f"{reach:.3g} Å away matter: that takes {a} x {b} x {c} copies of it; use a less flat "
            "cell of the same crystal"
        )
    search = lists.allocate(voronoi_planes.replicate(structure, (a, b, c)), reach, skin=0.0).spec
    if structure.num_atoms < _RANKED_FROM:
        groups = [(structure.num_atoms, min(planes, search.capacity))]
        return Spec(search, (a, b, c), tuple(groups), faces, edges)
    weights = voronoi_planes.weights_of(structure, radii)
    needed = np.sort(_needed(search, (a, b, c), structure, weights))
    ends = [0, *(round(share * structure.num_atoms) for share in _SHARES)]
    groups = [
        (end - begin, min(_even(int(needed[end - 1]) + 1), search.capacity))
        for begin, end in itertools.pairwise(ends)
    ]
    return Spec(search, (a, b, c), tuple(groups), faces, edges)


def _even(count: int) -> int:
    return int(count) + int(count) % 2


@functools.partial(jax.jit, static_argnames=("search", "replicas"))
def _needed(search: lists.Spec, replicas, structure: Structure, weights: Array) -> Array:
    """Number of planes that can matter to each atom, (N,)."""
    near = voronoi_planes.around(search, replicas, structure, weights)
    return voronoi_faces.ranked(near.direction, near.offset, 2 * voronoi_faces.FIRST)[1]
