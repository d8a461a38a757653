"""Flags and main of the scripts that compare trainings: baselines, remedies, thresholds."""

import options  # Before jax loads.

# isort: split
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from stzjax.evaluation.result_table import ResultTable
from stzjax.run_folder.folder import Folder

_SEEDS = flags.DEFINE_integer("seeds", 1, "Networks of each kind and split.", lower_bound=1)
_ROTATIONS = flags.DEFINE_integer(
    "rotations", 0, "Splits in which every specimen is tested once; 0: the run's own.", 0
)


def main(
    title: str,
    study: Callable[[Folder, Sequence[Any], Sequence[int], int, int], ResultTable],
    values: Callable[[], Sequence[Any]],
) -> None:
    """Main of a script that makes a study of the values of its flag.

    Args:
      title: name of the folder of tables.
      study: function of `stzjax.pipeline.studies`.
      values: gives the values of the flag of the script.
    """

    def work(folder: Folder) -> None:
        threads = options.workers().threads
        table = study(folder, values(), range(_SEEDS.value), _ROTATIONS.value, threads)
        options.show(folder, title, table)

    options.main(work, options.STUDY)
