"""One periodic configuration of atoms, and the geometry of its cell.

Everything here but `create` is a pure function of arrays and can be jitted, batched and
differentiated. Cell vectors are the columns of an upper triangular matrix, positions are
fractional and wrapped to [0, 1): the `periodic_general` convention of jax-md.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


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


def create(fractional, cell, species, elements) -> Structure:
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
        fractional=jnp.asarray(wrap(fractional)),
        cell=jnp.asarray(cell),
        species=jnp.asarray(species, jnp.int32),
        elements=elements,
    )


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


def wrap(fractional):
    """Fractional positions brought to [0, 1); works on NumPy and JAX arrays alike."""
    # Not the remainder, which compiles to a call for each number.
    floor = np.floor if isinstance(fractional, np.ndarray) else jnp.floor
    wrapped = fractional - floor(fractional)
    # -1e-17 comes out as 1.0, which is outside the half-open interval.
    return wrapped * (wrapped < 1.0)


def minimum_image(difference: Array) -> Array:
    """Fractional differences brought to the nearest image, each component in [-0.5, 0.5].

    In a tilted cell this finds the nearest image of every pair closer than half the smallest
    distance between opposite cell faces (see `heights`), and not beyond.
    """
    return difference - jax.lax.stop_gradient(jnp.round(difference))


def positions(structure: Structure) -> Array:
    """Cartesian positions (N, 3) [Å]."""
    return structure.fractional @ jnp.swapaxes(structure.cell, -1, -2)


def volume(cell: Array) -> Array:
    """Volume of an upper triangular cell [Å³]."""
    return cell[..., 0, 0] * cell[..., 1, 1] * cell[..., 2, 2]


def inverse(cell: Array) -> Array:
    """Inverse of an upper triangular cell, written out: no LAPACK call in a loop, no scatter."""
    a, b, c = (cell[..., i, i] for i in range(3))
    ab, ac, bc = cell[..., 0, 1], cell[..., 0, 2], cell[..., 1, 2]
    zero = jnp.zeros_like(a)
    rows = (
        (1.0 / a, -ab / (a * b), (ab * bc - ac * b) / (a * b * c)),
        (zero, 1.0 / b, -bc / (b * c)),
        (zero, zero, 1.0 / c),
    )
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def heights(cell) -> np.ndarray:
    """Distances between the opposite faces of a cell, (3,) [Å], on the host."""
    return 1.0 / np.linalg.norm(np.linalg.inv(np.asarray(cell)), axis=-1)


def deform(structure: Structure, gradient: Array) -> Structure:
    """The structure under the affine map x -> F x.

    Args:
      structure: N atoms.
      gradient: (3, 3) deformation gradient F; upper triangular, so that the cell stays so.
    """
    return structure.replace(cell=gradient @ structure.cell)


def displace(structure: Structure, move: Array) -> Structure:
    """Atoms moved by Cartesian displacements (N, 3) [Å]; positions are wrapped."""
    change = move @ inverse(structure.cell).T
    return structure.replace(fractional=wrap(structure.fractional + change))


def bonds(structure: Structure, idx: Array) -> Array:
    """Vectors from the atoms to their neighbours, (3, K, N) [Å].

    Args:
      structure: N atoms.
      idx: (K, N) neighbours; what is out of range gives arbitrary vectors.
    """
    x, y, z = (
        minimum_image(jnp.take(column, idx, mode="clip") - column)
        for column in structure.fractional.T
    )
    return jnp.stack(cartesian(structure.cell, x, y, z))


def cast(tree, precision: str):
    """A pytree with all its floating-point arrays in one precision."""
    return jax.tree.map(
        lambda x: x.astype(precision) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def cartesian(cell: Array, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    """Cartesian components of vectors given by fractional ones, in an upper triangular cell."""
    return (
        cell[0, 0] * x + cell[0, 1] * y + cell[0, 2] * z,
        cell[1, 1] * y + cell[1, 2] * z,
        cell[2, 2] * z,
    )
