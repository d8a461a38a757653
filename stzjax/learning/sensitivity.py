"""Derivatives of a prediction and of a modulus through the whole path.

A confidence is a function of the positions through the features of all atoms; a modulus is one of
the potential through the relaxed positions too.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.descriptors import stiffness, table
from stzjax.learning import calibration, models
from stzjax.learning.training import Params
from stzjax.mechanics import expansion, implicit
from stzjax.mechanics.hessians import Tiling
from stzjax.mechanics.relax import RelaxConfig
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential


def confidence(
    params: Params,
    model: models.Config,
    structure: Structure,
    potential: Potential,
    neighbors: Neighbors,
    shape: table.Shape,
    graph: jraph.GraphsTuple,
    direction: str,
) -> Array:
    """Confidence of each atom as a function of positions, cell and potential, (N,).

    Pure: descriptors, their scaling and the network together. Edges and the indicator of icosahedra
    are constant between the jumps they make, and have no derivative.

    Args:
      params: parameters of a network trained on the features that the shape describes.
      model: settings of the network.
      structure: N atoms at a minimum of the energy.
      potential: a potential.
      neighbors: a valid list.
      shape: from `table.allocate`, with the settings of the features.
      graph: graph of the structure, for its edges; its features are not looked at.
      direction: direction of the load; static.

    Raises:
      ValueError: a network with symmetry functions, or one trained on other columns.
    """
    if getattr(model, "radial", 0) or getattr(model, "angular", 0):
        raise ValueError("give a network without symmetry functions: their geometry is not here")
    x = table.features(structure, potential, direction, neighbors=neighbors, shape=shape)
    # In float64, unlike training: the network follows its input, and slopes are worth the digits.
    nodes = graph.nodes._replace(features=params.scaler.apply(x))
    logits = models.network(model).apply({"params": params.network}, graph._replace(nodes=nodes))
    return calibration.confidence(logits, params.calibration)


@functools.partial(jax.jit, static_argnames=("model", "shape", "direction"))
def confidence_gradient(
    params: Params,
    model: models.Config,
    structure: Structure,
    potential: Potential,
    neighbors: Neighbors,
    shape: table.Shape,
    graph: jraph.GraphsTuple,
    direction: str,
    atom: int,
) -> tuple[Array, Array]:
    """Confidences (N,), and the derivative of that of `atom` by all positions, (N, 3) [1/Å].

    All arguments but the last are those of `confidence`.
    """

    def chosen(fractional: Array) -> tuple[Array, Array]:
        moved = structure.replace(fractional=fractional)
        found = confidence(params, model, moved, potential, neighbors, shape, graph, direction)
        return found[atom], found

    slope, everyone = jax.grad(chosen, has_aux=True)(structure.fractional)
    return everyone, slope @ geometry.inverse(structure.cell)


def mean_stiffness(
    potential: Potential,
    structure: Structure,
    neighbors: Neighbors,
    tiling: Tiling,
    config: RelaxConfig | None = None,
) -> Array:
    """Born modulus C44 of the structure when it is relaxed under a potential [eV/Å³].

    Its derivative by the potential counts that the minimum moves, by the implicit function
    theorem. NaN where the relaxation fails. The structure lies near the minimum; its tiling is from
    `allocation.tiling`, with slack.
    """
    found = implicit.minimum(structure, potential, neighbors, tiling, config)
    # With equal volumes the mean is the sum over the volume of the cell.
    share = geometry.volume(structure.cell) / structure.num_atoms
    volume = jnp.full(structure.num_atoms, share)
    around = expansion.expand(found.structure, potential, found.neighbors)
    moduli = stiffness.atomic_stiffness(around, volume)
    return jnp.mean(stiffness.to_voigt(moduli)[:, 3, 3])


class Coefficients(NamedTuple):
    """Coefficients of a potential that are scaled together.

    Attributes:
      name: field of the potential.
      places: leading indices in that field; two for a pair of unlike species, either way round.
      label: the field and the species.
    """

    name: str
    places: tuple[tuple[int, ...], ...]
    label: str


def coefficients(potential: Potential) -> list[Coefficients]:
    """All that may be scaled without moving a knot or the cut-off, species by species.

    Rows of zeros are left out.
    """
    names = potential.coefficients or tuple(f.name for f in dataclasses.fields(potential))
    values = {name: getattr(potential, name) for name in names}
    arrays = {n: np.asarray(x) for n, x in values.items() if isinstance(x, Array | np.ndarray)}
    return [
        Coefficients(name, places, f"{name}, {species}")
        for name, values in arrays.items()
        for places, species in _rows(values.shape, potential.elements)
        if any(np.any(values[place]) for place in places)
    ]


def _rows(shape: tuple[int, ...], elements: tuple[str, ...]):
    """Places that belong together in an array of coefficients, and the species they are of."""
    pairs = list(itertools.combinations_with_replacement(range(len(elements)), 2))
    names = ["–".join(elements[k] for k in pair) for pair in pairs]
    if not shape:
        return [(((),), "all")]
    if shape[:2] == (len(elements),) * 2:
        return [(tuple({pair, pair[::-1]}), name) for pair, name in zip(pairs, names, strict=True)]
    if shape[0] == len(pairs):
        return [((row,), name) for row, name in zip(np.ndindex(shape[0]), names, strict=True)]
    if shape[0] == len(elements):
        return [((row,), name) for row, name in zip(np.ndindex(shape[0]), elements, strict=True)]
    return [(((),), "all")]


def scaled(potential: Potential, which: Coefficients, factor: Array | float) -> Potential:
    """A potential with some of its coefficients scaled."""
    values = getattr(potential, which.name)
    for place in which.places:
        values = values.at[place].multiply(factor)
    return potential.replace(**{which.name: values})


def logarithmic_slope(potential: Potential, gradient: Potential, which: Coefficients) -> float:
    """Derivative by the logarithm of some coefficients θ: Σ θ ∂/∂θ over them.

    The gradient holds the derivatives by all coefficients of the potential, as of `jax.grad`.
    """
    values, slopes = (np.asarray(getattr(p, which.name)) for p in (potential, gradient))
    return float(sum(np.sum(values[place] * slopes[place]) for place in which.places))
