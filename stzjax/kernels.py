"""The passes over a neighbour list behind `energetics`: pure array code, without scatter.

The hot path is four passes over a (K, N) table of bonds: lengths, densities, bond weights, and
the weighted sums. XLA's CPU backend would fuse them into one loop that evaluates the potential
again for each force component, so each pass is given a computation of its own (`fusion.apart`).
The sums run over fractional bond components: one gather each, and the cell acts on the result.

Every function takes (fractional (N, 3), cell (3, 3) [Å], potential, species (N,) in the potential's
order, zones) and can be differentiated by forward mode, and to the potential's parameters.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax import structure as structures
from stzjax.fusion import apart
from stzjax.potentials.eam import EAM, slope


class Zone(NamedTuple):
    """Rows of a neighbour list.

    Attributes:
      idx: (K, N) neighbours; N where there is none.
      other: (K, N) their species, in the potential's order; arbitrary where there is none.
    """

    idx: Array
    other: Array


class Zones(NamedTuple):
    """A list in two parts: the pairs that densities reach, and those that only φ does.

    Attributes:
      near: first rows of the list.
      far: the rest, every pair of which is beyond the potential's `density_cutoff`.
    """

    near: Zone
    far: Zone


def _component(column: Array, idx: Array) -> Array:
    """One fractional component of the bonds, (K, N); arbitrary for padding."""
    # Padding (idx = N) is clipped to the last atom; whoever uses the bond masks it by its length.
    return structures.minimum_image(jnp.take(column, idx, mode="clip") - column)


def _columns(fractional: Array) -> tuple[Array, Array, Array]:
    x, y, z = fractional.T
    return x, y, z


def lengths(fractional: Array, cell: Array, idx: Array, cutoff: float) -> Array:
    """Bond lengths (K, N) [Å]; padding is put at the cut-off, where everything is zero."""
    return _lengths(_columns(fractional), cell, idx, cutoff)


def _lengths(columns, cell: Array, idx: Array, cutoff: float) -> Array:
    x, y, z = structures.cartesian(cell, *(_component(column, idx) for column in columns))
    square = x * x + y * y + z * z
    return jnp.sqrt(jnp.where(idx < idx.shape[1], square, cutoff * cutoff))


class _Bonds(NamedTuple):
    """Lengths of the bonds (K, N) by zone [Å], and densities of the atoms (N,)."""

    near: Array
    far: Array
    density: Array


def _bonds(columns, cell, potential: EAM, species, zones: Zones) -> _Bonds:
    anchor = potential.anchor

    def measure(columns, cell, idx):
        return _lengths(columns, cell, idx, potential.cutoff)

    def density(r, other, potential):
        return jnp.sum(potential.density(r, species[None], other), axis=0)

    near = apart(measure, anchor, columns, cell, zones.near.idx)
    far = near[:0]
    if len(zones.far.idx):
        far = apart(measure, anchor, columns, cell, zones.far.idx)
    return _Bonds(near, far, apart(density, anchor, near, zones.near.other, potential))


def _by_core(function: Callable, r: Array, potential: EAM, *args):
    """Call function(r, closest, *args), with the short-range branches only where a pair needs them.

    The choice is made at run time, and only on CPU, where a branch not taken costs nothing.
    """

    def branch(closest: float):
        return lambda r, *args: function(r, closest, *args)

    if potential.core == 0.0:
        return apart(branch(0.0), potential.anchor, r, *args)
    if jax.default_backend() != "cpu":
        return branch(0.0)(r, *args)
    close = jnp.any(r < potential.core)
    return jax.lax.cond(close, branch(0.0), branch(potential.core), r, *args)


def _beyond(function: Callable, r: Array, potential: EAM, *args):
    """Call function(r, closest, *args) for the far zone."""
    return apart(
        lambda r, *args: function(r, potential.density_cutoff, *args), potential.anchor, r, *args
    )


def atomic_energy(fractional, cell, potential: EAM, species, zones: Zones) -> Array:
    """Energies of the atoms, (N,) [eV]."""
    bonds = _bonds(_columns(fractional), cell, potential, species, zones)
    return _energies(bonds, potential, species, zones)


def _energies(bonds: _Bonds, potential: EAM, species, zones: Zones) -> Array:

    def pairs(r, closest, other, potential):
        return 0.5 * jnp.sum(potential.pair(r, species[None], other, closest), axis=0)

    total = _by_core(pairs, bonds.near, potential, zones.near.other, potential)
    if len(zones.far.idx):
        total = total + _beyond(pairs, bonds.far, potential, zones.far.other, potential)
    return total + potential.embedding(bonds.density, species)


def _weights(bonds: _Bonds, potential: EAM, species, zones: Zones) -> list[Array]:
    """(dE/dr) / r of every bond, (K, N) for each zone [eV/Å²]; zero for padding."""
    own = species[None]
    rise = slope(lambda d: potential.embedding(d, species), bonds.density)

    def near(r, closest, idx, other, rise, potential):
        there = jnp.take(rise, idx, mode="clip")
        return potential.bond_weight(r, own, other, rise[None], there, closest)

    def far(r, closest, other, potential):
        return potential.pair_weight(r, own, other, closest)

    args = zones.near.idx, zones.near.other, rise, potential
    weights = [_by_core(near, bonds.near, potential, *args)]
    if len(zones.far.idx):
        weights.append(_beyond(far, bonds.far, potential, zones.far.other, potential))
    return weights


class _Pulls(NamedTuple):
    """One zone: its list (K, N), weights (K, N) [eV/Å²] and lengths (K, N) [Å] of the bonds."""

    idx: Array
    weight: Array
    r: Array


def _pulls(columns, cell, potential: EAM, species, zones: Zones) -> list[_Pulls]:
    bonds = _bonds(columns, cell, potential, species, zones)
    return _pulls_of(bonds, potential, species, zones)


def _pulls_of(bonds: _Bonds, potential: EAM, species, zones: Zones) -> list[_Pulls]:
    weights = _weights(bonds, potential, species, zones)
    used = (zones.near.idx, bonds.near), (zones.far.idx, bonds.far)
    return [
        _Pulls(idx, weight, r)
        for (idx, r), weight in zip(used[: len(weights)], weights, strict=True)
    ]


def _sum_forces(columns, cell, potential: EAM, pulls: list[_Pulls]) -> Array:
    """Σ_j w r_ij, (N, 3) [eV/Å]."""

    def total(column, idx, weight):
        return jnp.sum(weight * _component(column, idx), axis=0)

    # One component at a time: the three sums in one loop are slower by half.
    parts = (
        sum(apart(total, potential.anchor, column, p.idx, p.weight) for p in pulls)
        for column in columns
    )
    return jnp.stack(structures.cartesian(cell, *parts), axis=-1)


def _sum_virials(columns, cell, potential: EAM, pulls: list[_Pulls]) -> Array:
    """Virials of the atoms, (3, 3, N) [eV]."""

    def total(first, second, idx, weight):
        return jnp.sum(weight * _component(first, idx) * _component(second, idx), axis=0)

    def moment(a: int, b: int) -> Array:
        first, second = columns[a], columns[b]
        return sum(apart(total, potential.anchor, first, second, p.idx, p.weight) for p in pulls)

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
        return jnp.sum(weight * r * r, axis=0)

    parts = [apart(total, potential.anchor, p.weight, p.r) for p in pulls]
    # A small difference of large numbers: in float64 whatever the dtype of the run.
    return 0.5 * jnp.sum(sum(parts[1:], parts[0]), dtype=jnp.float64)


def forces(fractional, cell, potential: EAM, species, zones: Zones) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]."""
    columns = _columns(fractional)
    pulls = _pulls(columns, cell, potential, species, zones)
    return _sum_forces(columns, cell, potential, pulls)


