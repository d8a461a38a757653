"""A potential prepared for long runs: bond weights from tables made for the purpose.

Forces need φ'(r)/r and ρ'(r)/r of each bond. Here they are interpolated by cubic pieces on a
uniform grid of r, four coefficients each, in arrays of their own, which XLA turns into plain
loads; energies and embedding come from the potential of which the tables were made. The pieces are
few, so that all of them stay in the cache: on the grid of a setfl table a thousand are enough.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.neighbors import half_list
from stzjax.numerics import batching
from stzjax.numerics.elementwise import slope, value_and_slope
from stzjax.potentials import eam_cpu
from stzjax.potentials.eam import EAM
from stzjax.potentials.potential import Potential
from stzjax.potentials.setfl import Tabulated

_CLOSEST = 0.1
"""Distance below which the tables stay constant, but for the first piece, which is NaN; as all
distances here in units of the potential's length, which is 1 Å for metals."""

_CHECKED_FROM = 1.8
"""Distance from which, up to the cut-off, the accuracy of the tables is judged."""

_DENSE = 2.7
"""Distance between neighbours of a dense packing."""

_FEWEST, _MOST = 500, 32_000
"""Pieces of the coarsest grid that is tried, and about those of the finest."""

_NODES = np.linspace(0.0, 1.0, 4)
"""Places at which each piece is exact; both ends are among them, so that the pieces join."""

Pieces = tuple[Array, Array, Array, Array]
"""Coefficients of 1, t, t², t³ of each piece, t in [0, 1): (S × S × (M + 1),) each."""


class Compact(EAM):
    """Tables of bond weights around another potential.

    Derivatives with respect to the parameters of the potential do not reach the tables, so they
    are wrong here. Derivatives with respect to positions and cell are the slopes of the pieces.

    Attributes:
      base: the potential itself.
      densities: pieces of ρ(r), receiver first.
      pair_weights: pieces of φ'(r) / r [eV/Å²].
      density_weights: pieces of ρ'(r) / r, receiver first.
      per_length: pieces per Å.
    """

    base: EAM
    densities: Pieces
    pair_weights: Pieces
    density_weights: Pieces
    per_length: Array
    prepared_pieces: ClassVar[bool] = True

    @property
    def half_lists(self) -> bool:
        """Whether forces need half lists alone; see `Potential.half_lists`."""
        precision = str(self.per_length.dtype)
        return eam_cpu.available(precision) and half_list.available(precision)

    def exchanged(self, pieces: Pieces) -> Pieces:
        """Pieces with receiver and source exchanged."""
        kinds = len(self.elements)
        a, b, c, d = (jnp.swapaxes(x.reshape(kinds, kinds, -1), 0, 1).reshape(-1) for x in pieces)
        return a, b, c, d

    def pair(self, r: Array, first: Array, second: Array, closest: float = 0.0) -> Array:
        """Pair term φ [eV] of `base`."""
        first, second = (self.base.renumbered(x, self.elements) for x in (first, second))
        return self.base.pair(r, first, second, closest)

    def embedding(self, density: Array, species: Array) -> Array:
        """Embedding energy F [eV] of `base`."""
        return self.base.embedding(density, self.base.renumbered(species, self.elements))

    def density(self, r: Array, receiver: Array, source: Array) -> Array:
        """Density, from its pieces."""
        return self._evaluate(self.densities, r, receiver, source)

    def bond_weight(
        self, r: Array, own: Array, other: Array, rises: Sequence[Array] = (), closest: float = 0.0
    ) -> Array:
        """(dE/dr) / r of a bond [eV/Å²], from its pieces; see `EAM.bond_weight`."""
        pull = self._evaluate(self.pair_weights, r, own, other)
        if not rises:
            return pull
        given = self._evaluate(self.density_weights, r, own, other)
        if self.symmetric:
            return pull + (rises[0] + rises[1]) * given
        taken = self._evaluate(self.density_weights, r, other, own)
        return pull + rises[0] * given + rises[1] * taken

    @property
    def _num_pieces(self) -> int:
        return self.densities[0].shape[-1] // len(self.elements) ** 2 - 1

    def _evaluate(self, pieces: Pieces, r: Array, first: Array, second: Array) -> Array:
        """Value at r for two species; the last piece, beyond the cut-off, is 0."""
        x = r * self.per_length
        # No minimum is taken, which would turn NaN into a number: NaN must show in the forces.
        x = jnp.where(x > self._num_pieces, jnp.asarray(self._num_pieces, x.dtype), x)
        piece = x.astype(jnp.int32)
        t = x - piece.astype(x.dtype)
        pair = first.astype(jnp.int32) * len(self.elements) + second.astype(jnp.int32)
        at = piece + pair * (self._num_pieces + 1)
        a, b, c, d = (jnp.take(table, at, mode="clip") for table in pieces)
        return ((d * t + c) * t + b) * t + a


def prepare(
    potential: Potential, elements: tuple[str, ...] | None = None, precision: str = "float64"
) -> Potential:
    """A potential as long runs evaluate it: `compact`, or cast where it is no embedded-atom one.

    Raises:
      ValueError: unknown element.
    """
    if isinstance(potential, EAM):
        return compact(potential, elements, precision)
    potential.places(elements or potential.elements)
    return batching.cast(potential, precision)


