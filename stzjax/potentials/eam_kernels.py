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
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.neighbors.half_list import HalfList
from stzjax.neighbors.tables import Zone
from stzjax.numerics import platform
from stzjax.numerics.elementwise import slope
from stzjax.numerics.unfused import apart
from stzjax.potentials import eam_cpu, eam_gpu

if TYPE_CHECKING:
    from stzjax.potentials.eam import EAM

_BYTES_OF_TERMS = 16
"""Size of the terms of a sum that are written out [bytes]: two in float64, four in float32."""


class Zones(NamedTuple):
    """A list in two parts; the species in it are in the potential's order.

    Attributes:
      near: zones with the pairs that densities reach, and perhaps others.
      far: zones every pair of which is beyond the potential's `density_cutoff`.
      half: the same pairs once each, or None.
    """

    near: tuple[Zone, ...]
    far: tuple[Zone, ...]
    half: HalfList | None = None


class _Bonds(NamedTuple):
    """Bonds of a zone, a table (K, n) for each of its blocks.

    Attributes:
      zone: their atoms.
      near: whether densities reach the zone.
      lengths: lengths [Å].
      weights: (dE/dr) / r [eV/Å²], once they are known; zero for padding.
    """

    zone: Zone
    near: bool
    lengths: list[Array]
    weights: list[Array]

    def by_table(self, function: Callable, tables: list[Array], *values: Array) -> list[Array]:
        """function(table, block, *values) of each table, with its part of values (N,)."""
        parts = zip(tables, self.zone.blocks, *map(self.zone.split, values), strict=True)
        return [function(*part) for part in parts]

    def by_atom(self, function: Callable, tables: list[Array], *values: Array) -> Array:
        """The same for results of the atoms, (N,)."""
        return self.zone.join(self.by_table(function, tables, *values))


def _component(column: Array, own: Array, idx: Array) -> Array:
    """One fractional component of the bonds of a table, (K, n); arbitrary for padding."""
    # Padding (idx = N) is clipped to the last atom; its bonds are masked later, by their length.
    return geometry.minimum_image(jnp.take(column, idx, mode="clip") - own)


def _total(parts: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, parts)


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


def lengths(columns, own, cell: Array, idx: Array, cutoff: float) -> Array:
    """Bond lengths of a table (K, n) [Å]; padding is put beyond the cut-off, where all is zero.

    `columns` are the fractional components of all atoms, (N,) each, `own` those of the table's.
    """
    parts = (_component(c, mine, idx) for c, mine in zip(columns, own, strict=True))
    x, y, z = geometry.cartesian(cell, *parts)
    square = x * x + y * y + z * z
    # Well beyond the cut-off: at the cut-off rounding decides whether a table is still read.
    return jnp.sqrt(jnp.where(idx < len(columns[0]), square, (1.25 * cutoff) ** 2))


def _measured(columns, cell: Array, potential: "EAM", zones: Zones) -> list[_Bonds]:
    if not zones.near + zones.far:
        raise ValueError("a half list alone gives forces by native kernels and nothing else")

    def measure(columns, own, cell, idx):
        return lengths(columns, own, cell, idx, potential.cutoff)

    def of(zone: Zone, near: bool) -> _Bonds:
        parts = zip(zone.blocks, *map(zone.split, columns), strict=True)
        found = [
            apart(measure, potential, columns, tuple(own), cell, block.idx) for block, *own in parts
        ]
        return _Bonds(zone, near, found, [])

    return [of(zone, True) for zone in zones.near] + [of(zone, False) for zone in zones.far]


def _density(bonds: list[_Bonds], potential: "EAM", species) -> Array:
    """Densities of the atoms, (N,)."""

    def density(r, own, other, potential):
        return _sum_rows(lambda r, other: potential.density(r, own[None], other), r, other)

    def of(r, block, own):
        return apart(density, potential, r, own, block.other, potential)

    found = [one.by_atom(of, one.lengths, species) for one in bonds if one.near]
    return _total(found) if found else jnp.zeros(species.shape, bonds[0].lengths[0].dtype)


