"""Energy of an EAM structure and its derivatives, over a full neighbour list and without scatter.

The hot path is three passes over a (K, N) table of bonds: density, bond weights, weighted sum.
XLA's CPU backend would fuse them into one loop that evaluates the potential again for each force
component, so each pass is given a computation of its own (`_stage`).

`energy` carries its derivative by hand (forces, virial), so reverse mode needs no scatter either;
every function can be differentiated again by forward mode, and to the potential's parameters.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from stzjax import neighbors as lists
from stzjax import structure as structures
from stzjax.neighbors import Neighbors
from stzjax.potentials.eam import EAM, slope
from stzjax.structure import Structure


class Bonds(NamedTuple):
    """The bonds of a neighbour list, one column per atom.

    Attributes:
      vectors: (3, K, N) from the atom to its neighbour [Å]; padding holds arbitrary vectors.
      r: (K, N) lengths [Å]; padding and nothing else is put at the cut-off.
      own: (1, N) species of the atom, in the potential's order.
      other: (K, N) species of the neighbour, in the potential's order.
    """

    vectors: Array
    r: Array
    own: Array
    other: Array


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


def species_in(structure: Structure, potential: EAM) -> Array:
    """Species of the atoms in the order of the potential's elements, (N,).

    Raises:
      ValueError: the potential does not know an element.
    """
    missing = [e for e in structure.elements if e not in potential.elements]
    if missing:
        raise ValueError(
            f"the potential knows {', '.join(potential.elements)}, but the structure holds "
            f"{', '.join(missing)}; choose another potential or rename the elements"
        )
    order = np.array([potential.elements.index(e) for e in structure.elements], np.int32)
    if np.array_equal(order, np.arange(len(order))):
        return structure.species
    return jnp.asarray(order)[structure.species]


def _geometry(fractional: Array, cell: Array, species: Array, idx: Array):
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


def _lengths(vectors: Array, idx: Array, cutoff: float) -> Array:
    x, y, z = vectors
    square = x * x + y * y + z * z
    return jnp.sqrt(jnp.where(idx < idx.shape[1], square, cutoff * cutoff))


def bonds(structure: Structure, potential: EAM, neighbors: Neighbors) -> Bonds:
    """Bond vectors, lengths and species of a structure under a neighbour list."""
    species = species_in(structure, potential)
    vectors, other = _geometry(structure.fractional, structure.cell, species, neighbors.idx)
    r = _lengths(vectors, neighbors.idx, potential.cutoff)
    return Bonds(vectors, r, species[None], other)


class _Zones(NamedTuple):
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

    vectors: _Zones
    other: _Zones
    density: Array


def _field(fractional, cell, potential: EAM, species, zones: _Zones) -> _Field:
    near, near_other = _stage(_geometry, zones.near, fractional, cell, species, zones.near)
    far, far_other = near[:, :0], near_other[:0]
    if len(zones.far):
        far, far_other = _stage(_geometry, zones.near, fractional, cell, species, zones.far)

    def density(vectors, other, potential):
        r = _lengths(vectors, zones.near, potential.cutoff)
        return jnp.sum(potential.density(r, species[None], other), axis=0)

    total = _stage(density, zones.near, near, near_other, potential)
    return _Field(_Zones(near, far), _Zones(near_other, far_other), total)


def _by_core(function: Callable, vectors: Array, idx: Array, potential: EAM, *args):
    """Call function(r, closest, *args), with the short-range branches only where a pair needs them.

    The choice is made at run time, and only on CPU, where a branch not taken costs nothing.
    """

    def branch(closest: float):
        return lambda vectors, *args: function(
            _lengths(vectors, idx, potential.cutoff), closest, *args
        )

    if potential.core == 0.0:
        return _stage(branch(0.0), idx, vectors, *args)
    if jax.default_backend() != "cpu":
        return branch(0.0)(vectors, *args)
    close = jnp.any(_lengths(vectors, idx, potential.cutoff) < potential.core)
    return jax.lax.cond(close, branch(0.0), branch(potential.core), vectors, *args)


def _beyond(function: Callable, vectors: Array, zones: _Zones, potential: EAM, *args):
    """Call function(r, closest, *args) for the far zone."""

    def far(vectors, *args):
        r = _lengths(vectors, zones.far, potential.cutoff)
        return function(r, potential.density_cutoff, *args)

    return _stage(far, zones.near, vectors, *args)


def _atomic_energy(fractional, cell, potential: EAM, species, zones: _Zones) -> Array:
    field = _field(fractional, cell, potential, species, zones)

    def pairs(r, closest, other, potential):
        return 0.5 * jnp.sum(potential.pair(r, species[None], other, closest), axis=0)

    args = field.other.near, potential
    total = _by_core(pairs, field.vectors.near, zones.near, potential, *args)
    if len(zones.far):
        args = field.other.far, potential
        total = total + _beyond(pairs, field.vectors.far, zones, potential, *args)
    return total + potential.embedding(field.density, species)


def _weights(field: _Field, potential: EAM, species, zones: _Zones) -> _Zones:
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
        return _Zones(inside, inside[:0])
    outside = _beyond(far, field.vectors.far, zones, potential, field.other.far, potential)
    return _Zones(inside, outside)


def _over(r: Array, pull: Array, cutoff: float) -> Array:
    # A table's last slope need not vanish exactly at the cut-off, where padding sits. NaN stays.
    return jnp.where(r >= cutoff, 0.0, pull / r)


def _pulls(fractional, cell, potential: EAM, species, zones: _Zones):
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


def _forces(*arguments) -> Array:
    return _sum_forces(_pulls(*arguments))


def _atomic_virial(*arguments) -> Array:
    return jnp.moveaxis(_sum_virials(_pulls(*arguments)), -1, 0)


def _forces_and_virial(*arguments) -> tuple[Array, Array]:
    pulls = _pulls(*arguments)
    return _sum_forces(pulls), _sum_virial(pulls)


def _forces_and_trace(*arguments) -> tuple[Array, Array]:
    pulls = _pulls(*arguments)
    return _sum_forces(pulls), _sum_trace(pulls)


@jax.custom_jvp
def _energy(fractional, cell, potential: EAM, species, zones: _Zones) -> Array:
    return jnp.sum(_atomic_energy(fractional, cell, potential, species, zones))


def _energy_jvp(primals, tangents):
    fractional, cell, potential, species, zones = primals
    fractional_dot, cell_dot, potential_dot, _, _ = tangents
    value = _energy(*primals)
    change = jnp.zeros_like(value)
    moved = not _is_zero(fractional_dot)
    strained = not _is_zero(cell_dot)
    if moved or strained:
        forces, virial = _forces_and_virial(*primals)
    if moved:
        change = change - jnp.sum((forces @ cell) * fractional_dot)
    if strained:
        strain = cell_dot @ structures.inverse(cell)
        change = change + jnp.sum(virial * strain)
    if not all(map(_is_zero, jax.tree.leaves(potential_dot, is_leaf=_is_zero))):
        direction = jax.tree.map(_materialise, potential, potential_dot)
        change = (
            change
            + jax.jvp(
                lambda p: jnp.sum(_atomic_energy(fractional, cell, p, species, zones)),
                (potential,),
                (direction,),
            )[1]
        )
    return value, change


_energy.defjvp(_energy_jvp, symbolic_zeros=True)


def _is_zero(tangent) -> bool:
    return isinstance(tangent, SymbolicZero)


def _materialise(primal: Array, tangent) -> Array:
    return jnp.zeros_like(primal) if _is_zero(tangent) else tangent


def _arguments(structure: Structure, potential: EAM, neighbors: Neighbors | None):
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    species = species_in(structure, potential)
    rows = lists.inner_rows(neighbors, potential.density_cutoff)
    zones = _Zones(neighbors.idx[:rows], neighbors.idx[rows:])
    return structure.fractional, structure.cell, potential, species, zones


def energy(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Potential energy [eV].

    Args:
      structure: N atoms.
      potential: an embedded-atom potential that knows their elements.
      neighbors: a valid list for them; made here when None, which needs concrete arrays.

    Raises:
      ValueError: unknown element, cell smaller than twice the cut-off, or no list under jit.
    """
    return _jit_energy(*_arguments(structure, potential, neighbors))


