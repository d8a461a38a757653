"""Simple predictors beside the network: is it worth its attention?

    python experiments/baselines.py --out=runs/mine

Works on a folder that has been described. The prevalence, each feature alone, logistic regression
and boosted trees with and without the features of the Voronoi neighbours, a softness-like support
vector machine on structure functions; the network, and as a control the network trained on
labels dealt out anew. Needs scikit-learn: pip install -e '.[baselines]'.
"""

import options  # Before jax loads.

# isort: split
from absl import flags

from stzjax import report
from stzjax.pipeline import studies
from stzjax.run_folder.folder import Folder

_BASELINES = flags.DEFINE_list("baselines", [], "Which to fit; empty: all.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Networks of each split.", lower_bound=1)
_ROTATIONS = flags.DEFINE_integer(
    "rotations", 0, "Splits in which every specimen is tested once; 0: the run's own.", 0
)


def _baselines(folder: Folder) -> None:
    table = studies.compare_baselines(
        folder, _BASELINES.value, range(_SEEDS.value), _ROTATIONS.value, options.workers().threads
    )
    print(table.markdown())
    print(f"tables: {folder.path / 'baselines'}, report: {report.write(folder.path)}")


if __name__ == "__main__":
    options.main(_baselines)