def _by_reach(function: Callable, near: bool, r: Array, potential: "EAM", *args):
    """Call function(r, closest, *args), with the branches of `potential.pair` that are needed.

    Those of short range are left out unless a pair needs them. The choice is made at run time, and
    only on CPU, where a branch not taken costs nothing.
    """

    def beyond(closest: float):
        return lambda r, *args: function(r, closest, *args)

    if not near or potential.core == 0.0:
        closest = 0.0 if near else potential.density_cutoff
        return apart(beyond(closest), potential, r, *args)
    if platform.target() != "cpu":
        return beyond(0.0)(r, *args)
    close = jnp.any(r < potential.core)
    return jax.lax.cond(close, beyond(0.0), beyond(potential.core), r, *args)


def atomic_energy(fractional, cell, potential: "EAM", species, zones: Zones) -> Array:
    """Energies of the atoms, (N,) [eV]."""
    bonds = _measured(tuple(fractional.T), cell, potential, zones)
    return _energies(bonds, _density(bonds, potential, species), potential, species)


def _energies(bonds: list[_Bonds], density: Array, potential: "EAM", species) -> Array:

    def pairs(r, closest, own, other, potential):
        return 0.5 * jnp.sum(potential.pair(r, own[None], other, closest), axis=0)

    def of(one: _Bonds) -> Array:
        def energy(r, block, own):
            return _by_reach(pairs, one.near, r, potential, own, block.other, potential)

        return one.by_atom(energy, one.lengths, species)

    return _total(map(of, bonds)) + potential.embedding(density, species)


def _weighted(bonds: list[_Bonds], density: Array, potential: "EAM", species) -> list[_Bonds]:
    rise = slope(lambda d: potential.embedding(d, species), density)

    def weight(r, closest, own, other, idx, rises, potential):
        if rises:
            rises = rises[0][None], jnp.take(rises[1], idx, mode="clip")
        return potential.bond_weight(r, own[None], other, rises, closest)

    def of(one: _Bonds) -> _Bonds:
        def found(r, block, own, mine):
            args = own, block.other, block.idx, (mine, rise) if one.near else (), potential
            return _by_reach(weight, one.near, r, potential, *args)

        return one._replace(weights=one.by_table(found, one.lengths, species, rise))

    return [of(one) for one in bonds]


def _pulling(columns, cell, potential: "EAM", species, zones: Zones) -> list[_Bonds]:
    """All bonds with their weights."""
    bonds = _measured(columns, cell, potential, zones)
    return _weighted(bonds, _density(bonds, potential, species), potential, species)


def _sum_forces(columns, cell, potential: "EAM", bonds: list[_Bonds]) -> Array:
    """Σ_j w r_ij, (N, 3) [eV/Å]."""

    def total(column, own, idx, weight):
        return _sum_rows(lambda w, idx: w * _component(column, own, idx), weight, idx)

    def component(column: Array) -> Array:
        def of(weight, block, own):
            return apart(total, potential, column, own, block.idx, weight)

        return _total(one.by_atom(of, one.weights, column) for one in bonds)

    # One component at a time: the three sums in one loop are slower by half.
    return jnp.stack(geometry.cartesian(cell, *map(component, columns)), axis=-1)


def _sum_virials(columns, cell, potential: "EAM", bonds: list[_Bonds]) -> Array:
    """Virials of the atoms, (3, 3, N) [eV]."""

    def total(first, second, one, two, idx, weight):
        def moment(w, idx):
            return w * _component(first, one, idx) * _component(second, two, idx)

        return _sum_rows(moment, weight, idx)

    def component(first: Array, second: Array) -> Array:
        def of(weight, block, *own):
            return apart(total, potential, first, second, *own, block.idx, weight)

        return _total(one.by_atom(of, one.weights, first, second) for one in bonds)

    # As in `_sum_forces`, one sum at a time; the tensor is symmetric.
    sums = {(a, b): component(columns[a], columns[b]) for a in range(3) for b in range(a, 3)}
    square = jnp.stack(
        [jnp.stack([sums[min(a, b), max(a, b)] for b in range(3)]) for a in range(3)]
    )
    return 0.5 * jnp.einsum("ia,abn,jb->ijn", cell, square, cell)


