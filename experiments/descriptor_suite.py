"""Descriptors beside the tools of the field: Voro++, OVITO, LAMMPS, ARPACK, dense modes."""

import functools
import importlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import born_peer
import jax
import jax.numpy as jnp
import numpy as np
import ovito_peer
import scipy.sparse.linalg
from jax import Array
from timings import Timed, alternate, median, row, seconds, timed

from stzjax.core import loads, units
from stzjax.core.structure import Structure
from stzjax.descriptors import (
    linear_response,
    participation,
    soft_modes,
    stiffness,
    stress,
    table,
    voronoi,
    voronoi_cells,
    voronoi_fit,
)
from stzjax.mechanics import allocation, expansion, hessians
from stzjax.mechanics.expansion import Expansion
from stzjax.neighbors import lists
from stzjax.potentials.potential import Potential
from stzjax.shear import nonaffine

import lammps_peer

_STIFF = 0.1
"""Eigenvalue given to the translations [eV/Å²/amu]."""

_DENSE_UP_TO = 1500
"""Largest number of atoms for which all modes are diagonalised, to compare with."""

_CUTOFF = 3.8
"""Cut-off of the bonds of D²min [Å]."""

GRADIENTS = ("volume", "soft icosahedron", "stress", "stiffness", "response", "participation")
"""Descriptors whose gradients are timed."""

_STRAIN, _SHAKE = 0.01, 0.05
"""Shear strain, and random displacements [Å], of the atoms whose D²min is compared."""


def rows(
    glass: Structure,
    potential: Potential,
    repeats: int,
    peer: lammps_peer.Peer | None = None,
    table_points: int = 10_000,
    patience: float = math.inf,
) -> list[dict[str, Any]]:
    """Times and errors of the descriptors of a relaxed glass.

    Args:
      glass: N atoms at a minimum of the energy.
      potential: a potential.
      repeats: timed repeats of short computations; the modes are timed once.
      peer: LAMMPS, or None.
      table_points: points of the table written for LAMMPS.
      patience: largest time of ARPACK as a multiple of ours.
    """
    neighbors = lists.allocate(glass, potential.cutoff, skin=0.0, inner=potential.inner_cutoff)
    size = f"{glass.num_atoms} atoms"
    found = cells(glass, size, repeats)
    found += beside_ovito(glass, size, repeats)
    around = allocation.expand(glass, potential, neighbors)
    found += modes(around, size, patience)
    lammps = born_peer.born(peer, glass, potential, table_points)
    found += born(around, size, repeats, lammps)

    def respond() -> Array:
        return linear_response.respond(allocation.expand(glass, potential, neighbors)).fields

    jax.block_until_ready(respond())
    found.append(row(f"linear response {size}", seconds(respond), None, "s"))

    def features() -> list[Array]:
        specimen = table.describe(glass, potential, neighbors=neighbors)
        return [table.rotate_to(specimen, direction) for direction in loads.DIRECTIONS]

    jax.block_until_ready(features())
    found.append(row(f"features {size}, all directions", seconds(features), None, "s"))
    return found


