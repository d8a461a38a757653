"""Trials: each training or fit, judged, in a file of its own, made once and found again."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stzjax.evaluation.averages import Trial
from stzjax.evaluation.result_table import ResultTable
from stzjax.io import archives
from stzjax.learning import training
from stzjax.learning.splits import Split
from stzjax.run_folder import contents
from stzjax.run_folder.folder import Folder, same, unless_damaged


def settings_of(
    folder: Folder, config: training.TrainConfig, split: Split, **more: Any
) -> dict[str, Any]:
    """All settings on which the outcome of a training depends, as plain values."""
    flat = dataclasses.asdict(config)
    flat |= flat.pop("model")
    parts = {name: sorted(map(int, part)) for name, part in split._asdict().items()}
    return archives.plain({**folder.stage_settings("train"), **flat, **more, "split": parts})


_PARTS = "validation", "test"


class Planned(NamedTuple):
    """A trial that is made once.

    Attributes:
      path: path of its file.
      settings: all settings on which its outcome depends.
      work: function that makes it.
    """

    path: Path
    settings: Mapping[str, Any]
    work: Callable[[], Trial]

    def load(self) -> Trial | None:
        """The trial of the file; None if there is none, or it is damaged and then set aside.

        Raises:
          ValueError: it was made with other settings.
        """
        return unless_damaged(self.path, self.read)

    def read(self) -> Trial:
        """The trial of the file, which is there."""
        arrays, kept = archives.load_archive(self.path)
        if not {"trial", "record"} <= set(kept):
            raise archives.Damaged(self.path, "is no trial")
        same(self.path, kept["trial"], self.settings)
        validation, test = (contents.predictions(self.path, arrays, f"{p}_") for p in _PARTS)
        return Trial(validation, test, kept["record"])

    def make(self) -> None:
        """Make the trial and write its file; the record holds the time it took [s]."""
        started = time.perf_counter()
        trial = self.work()
        record = {**trial.record, "seconds": time.perf_counter() - started}
        arrays: dict[str, np.ndarray] = {}
        for part in _PARTS:
            arrays |= {f"{part}_{k}": v for k, v in vars(getattr(trial, part)).items()}
        archives.save_archive(self.path, arrays, {"trial": self.settings, "record": record})


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
