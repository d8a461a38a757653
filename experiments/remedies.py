"""Remedies for rare classes, each trained under the same budget, in one table.

    python experiments/remedies.py --out=runs/mine --seeds=3

Works on a folder that has been described. Weighted, focal, class-balanced, logit-adjusted
and event-balanced losses, under- and over-sampling of the training graphs, calibration on
validation. The difference from the paper's weighted cross-entropy is paired: the same specimens,
drawn again together.
"""

import study  # Before jax loads.

# isort: split
from stzjax.pipeline import studies

import flag_help

_REMEDIES = flag_help.define_list("remedies", tuple(studies.REMEDIES), "Remedies to train.")

if __name__ == "__main__":
    study.main("remedies", studies.remedies, lambda: _REMEDIES.value)
