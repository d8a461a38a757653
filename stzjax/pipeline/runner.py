"""All stages in order, and what each took."""

import logging
from collections.abc import Sequence
from typing import Any

from stzjax import report
from stzjax.io import archives
from stzjax.pipeline import stage_cost, stages, train_evaluate
from stzjax.pipeline.work_queue import Crew
from stzjax.run_folder.folder import Folder, set_aside_if_damaged

_LOG = logging.getLogger(__name__)

ORDER = ("melt", "quench", "shear", "describe", "train", "evaluate")


def run(
    folder: Folder, names: Sequence[str] = ORDER, crew: Crew | None = None, judge: bool = True
) -> dict[str, Any] | None:
    """Run stages; what is finished is skipped. Returns the judgement if it was made.

    Several processes may do this on one folder at the same time: each takes what is free, and
    waits at the end of a stage for what the others hold.

    Args:
      folder: of the run.
      names: stages, in order.
      crew: who works.
      judge: whether this process evaluates; of several one should.

    `usage.json` holds time and memory of each stage, over all interrupted runs of the process that
    came first, so that the time is that of the work and not of the last, skipping, run.
    """
    crew = crew or Crew()
    first = folder.claims.take("usage")
    if not first:
        _LOG.warning("another process works in %s: sharing its work", folder.path)
    work = {
        "melt": lambda: stages.melt_stage(folder),
        "quench": lambda: stages.quench_stage(folder, crew),
        "shear": lambda: stages.shear_stage(folder, crew),
        "describe": lambda: stages.describe_stage(folder, crew),
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
    archives.write_record(folder.usage, total)


def spent(folder: Folder) -> dict[str, dict[str, float]]:
    """Time and memory of each stage so far."""
    total: dict[str, Any] = {}

    def missing() -> bool:
        if folder.usage.exists():
            total.update(archives.read_record(folder.usage))
        return False

    set_aside_if_damaged(missing)
    return total
