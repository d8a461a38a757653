"""LAMMPS' Born matrix beside ours: its script, its 21 numbers, and the time they take.

`compute born/matrix` gives the second derivatives of the energy of all atoms by strain. It refuses
the embedded-atom pair styles unless told `numdiff`: central differences of the virial under
strains of ±δ in six directions, twelve force evaluations and one more for the stress.

The change of the virial W = F (∂E/∂η) Fᵀ with a small symmetric strain ε, F = 1 + ε, is not yet
the second derivative by the Green-Lagrange strain η, since W turns and stretches with F:

    ∂W_ab/∂ε_cd = ∂²E/∂η_ab∂η_cd + ½ (δ_ac W_bd + δ_ad W_bc + δ_bc W_ad + δ_bd W_ac).

LAMMPS takes these stress terms off itself (`virial_addon` in compute_born_matrix.cpp, after
Y. Zhen and C. Chu, Comput. Phys. Commun. 183, 261 (2012)), so that what it prints is ∂²E/∂η∂η as
in `stiffness`, and nothing is left to convert. Glasses have residual stress: were the terms left
in, the difference to ours would be about the ratio of stress to stiffness, a few per cent.
"""

import functools
import itertools
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from timings import Timed

from stzjax.core.structure import Structure
from stzjax.potentials.potential import Potential

import lammps_peer

_DELTA = 1e-7
"""Strain of the central differences.

LAMMPS' curves end at the cut-off with a slope, so a pair that crosses it within the strain adds a
spike: in 10,000 atoms of Sheng's Cu-Zr a single pair did so at 1e-6, none below. At 1e-7 rounding
leaves nine digits.
"""

_EVALUATIONS = 5
"""Born matrices in a timed run."""

_ELEMENTS = (*((n, n) for n in range(6)), *itertools.combinations(range(6), 2))
"""Places in the 6 × 6 matrix of the 21 elements, in LAMMPS' order."""


def script(head: str) -> str:
    """Script that prints the Born matrix in every step of a run in which no atom moves.

    Args:
      head: beginning of the script, from `lammps_peer.prepare`.
    """
    return f"""{head}\
neighbor 1.0 bin
compute virial all pressure NULL virial
compute born all born/matrix numdiff {_DELTA} virial
thermo 1
thermo_style custom step c_born[*]
thermo_modify line one format float %.17g
run {_EVALUATIONS}
"""


def matrix(elements: Sequence[float]) -> np.ndarray:
    """The symmetric 6 × 6 matrix of 21 elements in LAMMPS' order, in Voigt order.

    LAMMPS lists C11 to C66, then the rest of the upper triangle row by row.
    """
    full = np.zeros((6, 6))
    for (i, j), element in zip(_ELEMENTS, elements, strict=True):
        full[i, j] = full[j, i] = element
    return full


def read(log: str) -> Timed:
    """Time of one Born matrix [s], and the last one, (6, 6) [eV], from the log of `script`.

    The time is that of the run's output, during which LAMMPS evaluates the matrix: the force
    evaluations of the run itself, start-up and neighbour lists are not in it.

    Raises:
      ValueError: the log has no such run.
    """
    *_, run = re.split(r"^run ", log, flags=re.MULTILINE)
    fields = (line.split() for line in run.splitlines())
    steps = [line for line in fields if len(line) == 22 and line[0].isdigit()]
    # Columns: minimum, mean and maximum over the ranks.
    spent = re.search(r"^Output\s*\|[^|]*\|\s*(\S+)", run, re.MULTILINE)
    if spent is None or len(steps) < 2:
        raise ValueError("the log of LAMMPS has no Born matrix")
    # The first matrix is printed in the set-up, before the clock runs.
    return float(spent.group(1)) / (len(steps) - 1), matrix([float(x) for x in steps[-1][1:]])


def born(
    peer: lammps_peer.Peer | None, structure: Structure, potential: Potential, table_points: int
) -> Callable[[], Timed] | None:
    """A function that runs LAMMPS and gives the result of `read`; None without LAMMPS.

    Args:
      peer: LAMMPS, or None.
      structure: N atoms.
      potential: written as a table, never the user's file: LAMMPS joins the points of a table
        with other curves than ours, whose curvature differs on a coarse grid.
      table_points: points of the table's distance grid. The largest difference is probably in the
        last interval before the cut-off: for 2000 atoms of Sheng's Cu-Zr, whose φ'' does not vanish
        there, it is 1.7e-4 of the largest modulus with 10,000 points and 1e-7 with 600,000.
    """
    if peer is None:
        return None
    folder = tempfile.TemporaryDirectory()
    head = lammps_peer.prepare(Path(folder.name), structure, potential, "", table_points)
    return functools.partial(_measure, peer, script(head), folder)


def _measure(peer: lammps_peer.Peer, text: str, folder: tempfile.TemporaryDirectory) -> Timed:
    return read(lammps_peer.run(peer, text, Path(folder.name)))