def gradients(
    glass: Structure, potential: Potential, repeats: int, names: Sequence[str] = GRADIENTS
) -> list[dict[str, Any]]:
    """Compiled gradients by all positions of a weighted sum of a descriptor over the atoms.

    The second column is the time of the sum alone. Shapes and compiling are not timed.

    Args:
      glass: N atoms at a minimum of the energy.
      potential: a potential.
      repeats: timed repeats; the response and the participation are timed once.
      names: descriptors from `GRADIENTS`.

    Raises:
      ValueError: a gradient is not finite.
    """
    neighbors = lists.allocate(glass, potential.cutoff, skin=0.0, inner=potential.inner_cutoff)
    shape = table.allocate(glass, neighbors)
    weight = jnp.asarray(np.random.default_rng(0).normal(size=glass.num_atoms))

    def expanded(one: Structure) -> Expansion:
        return expansion.expand(one, potential, neighbors, shape.tiling)

    def descriptor(name: str, one: Structure) -> Array:
        if name == "participation":
            return participation.participation(expanded(one)).fraction
        if name == "response":
            fields = linear_response.response(expanded(one)).fields
            return jnp.sum(fields**2, axis=(0, 2))
        cells = voronoi_cells.tessellate(shape.cells, one)
        if name == "soft icosahedron":
            return voronoi_cells.soft_icosahedron(cells)
        if name == "stress":
            around = expansion.expand(one, potential, neighbors)
            return stress.atomic_stress(around, cells.volume)[:, 0, 1]
        if name == "stiffness":
            around = expansion.expand(one, potential, neighbors)
            tensors = stiffness.atomic_stiffness(around, cells.volume)
            return tensors[:, 0, 1, 0, 1]
        return cells.volume

    found = []
    for name in names:

        def number(fractional: Array, name: str = name) -> Array:
            return jnp.sum(weight * descriptor(name, glass.replace(fractional=fractional)))

        spent = []
        for function in (jax.grad(number), number):
            compiled = jax.jit(function).lower(glass.fractional).compile()
            go = functools.partial(compiled, glass.fractional)
            times = 1 if name in ("response", "participation") else repeats
            measured = [timed(go) for _ in range(times)]
            if not np.isfinite(measured[0][1]).all():
                raise ValueError(f"{name} of {glass.num_atoms} atoms or its gradient is not finite")
            spent.append(median(measured))
        label = f"gradient of {name} {glass.num_atoms} atoms, beside its value"
        found.append(row(label, spent[0], spent[1], "s"))
    return found


def born(
    around: Expansion,
    size: str,
    repeats: int,
    lammps: Callable[[], Timed] | None,
) -> list[dict[str, Any]]:
    """Born stiffness of every atom, beside LAMMPS' of all atoms together (`born_peer.born`)."""
    volume = jnp.asarray(voronoi.tessellate(around.structure).volume)

    def ours() -> Array:
        return stiffness.atomic_stiffness(around, volume)

    jax.block_until_ready(ours())
    mine, other = alternate(lambda: timed(ours), lammps, repeats)
    theirs = median(other) if other else None
    found = [row(f"stiffness {size}", median(mine), theirs, "s", "less")]
    if other:
        total = jnp.einsum("n,nabcd->abcd", volume, mine[0][1])
        curvature = np.asarray(stiffness.to_voigt(total))
        error = np.abs(curvature - other[0][1]).max() / np.abs(curvature).max()
        found.append(row(f"stiffness {size}, off LAMMPS', of the largest", error, None, "1"))
    return found


def beside_ovito(glass: Structure, size: str, repeats: int) -> list[dict[str, Any]]:
    """Voronoi cells on the host, and D²min, against OVITO; no rows where it is not installed.

    OVITO looks for its neighbours in every call, so ours makes its list in every call too.
    """
    ovito = ovito_peer.find()
    if ovito is None:
        print(ovito_peer.MISSING)
        return []
    before, after = glass, sheared(glass)
    neighbors = lists.allocate(before, _CUTOFF, skin=0.0)

    @jax.jit
    def field(before: Structure, after: Structure) -> Array:
        return nonaffine.d2min(before, after, lists.rebuild(neighbors, before), _CUTOFF)

    def volumes() -> np.ndarray:
        return voronoi.tessellate(glass).volume

    found = []
    for name, ours, theirs in (
        ("voronoi", volumes, ovito_peer.volumes(ovito, glass)),
        ("d2min", lambda: field(before, after), ovito_peer.d2min(ovito, before, after, _CUTOFF)),
    ):
        jax.block_until_ready(ours())
        mine, other = alternate(functools.partial(timed, ours), theirs, repeats)
        error = _off(np.asarray(mine[0][1]), other[0][1])
        found += [
            row(f"{name} {size}, against OVITO", median(mine), median(other), "s", "less"),
            row(f"{name} {size}, off OVITO's", error, None, "1"),
        ]
    return found


def sheared(glass: Structure) -> Structure:
    """The glass after a simple shear in which every atom also moves at random."""
    moves = np.random.default_rng(0).normal(scale=_SHAKE, size=(glass.num_atoms, 3))
    gradient = loads.deformation_gradient("+xy", _STRAIN)
    return glass.deform(gradient).displace(jnp.asarray(moves))


