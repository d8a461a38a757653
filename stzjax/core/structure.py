"""One periodic configuration of atoms.

Cell vectors are the columns of an upper triangular matrix, positions are fractional and wrapped to
[0, 1): the `periodic_general` convention of jax-md.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import geometry


class Structure(flax.struct.PyTreeNode):
    """One periodic configuration of atoms, in LAMMPS metal units.

    Attributes:
      fractional: (N, 3) positions in units of the cell vectors, in [0, 1).
      cell: (3, 3) cell vectors as columns, upper triangular [Å].
      species: (N,) index into `elements`.
      elements: chemical symbols; static, so a new tuple recompiles.
    """

    fractional: Array
    cell: Array
    species: Array
    elements: tuple[str, ...] = flax.struct.field(pytree_node=False)

    @property
    def num_atoms(self) -> int:
        """Number of atoms N."""
        return self.fractional.shape[-2]

    @staticmethod
    def create(fractional, cell, species, elements) -> "Structure":
        """Check host arrays and make a float64 `Structure` of them.

        Args:
          fractional: (N, 3) fractional positions; wrapped here.
          cell: (3, 3) cell vectors as columns [Å]; upper triangular, right-handed.
          species: (N,) integers in [0, len(elements)).
          elements: chemical symbols.

        Raises:
          ValueError: a shape, a value or the float64 mode of JAX is wrong.
        """
        if not jax.config.read("jax_enable_x64"):
            raise ValueError(
                "float64 is off, which the physics needs: call "
                'jax.config.update("jax_enable_x64", True) before using stzjax'
            )
        fractional = np.asarray(fractional, np.float64)
        cell = np.asarray(cell, np.float64)
        species = np.asarray(species)
        elements = tuple(elements)
        _check(fractional, cell, species, elements)
        return Structure(
            fractional=jnp.asarray(geometry.wrap(fractional)),
            cell=jnp.asarray(cell),
            species=jnp.asarray(species, jnp.int32),
            elements=elements,
        )

    def positions(self) -> Array:
        """Cartesian positions (N, 3) [Å]."""
        return geometry.product(self.fractional, jnp.swapaxes(self.cell, -1, -2))

    def deform(self, gradient: Array) -> "Structure":
        """The structure under the affine map x -> F x.

        Args:
          gradient: (3, 3) deformation gradient F, upper triangular like the cell it acts on.
        """
        return self.replace(cell=gradient @ self.cell)

    def displace(self, move: Array) -> "Structure":
        """Atoms moved by Cartesian displacements (N, 3) [Å]; positions are wrapped."""
        change = geometry.product(move, geometry.inverse(self.cell).T)
        return self.replace(fractional=geometry.wrap(self.fractional + change))

    def bonds(self, idx: Array) -> Array:
        """Vectors from the atoms to their neighbours, (3, K, N) [Å].

        Args:
          idx: (K, N) neighbours; a number out of range gives an arbitrary vector.
        """
        x, y, z = (
            geometry.minimum_image(jnp.take(column, idx, mode="clip") - column)
            for column in self.fractional.T
        )
        return jnp.stack(geometry.cartesian(self.cell, x, y, z))


def _check(fractional, cell, species, elements) -> None:
    if fractional.ndim != 2 or fractional.shape[1] != 3 or not len(fractional):
        raise ValueError(f"fractional positions must have shape (N, 3), got {fractional.shape}")
    if cell.shape != (3, 3):
        raise ValueError(f"the cell must have shape (3, 3), got {cell.shape}")
    if species.shape != fractional.shape[:1]:
        raise ValueError(
            f"species has shape {species.shape}, but there are {len(fractional)} atoms"
        )
    if not np.isfinite(fractional).all():
        atom = int(np.argmin(np.isfinite(fractional).all(axis=1)))
        raise ValueError(f"the position of atom {atom} is not finite: {fractional[atom]}")
    if not np.isfinite(cell).all() or np.any(np.tril(cell, -1)) or np.any(np.diag(cell) <= 0):
        raise ValueError(
            "the cell must be upper triangular (vectors as columns) with a positive diagonal, "
            f"got {cell.tolist()}"
        )
    if not np.issubdtype(species.dtype, np.integer) or not (
        0 <= species.min() and species.max() < len(elements)
    ):
        raise ValueError(
            f"species must be integers from 0 to {len(elements) - 1} for elements {elements}, "
            f"got values from {species.min()} to {species.max()}"
        )
