"""The planes between each atom and those around it, radical or plain, as array code."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.descriptors.voronoi_faces import FAR, SAME_VERTEX
from stzjax.neighbors import lists


class Planes(NamedTuple):
    """Planes between each atom and those around it; lengths in units of the mean spacing.

    Attributes:
      direction: (3, K, N) unit normals, away from the atom.
      offset: (K, N) distances of the planes from the atom, negative where it lies beyond;
        `FAR` where there is no plane.
      owner: (K, N) atom whose image is beyond the plane.
      image: (3, K, N) cell vectors from that atom to its image.
      coincident: (N,) bool.
      overflow: () bool, of the neighbour list.
    """

    direction: Array
    offset: Array
    owner: Array
    image: Array
    coincident: Array
    overflow: Array


def around(search: lists.Spec, replicas, structure: Structure, weights: Array) -> Planes:
    """The planes of all atoms that a search in copies of the structure finds.

    There are `replicas` copies along the cell vectors; the weights are from `weights_of`.
    """
    num_atoms = structure.num_atoms
    whole = replicate(structure, replicas)
    found = lists.make(search, whole)
    idx = lists.table(found)[:, :num_atoms]
    owner = idx % num_atoms
    there = idx < whole.num_atoms
    away = jnp.stack(
        [
            geometry.minimum_image(jnp.take(column, idx, mode="clip") - column[:num_atoms])
            for column in whole.fractional.T
        ]
    ) * jnp.array(replicas).reshape(3, 1, 1)
    spacing = spacing_of(structure)
    bond = jnp.stack(geometry.cartesian(structure.cell, *away)) / spacing
    distance = jnp.sqrt(jnp.sum(bond**2, axis=0))
    same = there & (distance < SAME_VERTEX)
    there = there & ~same
    distance = jnp.where(there, distance, 1.0)
    step = (weights - jnp.take(weights, owner, mode="clip")) / spacing**2
    fractional = structure.fractional.T
    straight = jnp.take(fractional, owner, axis=1, mode="clip") - fractional[:, None]
    return Planes(
        direction=bond / distance,
        offset=jnp.where(there, (distance**2 + step) / (2.0 * distance), FAR),
        owner=owner,
        image=jnp.round(away - straight).astype(jnp.int32),
        coincident=jnp.any(same, axis=0),
        overflow=found.overflow,
    )


def replicate(structure: Structure, replicas: tuple[int, int, int]) -> Structure:
    """Copies of a structure side by side; its own atoms come first."""
    if replicas == (1, 1, 1):
        return structure
    corners = np.stack(np.meshgrid(*map(np.arange, replicas), indexing="ij"), -1).reshape(-1, 3)
    wrapped = geometry.wrap(structure.fractional)
    fractional = (corners[:, None] + wrapped) / jnp.array(replicas)
    return structure.replace(
        fractional=fractional.reshape(-1, 3),
        cell=structure.cell * jnp.array(replicas),
        species=jnp.tile(structure.species, len(corners)),
    )


def weights_of(structure: Structure, radii: Array | None) -> Array:
    """Weights of the radical tessellation, (N,) [Å²]; 0 for plain cells."""
    if radii is None:
        return jnp.zeros(structure.num_atoms, structure.cell.dtype)
    return jnp.asarray(radii) ** 2


def spacing_of(structure: Structure) -> Array:
    """Cube root of the volume of an atom [Å]."""
    return jnp.cbrt(geometry.volume(structure.cell) / structure.num_atoms)
