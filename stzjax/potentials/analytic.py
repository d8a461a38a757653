"""The built-in Cu-Zr potential of Mendelev and co-workers, evaluated as its closed form.

M. I. Mendelev et al., J. Chem. Phys. 151, 214502 (2019); also OpenKIM MO_945018740343_000.
The short-range branches (an exponential bridge and the ZBL repulsion) are separate from the
truncated powers, because almost no pair of a glass or a melt ever visits them.
"""

from typing import Any, ClassVar

import flax.struct
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.potentials.eam import EAM


class TruncatedPowers(EAM):
    """Two-element potential made of truncated powers H(k - r)^n.

    Pairs are of three types: 0 = both first element, 1 = mixed, 2 = both second element.

    Attributes:
      pair_knots: (3, 3) knots k of each pair type [Å].
      pair_coefficients: (3, 3, 5) factors of H(k - r)^4 ... H(k - r)^8 [eV/Å^n].
      pair_switch: (3,) distance below which the exponential bridge takes over [Å].
      bridge: (3, 4) exponent polynomial e0 + e1 r + e2 r² + e3 r³ of the bridge.
      charge: (3,) prefactor of the ZBL repulsion [eV Å].
      screening: (3, 4) inverse screening lengths of the ZBL repulsion [1/Å].
      density_knots: (3, 4) knots [Å].
      density_coefficients: (3, 4) factors of H(k - r)^4 at each knot.
      density_tail: (3, 4) factors of H(k - r)^5 ... H(k - r)^8 at the first knot.
      embedding_scale: (2,) density unit s, so that x = ρ/s.
      embedding_knots: (2, 9) knots in x.
      embedding_coefficients: (2, 9) factors of H(x - k)^4 [eV].
      pair_reach: largest knot in each place over the pair types [Å]; static.
    """

    pair_knots: Array
    pair_coefficients: Array
    pair_switch: Array
    bridge: Array
    charge: Array
    screening: Array
    density_knots: Array
    density_coefficients: Array
    density_tail: Array
    embedding_scale: Array
    embedding_knots: Array
    embedding_coefficients: Array
    coefficients: ClassVar[tuple[str, ...]] = (
        "pair_coefficients",
        "density_coefficients",
        "density_tail",
        "embedding_coefficients",
    )
    pair_reach: tuple[float, ...] = flax.struct.field(pytree_node=False, kw_only=True)

    def pair(self, r: Array, first: Array, second: Array, closest: float = 0.0) -> Array:
        """Pair term φ [eV]; see `EAM.pair`."""
        kind = first + second
        reached = [k for k, reach in enumerate(self.pair_reach) if reach > closest]
        powers = jnp.zeros_like(r)
        for k in reached:
            powers = powers + _powers(r, kind, self.pair_knots[:, k], self.pair_coefficients[:, k])
        if closest >= self.core:
            return powers
        switch = _select(kind, self.pair_switch)
        inner = jnp.where(r < _ZBL_END, self._repulsion(r, kind), self._bridge(r, kind, switch))
        return jnp.where(r < switch, inner, powers)

    def _bridge(self, r: Array, kind: Array, switch: Array) -> Array:
        # Clamped to its own range, so that the branch not taken stays finite.
        x = jnp.clip(r, _ZBL_END, switch)
        e = [_select(kind, self.bridge[:, n]) for n in range(4)]
        return jnp.exp(e[0] + x * (e[1] + x * (e[2] + x * e[3])))

    def _repulsion(self, r: Array, kind: Array) -> Array:
        x = jnp.clip(r, _CLOSEST, _ZBL_END)
        screen = sum(
            a * jnp.exp(-_select(kind, self.screening[:, n]) * x)
            for n, a in enumerate(_ZBL_AMPLITUDES)
        )
        return _select(kind, self.charge) / x * screen

    def density(self, r: Array, receiver: Array, source: Array) -> Array:
        """Density; symmetric in the two species."""
        kind = receiver + source
        total = jnp.zeros_like(r)
        for k in range(self.density_knots.shape[1]):
            h = jnp.maximum(_select(kind, self.density_knots[:, k]) - r, 0.0)
            factor = _select(kind, self.density_coefficients[:, k])
            if k == 0:
                factor = factor + h * _polynomial(h, kind, self.density_tail)
            total = total + factor * _fourth(h)
        return total

    def embedding(self, density: Array, species: Array) -> Array:
        """Embedding energy F [eV]; an isolated atom has F(0) = 0 and, by choice, slope 0."""
        x = density / self.embedding_scale[species]
        positive = x > 0
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
        excess = jnp.maximum(x[..., None] - self.embedding_knots[species], 0.0)
        return jnp.sum(self.embedding_coefficients[species] * excess**4, axis=-1) - root


def _select(kind: Array, values: Array) -> Array:
    """values[kind] for three pair types, as blends: a gather would not be vectorised on CPU."""
    return jnp.where(kind == 0, values[0], jnp.where(kind == 1, values[1], values[2]))


def _fourth(h: Array) -> Array:
    square = h * h
    return square * square


