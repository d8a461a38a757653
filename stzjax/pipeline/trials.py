"""Trials: one training or fit, judged, in a file of its own, made once and found again."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stzjax import io, tables, training
from stzjax.pipeline.folder import Folder, same
from stzjax.splits import Split
from stzjax.verdict import Predictions


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
    return io.plain({**folder.stage_settings("train"), **flat, **more, "split": parts})


def load(path: Path, settings: Mapping[str, Any]) -> Trial | None:
    """A trial that was made with these settings; None if there is none.

    Raises:
      ValueError: it was made with others, or the file is damaged.
    """
    if not path.exists():
        return None
    arrays, found = io.load_archive(path)
    try:
        same(path, found["trial"], settings)
        validation, test = (
            Predictions(**{name: arrays[f"{part}_{name}"] for name in _COLUMNS})
            for part in ("validation", "test")
        )
        return Trial(validation, test, found["record"])
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}; delete it and run again") from error


_COLUMNS = tuple(field.name for field in dataclasses.fields(Predictions))


def save(path: Path, settings: Mapping[str, Any], trial: Trial) -> None:
    """Write a trial for `load`."""
    arrays = {
        f"{part}_{name}": getattr(getattr(trial, part), name)
        for part in ("validation", "test")
        for name in _COLUMNS
    }
    io.save_archive(path, arrays, {"trial": settings, "record": trial.record})


def once(path: Path, settings: Mapping[str, Any], make: Callable[[], Trial]) -> Trial:
    """The trial of a file, made and written if it is not there."""
    found = load(path, settings)
    if found is None:
        started = time.perf_counter()
        found = make()
        found = found._replace(record={**found.record, "seconds": time.perf_counter() - started})
        save(path, settings, found)
    return found


def write_table(folder: Path, name: str, table: tables.Table) -> None:
    """A table in three formats, `name` with the ending of each."""
    for ending, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
        io.write_text(folder / f"{name}.{ending}", text)


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
