"""Inputs of the features for compiled code: static shapes, outcomes instead of errors."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.descriptors import (
    composition,
    linear_response,
    participation,
    registry,
    voronoi,
    voronoi_cells,
    voronoi_faces,
)
from stzjax.descriptors.family import Inputs
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.descriptors.voronoi_cells import Cells
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

    Derivatives are exact with respect to positions, cell and the parameters of the potential; the
    indicator of icosahedra has none unless it is smooth.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      neighbors: a valid list.
      shape: from `host_inputs.allocate`.
    """
    config = shape.config
    kind = jnp.asarray(composition.places(structure.elements, config.elements))[structure.species]
    radii = jnp.asarray(config.radii)[kind] if config.radii else None
    cells = voronoi_cells.tessellate(shape.cells, structure, radii)
    around = expansion.expand(structure, potential, neighbors, shape.tiling)
    soft = participation.participation(around, config.mode_fraction, config.mass_weighted)
    good = cells.complete & soft.converged & (soft.lowest > 0.0)
    fields = None
    if any(family.response for family in registry.chosen(config)):
        answer = linear_response.response(around)
        fields = answer.fields
        good = good & jnp.all(answer.outcome == conjugate_gradient.CONVERGED)
    return Inputs(
        config=config,
        expansion=around,
        kind=kind,
        volume=cells.volume,
        icosahedron=_icosahedron(structure, cells, config),
        pairs=_pairs(cells),
        participation=soft.fraction,
        born=expansion.born(around),
        response=fields,
        good=good,
    )


def _icosahedron(structure: Structure, cells: Cells, config: FeatureConfig) -> Array:
    if config.smooth:
        return voronoi_cells.soft_icosahedron(cells)
    spacing = (geometry.volume(structure.cell) / structure.num_atoms) ** (1.0 / 3.0)
    shortest = jnp.maximum(config.edge_threshold, voronoi_faces.SAME_VERTEX * spacing)
    return jnp.asarray(voronoi.is_icosahedron(voronoi_cells.indices(cells, shortest)) * 1.0)


def _pairs(cells: Cells) -> Array:
    """Atoms beyond the faces and of the faces, (F N, 2); N for both where there is no face."""
    faces = cells.topology.neighbor
    num_atoms = faces.shape[1]
    atoms = jnp.where(faces < num_atoms, jnp.arange(num_atoms), faces)
    return jnp.stack([faces.reshape(-1), atoms.reshape(-1)], axis=1)
