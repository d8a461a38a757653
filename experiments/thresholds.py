"""Metrics against the D²min threshold of the labels, the network trained anew for each: Figure 4.

    python experiments/thresholds.py --out=runs/mine --thresholds=0.02,0.05,0.1,0.2,0.5

Works on a folder that has been described. Labels come from the stored history of D²min, so nothing
is sheared again; the step of the event may move with the threshold. Draw the figure with
experiments/draw.py.
"""

import options  # Before jax loads.

# isort: split
from absl import flags

from stzjax import report
from stzjax.pipeline import studies
from stzjax.run_folder.folder import Folder

_THRESHOLDS = flags.DEFINE_list(
    "thresholds", ["0.02", "0.03", "0.05", "0.07", "0.1"], "Thresholds of D²min [Å²]."
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Networks of each threshold.", lower_bound=1)
_ROTATIONS = flags.DEFINE_integer(
    "rotations", 0, "Splits in which every specimen is tested once; 0: the run's own.", 0
)


def _thresholds(folder: Folder) -> None:
    try:
        values = [float(value) for value in _THRESHOLDS.value]
    except ValueError as error:
        raise ValueError(
            f"--thresholds takes numbers, got {','.join(_THRESHOLDS.value)}"
        ) from error
    table = studies.thresholds(
        folder, values, range(_SEEDS.value), _ROTATIONS.value, options.workers().threads
    )
    print(table.markdown())
    print(f"tables: {folder.path / 'thresholds'}, report: {report.write(folder.path)}")


if __name__ == "__main__":
    options.main(_thresholds)