def compact(
    potential: EAM,
    elements: tuple[str, ...] | None = None,
    precision: str = "float64",
    tolerance: float = 1e-7,
    num_pieces: int | None = None,
) -> Compact:
    """Prepare a potential for many evaluations of forces.

    The grid is refined until the force of a bond is off by less than the tolerance wherever bonds
    of solids and liquids are (beyond 1.8 lengths and any short-range branch), or to 32,000 pieces.
    The grid of a setfl table comes first: what bends at its knots is smooth between them.

    Args:
      potential: any embedded-atom potential; one that is prepared already is returned or cast.
      elements: order of the species; that of the structure saves a look-up. All by default.
      precision: "float64" or "float32" of the tables.
      tolerance: largest error of a bond's force, in units of the potential's energy and length,
        which are 1 eV and 1 Å for metals.
      num_pieces: fixes the grid.

    Raises:
      ValueError: unknown element.
    """
    if isinstance(potential, Compact):
        potential = potential.base
    elements = tuple(elements or potential.elements)
    largest = tolerance * potential.scales.energy / potential.scales.length
    for count in (num_pieces,) if num_pieces else _grids(potential):
        tables = _tables(potential, elements, count)
        if num_pieces or _error(potential, elements, tables, count) < largest:
            break
    made = Compact(
        base=potential,
        **tables,
        per_length=jnp.asarray(count / potential.cutoff),
        elements=elements,
        cutoff=potential.cutoff,
        density_cutoff=potential.density_cutoff,
        symmetric=potential.symmetric,
        masses=None if potential.masses is None else tuple(potential.masses_of(elements)),
        scales=potential.scales,
    )
    return jax.tree.map(lambda leaf: leaf.astype(precision), made)


def _grids(potential: EAM) -> list[int]:
    """Numbers of pieces to try, from few to many."""
    first = _FEWEST
    if isinstance(potential, Tabulated):
        intervals = potential.pair_table.shape[2]
        spans = abs(intervals * float(potential.r_step) / potential.cutoff - 1.0) < 1e-9
        # A fine table is treated as a smooth function.
        first = intervals if spans and intervals < _MOST // 8 else first
    return [first * 2**n for n in range(math.ceil(math.log2(_MOST / first)) + 1)]


@functools.partial(jax.jit, static_argnames="elements")
def _sample(potential: EAM, elements: tuple[str, ...], r: Array) -> dict[str, Array]:
    """The tabulated functions of r for every pair of species, (S, S, R) each."""
    own = potential.renumbered(jnp.arange(len(elements)), elements)
    first, second, x = jnp.broadcast_arrays(own[:, None, None], own[:, None], r)
    inside = x < potential.cutoff
    density, given = value_and_slope(lambda x: potential.density(x, first, second), x)
    return {
        "densities": jnp.where(inside, density, 0.0),
        "pair_weights": potential.bond_weight(x, first, second),
        "density_weights": jnp.where(inside, given / x, 0.0),
    }


def _tables(potential: EAM, elements: tuple[str, ...], count: int) -> dict[str, Any]:
    # The right end of the last piece is the limit from inside.
    grid = (np.arange(count)[:, None] + _NODES) * (potential.cutoff / count)
    closest = _CLOSEST * potential.scales.length
    grid = np.clip(grid, closest, potential.cutoff * (1 - 1e-15))
    powers = np.linalg.inv(np.vander(_NODES, increasing=True))
    tables = {}
    for name, function in _sample(potential, elements, grid.reshape(-1)).items():
        values = np.array(function).reshape(*function.shape[:2], count, len(_NODES))
        if name == "pair_weights":
            # Two atoms in one place push each other nowhere: that must show in the forces.
            values[..., 0, :] = np.nan
        ends = (0, 0), (0, 0), (0, 1)  # A piece of zero follows the last one of each pair.
        tables[name] = tuple(jnp.asarray(np.pad(values @ row, ends).ravel()) for row in powers)
    return tables


def _error(potential: EAM, elements: tuple[str, ...], tables: dict, count: int) -> float:
    """Largest error of a bond's force over the range that matters [eV/Å]."""
    step = potential.cutoff / count
    first = max(_CHECKED_FROM * potential.scales.length, potential.core + step)
    piece = np.arange(int(first / step) + 1, count)
    scales = {"pair_weights": 1.0, "density_weights": _steepest(potential)}
    worst = 0.0
    for t in (0.13, 0.5, 0.87):  # Where the remainder is largest.
        r = (piece + t) * step
        exact = _sample(potential, elements, r)
        for name, scale in scales.items():
            pieces = np.reshape(tables[name], (4, *exact[name].shape[:2], -1))
            value = np.polyval(pieces[::-1, ..., piece], t)
            off = np.abs(value - np.asarray(exact[name])) * r * scale
            worst = max(worst, float(off.max()))
    return worst


def _steepest(potential: EAM) -> float:
    """Slope of the embedding at the density of a dense packing [eV]."""
    species = jnp.arange(len(potential.elements))
    own, other, near = species[:, None], species[None], _DENSE * potential.scales.length
    density = 12.0 * jnp.max(potential.density(jnp.full(own.shape, near), own, other), axis=1)
    return float(jnp.max(jnp.abs(slope(lambda d: potential.embedding(d, species), density))))
