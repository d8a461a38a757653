"""Grid search with cross-validation by specimen: a winner for each metric, Table 1 of the paper.

    python experiments/search.py --out=runs/mine --grid=small

Works on a folder that has been described. Every trial is a file of its own under `search/trials/`:
a search that was interrupted goes on where it was, and a wider grid keeps what it shares with one
that has been searched. Tables go to `search/` as Markdown, CSV and LaTeX, beside the paper's rows.
"""

import options  # Before jax loads.

# isort: split
import jax
from absl import flags

from stzjax.pipeline import grid_search
from stzjax.run_folder.folder import Folder

import flag_help

_GRID = flags.DEFINE_enum("grid", "small", list(grid_search.GRIDS), "Named grid of L, M and N.")
_LAYERS = flag_help.define_list("grid_layers", (), "L of the grid; empty: as named.", int)
_FEATURES = flag_help.define_list("grid_features", (), "M of the grid; empty: as named.", int)
_HEADS = flag_help.define_list("grid_heads", (), "N of the grid; empty: as named.", int)
_FOLDS = flags.DEFINE_integer("folds", 4, "Folds of the cross-validation.", lower_bound=2)
_HALVING = flags.DEFINE_integer(
    "halving", 0, "Keep one shape in so many a round (successive halving); 0: all to the end."
)
_TOGETHER = flags.DEFINE_boolean(
    "together", None, "Folds of a shape in one compiled step; by default on a GPU alone."
)
_COLLECT = flags.DEFINE_boolean(
    "collect", False, "Train nothing, make the tables of what is there."
)


def _search(folder: Folder) -> None:
    layers, features, heads = grid_search.GRIDS[_GRID.value]
    if _HALVING.value == 1 or _HALVING.value < 0:
        raise ValueError(f"--halving must be 0, or 2 or more, got {_HALVING.value}")
    shapes = grid_search.grid(
        _LAYERS.value or layers,
        _FEATURES.value or features,
        _HEADS.value or heads,
    )
    together = _TOGETHER.value
    if together is None:
        together = jax.default_backend() != "cpu"
    lanes = _FOLDS.value if together else 1
    table = grid_search.run(
        folder,
        shapes,
        num_folds=_FOLDS.value,
        factor=_HALVING.value,
        workers=options.workers()._replace(lanes=lanes),
        collect=_COLLECT.value,
    )
    options.show(folder, "search", table)


if __name__ == "__main__":
    options.main(_search, options.STUDY)