def atomic_virial(fractional, cell, potential: EAM, species, zones: Zones) -> Array:
    """Virials of the atoms, (N, 3, 3) [eV]."""
    columns = _columns(fractional)
    pulls = _pulls(columns, cell, potential, species, zones)
    return jnp.moveaxis(_sum_virials(columns, cell, potential, pulls), -1, 0)


def forces_and_virial(
    fractional, cell, potential: EAM, species, zones: Zones
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the virial of all atoms, (3, 3) [eV]."""
    columns = _columns(fractional)
    pulls = _pulls(columns, cell, potential, species, zones)
    virial = _total_virial(columns, cell, potential, pulls)
    return _sum_forces(columns, cell, potential, pulls), virial


def forces_and_trace(
    fractional, cell, potential: EAM, species, zones: Zones
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the trace of the virial [eV]."""
    columns = _columns(fractional)
    pulls = _pulls(columns, cell, potential, species, zones)
    return _sum_forces(columns, cell, potential, pulls), _sum_trace(potential, pulls)


def energy_and_virial(
    fractional, cell, potential: EAM, species, zones: Zones
) -> tuple[Array, Array]:
    """Energy [eV] and virial (3, 3) [eV] of all atoms."""
    columns = _columns(fractional)
    bonds = _bonds(columns, cell, potential, species, zones)
    energy = jnp.sum(_energies(bonds, potential, species, zones))
    pulls = _pulls_of(bonds, potential, species, zones)
    return energy, _total_virial(columns, cell, potential, pulls)
