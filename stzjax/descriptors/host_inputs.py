"""Inputs of the features on the host: by the backend that is fastest there, checked and refused."""

import jax.numpy as jnp

from stzjax.core.structure import Structure
from stzjax.descriptors import (
    composition,
    linear_response,
    registry,
    soft_modes,
    stiffness,
    voronoi,
    voronoi_fit,
)
from stzjax.descriptors.compiled_inputs import Shape
from stzjax.descriptors.family import Inputs
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.mechanics import allocation
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.eam import EAM


def allocate(
    structure: Structure, neighbors: Neighbors, config: FeatureConfig | None = None
) -> Shape:
    """The static shape of the features of a structure at hand, and of structures like it.

    Raises:
      ValueError: atoms coincide, the cell is too thin, or a setting does not fit the structure.
    """
    config = config or FeatureConfig()
    registry.chosen(config)
    cells, _ = voronoi_fit.fit(structure, composition.radii(structure, config))
    return Shape(cells, allocation.tiling(structure, neighbors), config)


def inputs(
    structure: Structure, potential: EAM, neighbors: Neighbors | None, config: FeatureConfig
) -> Inputs:
    """The inputs of all features of a structure at hand; arguments, errors as `table.describe`."""
    kind, radii = composition.kinds(structure, config), composition.radii(structure, config)
    cells = voronoi.tessellate(structure, config.edge_threshold, radii, config.voronoi)
    around = allocation.expand(structure, potential, neighbors)
    soft = soft_modes.modes(around, config.mode_fraction, config.mass_weighted)
    volume = jnp.asarray(cells.volume)
    return Inputs(
        expansion=around,
        kind=kind,
        volume=volume,
        icosahedron=jnp.asarray(voronoi.is_icosahedron(cells.indices) * 1.0),
        pairs=cells.pairs,
        participation=jnp.asarray(soft_modes.participation_fraction(soft.vectors)),
        stiffness=stiffness.atomic_stiffness(around, volume),
        response=linear_response.respond(around).fields if registry.responds(config) else None,
        good=True,
    )
