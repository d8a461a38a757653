"""Simple predictors beside the network: is it worth its attention?

    python experiments/baselines.py --out=runs/mine

Works on a folder that has been described. The prevalence, each feature alone, logistic regression
and boosted trees with and without the features of the Voronoi neighbours, a softness-like support
vector machine on structure functions; the network, and as a control the network trained on
shuffled labels. Needs scikit-learn: pip install -e '.[baselines]'.
"""

import study  # Before jax loads.

# isort: split
from stzjax.pipeline import studies

import flag_help

_BASELINES = flag_help.define_list("baselines", (), "Baselines to fit; empty: all.")

if __name__ == "__main__":
    study.main("baselines", studies.compare_baselines, lambda: _BASELINES.value)