def _polynomial(h: Array, kind: Array, coefficients: Array) -> Array:
    """Σ_n c_n h^n with the coefficients (3, n) of each pair type, by Horner's rule."""
    total = jnp.zeros_like(h)
    for n in reversed(range(coefficients.shape[1])):
        total = total * h + _select(kind, coefficients[:, n])
    return total


def _powers(r: Array, kind: Array, knots: Array, coefficients: Array) -> Array:
    """(k - r)_+^4 (c4 + c5 (k - r) + ...) with knots (3,) and coefficients (3, 5)."""
    h = jnp.maximum(_select(kind, knots) - r, 0.0)
    return _polynomial(h, kind, coefficients) * _fourth(h)


_ZBL_END = 1.0
_CLOSEST = 1e-6
_ZBL_AMPLITUDES = (0.1818, 0.5099, 0.2802, 0.02817)

_PARAMETERS: dict[str, Any] = {
    "pair_knots": ((2.8, 4.8, 6.0), (4.0, 5.8, 7.6), (3.5, 6.0, 7.6)),
    "pair_coefficients": (
        (
            (3.351928116144, -47.447602262969, 111.064545262149, -122.563793803352, 49.14572199487),
            (4.060583318399, 2.595809121648, 5.565664055179, 1.518432306181, 0.396960016399),
            (-0.214029137611, 1.17148115397, -1.991396942874, 1.386204303679, -0.345203152681),
        ),
        (
            (6.006095171231, 5.127133096464, 4.124895711256, 1.859757994723, 0.132009922179),
            (-6.967331511996, 1.439521026968, -6.536694676411, 0.720081717856, -0.297784170355),
            (0.390428098191, -1.169390232692, 1.231695513471, -0.553335253919, 0.090516165874),
        ),
        (
            (-14.26150192920, 15.85003675636, -11.32510226145, -4.097111485151, 3.673937802240),
            (1.306681339361, -0.6054271071825, 1.005552719418, -0.1491818677767, 0.03277311205894),
            (
                0.01143312030578,
                -0.02198217251258,
                -0.01254243968829,
                0.02506267387203,
                -0.007544288783323,
            ),
        ),
    ),
    "pair_switch": (1.8, 2.2, 2.3),
    "bridge": (
        (11.026565103477, -10.167211017722, 6.0017702915, -1.959829973351),
        (9.101993066097, -3.751159823452, -0.504159262014, 0.201201287166),
        (12.333392311315, -10.847321975247, 4.573352445757, -0.852662915039),
    ),
    "charge": (12110.196, 16703.719, 23039.613),
    "screening": (
        (29.677557, 8.7391129, 3.7365899, 1.869686),
        (31.401495, 9.2467594, 3.9536445, 1.9782943),
        (33.035595, 9.7279501, 4.1593881, 2.0812426),
    ),
    # Zr-Zr has one knot with the powers 4 to 8; the other three carry zeros.
    "density_knots": ((6.0, 2.4, 3.2, 4.5), (6.0, 2.8, 3.2, 4.4), (5.6, 5.6, 5.6, 5.6)),
    "density_coefficients": (
        (0.010176165014, 0.030798140566, 0.030778943384, 0.029045228718),
        (0.023681839913, 0.107790761114, 0.108827241997, 0.164706440095),
        (0.700529120236, 0.0, 0.0, 0.0),
    ),
    "density_tail": (
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (-0.433582873546, 0.130709729878, -0.019192064148, 0.001100495922),
    ),
    "embedding_scale": (1.539906978607, 0.901364803314),
    # Zr has six knots; the rest sit at the last one with zero weight.
    "embedding_knots": (
        (9.0, 11.0, 13.0, 15.0, 16.0, 16.5, 17.0, 18.0, 20.0),
        (60.0, 70.0, 80.0, 85.0, 90.0, 100.0, 100.0, 100.0, 100.0),
    ),
    "embedding_coefficients": (
        (
            -5.711286564979e-5,
            3.030348733401e-4,
            -5.472079529853e-4,
            4.627868150233e-4,
            -1.031071248199e-3,
            3.063400029737e-3,
            -2.830810217413e-3,
            6.404456754729e-4,
            1.989036198092e-6,
        ),
        (
            -1.916246212625e-7,
            4.641872703515e-7,
            6.644829427231e-7,
            -2.068025296013e-6,
            1.138713146493e-6,
            -1.828135460853e-9,
            0.0,
            0.0,
            0.0,
        ),
    ),
}
"""Fields of the potential, in their order."""


def mendelev2019() -> TruncatedPowers:
    """The Cu-Zr potential of Mendelev et al. (2019); elements ("Cu", "Zr"), cut-off 7.6 Å."""
    arrays = (jnp.asarray(np.asarray(value, np.float64)) for value in _PARAMETERS.values())
    return TruncatedPowers(
        *arrays,
        pair_reach=tuple(max(knots) for knots in zip(*_PARAMETERS["pair_knots"], strict=True)),
        elements=("Cu", "Zr"),
        cutoff=7.6,
        density_cutoff=6.0,
        core=max(_PARAMETERS["pair_switch"]),
        symmetric=True,
    )