def _sum_trace(potential: "EAM", bonds: list[_Bonds]) -> Array:
    """Σ w r² / 2 over all bonds, the trace of the virial [eV]."""

    def total(weight, r):
        return _sum_rows(lambda w, r: w * r * r, weight, r)

    # A small difference of large numbers: in float64 whatever the dtype of the run.
    return 0.5 * _total(
        jnp.sum(apart(total, potential, weight, r), dtype=jnp.float64)
        for one in bonds
        for weight, r in zip(one.weights, one.lengths, strict=True)
    )


def forces(fractional, cell, potential: "EAM", species, zones: Zones) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]."""
    if _is_native(fractional, potential, zones):
        return _natively(fractional, cell, potential, species, zones)[0]
    if _has_kernels(potential):
        return _by_kernels(fractional, cell, potential, species, zones)[0]
    columns = tuple(fractional.T)
    bonds = _pulling(columns, cell, potential, species, zones)
    return _sum_forces(columns, cell, potential, bonds)


def atomic_virial(fractional, cell, potential: "EAM", species, zones: Zones) -> Array:
    """Virials of the atoms, (N, 3, 3) [eV]."""
    columns = tuple(fractional.T)
    bonds = _pulling(columns, cell, potential, species, zones)
    return jnp.moveaxis(_sum_virials(columns, cell, potential, bonds), -1, 0)


def forces_and_virial(
    fractional, cell, potential: "EAM", species, zones: Zones
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the virial of all atoms, (3, 3) [eV]."""
    columns = tuple(fractional.T)
    bonds = _pulling(columns, cell, potential, species, zones)
    virial = jnp.sum(_sum_virials(columns, cell, potential, bonds), axis=-1)
    return _sum_forces(columns, cell, potential, bonds), virial


def energy_and_virial(
    fractional, cell, potential: "EAM", species, zones: Zones
) -> tuple[Array, Array]:
    """Energy [eV] and virial (3, 3) [eV] of all atoms."""
    columns = tuple(fractional.T)
    bonds = _measured(columns, cell, potential, zones)
    density = _density(bonds, potential, species)
    energy = jnp.sum(_energies(bonds, density, potential, species))
    bonds = _weighted(bonds, density, potential, species)
    return energy, jnp.sum(_sum_virials(columns, cell, potential, bonds), axis=-1)


def forces_and_trace(
    fractional, cell, potential: "EAM", species, zones: Zones
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the trace of the virial [eV]."""
    if _is_native(fractional, potential, zones):
        return _natively(fractional, cell, potential, species, zones)
    if _has_kernels(potential):
        return _by_kernels(fractional, cell, potential, species, zones)
    return _by_passes(fractional, cell, potential, species, zones)


def _by_passes(fractional, cell, potential, species, zones) -> tuple[Array, Array]:
    """Forces and trace as array code."""
    columns = tuple(fractional.T)
    bonds = _pulling(columns, cell, potential, species, zones)
    return _sum_forces(columns, cell, potential, bonds), _sum_trace(potential, bonds)


def _has_kernels(potential: "EAM") -> bool:
    """Whether forces of a potential have kernels of their own on the platform."""
    return potential.prepared_pieces and platform.target() == "gpu" and eam_gpu.available()


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
    parts = zones.near, zones.far
    return eam_gpu.forces_and_trace(fractional, cell, potential, species, *parts)


@_by_kernels.defjvp
def _by_kernels_jvp(primals, tangents):
    return jax.jvp(_by_passes, primals, tangents)


def _is_native(fractional, potential: "EAM", zones: Zones) -> bool:
    """Whether forces come from the kernels of a CPU."""
    prepared = potential.prepared_pieces and zones.half is not None
    return prepared and eam_cpu.available(str(fractional.dtype))


@jax.custom_jvp
def _natively(fractional, cell, potential, species, zones: Zones) -> tuple[Array, Array]:
    """Forces and trace by the kernels of a CPU; derivatives of every order as array code."""
    half = cast(HalfList, zones.half)
    return eam_cpu.forces_and_trace(fractional, cell, potential, species, half)


@_natively.defjvp
def _natively_jvp(primals, tangents):
    return jax.jvp(_by_passes, primals, tangents)
