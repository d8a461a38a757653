"""Trials: each training or fit, judged, in a file of its own, made once and found again."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stzjax.evaluation.averages import Trial
from stzjax.evaluation.result_table import ResultTable
from stzjax.evaluation.verdict import Predictions
from stzjax.io import archives
from stzjax.learning import training
from stzjax.learning.splits import Split
from stzjax.pipeline import work_queue
from stzjax.run_folder.folder import Folder, same, unless_damaged


def settings_of(
    folder: Folder, config: training.TrainConfig, split: Split, **more: Any
) -> dict[str, Any]:
    """All settings on which the outcome of a training depends, as plain values."""
    flat = dataclasses.asdict(config)
    flat |= flat.pop("model")
    parts = {name: sorted(map(int, part)) for name, part in split._asdict().items()}
    return archives.plain({**folder.stage_settings("train"), **flat, **more, "split": parts})


_COLUMNS = tuple(field.name for field in dataclasses.fields(Predictions))


def load(path: Path, settings: Mapping[str, Any]) -> Trial | None:
    """The trial of a file; None if there is none, or it is damaged and then set aside.

    Raises:
      ValueError: it was made with other settings.
    """
    return unless_damaged(lambda: _read(path, settings) if path.exists() else None)


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


def make(path: Path, settings: Mapping[str, Any], work: Callable[[], Trial]) -> None:
    """Do the work of a trial and write it for `load`; its record holds the time it took [s]."""
    started = time.perf_counter()
    trial = work()
    record = {**trial.record, "seconds": time.perf_counter() - started}
    arrays: dict[str, np.ndarray] = {}
    for part, predictions in (("validation", trial.validation), ("test", trial.test)):
        arrays |= {f"{part}_{name}": getattr(predictions, name) for name in _COLUMNS}
    archives.save_archive(path, arrays, {"trial": settings, "record": record})


def once(
    folder: Folder, path: Path, settings: Mapping[str, Any], work: Callable[[], Trial]
) -> Trial:
    """The trial of a file, made and written if it is not there."""
    work_queue.once(
        folder.claims,
        str(path.relative_to(folder.path)),
        lambda: load(path, settings) is not None,
        lambda: make(path, settings, work),
    )
    return _read(path, settings)


def write_table(folder: Path, name: str, table: ResultTable) -> None:
    """Write a table of results in three formats, `name` with the ending of each."""
    for ending, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
        archives.write_text(folder / f"{name}.{ending}", text)


def summary(result: training.TrainResult) -> dict[str, Any]:
    """Course of a training, for the record of its trial."""
    curves = {"loss": "train_loss", "validation_loss": "validation_loss", "score": "score"}
    return {
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "selected_by": result.selected_by,
        **{name: [epoch[key] for epoch in result.history] for name, key in curves.items()},
    }
