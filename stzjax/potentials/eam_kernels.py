"""The passes over a neighbour list behind `energetics`: pure array code, without scatter.

The hot path is four passes over the tables of bonds: lengths, densities, bond weights, and
the weighted sums. XLA's CPU backend would fuse them into one loop that evaluates the potential
again for each force component, so each pass is given a computation of its own (`unfused.apart`).
The sums run over fractional bond components: one gather each, and the cell acts on the result.

Every function takes (fractional (N, 3), cell (3, 3) [Å], potential, species (N,) in the potential's
order, zones) and can be differentiated by forward mode, and to the potential's parameters.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.neighbors.tables import Zone
from stzjax.numerics import platform
from stzjax.numerics.unfused import apart
from stzjax.potentials import eam_gpu
from stzjax.potentials.eam import EAM, slope
from stzjax.potentials.prepared import Compact

_BYTES_OF_TERMS = 16
"""Size of the terms of a sum that are written out [bytes]: two in float64, four in float32."""


class Zones(NamedTuple):
    """A list in two parts; the species in it are in the potential's order.

    Attributes:
      near: zones with the pairs that densities reach, and perhaps others.
      far: zones every pair of which is beyond the potential's `density_cutoff`.
    """

    near: tuple[Zone, ...]
    far: tuple[Zone, ...]


def _blocks(zone: Zone, *values: Array) -> Iterator[tuple]:
    """Each table of a zone, and its part of values of the atoms (N,)."""
    return zip(zone.blocks, *map(zone.split, values), strict=True)


def _component(column: Array, own: Array, idx: Array) -> Array:
    """One fractional component of the bonds of a table, (K, n); arbitrary for padding."""
    # Padding (idx = N) is clipped to the last atom; its bonds are masked later, by their length.
    return geometry.minimum_image(jnp.take(column, idx, mode="clip") - own)


def _sum_rows(function: Callable, *tables: Array) -> Array:
    """Σ_k function(*rows k), a few rows of the tables (K, n) at a time; (n,).

    XLA's CPU backend writes all terms of a long sum to memory before it adds them up. Terms that
    are written out are added up on the way; with more than a few, registers run out.
    """
    rows = len(tables[0])
    parts = math.gcd(rows, _BYTES_OF_TERMS // tables[0].dtype.itemsize)
    size = rows // parts
    pieces = [[table[at : at + size] for table in tables] for at in range(0, rows, size)]
    return jnp.sum(_total(function(*piece) for piece in pieces), axis=0)


def _columns(fractional: Array) -> tuple[Array, Array, Array]:
    x, y, z = fractional.T
    return x, y, z


def lengths(fractional: Array, cell: Array, idx: Array, cutoff: float) -> Array:
    """Bond lengths (K, N) [Å] of a whole table; padding is put beyond the cut-off."""
    columns = _columns(fractional)
    return _lengths(columns, columns, cell, idx, cutoff)


def _lengths(columns, own, cell: Array, idx: Array, cutoff: float) -> Array:
    """Bond lengths (K, n) [Å]; padding is put beyond the cut-off, where everything is zero."""
    parts = (_component(c, mine, idx) for c, mine in zip(columns, own, strict=True))
    x, y, z = geometry.cartesian(cell, *parts)
    square = x * x + y * y + z * z
    # Well beyond the cut-off: at the cut-off rounding decides whether a table is still read.
    return jnp.sqrt(jnp.where(idx < len(columns[0]), square, (1.25 * cutoff) ** 2))


class _Bonds(NamedTuple):
    """Lengths of the bonds of a zone, a table (K, n) for each of its blocks [Å]."""

    zone: Zone
    lengths: list[Array]


def _measured(columns, cell: Array, potential: EAM, zones: tuple[Zone, ...]) -> list[_Bonds]:

    def measure(columns, own, cell, idx):
        return _lengths(columns, own, cell, idx, potential.cutoff)

    def of(zone: Zone) -> list[Array]:
        return [
            apart(measure, potential.anchor, columns, tuple(own), cell, block.idx)
            for block, *own in _blocks(zone, *columns)
        ]

    return [_Bonds(zone, of(zone)) for zone in zones]


def _density(near: list[_Bonds], potential: EAM, species) -> Array:
    """Densities of the atoms, (N,)."""

    def density(r, own, other, potential):
        return _sum_rows(lambda r, other: potential.density(r, own[None], other), r, other)

    def of(zone: Zone, lengths: list[Array]) -> list[Array]:
        return [
            apart(density, potential.anchor, r, own, block.other, potential)
            for r, (block, own) in zip(lengths, _blocks(zone, species), strict=True)
        ]

    return _total(zone.join(of(zone, lengths)) for zone, lengths in near)


def _total(parts: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, parts)


def _by_core(function: Callable, r: Array, potential: EAM, *args):
    """Call function(r, closest, *args), with the short-range branches only where a pair needs them.

    The choice is made at run time, and only on CPU, where a branch not taken costs nothing.
    """

    def branch(closest: float):
        return lambda r, *args: function(r, closest, *args)

    if potential.core == 0.0:
        return apart(branch(0.0), potential.anchor, r, *args)
    if platform.target() != "cpu":
        return branch(0.0)(r, *args)
    close = jnp.any(r < potential.core)
    return jax.lax.cond(close, branch(0.0), branch(potential.core), r, *args)


def _beyond(function: Callable, r: Array, potential: EAM, *args):
    """Call function(r, closest, *args) for the far zone."""
    return apart(
        lambda r, *args: function(r, potential.density_cutoff, *args), potential.anchor, r, *args
    )


class _Measured(NamedTuple):
    """Bonds of the near and of the far zones, and densities of the atoms (N,)."""

    near: list[_Bonds]
    far: list[_Bonds]
    density: Array


def _measure(columns, cell, potential: EAM, species, zones: Zones) -> _Measured:
    near, far = (_measured(columns, cell, potential, some) for some in zones)
    return _Measured(near, far, _density(near, potential, species))


def atomic_energy(fractional, cell, potential: EAM, species, zones: Zones) -> Array:
    """Energies of the atoms, (N,) [eV]."""
    bonds = _measure(_columns(fractional), cell, potential, species, zones)
    return _energies(bonds, potential, species)


def _energies(bonds: _Measured, potential: EAM, species) -> Array:

    def pairs(r, closest, own, other, potential):
        return 0.5 * jnp.sum(potential.pair(r, own[None], other, closest), axis=0)

    def of(zone: Zone, lengths: list[Array], evaluate: Callable) -> Array:
        parts = [
            evaluate(pairs, r, potential, own, block.other, potential)
            for r, (block, own) in zip(lengths, _blocks(zone, species), strict=True)
        ]
        return zone.join(parts)

    parts = [of(*some, _by_core) for some in bonds.near] + [
        of(*some, _beyond) for some in bonds.far
    ]
    return _total(parts) + potential.embedding(bonds.density, species)


class _Pulls(NamedTuple):
    """A zone with weights [eV/Å²] and lengths [Å] of its bonds, a table (K, n) for each block."""

    zone: Zone
    weights: list[Array]
    lengths: list[Array]


def _pulls(bonds: _Measured, potential: EAM, species) -> list[_Pulls]:
    """Weights (dE/dr) / r of all bonds; zero for padding."""
    rise = slope(lambda d: potential.embedding(d, species), bonds.density)

    def near(r, closest, idx, other, own, mine, rise, potential):
        there = jnp.take(rise, idx, mode="clip")
        return potential.bond_weight(r, own[None], other, mine[None], there, closest)

    def far(r, closest, other, own, potential):
        return potential.pair_weight(r, own[None], other, closest)

    def of_near(zone: Zone, lengths: list[Array]) -> list[Array]:
        return [
            _by_core(near, r, potential, block.idx, block.other, *own, rise, potential)
            for r, (block, *own) in zip(lengths, _blocks(zone, species, rise), strict=True)
        ]

    def of_far(zone: Zone, lengths: list[Array]) -> list[Array]:
        return [
            _beyond(far, r, potential, block.other, own, potential)
            for r, (block, own) in zip(lengths, _blocks(zone, species), strict=True)
        ]

    return [_Pulls(zone, of_near(zone, r), r) for zone, r in bonds.near] + [
        _Pulls(zone, of_far(zone, r), r) for zone, r in bonds.far
    ]


def _all_pulls(columns, cell, potential: EAM, species, zones: Zones) -> list[_Pulls]:
    return _pulls(_measure(columns, cell, potential, species, zones), potential, species)


def _sum_forces(columns, cell, potential: EAM, pulls: list[_Pulls]) -> Array:
    """Σ_j w r_ij, (N, 3) [eV/Å]."""

    def total(column, own, idx, weight):
        return _sum_rows(lambda w, idx: w * _component(column, own, idx), weight, idx)

    def of(zone: Zone, weights: list[Array], column: Array) -> Array:
        parts = [
            apart(total, potential.anchor, column, own, block.idx, weight)
            for weight, (block, own) in zip(weights, _blocks(zone, column), strict=True)
        ]
        return zone.join(parts)

    # One component at a time: the three sums in one loop are slower by half.
    parts = (_total(of(p.zone, p.weights, column) for p in pulls) for column in columns)
    return jnp.stack(geometry.cartesian(cell, *parts), axis=-1)


def _sum_virials(columns, cell, potential: EAM, pulls: list[_Pulls]) -> Array:
    """Virials of the atoms, (3, 3, N) [eV]."""

    def total(first, second, one, two, idx, weight):
        def moment(w, idx):
            return w * _component(first, one, idx) * _component(second, two, idx)

        return _sum_rows(moment, weight, idx)

    def of(zone: Zone, weights: list[Array], first: Array, second: Array) -> Array:
        parts = [
            apart(total, potential.anchor, first, second, *own, block.idx, weight)
            for weight, (block, *own) in zip(weights, _blocks(zone, first, second), strict=True)
        ]
        return zone.join(parts)

    def moment(a: int, b: int) -> Array:
        return _total(of(p.zone, p.weights, columns[a], columns[b]) for p in pulls)

    # As in `_sum_forces`, one sum at a time; the tensor is symmetric.
    moments = {(a, b): moment(a, b) for a in range(3) for b in range(a, 3)}
    square = jnp.stack(
        [jnp.stack([moments[min(a, b), max(a, b)] for b in range(3)]) for a in range(3)]
    )
    return 0.5 * jnp.einsum("ia,abn,jb->ijn", cell, square, cell)


def _total_virial(columns, cell, potential: EAM, pulls: list[_Pulls]) -> Array:
    return jnp.sum(_sum_virials(columns, cell, potential, pulls), axis=-1)


def _sum_trace(potential: EAM, pulls: list[_Pulls]) -> Array:
    """Σ w r² / 2 over all bonds, the trace of the virial [eV]."""

    def total(weight, r):
        return _sum_rows(lambda w, r: w * r * r, weight, r)

    # A small difference of large numbers: in float64 whatever the dtype of the run.
    return 0.5 * _total(
        jnp.sum(apart(total, potential.anchor, weight, r), dtype=jnp.float64)
        for p in pulls
        for weight, r in zip(p.weights, p.lengths, strict=True)
    )


def forces(fractional, cell, potential: EAM, species, zones: Zones) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]."""
    if _has_kernels(potential):
        return _by_kernels(fractional, cell, potential, species, zones)[0]
    columns = _columns(fractional)
    pulls = _all_pulls(columns, cell, potential, species, zones)
    return _sum_forces(columns, cell, potential, pulls)


