"""OVITO beside ours: D²min of its AtomicStrainModifier and the volumes of its Voronoi cells.

OVITO comes as a wheel, `pip install ovito`. What is timed is a modifier applied to atoms that are
in OVITO already; each call looks for the neighbours anew, on as many threads as there are cores.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from timings import Timed, seconds

from stzjax.core.structure import Structure

MISSING = "OVITO is not installed (pip install ovito): D²min and cells are not compared with it"


class Ovito(NamedTuple):
    """The modules of an installed OVITO.

    Attributes:
      data: `ovito.data`.
      modifiers: `ovito.modifiers`.
      pipeline: `ovito.pipeline`.
    """

    data: Any
    modifiers: Any
    pipeline: Any


def find() -> Ovito | None:
    """OVITO, or None where it is not installed."""
    try:
        return Ovito(*(importlib.import_module(f"ovito.{name}") for name in Ovito._fields))
    except ImportError:
        return None


def collection(ovito: Ovito, structure: Structure) -> Any:
    """The atoms and their periodic cell as OVITO's DataCollection [Å]."""
    atoms = ovito.data.DataCollection()
    cell = np.zeros((3, 4))  # The last column is the origin.
    cell[:, :3] = structure.cell
    atoms.create_cell(cell, pbc=(True, True, True))
    particles = atoms.create_particles(count=structure.num_atoms)
    particles.create_property("Position", data=np.asarray(structure.positions()))
    return atoms


def d2min(ovito: Ovito, before: Structure, after: Structure, cutoff: float) -> Callable[[], Timed]:
    """A function that gives the time [s], and D²min summed over the bonds (N,) [Å²].

    Args:
      ovito: modules of OVITO.
      before: reference configuration; bonds shorter than the cut-off in it count.
      after: the same atoms later, in a cell that may differ.
      cutoff: cut-off of the bonds [Å].
    """
    modifier = ovito.modifiers.AtomicStrainModifier(
        cutoff=cutoff, output_nonaffine_squared_displacements=True
    )
    modifier.reference = ovito.pipeline.StaticSource(data=collection(ovito, before))
    name = "Nonaffine Squared Displacement"
    return functools.partial(_measure, collection(ovito, after), modifier, name)


def volumes(ovito: Ovito, structure: Structure) -> Callable[[], Timed]:
    """A function that gives the time [s], and volumes of the plain Voronoi cells (N,) [Å³]."""
    modifier = ovito.modifiers.VoronoiAnalysisModifier()
    return functools.partial(_measure, collection(ovito, structure), modifier, "Atomic Volume")


def _measure(atoms: Any, modifier: Any, name: str) -> Timed:
    """Time of a modifier [s], and a property of the atoms."""
    fresh = atoms.clone()
    spent = seconds(fresh.apply, modifier)
    return spent, np.array(fresh.particles[name])
