"""Athermal quasi-static shear, from a relaxed glass to the atoms of its first event.

`config` holds the settings, `aqs` is the host's side, `compiled_loop` the loop that it drives,
`nonaffine` D²min, `events` the choice of the labelled atoms, `run` the record of one shear run,
`sanity` doubts about it. Motion at a temperature belongs to `dynamics`, the look of the unsheared
glass to `descriptors`.
"""

from stzjax.shear import aqs, compiled_loop, config, events, nonaffine, run, sanity
from stzjax.shear.config import ShearConfig
from stzjax.shear.run import Run
