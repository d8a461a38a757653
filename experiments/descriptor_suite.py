"""Descriptors beside the tools of the field: Voro++, ARPACK and dense diagonalisation."""

import importlib
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax import Array
from timings import alternate, row, seconds

from stzjax import hessians, units
from stzjax import neighbors as lists
from stzjax import structure as structures
from stzjax.descriptors import polyhedra, response, stiffness, table, vibrations, voronoi
from stzjax.loading import DIRECTIONS
from stzjax.potentials.eam import EAM
from stzjax.structure import Structure

_STIFF = 0.1
"""Where the translations go [eV/Å²/amu]."""

_DENSE_UP_TO = 1500
"""Atoms up to which all modes are diagonalised, to compare with."""


def rows(glass: Structure, potential: EAM, repeats: int) -> list[dict[str, Any]]:
    """Times and errors of the descriptors of a relaxed glass.

    Args:
      glass: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      repeats: timed repeats of what takes a second or so; the modes are timed once.
    """
    neighbors = lists.allocate(glass, potential.cutoff, skin=0.0, inner=potential.density_cutoff)
    size = f"{glass.num_atoms} atoms"
    found = cells(glass, size, repeats)
    volume = jnp.asarray(voronoi.tessellate(glass).volume)
    found += modes(glass, potential, neighbors, size)

    def born() -> Array:
        return stiffness.atomic_stiffness(glass, potential, volume, neighbors)

    def respond() -> Array:
        return response.respond(glass, potential, neighbors).fields

    for name, function in (("stiffness", born), ("linear response", respond)):
        jax.block_until_ready(function())
        found.append(row(f"{name} {size}", seconds(function), None, "s"))

    def features() -> list[Array]:
        specimen = table.describe(glass, potential, neighbors=neighbors)
        return [table.rotate_to(specimen, direction) for direction in DIRECTIONS]

    found.append(row(f"features {size}, all directions", seconds(features), None, "s"))
    return found


def cells(glass: Structure, size: str, repeats: int) -> list[dict[str, Any]]:
    """Voronoi cells on the host and compiled, against Voro++ where pyvoro2 is installed."""

    def ours() -> tuple[float, voronoi.Tessellation]:
        start = time.perf_counter()
        cells = voronoi.tessellate(glass)
        return time.perf_counter() - start, cells

    mine, other = alternate(ours, _voro(glass), repeats)
    own = statistics.median(spent for spent, _ in mine)
    theirs = statistics.median(spent for spent, _ in other) if other else None
    found = [row(f"voronoi {size}", own, theirs, "s", "less")]
    if other:
        error = np.abs(mine[0][1].volume / other[0][1] - 1.0).max()
        found.append(row(f"voronoi {size}, largest difference of a volume", error, None, "1"))
    shape = polyhedra.allocate(glass)
    jax.block_until_ready(polyhedra.tessellate(shape, glass))
    spent = [seconds(polyhedra.tessellate, shape, glass) for _ in range(repeats)]
    found.append(row(f"voronoi {size}, compiled", statistics.median(spent), theirs, "s", "less"))
    return found


def _voro(glass: Structure):
    """A function of the repeat: time of Voro++ and the volumes; None where it is missing."""
    try:
        pyvoro = importlib.import_module("pyvoro2")
    except ImportError:
        print("pyvoro2 is not installed: Voronoi cells are measured alone")
        return None
    positions = np.asarray(structures.positions(glass))
    domain = pyvoro.PeriodicCell(tuple(map(tuple, np.asarray(glass.cell).T)))

    def measure(repeat: int) -> tuple[float, np.ndarray]:
        del repeat
        start = time.perf_counter()
        cells = pyvoro.compute(positions, domain=domain, output="cells")
        spent = time.perf_counter() - start
        volume = np.zeros(glass.num_atoms)
        volume[[cell["id"] for cell in cells]] = [cell["volume"] for cell in cells]
        return spent, volume

    return measure


def modes(glass: Structure, potential: EAM, neighbors, size: str) -> list[dict[str, Any]]:
    """The lowest 1 % of the modes, against ARPACK with the same operator and residual."""

    def ours() -> vibrations.Modes:
        return vibrations.modes(glass, potential, method="chebyshev", neighbors=neighbors)

    ours()
    start = time.perf_counter()
    soft = ours()
    own = time.perf_counter() - start
    theirs, values = _arpack(glass, potential, neighbors, soft)
    found = [
        row(f"soft modes {size}, against ARPACK", own, theirs, "s", "less"),
        row(f"soft modes {size}, largest residual", float(soft.residuals.max()), None, "eV/Å²/amu"),
        row(f"soft modes {size}, off ARPACK's", _off(soft.eigenvalues, values), None, "1"),
    ]
    if glass.num_atoms <= _DENSE_UP_TO:
        start = time.perf_counter()
        exact = vibrations.modes(glass, potential, method="dense", neighbors=neighbors)
        spent = time.perf_counter() - start
        share = [vibrations.participation_fraction(m.vectors) for m in (soft, exact)]
        worst = float(np.abs(share[0] - share[1]).max())
        found += [
            row(f"soft modes {size}, against dense", own, spent, "s", "less"),
            row(f"eigenvalues {size}, error", _off(soft.eigenvalues, exact.eigenvalues), None, "1"),
            row(f"participation {size}, error", worst, None, "1"),
        ]
    return found


def _off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found / expected - 1.0).max())


def _arpack(glass: Structure, potential: EAM, neighbors, soft: vibrations.Modes):
    """Time of SciPy's eigsh to the largest residual of ours, and its eigenvalues."""
    hessian = hessians.assemble(glass, potential, neighbors, hessians.tiling(glass, neighbors))
    root = np.sqrt(units.masses(glass.elements)[np.asarray(glass.species)])[:, None, None]
    still = root / np.linalg.norm(root)
    size, count = 3 * glass.num_atoms, len(soft.eigenvalues)

    @jax.jit
    def apply(x: Array) -> Array:
        fields = x.reshape(-1, 3, 1)
        image = hessians.apply(hessian, fields / root) / root
        # Translations among the stiffest modes, as in ours.
        return (image + _STIFF * still * jnp.sum(still * fields, axis=0)).reshape(-1)

    def product(x: np.ndarray) -> np.ndarray:
        return np.asarray(apply(x))

    operator = scipy.sparse.linalg.LinearOperator((size, size), product, dtype=float)
    product(np.ones(size))
    tolerance = float(soft.residuals.max() / soft.eigenvalues[-1])
    start = time.perf_counter()
    values, _ = scipy.sparse.linalg.eigsh(operator, count, which="SA", tol=tolerance)
    return time.perf_counter() - start, np.sort(values)
