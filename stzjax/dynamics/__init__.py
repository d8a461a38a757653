"""Consequences of an energy in motion: NVE, NPT, melt and quench.

`nve` and `npt` are the compiled integrators, `loop` the step that both share, `npt_batch` the
host's side of a batch of specimens, `config` the settings of melt and quench, `quench` the protocol
that makes a glass. A relaxation without temperature belongs to `mechanics`, a shear to `shear`.
"""

from stzjax.dynamics import config, loop, npt, npt_batch, nve, quench
