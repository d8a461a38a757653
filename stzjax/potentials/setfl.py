"""Tabulated potentials: twice continuously differentiable splines, and setfl files in and out.

LAMMPS interpolates the same tables by C¹ Hermite pieces. Our cubic splines go through the same
points with a continuous second derivative, which minimisers, stiffness and modes need.
"""

import itertools
import os
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.interpolate import CubicSpline

from stzjax.core import units
from stzjax.io import archives, words
from stzjax.potentials.eam import EAM
from stzjax.potentials.potential import Potential

_PLACEHOLDER = 1e6
"""Size of r·φ from which it is a placeholder of the file's author, not physics [eV Å]."""

_FORTRAN = re.compile(r"(?<=[\d.])[dD](?=[+-]?\d)")
"""The letter before an exponent of Fortran."""

_CLOSEST = 1e-6
"""Distance at which a singular pair term is evaluated for the table's first row [Å]."""


class Tabulated(EAM):
    """Cubic splines on uniform grids, starting at zero.

    The coefficients of an interval are of (x - x_k)³, (x - x_k)², (x - x_k), 1.

    Attributes:
      pair_table: (S, S, nr - 1, 4) r·φ [eV Å], symmetric in the species.
      density_table: (S, S, nr - 1, 4) density, receiver first.
      embedding_table: (S, nrho - 1, 4) embedding energy [eV].
      r_step: grid step of the distances [Å].
      density_step: grid step of the densities.
    """

    pair_table: Array
    density_table: Array
    embedding_table: Array
    r_step: Array
    density_step: Array
    coefficients: ClassVar[tuple[str, ...]] = ("pair_table", "density_table", "embedding_table")

    def pair(self, r: Array, first: Array, second: Array, closest: float = 0.0) -> Array:
        """Pair term φ [eV]; see `EAM.pair`."""
        return self._radial(self.pair_table, r, first, second) / r

    def density(self, r: Array, receiver: Array, source: Array) -> Array:
        """Density; see `EAM.density`."""
        return self._radial(self.density_table, r, receiver, source)

    def _radial(self, table: Array, r: Array, first: Array, second: Array) -> Array:
        num_species, _, intervals, _ = table.shape
        offset = (first * num_species + second) * intervals
        value = _evaluate(table.reshape(-1, 4), r, self.r_step, intervals, offset)
        return jnp.where(r >= self.cutoff, 0.0, value)  # so that NaN stays NaN

    def embedding(self, density: Array, species: Array) -> Array:
        """Embedding energy F [eV]; a straight line beyond the last density of the table."""
        intervals = self.embedding_table.shape[1]
        table = self.embedding_table.reshape(-1, 4)
        offset = species * intervals
        end = intervals * self.density_step
        inside = jnp.minimum(density, end)
        value = _evaluate(table, inside, self.density_step, intervals, offset)
        last = table[offset + intervals - 1]
        step = self.density_step
        rise = (3.0 * last[..., 0] * step + 2.0 * last[..., 1]) * step + last[..., 2]
        return value + rise * jnp.maximum(density - end, 0.0)


def _evaluate(table: Array, x: Array, step: Array, intervals: int, offset: Array) -> Array:
    bin_ = jnp.clip((x / step).astype(jnp.int32), 0, intervals - 1)
    row = table[bin_ + offset]
    t = x - bin_ * step
    return ((row[..., 0] * t + row[..., 1]) * t + row[..., 2]) * t + row[..., 3]


class Samples(NamedTuple):
    """Values of a potential's functions on uniform grids that start at zero.

    Attributes:
      r_step: grid step of the distances [Å].
      pairs: (S, S, nr) r·φ [eV Å].
      densities: (S, S, nr) densities, receiver first.
      density_step: grid step of the densities.
      embeddings: (S, nrho) embedding energies [eV].
    """

    r_step: float
    pairs: np.ndarray
    densities: np.ndarray
    density_step: float
    embeddings: np.ndarray


