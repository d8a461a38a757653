"""Synthetic setfl tables with known closed forms, the same bytes wherever they are made.

Only +, -, *, / and square roots are used, which IEEE 754 rounds exactly, so that the text of a
table does not depend on the machine and its hash identifies what LAMMPS was given.
"""

import dataclasses
import hashlib

import numpy as np

POINTS = 10_000
"""Grid points. LAMMPS' Hermite pieces err by h⁴, here about 1e-12 of a function's fourth
derivative, so that energies agree to 1e-8 eV/atom and forces to 1e-6 eV/Å with room to spare."""


def _fourth(x):
    return (x * x) * (x * x)


@dataclasses.dataclass(frozen=True)
class Toy:
    """Closed-form embedded-atom potential.

    With x = 1 - r / cutoff:  φ = x⁴ (hard x⁴ - soft),  ρ = weight x⁴ (1 + bend x),
    F = -depth (√(ρ + 1/4) - 1/2) + rise ρ².

    Attributes:
      elements: in the order of the file.
      hard: (S, S) repulsion [eV].
      soft: (S, S) attraction [eV].
      weight: (S, S) density; receiver first.
      bend: (S, S) shape of the density; receiver first.
      depth: (S,) [eV].
      rise: (S,) [eV].
      cutoff: [Å].
      max_density: end of the density grid.
    """

    elements: tuple[str, ...]
    hard: tuple[tuple[float, ...], ...]
    soft: tuple[tuple[float, ...], ...]
    weight: tuple[tuple[float, ...], ...]
    bend: tuple[tuple[float, ...], ...]
    depth: tuple[float, ...]
    rise: tuple[float, ...]
    cutoff: float
    max_density: float

    def pair(self, r, a: int, b: int):
        """Pair term φ [eV]."""
        x = np.maximum(1.0 - r / self.cutoff, 0.0)
        return _fourth(x) * (self.hard[a][b] * _fourth(x) - self.soft[a][b])

    def density(self, r, receiver: int, source: int):
        """Density that `source` gives to `receiver`."""
        x = np.maximum(1.0 - r / self.cutoff, 0.0)
        return self.weight[receiver][source] * _fourth(x) * (1.0 + self.bend[receiver][source] * x)

    def embedding(self, density, a: int):
        """Embedding energy F [eV]."""
        root = np.sqrt(density + 0.25) - 0.5
        return self.rise[a] * density * density - self.depth[a] * root

    def text(self, fs: bool, columns: int = 7, points: int = POINTS) -> str:
        """The setfl file: eam/fs, or eam/alloy where the density depends on the source alone.

        Comments stand behind the element and the grid line, and the number of columns does not
        divide that of the points, as in files that people share.
        """
        r = np.arange(points) * (self.cutoff / (points - 1))
        density = np.arange(points) * (self.max_density / (points - 1))
        count = range(len(self.elements))
        lines = ["synthetic table", "closed form: tests/reference/tables.py", "metal units"]
        lines.append(f"{len(self.elements)} {' '.join(self.elements)} # elements of the file")
        lines.append(
            f"{points} {density[1]:.17e} {points} {r[1]:.17e} {self.cutoff:.17e} # nrho ... cutoff"
        )
        for source in count:
            lines.append(f"{29 + source} 63.5 3.0 bcc # number mass constant lattice")
            lines += _rows(self.embedding(density, source), columns)
            for receiver in count if fs else (0,):
                lines += _rows(self.density(r, receiver, source), columns)
        for first in count:
            for second in range(first + 1):
                lines += _rows(r * self.pair(r, first, second), columns)
        return "\n".join(lines) + "\n"


def _rows(values, columns: int) -> list[str]:
    words = [f"{value:.17e}" for value in values]
    return [" ".join(words[i : i + columns]) for i in range(0, len(words), columns)]


ASYMMETRIC = Toy(
    elements=("Cu", "Zr"),
    hard=((200.0, 260.0), (260.0, 420.0)),
    soft=((15.0, 17.0), (17.0, 16.0)),
    weight=((9.0, 2.5), (24.0, 14.0)),
    bend=((0.5, 2.0), (-0.5, 1.0)),
    depth=(1.1, 1.7),
    rise=(0.002, 0.001),
    cutoff=5.0,
    max_density=60.0,
)
"""An eam/fs table in which copper gives zirconium ten times what it receives."""

REORDERED = Toy(
    elements=("Zr", "Cu"),
    hard=((300.0, 190.0), (190.0, 150.0)),
    soft=((11.0, 12.0), (12.0, 10.0)),
    weight=((16.0, 7.0), (16.0, 7.0)),
    bend=((1.0, 0.25), (1.0, 0.25)),
    depth=(1.5, 1.0),
    rise=(0.0005, 0.003),
    cutoff=5.5,
    max_density=80.0,
)
"""An eam/alloy table with zirconium first: the density depends on the source alone."""


def sha256(text: str) -> str:
    """Hash of a table's text."""
    return hashlib.sha256(text.encode()).hexdigest()
