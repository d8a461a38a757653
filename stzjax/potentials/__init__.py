"""Energies of bonds: embedded-atom potentials, built in, read from tables, written as tables.

`eam` is the interface, `analytic` the closed forms, `setfl` the tables of LAMMPS, `prepared` the
uniform pieces that dynamics and shear evaluate, `eam_kernels` the passes over a neighbour list.
Sums over a whole structure and their derivatives belong to `mechanics`.
"""

import os

from stzjax.potentials.analytic import mendelev2019
from stzjax.potentials.eam import EAM
from stzjax.potentials.prepared import Compact, compact
from stzjax.potentials.setfl import read_setfl, resample, tabulate, write_setfl

__all__ = [
    "EAM",
    "Compact",
    "compact",
    "load",
    "mendelev2019",
    "read_setfl",
    "resample",
    "tabulate",
    "write_setfl",
]


def load(name: str | os.PathLike) -> EAM:
    """The built-in potential of that name ("mendelev2019"), or the setfl table at that path."""
    if str(name) == "mendelev2019":
        return mendelev2019()
    return read_setfl(name)
