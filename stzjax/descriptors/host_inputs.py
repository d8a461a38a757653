"""Inputs of the features on the host: by the backend that is fastest there, checked and refused."""

import jax.numpy as jnp
import numpy as np

from stzjax.core.structure import Structure
from stzjax.descriptors import (
    composition,
    linear_response,
    registry,
    soft_modes,
    voronoi,
    voronoi_fit,
)
from stzjax.descriptors.compiled_inputs import Shape
from stzjax.descriptors.family import Inputs
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.mechanics import allocation, expansion
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.eam import EAM


def allocate(
    structure: Structure, neighbors: Neighbors, config: FeatureConfig | None = None
) -> Shape:
    """The static shape of the features of a structure and of structures like it.

    Args:
      structure: N atoms; concrete arrays.
      neighbors: a valid list.
      config: settings of the features; the paper's by default.

    Raises:
      ValueError: atoms coincide, the cell is too thin, or a setting does not fit the structure.
    """
    config = config or FeatureConfig()
    registry.chosen(config)
    cells = voronoi_fit.allocate(structure, _radii(structure, config))
    return Shape(cells, allocation.tiling(structure, neighbors), config)


def _kind(structure: Structure, config: FeatureConfig) -> np.ndarray:
    places = composition.places(structure.elements, config.elements)
    return places[np.asarray(structure.species)]


def _radii(structure: Structure, config: FeatureConfig) -> np.ndarray | None:
    return np.array(config.radii)[_kind(structure, config)] if config.radii else None


def inputs(
    structure: Structure, potential: EAM, neighbors: Neighbors | None, config: FeatureConfig
) -> Inputs:
    """The inputs of all features of a structure at hand; arguments, errors as `table.describe`."""
    families = registry.chosen(config)
    kind = jnp.asarray(_kind(structure, config))
    radii = _radii(structure, config)
    cells = voronoi.tessellate(structure, config.edge_threshold, radii, config.voronoi)
    around = allocation.expand(structure, potential, neighbors)
    soft = soft_modes.modes(around, config.mode_fraction, config.mass_weighted)
    needed = any(family.response for family in families)
    return Inputs(
        config=config,
        expansion=around,
        kind=kind,
        volume=jnp.asarray(cells.volume),
        icosahedron=jnp.asarray(voronoi.is_icosahedron(cells.indices) * 1.0),
        pairs=cells.pairs,
        participation=jnp.asarray(soft_modes.participation_fraction(soft.vectors)),
        born=expansion.born(around),
        response=linear_response.respond(around).fields if needed else None,
        good=True,
    )
