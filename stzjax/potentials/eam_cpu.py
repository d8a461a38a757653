"""Forces of a prepared potential over a half list, by kernels for a CPU that numba compiles.

One core evaluates one system: threads that have a system each need not share anything. `eam_rows`
has the kernels, `eam_kernels` the same sums as array code, for every other platform and for
derivatives.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.neighbors.half_list import HalfList
from stzjax.numerics import native
from stzjax.numerics.elementwise import slope

if TYPE_CHECKING:
    from stzjax.potentials.prepared import Compact, Pieces

_ROWS = "stzjax.potentials.eam_rows"


def available(precision: str) -> bool:
    """Whether what is traced now can use the kernels."""
    return native.wanted() and native.loaded(_ROWS, precision)


def forces_and_trace(
    fractional: Array, cell: Array, potential: "Compact", species: Array, half: HalfList
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the trace of the virial [eV]; without derivatives.

    Args:
      fractional: (N, 3) positions.
      cell: (3, 3) [Å].
      potential: prepared potential in the dtype of the positions.
      species: (N,) in the order of the potential.
      half: list whose near pairs are those that densities reach.
    """
    dtype = fractional.dtype
    cell = cell.astype(dtype)
    num_atoms, kinds = len(fractional), len(potential.elements)
    pieces = potential.densities[0].shape[-1] // kinds**2 - 1
    reach = jnp.minimum(jnp.ceil(potential.density_cutoff * potential.per_length), pieces)
    scales = jnp.stack([potential.per_length, reach, jnp.asarray(pieces), jnp.asarray(kinds)])
    scales = scales.astype(dtype)
    common = half.order, half.starts, half.pairs, cell, scales

    def records(*tables: "Pieces") -> Array:
        rows = [jnp.stack([piece[power] for piece in tables], -1) for power in range(4)]
        return jnp.stack(rows, axis=1).astype(dtype)

    def call(name: str, shapes, *operands) -> list[Array]:
        results = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
        return native.call(_ROWS, str(dtype), name, results, *common, *operands)

    shapes: Sequence = ((num_atoms,), dtype), ((num_atoms, 4), dtype)
    tables = records(potential.densities, potential.exchanged(potential.densities))
    atoms = fractional, species.astype(jnp.int32)
    density, place = call("densities", shapes, tables, *atoms)
    rise = slope(lambda d: potential.embedding(d, species), density)
    pair, given = potential.pair_weights, potential.density_weights
    nothing = (jnp.zeros_like(given[0]),) * 4
    near = records(pair, given, potential.exchanged(given), nothing)
    shapes = ((num_atoms, 3), dtype), ((), jnp.float64)
    force, trace = call("forces", shapes, near, records(pair), place, rise)
    return force, trace