def atomic_virial(fractional, cell, potential: EAM, species, zones: Zones) -> Array:
    """Virials of the atoms, (N, 3, 3) [eV]."""
    columns = _columns(fractional)
    pulls = _all_pulls(columns, cell, potential, species, zones)
    return jnp.moveaxis(_sum_virials(columns, cell, potential, pulls), -1, 0)


def forces_and_virial(
    fractional, cell, potential: EAM, species, zones: Zones
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the virial of all atoms, (3, 3) [eV]."""
    columns = _columns(fractional)
    pulls = _all_pulls(columns, cell, potential, species, zones)
    virial = _total_virial(columns, cell, potential, pulls)
    return _sum_forces(columns, cell, potential, pulls), virial


def forces_and_trace(
    fractional, cell, potential: EAM, species, zones: Zones
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the trace of the virial [eV]."""
    if _has_kernels(potential):
        return _by_kernels(fractional, cell, potential, species, zones)
    return _by_passes(fractional, cell, potential, species, zones)


def _by_passes(fractional, cell, potential, species, zones) -> tuple[Array, Array]:
    """Forces and trace as array code."""
    columns = _columns(fractional)
    pulls = _all_pulls(columns, cell, potential, species, zones)
    return _sum_forces(columns, cell, potential, pulls), _sum_trace(potential, pulls)


def _has_kernels(potential: EAM) -> bool:
    """Whether forces of a potential have kernels of their own on the platform."""
    return isinstance(potential, Compact) and platform.target() == "gpu" and eam_gpu.available()


@jax.custom_jvp
def _by_kernels(fractional, cell, potential, species, zones) -> tuple[Array, Array]:
    """Forces and trace by the kernels of a GPU; derivatives of every order as array code."""
    return _of_lanes(fractional, cell, potential, species, zones)


@jax.custom_batching.custom_vmap
def _of_lanes(fractional, cell, potential, species, zones) -> tuple[Array, Array]:
    """Forces and trace, by the kernels only of many lanes: a lone system has too few threads."""
    return _by_passes(fractional, cell, potential, species, zones)


@_of_lanes.def_vmap
def _of_lanes_batched(size, batched, *args):
    axes = jax.tree.map(lambda mapped: 0 if mapped else None, batched)
    return jax.vmap(_evaluate, axes, axis_size=size)(*args), (True, True)


def _evaluate(fractional, cell, potential, species, zones) -> tuple[Array, Array]:
    return eam_gpu.forces_and_trace(fractional, cell, potential, species, *zones)


@_by_kernels.defjvp
def _by_kernels_jvp(primals, tangents):
    return jax.jvp(_by_passes, primals, tangents)


def energy_and_virial(
    fractional, cell, potential: EAM, species, zones: Zones
) -> tuple[Array, Array]:
    """Energy [eV] and virial (3, 3) [eV] of all atoms."""
    columns = _columns(fractional)
    bonds = _measure(columns, cell, potential, species, zones)
    energy = jnp.sum(_energies(bonds, potential, species))
    pulls = _pulls(bonds, potential, species)
    return energy, _total_virial(columns, cell, potential, pulls)
