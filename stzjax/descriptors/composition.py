"""The elements that the feature table has columns for."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core.structure import Structure
from stzjax.descriptors.feature_config import FeatureConfig


def table_elements(elements: tuple[str, ...], wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The elements of the table in the order of its columns; the first is that of icosahedra.

    Args:
      elements: elements of a structure, as many as it has.
      wanted: elements of the settings; if empty those of the structure are taken, in alphabetical
        order, and both Cu and Zr where it holds but one of the two.

    Raises:
      ValueError: an element of the structure that is not wanted.
    """
    if not wanted:
        wanted = ("Cu", "Zr") if set(elements) <= {"Cu", "Zr"} else tuple(sorted(elements))
    missing = sorted(set(elements) - set(wanted))
    if missing:
        raise ValueError(
            f"the feature table has columns for {', '.join(wanted)}, but the structure holds "
            f"{', '.join(missing)}"
        )
    return wanted


def places(elements: tuple[str, ...], wanted: tuple[str, ...] = ()) -> np.ndarray:
    """Column of each element of a structure; arguments and errors as `table_elements`."""
    known = table_elements(elements, wanted)
    return np.array([known.index(element) for element in elements])


def kinds(structure: Structure, config: FeatureConfig) -> Array:
    """Column of each atom's element, (N,); errors as `table_elements`."""
    return jnp.asarray(places(structure.elements, config.elements))[structure.species]


def radii(structure: Structure, config: FeatureConfig) -> Array | None:
    """Radii of the atoms for radical Voronoi cells, (N,) [Å]; None for plain ones."""
    return jnp.asarray(config.radii)[kinds(structure, config)] if config.radii else None