def tabulate(samples: Samples, elements: Sequence[str], cutoff: float) -> Tabulated:
    """A potential from the values of its functions, on distances that should reach the cut-off."""
    r_step, pairs, densities, density_step, embeddings = samples
    return Tabulated(
        pair_table=_splines(_without_placeholders(np.asarray(pairs)), r_step),
        density_table=_splines(densities, r_step),
        embedding_table=_splines(embeddings, density_step),
        r_step=jnp.asarray(float(r_step)),
        density_step=jnp.asarray(float(density_step)),
        elements=tuple(elements),
        cutoff=float(cutoff),
        density_cutoff=_reach(np.asarray(densities), float(r_step), float(cutoff)),
    )


def _reach(densities: np.ndarray, step: float, cutoff: float) -> float:
    """Distance from which all densities vanish; the spline before a zero still bends."""
    used = np.flatnonzero(np.any(densities != 0.0, axis=(0, 1)))
    return min(cutoff, (int(used[-1]) + 2) * step) if used.size else cutoff


def _splines(values, step: float) -> Array:
    grid = np.arange(np.shape(values)[-1]) * step
    coefficients = CubicSpline(grid, values, axis=-1, bc_type="not-a-knot").c
    # SciPy puts (power, interval) first, the other axes behind.
    return jnp.asarray(np.moveaxis(coefficients, (0, 1), (-1, -2)))


def _without_placeholders(pairs: np.ndarray) -> np.ndarray:
    """Pairs whose first rows, where they stand for hard cores, continue r·φ as a constant.

    Raises:
      ValueError: a placeholder stands anywhere else.
    """
    insane = np.abs(pairs) >= _PLACEHOLDER
    rows = insane.sum(axis=-1, keepdims=True)
    start = np.arange(pairs.shape[-1]) < rows
    if np.any(insane != start) or np.any(rows == pairs.shape[-1]):
        raise ValueError(
            f"|r*phi| exceeds {_PLACEHOLDER:g} eV Å beyond the first rows; the table is damaged, "
            "get it anew"
        )
    return np.where(start, np.take_along_axis(pairs, rows, axis=-1), pairs)


def read_setfl(path: str | os.PathLike) -> Tabulated:
    """An eam/alloy or eam/fs setfl table; which of the two is told from the file.

    Comments after `#`, any number of columns and Fortran exponents are understood, and a file that
    gzip compressed. Elements keep the order of the file.

    Raises:
      ValueError: missing, cut short, malformed or non-finite; names the file and the remedy.
    """
    try:
        text = _FORTRAN.sub("e", words.load(path))
        words.check_end(text)
        lines = [line.split("#")[0].split() for line in text.split("\n")]
        elements, num_rho, num_r, (density_step, r_step, cutoff) = _heading(lines)
        embeddings, densities, pairs = _blocks(lines, len(elements), num_rho, num_r)
        samples = Samples(r_step, pairs, densities, density_step, embeddings)
        return tabulate(samples, elements, cutoff)
    except ValueError as error:
        raise ValueError(f"cannot read potential {path}: {error}") from error


def _heading(lines: list[list[str]]) -> tuple[tuple[str, ...], int, int, np.ndarray]:
    """Elements, nrho, nr, and the numbers drho, dr and cut-off."""
    if len(lines) < 6 or not lines[3] or len(lines[4]) < 5:
        raise ValueError(
            "it is not a setfl table: line 4 must hold the number of elements and their names, "
            "line 5 nrho drho nr dr cutoff; get it anew"
        )
    count, *elements = lines[3]
    if not elements or words.count(count, 4, "the number of elements") != len(elements):
        raise words.wrong(4, f"says {count} elements, but names {' '.join(elements) or 'none'}")
    if len(set(elements)) < len(elements):
        raise words.wrong(4, f"names an element twice: {' '.join(elements)}")
    num_rho, num_r = (words.count(lines[4][k], 5, "a number of points") for k in (0, 2))
    [steps] = words.numbers([(5, lines[4])], (1, 3, 4))
    density_step, r_step, cutoff = steps
    fits = density_step > 0 and r_step > 0 and 0 < cutoff <= num_r * r_step * (1 + 1e-9)
    if min(num_rho, num_r) < 5 or not fits:
        raise words.wrong(
            5,
            f"has steps drho {density_step}, dr {r_step} and cutoff {cutoff}, which do not fit a "
            f"table of {num_rho} densities and {num_r} distances",
            "correct line 5",
        )
    return tuple(elements), num_rho, num_r, steps


