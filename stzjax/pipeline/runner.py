"""All stages in order, with their timings."""

import time
from collections.abc import Sequence
from typing import Any

from stzjax import io
from stzjax.pipeline import learning, stages
from stzjax.pipeline.folder import Folder

ORDER = ("melt", "quench", "shear", "describe", "train", "evaluate")


def run(
    folder: Folder, names: Sequence[str] = ORDER, workers: int = 1, lanes: int = 1
) -> dict[str, Any] | None:
    """Run stages; what is finished is skipped. Returns the judgement if it was made.

    Args:
      folder: of the run.
      names: stages, in order.
      workers: threads, each at specimens or shear runs of its own.
      lanes: quenches or shear runs of one thread, in one compiled loop.

    `timings.json` accumulates the wall time of each stage over interrupted runs, so that it is
    the time the work took and not the time of the last, skipping, run.
    """
    path = folder.path / "timings.json"
    timings = io.read_json(path) if path.exists() else {}
    work = {
        "melt": lambda: stages.melt_stage(folder),
        "quench": lambda: stages.quench_stage(folder, workers, lanes),
        "shear": lambda: stages.shear_stage(folder, workers, lanes),
        "describe": lambda: stages.describe_stage(folder, workers),
        "train": lambda: learning.train_stage(folder),
    }
    judged = None
    for name in names:
        if name == "evaluate":
            judged = learning.evaluate_stage(folder, timings)
            continue
        started = time.perf_counter()
        work[name]()
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - started
        io.write_json(path, timings)
    return judged
