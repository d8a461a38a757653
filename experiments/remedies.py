"""Remedies for rare classes, each trained under the same budget, in one table.

    python experiments/remedies.py --out=runs/mine --seeds=3

Works on a folder that has been described. Weighted, focal, class-balanced, logit-adjusted
and event-balanced losses, under- and over-sampling of the training graphs, calibration on
validation. The difference from the paper's weighted cross-entropy is paired: the same specimens,
drawn again together.
"""

import options  # Before jax loads.

# isort: split
from absl import flags

from stzjax import report
from stzjax.pipeline import studies
from stzjax.run_folder.folder import Folder

_REMEDIES = flags.DEFINE_list("remedies", list(studies.REMEDIES), "Which to train.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Networks of each remedy and split.", lower_bound=1)
_ROTATIONS = flags.DEFINE_integer(
    "rotations", 0, "Splits in which every specimen is tested once; 0: the run's own.", 0
)


def _remedies(folder: Folder) -> None:
    table = studies.remedies(
        folder, _REMEDIES.value, range(_SEEDS.value), _ROTATIONS.value, options.workers().threads
    )
    print(table.markdown())
    print(f"tables: {folder.path / 'remedies'}, report: {report.write(folder.path)}")


if __name__ == "__main__":
    options.main(_remedies)