def _blocks(lines: list[list[str]], count: int, num_rho: int, num_r: int):
    """Embeddings (S, nrho), densities (S, S, nr) receiver first, r·φ (S, S, nr)."""
    entries = [(number, [word]) for number, line in enumerate(lines[5:], 6) for word in line]
    num_pairs = count * (count + 1) // 2
    sizes = {
        columns: count * (4 + num_rho + columns * num_r) + num_pairs * num_r
        for columns in (1, count)
    }
    columns = next((c for c, size in sizes.items() if size == len(entries)), None)
    if columns is None:
        raise ValueError(
            f"it holds {len(entries)} entries after line 5, but eam/alloy needs {sizes[1]} and "
            f"eam/fs {sizes[count]}; the table is truncated or its line 5 is wrong: get it anew"
        )
    rest = iter(entries)

    def take(n: int) -> np.ndarray:
        return words.numbers(itertools.islice(rest, n)).ravel()

    embeddings = np.empty((count, num_rho))
    densities = np.empty((count, count, num_r))
    for source in range(count):
        list(itertools.islice(rest, 4))  # Its number, mass and lattice.
        embeddings[source] = take(num_rho)
        # Block `source`, column c: what this element gives to an atom of element c.
        densities[:, source] = take(columns * num_r).reshape(columns, num_r)
    pairs = np.empty((count, count, num_r))
    for first in range(count):
        for second in range(first + 1):
            pairs[first, second] = pairs[second, first] = take(num_r)
    return embeddings, densities, pairs


def write_setfl(
    path: str | os.PathLike, potential: Potential, num_r: int = 10_000, num_densities: int = 10_000
) -> None:
    """Write any EAM potential as an eam/fs setfl table, for LAMMPS and OVITO.

    Args:
      path: file to write.
      potential: source of the functions.
      num_r: points of the distance grid, from zero to the cut-off.
      num_densities: points of the density grid, which ends where the potential's own table does,
        or at 100; LAMMPS continues F as a straight line beyond it.

    Raises:
      ValueError: the potential is of another kind.
    """
    if not isinstance(potential, EAM):
        raise ValueError("a setfl table holds an embedded-atom potential, and this is another kind")
    values = sample(potential, num_r, num_densities)
    count = len(potential.elements)
    lines = ["# EAM potential written by stzjax", "# units: metal", "# eam/fs"]
    lines.append(f"{count} {' '.join(potential.elements)}")
    lines.append(
        f"{num_densities} {values.density_step:.16e} {num_r} {values.r_step:.16e} "
        f"{potential.cutoff:.16e}"
    )
    masses, numbers = units.masses(potential.elements), units.atomic_numbers(potential.elements)
    for source in range(count):
        lines.append(f"{numbers[source]} {masses[source]:.6f} 0.0 none")
        lines += _rows(values.embeddings[source])
        for receiver in range(count):
            lines += _rows(values.densities[receiver, source])
    for first in range(count):
        for second in range(first + 1):
            lines += _rows(values.pairs[first, second])
    archives.write_text(path, "\n".join(lines) + "\n")


def sample(potential: EAM, num_r: int, num_densities: int) -> Samples:
    """Evaluate a potential on the grids of a table; arguments as `write_setfl`."""
    # Tables differ by orders of magnitude in their unit of density: Sheng's end at 1.
    max_density = 100.0
    if isinstance(potential, Tabulated):
        max_density = potential.embedding_table.shape[1] * float(potential.density_step)
    count = len(potential.elements)
    r = jnp.linspace(0.0, potential.cutoff, num_r)
    density = jnp.linspace(0.0, max_density, num_densities)
    x = jnp.maximum(r, _CLOSEST)
    first, second = (jnp.asarray(i)[..., None] for i in np.indices((count, count)))
    return Samples(
        r_step=float(r[1]),
        pairs=np.asarray(x * potential.pair(x, first, second)),
        densities=np.asarray(potential.density(r, first, second)),
        density_step=float(density[1]),
        embeddings=np.stack(
            [potential.embedding(density, jnp.full(density.shape, a)) for a in range(count)]
        ),
    )


def _rows(values: Array) -> list[str]:
    padded = [f"{value:.16e}" for value in np.asarray(values)]
    return [" ".join(padded[i : i + 5]) for i in range(0, len(padded), 5)]
