"""The paper's 19 features of every atom of a glass, for one direction of the load.

What does not depend on the direction is computed once per specimen (`describe`) and then turned,
tensors and all, into the frame in which the load is +yz (`rotate_to`).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax import energetics, loading
from stzjax import neighbors as lists
from stzjax.descriptors import stiffness, stress, vibrations, voronoi
from stzjax.neighbors import Neighbors
from stzjax.potentials.eam import EAM
from stzjax.structure import Structure

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

_STRESS_COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))


class Specimen(NamedTuple):
    """What the features of one specimen have in common for all directions.

    Attributes:
      kind: (N,) column of the atom's element, 0 or 1; see `element_columns`.
      icosahedron: (N,) bool; ⟨0,0,12,0⟩ around an atom of the first column.
      volume: (N,) Voronoi volumes [Å³].
      energy: (N,) potential energies [eV].
      participation: (N,) participation fractions of the soft modes.
      stiffness: (N, 3, 3, 3, 3) Born stiffness in the frame of the structure [eV/Å³].
      stress: (N, 3, 3) in the frame of the structure [eV/Å³].
      pairs: (P, 2) atoms that share a Voronoi face; see `voronoi.Tessellation`.
    """

    kind: Array | np.ndarray
    icosahedron: Array | np.ndarray
    volume: Array | np.ndarray
    energy: Array | np.ndarray
    participation: Array | np.ndarray
    stiffness: Array | np.ndarray
    stress: Array | np.ndarray
    pairs: Array | np.ndarray


def features(
    structure: Structure,
    potential: EAM,
    direction: str = "-xy",
    *,
    neighbors: Neighbors | None = None,
    per_specimen: Specimen | None = None,
) -> Array:
    """The features of every atom, (N, 19) float64, columns as in `COLUMNS`.

    Args:
      structure: N atoms at a minimum of the energy; concrete arrays.
      potential: an embedded-atom potential.
      direction: one of `loading.DIRECTIONS`.
      neighbors: as in `energetics.energy`.
      per_specimen: `describe` of the structure, to save time where there are more directions.

    Raises:
      ValueError: unknown direction or element, more than two elements, or not a minimum.
    """
    direction = loading.canonical(direction)
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
) -> Specimen:
    """Everything about a specimen that does not depend on the direction of the load.

    Args:
      structure: N atoms at a minimum of the energy; concrete arrays.
      potential: an embedded-atom potential.
      neighbors: as in `energetics.energy`.
      mode_fraction: share of the vibrations that count as soft; see `vibrations.modes`.
      mass_weighted: as in `vibrations.modes`.
      edge_threshold: as in `voronoi.tessellate`.
      radii: as in `voronoi.tessellate`.

    Raises:
      ValueError: unknown element, more than two elements, or not a minimum.
    """
    kind = jnp.asarray(element_columns(structure.elements))[structure.species]
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    cells = voronoi.tessellate(structure, edge_threshold, radii)
    volume = jnp.asarray(cells.volume)
    soft = vibrations.modes(structure, potential, mode_fraction, mass_weighted, neighbors=neighbors)
    return Specimen(
        kind=kind,
        icosahedron=jnp.asarray(voronoi.is_icosahedron(cells.indices)) & (kind == 0),
        volume=volume,
        energy=energetics.atomic_energy(structure, potential, neighbors),
        participation=jnp.asarray(vibrations.participation_fraction(soft.vectors)),
        stiffness=stiffness.atomic_stiffness(structure, potential, volume, neighbors),
        stress=stress.atomic_stress(structure, potential, volume, neighbors),
        pairs=cells.pairs,
    )


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

    Pure in the arrays, for `jit` with a static direction.
    """
    matrix = loading.rotation(direction)
    moduli = stiffness.to_voigt(loading.rotate(jnp.asarray(specimen.stiffness), matrix))
    stresses = loading.rotate(jnp.asarray(specimen.stress), matrix)
    first, second = np.array(_STRESS_COMPONENTS).T
    columns = [
        specimen.kind == 0,
        specimen.kind == 1,
        specimen.icosahedron,
        jnp.logical_not(specimen.icosahedron),
        specimen.volume,
        specimen.energy,
        specimen.participation,
        *moduli[:, :, 3].T,
        *stresses[:, first, second].T,
    ]
    return jnp.stack([jnp.asarray(c, moduli.dtype) for c in columns], axis=1)