def cells(glass: Structure, size: str, repeats: int) -> list[dict[str, Any]]:
    """Voronoi cells on the host and compiled, against Voro++ where pyvoro2 is installed."""
    mine, other = alternate(lambda: timed(voronoi.tessellate, glass), _voro(glass), repeats)
    theirs = median(other) if other else None
    found = [row(f"voronoi {size}", median(mine), theirs, "s", "less")]
    if other:
        error = np.abs(mine[0][1].volume / other[0][1] - 1.0).max()
        found.append(row(f"voronoi {size}, largest difference of a volume", error, None, "1"))
    shape = voronoi_fit.fit(glass)[0]
    jax.block_until_ready(voronoi_cells.tessellate(shape, glass))
    spent = median([timed(voronoi_cells.tessellate, shape, glass) for _ in range(repeats)])
    found.append(row(f"voronoi {size}, compiled", spent, theirs, "s", "less"))
    return found


def _voro(glass: Structure) -> Callable[[], Timed] | None:
    """A function that gives the time of Voro++ and the volumes; None where it is missing."""
    try:
        pyvoro = importlib.import_module("pyvoro2")
    except ImportError:
        print("pyvoro2 is not installed: Voronoi cells are measured alone")
        return None
    positions = np.asarray(glass.positions())
    domain = pyvoro.PeriodicCell(tuple(map(tuple, np.asarray(glass.cell).T)))

    def measure() -> Timed:
        spent, cells = timed(lambda: pyvoro.compute(positions, domain=domain, output="cells"))
        volume = np.zeros(glass.num_atoms)
        volume[[cell["id"] for cell in cells]] = [cell["volume"] for cell in cells]
        return spent, volume

    return measure


def modes(around: Expansion, size: str, patience: float = math.inf) -> list[dict[str, Any]]:
    """The lowest 1 % of the modes, against ARPACK with the same operator and residual.

    ARPACK is stopped when it has taken `patience` times as long as ours; the row says so.
    """

    def ours() -> soft_modes.Modes:
        return soft_modes.modes(around, method="chebyshev")

    ours()
    own, soft = timed(ours)
    theirs, values = _arpack(around, soft, patience * own)
    name = f"soft modes {size}, against ARPACK" + (", stopped unfinished" * (values is None))
    found = [
        row(name, own, theirs, "s", "less"),
        row(f"soft modes {size}, largest residual", float(soft.residuals.max()), None, "eV/Å²/amu"),
    ]
    if values is not None:
        off = _off(soft.eigenvalues, values)
        found.append(row(f"soft modes {size}, off ARPACK's", off, None, "1"))
    if around.structure.num_atoms <= _DENSE_UP_TO:
        spent, exact = timed(lambda: soft_modes.modes(around, method="dense"))
        share = [soft_modes.participation_fraction(m.vectors) for m in (soft, exact)]
        worst = float(np.abs(share[0] - share[1]).max())
        found += [
            row(f"soft modes {size}, against dense", own, spent, "s", "less"),
            row(f"eigenvalues {size}, error", _off(soft.eigenvalues, exact.eigenvalues), None, "1"),
            row(f"participation {size}, error", worst, None, "1"),
        ]
    return found


def _off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found / expected - 1.0).max())


class _TooLongError(Exception):
    """The peer is stopped."""


def _arpack(around: Expansion, soft: soft_modes.Modes, longest: float):
    """Time of SciPy's eigsh to the largest residual of ours, and its eigenvalues.

    The eigenvalues are None if it took longer than the longest time [s] and was stopped.
    """
    hessian, glass = around.operator(), around.structure
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
        if time.perf_counter() - start > longest:
            raise _TooLongError
        return np.asarray(apply(x))

    operator = scipy.sparse.linalg.LinearOperator((size, size), product, dtype=float)
    jax.block_until_ready(apply(np.ones(size)))
    tolerance = float(soft.residuals.max() / soft.eigenvalues[-1])
    start = time.perf_counter()
    try:
        values, _ = scipy.sparse.linalg.eigsh(operator, count, which="SA", tol=tolerance)
    except _TooLongError:
        return time.perf_counter() - start, None
    return time.perf_counter() - start, np.sort(values)
