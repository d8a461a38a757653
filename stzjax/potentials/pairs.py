"""Pair potentials: any φ(r) for each pair of species, and the Kob-Andersen mixture.

    E = ½ Σ_{i≠j} φ_{s(i)s(j)}(r_ij)

A pair potential is an embedded-atom potential without embedding, so that whatever is fast for those
is fast for it: prepared pieces, passes over a list, kernels. Lengths and energies are in any units;
those of a mixture are σ_AA and ε_AA.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import units
from stzjax.numerics.elementwise import slope
from stzjax.potentials.eam import EAM
from stzjax.potentials.potential import Scales

Labels = tuple[str, str]
"""Elements of a pair, in either order."""


class Pair(EAM):
    """Base of the pair potentials; a subclass gives `pair`, elementwise."""

    density_cutoff: float = flax.struct.field(pytree_node=False, kw_only=True, default=0.0)
    symmetric: bool = flax.struct.field(pytree_node=False, kw_only=True, default=True)

    def density(self, r: Array, receiver: Array, source: Array) -> Array:
        """Density; zero."""
        return jnp.zeros(jnp.broadcast_shapes(*map(jnp.shape, (r, receiver, source))), r.dtype)

    def embedding(self, density: Array, species: Array) -> Array:
        """Embedding energy; zero."""
        return jnp.zeros_like(density)

    def bond_weight(
        self, r: Array, own: Array, other: Array, rises: Sequence[Array] = (), closest: float = 0.0
    ) -> Array:
        """(dE/dr) / r of a bond inside the cut-off, zero beyond; see `EAM.bond_weight`."""
        return super().bond_weight(r, own, other, (), closest)


class LennardJones(Pair):
    """Lennard-Jones 12-6 of a mixture, with a cut-off at which φ, φ' and φ'' vanish.

    With x = r / σ:  φ = 4 ε (x⁻¹² - x⁻⁶ + c0 + c2 x² + c4 x⁴) for x below `reach`, zero beyond.
    S. Karmakar, E. Lerner and I. Procaccia, Phys. Rev. E 82, 055103 (2010).

    Attributes:
      depth: (S, S) ε of the pairs, symmetric.
      size: (S, S) σ of the pairs, symmetric.
      reach: cut-off of a pair in units of its σ; `cutoff` is that of the largest.
    """

    depth: Array
    size: Array
    reach: float = flax.struct.field(pytree_node=False, kw_only=True)

    def pair(self, r: Array, first: Array, second: Array, closest: float = 0.0) -> Array:
        """Pair term φ; see `EAM.pair`."""
        x = r / _of_pair(self.size, first, second)
        square = x * x
        sixth = 1.0 / (square * square * square)
        c = self.reach
        # The three conditions at the cut-off, solved.
        c0 = 10.0 / c**6 - 28.0 / c**12
        c2 = 48.0 / c**14 - 15.0 / c**8
        c4 = 6.0 / c**10 - 21.0 / c**16
        shape = (sixth - 1.0) * sixth + c0 + square * (c2 + c4 * square)
        energy = 4.0 * _of_pair(self.depth, first, second) * shape
        return jnp.where(x >= self.reach, 0.0, energy)  # So that NaN stays NaN.


def _of_pair(values: Array, first: Array, second: Array) -> Array:
    """values[first, second] of a symmetric table, as blends: a CPU does not vectorise a gather."""
    values = 0.5 * (values + values.T)  # So that both places have the same derivative.
    found = values[0, 0]
    for a, b in itertools.combinations_with_replacement(range(len(values)), 2):
        if b:
            found = jnp.where(_is_pair(first, second, a, b), values[a, b], found)
    return found


def _is_pair(first: Array, second: Array, a: int, b: int) -> Array:
    """Whether two species are a and b, in either order."""
    return ((first == a) & (second == b)) | ((first == b) & (second == a))


def kob_andersen() -> LennardJones:
    """The binary Lennard-Jones glass former of Kob and Andersen; elements ("A", "B"), cut-off 2.5.

    W. Kob and H. C. Andersen, Phys. Rev. E 51, 4626 (1995), usually with four A to each B and 1.2
    particles per σ_AA³; the cut-off at 2.5 σ of each pair is that of athermal shear. Masses are
    such that the unit of time is σ_AA √(m / ε_AA).
    """
    return LennardJones(
        depth=jnp.asarray(np.array([[1.0, 1.5], [1.5, 0.5]])),
        size=jnp.asarray(np.array([[1.0, 0.8], [0.8, 0.88]])),
        elements=("A", "B"),
        cutoff=2.5,
        reach=2.5,
        masses=(1.0 / units.AMU,) * 2,
        scales=Scales(length=0.4, energy=12.0),
    )


class ByFunctions(Pair):
    """Pair terms given as functions of r.

    Attributes:
      reaches: (P,) cut-off of each pair.
      parameters: what the functions take behind r; None where they take nothing.
      functions: φ(r) or φ(r, parameters) of each pair; static.
      pairs: species of each pair; static.
      smooth: whether an even polynomial is added that takes φ, φ' and φ'' to zero at the cut-off.
    """

    reaches: Array
    parameters: Any
    functions: tuple[Callable, ...] = flax.struct.field(pytree_node=False, kw_only=True)
    pairs: tuple[tuple[int, int], ...] = flax.struct.field(pytree_node=False, kw_only=True)
    smooth: bool = flax.struct.field(pytree_node=False, kw_only=True)

    def pair(self, r: Array, first: Array, second: Array, closest: float = 0.0) -> Array:
        """Pair term φ; see `EAM.pair`."""
        total = jnp.zeros_like(r)
        for number, (a, b) in enumerate(self.pairs):
            reach = self.reaches[number]
            here = _is_pair(first, second, a, b) & ~(r >= reach)  # True for NaN, which stays.
            # No function is asked beyond its own range, where its derivative may be infinite.
            value = self._term(number, jnp.where(here, r, 0.9 * reach))
            total = total + jnp.where(here, value, 0.0)
        return total

    def _term(self, number: int, r: Array) -> Array:
        function = self.functions[number]
        if self.parameters is not None:
            function = functools.partial(_handed, function, self.parameters)
        if not self.smooth:
            return function(r)
        c0, c2, c4 = _even(function, self.reaches[number])
        square = r * r
        return function(r) + c0 + square * (c2 + c4 * square)


def _handed(function: Callable, parameters: Any, r: Array) -> Array:
    return function(r, parameters)


def _even(function: Callable, end: Array) -> tuple[Array, Array, Array]:
    """Coefficients of 1, r², r⁴ that take a function and two derivatives to zero at the end."""
    rise = functools.partial(slope, function)
    first, second = rise(end), slope(rise, end)
    c4 = (first / end - second) / (8.0 * end**2)
    c2 = -first / (2.0 * end) - 2.0 * c4 * end**2
    return -(function(end) + c2 * end**2 + c4 * end**4), c2, c4


def pair(
    functions: Mapping[Labels, Callable],
    cutoff: float | Mapping[Labels, float],
    parameters: Any = None,
    smooth: bool = False,
    masses: Mapping[str, float] | None = None,
    scales: Scales | None = None,
) -> ByFunctions:
    """A pair potential of any functions φ(r).

        potentials.pair({("A", "A"): lambda r: r**-12, ("A", "B"): soft, ("B", "B"): soft}, 2.5)

    Args:
      functions: elementwise φ of each pair of elements, which are any labels; the potential has
        them in the order in which they come here. Keep the functions: others compile anew.
      cutoff: distance from which φ is taken as zero, one for all pairs or one for each.
      parameters: any arrays, for functions φ(r, parameters); the energy differentiates by them.
      smooth: add c0 + c2 r² + c4 r⁴ to each φ, so that it ends at its cut-off with φ', φ'' zero.
        A function that does not end so by itself needs it: minimisers stall where forces jump.
      masses: of the elements [amu]; those of chemical symbols are known.
      scales: units of the constants of minimisers; found from the functions by default, unless the
        parameters are being traced.

    Raises:
      ValueError: a pair is missing or given twice, a cut-off is not positive, a mass is missing, or
        a function is not elementwise or not finite near its cut-off.
    """
    elements = tuple(dict.fromkeys(itertools.chain.from_iterable(map(_labels, functions))))
    if not elements:
        raise ValueError("there is no pair: give a function for each, such as ('A', 'A')")
    pairs = list(itertools.combinations_with_replacement(elements, 2))
    found = [_one(functions, labels, "function") for labels in pairs]
    if not isinstance(cutoff, Mapping):
        cutoff = dict.fromkeys(pairs, cutoff)
    if spare := [key for key in cutoff if not {key, key[::-1]} & set(pairs)]:
        raise ValueError(f"the pair {'-'.join(spare[0])} has a cut-off, but no function")
    reaches = [_one(cutoff, labels, "cut-off") for labels in pairs]
    for labels, reach in zip(pairs, reaches, strict=True):
        if not 0.0 < reach < math.inf:
            raise ValueError(f"the cut-off of {'-'.join(labels)} must be positive, got {reach}")
    if masses is not None and (unknown := [e for e in elements if e not in masses]):
        raise ValueError(f"the mass of {', '.join(unknown)} is missing")
    made = ByFunctions(
        reaches=jnp.asarray(np.array(reaches, np.float64)),
        parameters=parameters,
        functions=tuple(found),
        pairs=tuple((elements.index(a), elements.index(b)) for a, b in pairs),
        smooth=smooth,
        elements=elements,
        cutoff=float(max(reaches)),
        masses=None if masses is None else tuple(float(masses[e]) for e in elements),
    )
    for number, labels in enumerate(pairs):
        _check(made, number, labels)
    return made.replace(scales=scales or _scales(made))


_SHELL = 0.7
"""Distance between neighbours, in units of the cut-off, where φ is repulsive all the way."""


def _scales(potential: ByFunctions) -> Scales:
    """Scales by the lowest places of the functions and their curvature there; see `Scales`."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(potential)):
        return Scales()
    grid = np.linspace(0.2, 1.0, 401)
    lengths, stiffnesses = [], []
    for number, reach in enumerate(np.asarray(potential.reaches)):
        function = functools.partial(potential._term, number)
        values = np.asarray(function(jnp.asarray(grid * reach)))
        lowest = int(np.nanargmin(values)) if np.nanmin(values) < values[-1] else len(grid) - 1
        there = reach * (grid[lowest] if lowest < len(grid) - 1 else _SHELL)
        bend = slope(functools.partial(slope, function), jnp.asarray(there))
        lengths.append(there)
        stiffnesses.append(abs(float(bend)))
    length = 0.4 * float(np.mean(lengths))
    # A glass of Lennard-Jones particles is 80 times as stiff as one of metals in its own units.
    energy = 1.4 * max(stiffnesses) * length**2
    return Scales(length, energy) if energy > 0.0 else Scales(length)


def _labels(key: Any) -> Labels:
    if not (isinstance(key, tuple) and len(key) == 2 and all(isinstance(k, str) for k in key)):
        raise ValueError(f'a pair is named by two elements, such as ("A", "B"), got {key!r}')
    return key


def _one(values: Mapping, labels: Labels, what: str) -> Any:
    """What is given for a pair, in whichever order its elements stand."""
    given = [key for key in {labels, labels[::-1]} if key in values]
    if len(given) != 1:
        count = f"two {what}s" if given else f"no {what}"
        raise ValueError(f"the pair {'-'.join(labels)} has {count}; give it one")
    return values[given[0]]


def _check(potential: ByFunctions, number: int, labels: Labels) -> None:
    r = potential.reaches[number] * jnp.array([0.8, 0.9, 1.0])
    value = potential._term(number, r)
    name = f"the function of {'-'.join(labels)}"
    if jnp.shape(value) != r.shape:
        shape = jnp.shape(value)
        raise ValueError(f"{name} is not elementwise: of distances {r.shape} it makes {shape}")
    if not isinstance(value, jax.core.Tracer) and not jnp.isfinite(value).all():
        raise ValueError(f"{name} is not finite near its cut-off {float(r[-1]):g}")
