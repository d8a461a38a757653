"""The passes over a neighbour list behind `energetics`: pure array code, without scatter.

The hot path is three passes over a (K, N) table of bonds: density, bond weights, weighted sum.
XLA's CPU backend would fuse them into one loop that evaluates the potential again for each force
component, so each pass is given a computation of its own (`_stage`).

Every function takes (fractional (N, 3), cell (3, 3) [Å], potential, species (N,) in the potential's
order, zones) and can be differentiated by forward mode, and to the potential's parameters.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax import structure as structures
from stzjax.potentials.eam import EAM, slope


class Zones(NamedTuple):
    """A list in two parts: the pairs that densities reach, and those that only φ does.

    Attributes:
      near: (K1, N) first rows of the list.
      far: (K2, N) the rest, every pair of which is beyond the potential's `density_cutoff`.
    """

    near: Array
    far: Array


class _Field(NamedTuple):
    """What the passes share; `vectors` and `other` by zone.

    Attributes:
      vectors: (3, K, N) bond vectors [Å].
      other: (K, N) species of the neighbours.
      density: (N,).
    """

    vectors: Zones
    other: Zones
    density: Array


def _stage(function: Callable, anchor: Array, *args):
    """Evaluate a function where XLA's CPU backend cannot fuse it into its consumers.

    The branch is always taken, which the compiler cannot know; were it not, the result would be
    NaN. Elsewhere than on CPU the function is simply called.
    """
    if jax.default_backend() != "cpu":
        return function(*args)
    shapes = jax.eval_shape(function, *args)

    def never(*_):
        return jax.tree.map(_poison, shapes)

    return jax.lax.cond(anchor.reshape(-1)[0] >= 0, function, never, *args)


def _poison(shape: jax.ShapeDtypeStruct) -> Array:
    return jnp.full(
        shape.shape, jnp.nan if jnp.issubdtype(shape.dtype, jnp.floating) else -1, shape.dtype
    )


def geometry(fractional: Array, cell: Array, species: Array, idx: Array) -> tuple[Array, Array]:
    """Bond vectors (3, K, N) [Å] and species of the neighbours (K, N); arbitrary for padding."""
    columns = fractional.T
    # Padding (idx = N) is clipped to the last atom; whoever uses the bond masks it by its length.
    delta = jnp.take(columns, idx, axis=1, mode="clip") - columns[:, None, :]
    x, y, z = structures.minimum_image(delta)
    vectors = jnp.stack(
        [
            cell[0, 0] * x + cell[0, 1] * y + cell[0, 2] * z,
            cell[1, 1] * y + cell[1, 2] * z,
            cell[2, 2] * z,
        ]
    )
    return vectors, jnp.take(species, idx, mode="clip")


def lengths(vectors: Array, idx: Array, cutoff: float) -> Array:
    """Bond lengths (K, N) [Å]; padding is put at the cut-off, where everything is zero."""
    x, y, z = vectors
    square = x * x + y * y + z * z
    return jnp.sqrt(jnp.where(idx < idx.shape[1], square, cutoff * cutoff))


def _field(fractional, cell, potential: EAM, species, zones: Zones) -> _Field:
    near, near_other = _stage(geometry, zones.near, fractional, cell, species, zones.near)
    far, far_other = near[:, :0], near_other[:0]
    if len(zones.far):
        far, far_other = _stage(geometry, zones.near, fractional, cell, species, zones.far)

    def density(vectors, other, potential):
        r = lengths(vectors, zones.near, potential.cutoff)
        return jnp.sum(potential.density(r, species[None], other), axis=0)

    total = _stage(density, zones.near, near, near_other, potential)
    return _Field(Zones(near, far), Zones(near_other, far_other), total)


def _by_core(function: Callable, vectors: Array, idx: Array, potential: EAM, *args):
    """Call function(r, closest, *args), with the short-range branches only where a pair needs them.

    The choice is made at run time, and only on CPU, where a branch not taken costs nothing.
    """

    def branch(closest: float):
        return lambda vectors, *args: function(
            lengths(vectors, idx, potential.cutoff), closest, *args
        )

    if potential.core == 0.0:
        return _stage(branch(0.0), idx, vectors, *args)
    if jax.default_backend() != "cpu":
        return branch(0.0)(vectors, *args)
    close = jnp.any(lengths(vectors, idx, potential.cutoff) < potential.core)
    return jax.lax.cond(close, branch(0.0), branch(potential.core), vectors, *args)


def _beyond(function: Callable, vectors: Array, zones: Zones, potential: EAM, *args):
    """Call function(r, closest, *args) for the far zone."""

    def far(vectors, *args):
        r = lengths(vectors, zones.far, potential.cutoff)
        return function(r, potential.density_cutoff, *args)

    return _stage(far, zones.near, vectors, *args)


def atomic_energy(fractional, cell, potential: EAM, species, zones: Zones) -> Array:
    """Energies of the atoms, (N,) [eV]."""
    field = _field(fractional, cell, potential, species, zones)

    def pairs(r, closest, other, potential):
        return 0.5 * jnp.sum(potential.pair(r, species[None], other, closest), axis=0)

    args = field.other.near, potential
    total = _by_core(pairs, field.vectors.near, zones.near, potential, *args)
    if len(zones.far):
        args = field.other.far, potential
        total = total + _beyond(pairs, field.vectors.far, zones, potential, *args)
    return total + potential.embedding(field.density, species)


def _weights(field: _Field, potential: EAM, species, zones: Zones) -> Zones:
    """(dE/dr) / r of every bond, (K, N) by zone [eV/Å²]; zero for padding."""
    own = species[None]
    rise = slope(lambda d: potential.embedding(d, species), field.density)

    def pull(r, closest, other, potential):
        return slope(lambda x: potential.pair(x, own, other, closest), r)

    def near(r, closest, other, rise, potential):
        there = jnp.take(rise, zones.near, mode="clip")
        given = slope(lambda x: potential.density(x, own, other), r)
        if potential.symmetric:
            total = pull(r, closest, other, potential) + (rise[None] + there) * given
        else:
            taken = slope(lambda x: potential.density(x, other, own), r)
            total = pull(r, closest, other, potential) + rise[None] * given + there * taken
        return _over(r, total, potential.cutoff)

    def far(r, closest, other, potential):
        return _over(r, pull(r, closest, other, potential), potential.cutoff)

    args = field.other.near, rise, potential
    inside = _by_core(near, field.vectors.near, zones.near, potential, *args)
    if not len(zones.far):
        return Zones(inside, inside[:0])
    outside = _beyond(far, field.vectors.far, zones, potential, field.other.far, potential)
    return Zones(inside, outside)


def _over(r: Array, pull: Array, cutoff: float) -> Array:
    # A table's last slope need not vanish exactly at the cut-off, where padding sits. NaN stays.
    return jnp.where(r >= cutoff, 0.0, pull / r)


def _pulls(fractional, cell, potential: EAM, species, zones: Zones):
    """Bond vectors r (3, K, N) [Å] and weights (dE/dr) / r (K, N) [eV/Å²] of each zone."""
    field = _field(fractional, cell, potential, species, zones)
    weights = _weights(field, potential, species, zones)
    return [(v, w) for v, w in zip(field.vectors, weights, strict=True) if len(w)]


def _sum_forces(pulls) -> Array:
    near, *far = [jnp.sum(vectors * weights, axis=1) for vectors, weights in pulls]
    return sum(far, near).T


def _sum_virial(pulls) -> Array:
    """Σ_i w_i of all atoms, (3, 3) [eV]."""
    return jnp.sum(_sum_virials(pulls), axis=-1)


def _sum_virials(pulls) -> Array:
    """Virials of the atoms, (3, 3, N) [eV]."""
    # Over neighbours first: that sum vectorises over atoms, one over everything would not.
    near, *far = [
        jnp.stack([jnp.sum(vectors * a * weights, axis=1) for a in vectors])
        for vectors, weights in pulls
    ]
    return 0.5 * sum(far, near)


def _sum_trace(pulls) -> Array:
    near, *far = [
        jnp.sum((x * x + y * y + z * z) * weights, axis=0) for (x, y, z), weights in pulls
    ]
    return 0.5 * jnp.sum(sum(far, near))


def forces(*arguments) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]."""
    return _sum_forces(_pulls(*arguments))


def atomic_virial(*arguments) -> Array:
    """Virials of the atoms, (N, 3, 3) [eV]."""
    return jnp.moveaxis(_sum_virials(_pulls(*arguments)), -1, 0)


def forces_and_virial(*arguments) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the virial of all atoms, (3, 3) [eV]."""
    pulls = _pulls(*arguments)
    return _sum_forces(pulls), _sum_virial(pulls)


def forces_and_trace(*arguments) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and the trace of the virial [eV]."""
    pulls = _pulls(*arguments)
    return _sum_forces(pulls), _sum_trace(pulls)
