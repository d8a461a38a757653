"""Energies of bonds: the protocol of a potential, and embedded-atom potentials.

`potential` is the protocol and what follows from it for any energy. `eam` is the interface of
embedded-atom potentials, `analytic` the closed forms, `pairs` pair potentials, `setfl` the tables
of LAMMPS, `prepared` the uniform pieces that dynamics and shear evaluate, `eam_kernels` the passes
over a neighbour list, `eam_gpu` the same as two kernels for a GPU, `eam_derivatives` the second
derivatives. `for_jax_md` hands potentials to jax-md, `of_jax_md` makes potentials of its energies.
A structure as a whole, its stress and its minimum belong to `mechanics`.
"""

import os

from stzjax.potentials.analytic import mendelev2019
from stzjax.potentials.eam import EAM
from stzjax.potentials.for_jax_md import to_jax_md
from stzjax.potentials.of_jax_md import from_jax_md
from stzjax.potentials.pairs import kob_andersen, pair
from stzjax.potentials.potential import Bonds, Potential, Scales
from stzjax.potentials.prepared import Compact, compact, prepare
from stzjax.potentials.setfl import Samples, read_setfl, sample, tabulate, write_setfl

BUILT_IN = {"mendelev2019": mendelev2019, "kob_andersen": kob_andersen}
"""Built-in potentials by the names that `load` and `--potential` take."""


def load(name: str | os.PathLike) -> Potential:
    """The built-in potential of that name, or the setfl table at that path."""
    built_in = BUILT_IN.get(str(name))
    return built_in() if built_in else read_setfl(name)
