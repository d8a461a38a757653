"""The paper's 19 features of every atom of a glass, for one direction of the load.

What does not depend on the direction is computed once per specimen and then turned, tensors and
all, into the frame in which the load is +yz (`rotate_to`): by `describe` on the host, which checks
and refuses, or by `measure` in compiled code, which can be batched and differentiated.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry, loads
from stzjax.core.structure import Structure
from stzjax.descriptors import (
    linear_response,
    soft_modes,
    stiffness,
    stress,
    voronoi,
    voronoi_cells,
    voronoi_faces,
)
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient
from stzjax.potentials.eam import EAM

COLUMNS = (
    "Cu",
    "Zr",
    "icosahedron",
    "not_icosahedron",
    "voronoi_volume",
    "potential_energy",
    "participation_fraction",
    "C14",
    "C24",
    "C34",
    "C44",
    "C54",
    "C64",
    "s11",
    "s22",
    "s33",
    "s12",
    "s23",
    "s31",
)
"""Names of the features in the order of the paper; Å³, eV and eV/Å³ where they have units.

C14 is the Voigt component 11,23 in the frame of the load; see `loading.VOIGT`.
"""

RESPONSE_COLUMNS = ("R14", "R24", "R34", "R44", "R54", "R64", "response_d2min")
"""Features beyond the paper's: the same components of the relaxed stiffness [eV/Å³], and D²min of
the linear response to the load, per strain squared [Å²]."""

_STRESS_COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))


class Shape(NamedTuple):
    """Static shape of the features of a structure, for compiled code.

    Attributes:
      cells: of the Voronoi tessellation.
      soft: of the soft modes.
    """

    cells: voronoi_cells.Spec
    soft: soft_modes.Shape


class Specimen(NamedTuple):
    """What the features of one specimen have in common for all directions.

    Attributes:
      kind: (N,) column of the atom's element, 0 or 1; see `element_columns`.
      icosahedron: (N,) 1 for ⟨0,0,12,0⟩ around an atom of the first column, else 0; between them
        if smooth.
      volume: (N,) Voronoi volumes [Å³].
      energy: (N,) potential energies [eV].
      participation: (N,) participation fractions of the soft modes.
      stiffness: (N, 3, 3, 3, 3) Born stiffness in the frame of the structure [eV/Å³].
      stress: (N, 3, 3) in the frame of the structure [eV/Å³].
      pairs: (P, 2) atoms that share a Voronoi face, see `voronoi.Tessellation`; from `measure`
        (F N, 2), with N where there is no face.
      good: () bool; False where something did not converge or did not fit: not to be used then.
      relaxed: (N, 3, 3, 3, 3) relaxed stiffness [eV/Å³], or None.
      response_d2min: (6, N) D²min of the linear response to the strains in Voigt order, per strain
        squared [Å²], or None.
    """

    kind: Array | np.ndarray
    icosahedron: Array | np.ndarray
    volume: Array | np.ndarray
    energy: Array | np.ndarray
    participation: Array | np.ndarray
    stiffness: Array | np.ndarray
    stress: Array | np.ndarray
    pairs: Array | np.ndarray
    good: Array | np.ndarray = np.array(True)
    relaxed: Array | None = None
    response_d2min: Array | None = None


def features(
    structure: Structure,
    potential: EAM,
    direction: str = "-xy",
    *,
    neighbors: Neighbors | None = None,
    per_specimen: Specimen | None = None,
    shape: Shape | None = None,
) -> Array:
    """The features of every atom, (N, 19) float64, columns as in `COLUMNS`.

    On the host by default. With a shape and a list it is pure, for `jit`, `grad` and `vmap`: NaN
    where `measure` says that they are not to be used.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      direction: one of `loading.DIRECTIONS`.
      neighbors: as in `energetics.energy`.
      per_specimen: `describe` of the structure, to save time where there are more directions.
      shape: from `allocate`, for compiled code.

    Raises:
      ValueError: unknown direction or element, more than two elements, or not a minimum.
    """
    direction = loads.canonical(direction)
    if per_specimen is None and shape is not None:
        neighbors = lists.ensure(neighbors, structure, potential.cutoff)
        per_specimen = measure(structure, potential, neighbors, shape)
    if per_specimen is None:
        per_specimen = describe(structure, potential, neighbors=neighbors)
    return rotate_to(per_specimen, direction)


def describe(
    structure: Structure,
    potential: EAM,
    *,
    neighbors: Neighbors | None = None,
    mode_fraction: float = 0.01,
    mass_weighted: bool = True,
    edge_threshold: float = 0.0,
    radii=None,
    voronoi_method: str = "auto",
    with_response: bool = False,
) -> Specimen:
    """Everything about a specimen that does not depend on the direction of the load.

    On the host, by the backend that is fastest there.

    Args:
      structure: N atoms at a minimum of the energy; concrete arrays.
      potential: an embedded-atom potential.
      neighbors: as in `energetics.energy`.
      mode_fraction: share of the vibrations that count as soft; see `vibrations.modes`.
      mass_weighted: as in `vibrations.modes`.
      edge_threshold: as in `voronoi.tessellate`.
      radii: as in `voronoi.tessellate`.
      voronoi_method: as in `voronoi.tessellate`.
      with_response: the relaxed stiffness and the linear response, too.

    Raises:
      ValueError: unknown element, more than two elements, not a minimum, or no convergence.
    """
    kind = jnp.asarray(element_columns(structure.elements))[structure.species]
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    cells = voronoi.tessellate(structure, edge_threshold, radii, voronoi_method)
    volume = jnp.asarray(cells.volume)
    soft = soft_modes.modes(structure, potential, mode_fraction, mass_weighted, neighbors=neighbors)
    answer = linear_response.respond(structure, potential, neighbors) if with_response else None
    relaxed, d2min = _from_response(structure, potential, neighbors, volume, answer)
    return Specimen(
        kind=kind,
        icosahedron=(jnp.asarray(voronoi.is_icosahedron(cells.indices)) & (kind == 0)) * 1.0,
        volume=volume,
        energy=energetics.atomic_energy(structure, potential, neighbors),
        participation=jnp.asarray(soft_modes.participation_fraction(soft.vectors)),
        stiffness=stiffness.atomic_stiffness(structure, potential, volume, neighbors),
        stress=stress.atomic_stress(structure, potential, volume, neighbors),
        pairs=cells.pairs,
        relaxed=relaxed,
        response_d2min=d2min,
    )


def allocate(
    structure: Structure,
    neighbors: Neighbors,
    *,
    mode_fraction: float = 0.01,
    mass_weighted: bool = True,
    radii=None,
) -> Shape:
    """The static shape of the features of a structure and of structures like it, on the host.

    Args:
      structure: N atoms; concrete arrays.
      neighbors: a valid list.
      mode_fraction: as in `describe`.
      mass_weighted: as in `describe`.
      radii: as in `describe`.

    Raises:
      ValueError: atoms coincide, or the cell is too thin.
    """
    soft = soft_modes.shape(structure, neighbors, mode_fraction, mass_weighted)
    return Shape(voronoi_cells.allocate(structure, radii), soft)


def measure(
    structure: Structure,
    potential: EAM,
    neighbors: Neighbors,
    shape: Shape,
    *,
    radii: Array | None = None,
    edge_threshold: float = 0.0,
    smooth: bool = False,
    with_response: bool = False,
) -> Specimen:
    """`describe` for compiled code: pure, for `jit`, `vmap` and reverse-mode derivatives.

    Derivatives are exact with respect to positions, cell and the parameters of the potential; the
    indicator of icosahedra has none unless it is smooth.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      neighbors: a valid list.
      shape: from `allocate`.
      radii: as in `describe`.
      edge_threshold: as in `describe`.
      smooth: the indicator's smooth twin, see `polyhedra.soft_icosahedron`.
      with_response: as in `describe`.
    """
    kind = jnp.asarray(element_columns(structure.elements))[structure.species]
    cells = voronoi_cells.tessellate(shape.cells, structure, radii)
    icosahedron: Array | np.ndarray
    if smooth:
        icosahedron = voronoi_cells.soft_icosahedron(cells)
    else:
        spacing = (geometry.volume(structure.cell) / structure.num_atoms) ** (1.0 / 3.0)
        shortest = jnp.maximum(edge_threshold, voronoi_faces.SAME_VERTEX * spacing)
        icosahedron = voronoi.is_icosahedron(voronoi_cells.indices(cells, shortest)) * 1.0
    soft = soft_modes.participation(structure, potential, neighbors, shape.soft)
    good = cells.complete & soft.converged & (soft.lowest > 0.0)
    answer = None
    if with_response:
        answer = linear_response.response(structure, potential, neighbors, shape.soft.tiling)
        good = good & jnp.all(answer.outcome == conjugate_gradient.CONVERGED)
    volume = jnp.where(good, cells.volume, jnp.nan)
    relaxed, d2min = _from_response(structure, potential, neighbors, volume, answer)
    faces = cells.topology.neighbor
    atoms = jnp.where(faces < structure.num_atoms, jnp.arange(structure.num_atoms), faces)
    return Specimen(
        kind=kind,
        icosahedron=icosahedron * (kind == 0),
        volume=volume,
        energy=energetics.atomic_energy(structure, potential, neighbors),
        participation=soft.fraction,
        stiffness=stiffness.atomic_stiffness(structure, potential, volume, neighbors),
        stress=stress.atomic_stress(structure, potential, volume, neighbors),
        pairs=jnp.stack([faces.reshape(-1), atoms.reshape(-1)], axis=1),
        good=good,
        relaxed=relaxed,
        response_d2min=d2min,
    )


def _from_response(structure, potential, neighbors, volume, answer):
    """Relaxed stiffness and D²min of a response; None without one."""
    if answer is None:
        return None, None
    relaxed = stiffness.relaxed_stiffness(structure, potential, volume, answer.fields, neighbors)
    d2min = jax.lax.map(
        lambda field: linear_response.local_d2min(structure, field, neighbors), answer.fields
    )
    return relaxed, d2min


def element_columns(elements: tuple[str, ...]) -> np.ndarray:
    """Column of each element among the first two: alphabetical, so that Cu is 0 and Zr is 1.

    A lone element takes the first column, or the second if it is Zr.

    Raises:
      ValueError: more than two elements.
    """
    if len(elements) > 2:
        raise ValueError(
            f"the feature table has columns for two elements, got {', '.join(elements)}"
        )
    if len(elements) == 1:
        return np.array([int(elements[0] == "Zr")])
    return np.array([sorted(elements).index(element) for element in elements])


def rotate_to(specimen: Specimen, direction: str) -> Array:
    """The features of a specimen for one direction of the load, (N, 19), as in `COLUMNS`.

    With the seven of `RESPONSE_COLUMNS` after them if the specimen has its response. Pure in the
    arrays, for `jit` with a static direction.
    """
    matrix = loads.rotation(direction)
    moduli = stiffness.to_voigt(loads.rotate(jnp.asarray(specimen.stiffness), matrix))
    stresses = loads.rotate(jnp.asarray(specimen.stress), matrix)
    first, second = np.array(_STRESS_COMPONENTS).T
    columns = [
        specimen.kind == 0,
        specimen.kind == 1,
        specimen.icosahedron,
        1.0 - jnp.asarray(specimen.icosahedron),
        specimen.volume,
        specimen.energy,
        specimen.participation,
        *moduli[:, :, 3].T,
        *stresses[:, first, second].T,
    ]
    if specimen.relaxed is not None:
        turned = stiffness.to_voigt(loads.rotate(jnp.asarray(specimen.relaxed), matrix))
        # The field of -xy is that of +xy turned round, and D²min does not see the sign.
        loaded = jnp.asarray(specimen.response_d2min)[linear_response.place(direction)]
        columns += [*turned[:, :, 3].T, loaded]
    return jnp.stack([jnp.asarray(c, moduli.dtype) for c in columns], axis=1)
