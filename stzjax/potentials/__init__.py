"""Energies of bonds: embedded-atom potentials, built in, read from tables, written as tables.

`eam` is the interface, `analytic` the closed forms, `setfl` the tables of LAMMPS, `prepared` the
uniform pieces that dynamics and shear evaluate, `eam_kernels` the passes over a neighbour list,
`eam_gpu` the same as two kernels for a GPU.
Sums over a whole structure and their derivatives belong to `mechanics`.
"""

import os

from stzjax.potentials.analytic import mendelev2019
from stzjax.potentials.eam import EAM
from stzjax.potentials.prepared import Compact, compact
from stzjax.potentials.setfl import Samples, read_setfl, sample, tabulate, write_setfl

BUILT_IN = {"mendelev2019": mendelev2019}
"""Built-in potentials by the names that `load` and `--potential` take."""


def load(name: str | os.PathLike) -> EAM:
    """The built-in potential of that name, or the setfl table at that path."""
    built_in = BUILT_IN.get(str(name))
    return built_in() if built_in else read_setfl(name)
