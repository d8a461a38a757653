"""All stages in order, with the time and memory that each took."""

import logging
from collections.abc import Sequence
from typing import Any

from stzjax import report
from stzjax.io import archives
from stzjax.pipeline import stage_cost, stages, train_evaluate
from stzjax.pipeline.work_queue import Workers
from stzjax.run_folder.folder import Folder, unless_damaged

_LOG = logging.getLogger(__name__)

ORDER = ("melt", "quench", "shear", "describe", "train", "evaluate")


def run(
    folder: Folder, names: Sequence[str] = ORDER, workers: Workers | None = None, judge: bool = True
) -> dict[str, Any] | None:
    """Run stages, skipping finished work; the judgement, if it was made.

    Several processes may do this on one folder at the same time: each takes items that are free,
    and waits at the end of a stage for the items that the others hold.

    Args:
      folder: folder of the run.
      names: stages, in order.
      workers: threads and lanes of this process; a single thread by default.
      judge: whether this process evaluates; exactly one of the processes should.

    `usage.json` holds time and memory of each stage, summed over all interrupted calls of the
    process that came first: the time is that of the work, not of a last call that skips it.
    """
    workers = workers or Workers()
    first = folder.claims.take("usage")
    if not first:
        _LOG.warning("another process works in %s: sharing its work", folder.path)
    work = {
        "melt": lambda: stages.melt_stage(folder),
        "quench": lambda: stages.quench_stage(folder, workers),
        "shear": lambda: stages.shear_stage(folder, workers),
        "describe": lambda: stages.describe_stage(folder, workers),
        "train": lambda: train_evaluate.train_stage(folder),
        "evaluate": lambda: train_evaluate.evaluate_stage(folder),
    }
    judged = None
    try:
        for name in names:
            if name == "evaluate" and not judge:
                continue
            _LOG.info("%s: begins", name)
            with stage_cost.measured() as found:
                result = work[name]()
            _LOG.info("%s: done in %s", name, stage_cost.text(found))
            if first:
                _record(folder, name, found)
            if name == "evaluate":
                judged = result
                report.write(folder.path)
    finally:
        if first:
            folder.claims.release("usage")
    return judged


def _record(folder: Folder, name: str, found: dict[str, float]) -> None:
    total = spent(folder)
    total[name] = stage_cost.add(total.get(name, {}), found)
    archives.write_record(folder.path / "usage.json", total)


def spent(folder: Folder) -> dict[str, dict[str, float]]:
    """Time and memory of each stage so far."""
    path = folder.path / "usage.json"
    return unless_damaged(path, lambda: archives.read_record(path)) or {}
