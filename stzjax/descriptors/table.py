"""The features of every atom of a glass for one direction of the load: the paper's 19, or more.

The part that does not depend on the direction is computed once for a specimen (`describe`), on the
host or in compiled code, by the families of `registry`; then it is turned, tensors and all, into
the frame in which the load is +yz (`rotate_to`).
"""

from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.descriptors import composition, inputs, registry
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.descriptors.inputs import Shape, allocate
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential

__all__ = ["Shape", "allocate"]  # Handed on from `inputs`.

_PLAIN = FeatureConfig()


def columns(
    config: FeatureConfig = _PLAIN, elements: tuple[str, ...] = ("Cu", "Zr")
) -> tuple[str, ...]:
    """Names of the features of a structure in their order; their units are Å³, eV and eV/Å³."""
    known = composition.table_elements(elements, config.elements)
    return (*known, *(name for family in registry.chosen(config) for name in family.columns))


COLUMNS = columns()
"""Names of the paper's features of Cu-Zr in its order."""


class Specimen(flax.struct.PyTreeNode):
    """The features of one specimen before they are turned into the frame of a load.

    Attributes:
      kind: (N,) place of the atom's element among the first columns.
      values: values of each family by its name, as `Family.measure` gives them.
      pairs: (P, 2) atoms that share a Voronoi face; see `Inputs.pairs`.
      good: () bool; False where something did not converge or did not fit: features are NaN then.
      config: settings of the features.
      elements: names of the first columns.
    """

    kind: Array
    values: dict[str, Any]
    pairs: Array | np.ndarray
    good: Array | bool
    config: FeatureConfig = flax.struct.field(pytree_node=False)
    elements: tuple[str, ...] = flax.struct.field(pytree_node=False)

    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `rotate_to`."""
        return columns(self.config, self.elements)


def features(
    structure: Structure,
    potential: Potential,
    direction: str = "-xy",
    *,
    neighbors: Neighbors | None = None,
    shape: Shape | None = None,
    config: FeatureConfig | None = None,
) -> Array:
    """The features of every atom, (N, 19) float64, columns as in `COLUMNS`; more if asked for.

    There is a column for each element, 17 more, and further ones on request.

    Arguments and errors as `describe` and `rotate_to`, which save time for more directions.
    """
    direction = loads.canonical(direction)
    specimen = describe(structure, potential, config, neighbors=neighbors, shape=shape)
    return rotate_to(specimen, direction)


def describe(
    structure: Structure,
    potential: Potential,
    config: FeatureConfig | None = None,
    *,
    neighbors: Neighbors | None = None,
    shape: Shape | None = None,
) -> Specimen:
    """Everything about a specimen that does not depend on the direction of the load.

    On the host, which checks and refuses. With a shape and a list it is pure, for `jit`, `grad` and
    `vmap`, and records what did not converge or did not fit.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: a potential.
      config: settings; those of the shape, or the paper's, by default.
      neighbors: as in `energetics.energy`.
      shape: from `allocate`, for compiled code.

    Raises:
      ValueError: unknown element, not a minimum, no convergence, or
        settings that are not those of the shape.
    """
    if shape is not None and config not in (None, shape.config):
        raise ValueError(f"the shape was made for {shape.config}, not for {config}")
    config = shape.config if shape else config or _PLAIN
    families = registry.chosen(config)
    if shape is None:
        found = inputs.on_host(structure, potential, neighbors, config)
    else:
        neighbors = lists.ensure(neighbors, structure, potential.cutoff)
        found = inputs.compiled(structure, potential, neighbors, shape)
    return Specimen(
        kind=found.kind,
        values={family.name: family.measure(found) for family in families},
        pairs=found.pairs,
        good=found.good,
        config=config,
        elements=composition.table_elements(structure.elements, config.elements),
    )


def rotate_to(specimen: Specimen, direction: str) -> Array:
    """The features of a specimen for one of `loads.DIRECTIONS`, (N, F); see `Specimen.columns`.

    Pure; NaN, and so are its derivatives, where the specimen is not good.
    """
    found = [specimen.kind == place for place in range(len(specimen.elements))]
    for family in registry.chosen(specimen.config):
        found += family.project(specimen.values[family.name], direction)
    table = jnp.stack([jnp.asarray(column, float) for column in found], axis=1)
    return table * jnp.where(specimen.good, 1.0, jnp.nan)
