"""Inputs of the features for compiled code: static shapes, outcomes instead of errors."""

from typing import NamedTuple

import jax.numpy as jnp

from stzjax.core.structure import Structure
from stzjax.descriptors import (
    composition,
    linear_response,
    participation,
    registry,
    stiffness,
    voronoi,
    voronoi_cells,
)
from stzjax.descriptors.family import Inputs
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.mechanics import expansion
from stzjax.mechanics.hessians import Tiling
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient
from stzjax.potentials.eam import EAM


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


def inputs(structure: Structure, potential: EAM, neighbors: Neighbors, shape: Shape) -> Inputs:
    """The inputs of all features, for `jit`, `vmap` and reverse-mode derivatives.

    These are exact with respect to positions, cell and the parameters of the potential; the
    indicator of icosahedra has none unless it is smooth. Arguments as `table.describe`.
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
