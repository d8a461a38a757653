"""Remedies for rare classes, each trained under the same budget, in one table.

    python experiments/remedies.py --out=runs/mine --seeds=3

Works on a folder that has been described. Weighted, focal, class-balanced, logit-adjusted
and event-balanced losses, under- and over-sampling of the training graphs, calibration on
validation. The difference from the paper's weighted cross-entropy is paired: the same specimens,
drawn again together.
"""

import study  # Before jax loads.

# isort: split
from absl import flags

from stzjax.pipeline import studies

_REMEDIES = flags.DEFINE_list("remedies", list(studies.REMEDIES), "Which to train.")
flags.adopt_module_key_flags(study)

if __name__ == "__main__":
    study.main("remedies", studies.remedies, lambda: _REMEDIES.value)
