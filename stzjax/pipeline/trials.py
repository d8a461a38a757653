"""Trials: one training or fit, judged, in a file of its own, made once and found again."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stzjax.evaluation import result_table
from stzjax.evaluation.verdict import Predictions
from stzjax.io import archives
from stzjax.learning import training
from stzjax.learning.splits import Split
from stzjax.pipeline import work_queue
from stzjax.run_folder.folder import Folder, same, set_aside_if_damaged


class Trial(NamedTuple):
    """What a trial has left.

    Attributes:
      validation: predictions on the validation specimens.
      test: predictions on the test specimens.
      record: plain values about how it went.
    """

    validation: Predictions
    test: Predictions
    record: dict[str, Any]


def settings_of(
    folder: Folder, config: training.TrainConfig, split: Split, **more: Any
) -> dict[str, Any]:
    """All on which the outcome of a training depends, as plain values."""
    flat = dataclasses.asdict(config)
    flat |= flat.pop("model")
    parts = {name: sorted(map(int, part)) for name, part in split._asdict().items()}
    return archives.plain({**folder.stage_settings("train"), **flat, **more, "split": parts})


def load(path: Path, settings: Mapping[str, Any]) -> Trial | None:
    """A trial that was made with these settings; None if there is none.

    A damaged file is set aside.

    Raises:
      ValueError: it was made with others.
    """
    found: list[Trial] = []

    def missing() -> bool:
        if not path.exists():
            return True
        found.append(_read(path, settings))
        return False

    return None if set_aside_if_damaged(missing) else found[0]


def _read(path: Path, settings: Mapping[str, Any]) -> Trial:
    arrays, kept = archives.load_archive(path)
    try:
        same(path, kept["trial"], settings)
        validation, test = (
            Predictions(**{name: arrays[f"{part}_{name}"] for name in _COLUMNS})
            for part in ("validation", "test")
        )
        return Trial(validation, test, kept["record"])
    except KeyError as error:
        raise archives.Damaged(path, f"lacks {error}") from error


_COLUMNS = tuple(field.name for field in dataclasses.fields(Predictions))


def save(path: Path, settings: Mapping[str, Any], trial: Trial) -> None:
    """Write a trial for `load`."""
    arrays = {
        f"{part}_{name}": getattr(getattr(trial, part), name)
        for part in ("validation", "test")
        for name in _COLUMNS
    }
    archives.save_archive(path, arrays, {"trial": settings, "record": trial.record})


def make(path: Path, settings: Mapping[str, Any], work: Callable[[], Trial]) -> None:
    """Do the work of a trial and write it; its record says how long that took."""
    started = time.perf_counter()
    found = work()
    record = {**found.record, "seconds": time.perf_counter() - started}
    save(path, settings, found._replace(record=record))


def once(
    folder: Folder, path: Path, settings: Mapping[str, Any], work: Callable[[], Trial]
) -> Trial:
    """The trial of a file, made and written if it is not there."""

    def done() -> bool:
        return load(path, settings) is not None

    if not done():
        name = str(path.relative_to(folder.path))
        work_queue.once(folder.claims, name, done, lambda: make(path, settings, work))
    return _read(path, settings)


def write_table(folder: Path, name: str, table: result_table.Table) -> None:
    """A table in three formats, `name` with the ending of each."""
    for ending, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
        archives.write_text(folder / f"{name}.{ending}", text)


def summary(result: training.TrainResult) -> dict[str, Any]:
    """How a training went, for the record of its trial."""
    return {
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "selected_by": result.selected_by,
        "loss": [record["train_loss"] for record in result.history],
        "validation_loss": [record["validation_loss"] for record in result.history],
        "score": [record["score"] for record in result.history],
    }
