"""What an atom of an unsheared glass looks like: geometry, stress, stiffness and soft modes."""

from stzjax.descriptors import (
    polyhedra,
    response,
    stiffness,
    stress,
    symmetry,
    table,
    vibrations,
    voronoi,
)

__all__ = [
    "polyhedra",
    "response",
    "stiffness",
    "stress",
    "symmetry",
    "table",
    "vibrations",
    "voronoi",
]
