"""Metrics against the D²min threshold of the labels, the network trained anew for each: Figure 4.

    python experiments/thresholds.py --out=runs/mine --thresholds=0.02,0.05,0.1,0.2,0.5

Works on a folder that has been described. Labels come from the stored history of D²min, so nothing
is sheared again; the step of the event may move with the threshold. Draw the figure with
experiments/draw.py.
"""

import study  # Before jax loads.

# isort: split
from stzjax.pipeline import studies

import flag_help

_THRESHOLDS = flag_help.define_list(
    "thresholds", (0.02, 0.03, 0.05, 0.07, 0.1), "Thresholds of D²min [Å²].", float
)

if __name__ == "__main__":
    study.main("thresholds", studies.thresholds, lambda: _THRESHOLDS.value)