def forces(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Forces on the atoms, (N, 3) [eV/Å]; arguments and errors as `energy`."""
    return _jit_forces(*_arguments(structure, potential, neighbors))


def atomic_energy(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> Array:
    """Energy of each atom, half of its pair terms and its embedding, (N,) [eV]."""
    return _jit_atomic_energy(*_arguments(structure, potential, neighbors))


def atomic_virial(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> Array:
    """Virial of each atom, (N, 3, 3) [eV]: ½ Σ_j r_ij ⊗ ∂E/∂r_ij.

    Positive in tension: the sum over atoms over the volume is the stress. Bonds are shared
    equally, as in LAMMPS' compute stress/atom, whose sign (stress × volume) is the same.
    """
    return _jit_atomic_virial(*_arguments(structure, potential, neighbors))


def stress(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> Array:
    """Stress tensor, (3, 3) [eV/Å³]; positive in tension, potential part only (T = 0)."""
    return forces_and_stress(structure, potential, neighbors)[1]


def forces_and_stress(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and stress (3, 3) [eV/Å³] from one evaluation."""
    force, virial = _jit_forces_and_virial(*_arguments(structure, potential, neighbors))
    return force, virial / structures.volume(structure.cell)


def forces_and_trace(
    structure: Structure, potential: EAM, neighbors: Neighbors | None = None
) -> tuple[Array, Array]:
    """Forces (N, 3) [eV/Å] and trace of the virial, Σ r ∂E/∂r [eV]: what a barostat needs."""
    return _jit_forces_and_trace(*_arguments(structure, potential, neighbors))


def hessian_vector_product(
    structure: Structure, potential: EAM, displacement: Array, neighbors: Neighbors | None = None
) -> Array:
    """Second derivative of the energy times a displacement field, (N, 3) [eV/Å].

    Args:
      structure: N atoms.
      potential: an embedded-atom potential.
      displacement: (N, 3) [Å].
      neighbors: as in `energy`.
    """
    return _jit_hvp(displacement, *_arguments(structure, potential, neighbors))


@jax.jit
def _jit_hvp(displacement, fractional, cell, potential, species, zones):
    direction = displacement @ structures.inverse(cell).T
    change = jax.jvp(
        lambda s: _forces(s, cell, potential, species, zones),
        (fractional,),
        (direction,),
    )[1]
    return -change


_jit_energy = jax.jit(_energy)
_jit_atomic_energy = jax.jit(_atomic_energy)
_jit_forces = jax.jit(_forces)
_jit_atomic_virial = jax.jit(_atomic_virial)
_jit_forces_and_trace = jax.jit(_forces_and_trace)
_jit_forces_and_virial = jax.jit(_forces_and_virial)
