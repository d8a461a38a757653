"""Inputs of the features, two ways to the same: on the host, and in compiled code.

The host takes the backend that is fastest there, checks and refuses; compiled code has static
shapes, and outcomes instead of errors.
"""

from typing import NamedTuple

import jax.numpy as jnp

from stzjax.core.structure import Structure
from stzjax.descriptors import (
    composition,
    linear_response,
    participation,
    registry,
    soft_modes,
    stiffness,
    voronoi,
    voronoi_cells,
    voronoi_fit,
)
from stzjax.descriptors.family import Inputs
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.mechanics import allocation, expansion
from stzjax.mechanics.hessians import Tiling
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient
from stzjax.potentials.potential import Potential


class Shape(NamedTuple):
    """Static shape of the features of a structure, and their settings.

    Attributes:
      cells: shape of the Voronoi tessellation.
      tiling: shape of the Hessian.
      config: settings of the features.
    """

    cells: voronoi_cells.Spec
    tiling: Tiling
    config: FeatureConfig


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


def on_host(
    structure: Structure, potential: Potential, neighbors: Neighbors | None, config: FeatureConfig
) -> Inputs:
    """The inputs for a structure at hand; arguments and errors as `table.describe`."""
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


def compiled(
    structure: Structure, potential: Potential, neighbors: Neighbors, shape: Shape
) -> Inputs:
    """The inputs for `jit`, `vmap` and reverse-mode derivatives; arguments as `table.describe`.

    Derivatives are exact with respect to positions, cell and the parameters of the potential; the
    indicator of icosahedra has none unless it is smooth.
    """
    config = shape.config
    radii = composition.radii(structure, config)
    cells = voronoi_cells.tessellate(shape.cells, structure, radii)
    around = expansion.expand(structure, potential, neighbors, shape.tiling)
    soft = participation.participation(around, config.mode_fraction, config.mass_weighted)
    good = cells.complete & soft.converged & (soft.lowest > 0.0)
    fields = None
    if registry.responds(config):
        answer = linear_response.response(around)
        fields = answer.fields
        good = good & jnp.all(answer.outcome == conjugate_gradient.CONVERGED)
    if config.smooth:
        icosahedron = voronoi_cells.soft_icosahedron(cells)
    else:
        shortest = voronoi_cells.shortest_edge(structure, config.edge_threshold)
        counts = voronoi_cells.indices(cells, shortest)
        icosahedron = jnp.asarray(voronoi.is_icosahedron(counts) * 1.0)
    return Inputs(
        expansion=around,
        kind=composition.kinds(structure, config),
        volume=cells.volume,
        icosahedron=icosahedron,
        pairs=voronoi_cells.pairs(cells),
        participation=soft.fraction,
        stiffness=stiffness.atomic_stiffness(around, cells.volume),
        response=fields,
        good=good,
    )
