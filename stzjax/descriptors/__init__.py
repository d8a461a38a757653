"""What an atom of an unsheared glass looks like: geometry, stress, stiffness and soft modes."""

from stzjax.descriptors import stiffness, stress, table, vibrations, voronoi

__all__ = ["stiffness", "stress", "table", "vibrations", "voronoi"]
