"""The stages that learn and judge: train, evaluate."""

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stzjax.evaluation import metrics, verdict
from stzjax.evaluation.verdict import Predictions
from stzjax.io import archives
from stzjax.io.archives import Saved
from stzjax.learning import checkpoints, training
from stzjax.learning.splits import Split
from stzjax.pipeline import work_queue
from stzjax.pipeline.dataset import PARTS, Dataset
from stzjax.pipeline.work_queue import Bar
from stzjax.run_folder.folder import Folder, Purpose, same, set_aside_if_damaged

_LOG = logging.getLogger(__name__)


def train_stage(folder: Folder) -> None:
    """Train the network on the training specimens; validation chooses the epoch."""

    def missing() -> bool:
        return set_aside_if_damaged(lambda: not _trained(folder))

    if missing():
        work_queue.once(folder.claims, "model", lambda: not missing(), lambda: _train(folder))


def _network_file(folder: Folder) -> Path:
    return folder.model / "network.npz"


def _trained(folder: Folder) -> bool:
    """Whether the network is there, and made with these settings."""
    marker = folder.model / "stage.json"
    if not (marker.exists() and _network_file(folder).exists()):
        return False
    folder.check(marker, archives.read_record(marker), "train")
    checkpoints.load(folder.model)
    return True


def _train(folder: Folder) -> None:
    data = Dataset(folder)
    data.check(data.split)
    config, settings = folder.settings.train_config(), folder.stage_settings("train")
    with Bar("train", config.epochs, "epoch") as bar:
        result = fit(
            folder,
            _network_file(folder),
            settings,
            data,
            data.split,
            config,
            lambda epoch, record: bar.to(epoch),
        )
    checkpoints.save(folder.model, result)
    archives.write_record(folder.model / "split.json", data.split._asdict())
    archives.write_record(folder.model / "stage.json", settings)
    folder.finish(_network_file(folder))
    _LOG.info("trained: epoch %d of %d is the best", result.best_epoch, len(result.history))


def fit(
    folder: Folder,
    path: Path,
    settings: Mapping[str, Any],
    data: Dataset,
    split: Split,
    config: training.TrainConfig,
    on_epoch: Callable[[int, training.Record], None] | None = None,
) -> training.TrainResult:
    """Train on a split; goes on where the training was if it was interrupted.

    Args:
      folder: of the run.
      path: of the file to which the result will lead.
      settings: all on which it depends.
      data: graphs.
      split: specimens.
      config: of the training.
      on_epoch: see `training.train`.
    """
    task = training.Task(data.of(split.train), data.of(split.validation), config.seed)
    told = None if on_epoch is None else lambda _, epoch, record: on_epoch(epoch, record)
    return fit_many(folder, path, settings, [task], config, told)[0]


def fit_many(
    folder: Folder,
    path: Path,
    settings: Mapping[str, Any],
    tasks: Sequence[training.Task],
    config: training.TrainConfig,
    on_epoch: Callable[[int, int, training.Record], None] | None = None,
) -> list[training.TrainResult]:
    """Train networks side by side, see `fit`; the caller drops what was kept (`folder.finish`).

    Raises:
      ValueError: an interrupted training of other settings is kept for this path.
    """
    kept = folder.unfinished(path)

    found: list[Saved] = []

    def missing() -> bool:
        if not kept.exists():
            return True
        arrays, made_with = archives.load_archive(kept)
        same(kept, made_with, archives.plain(settings))
        found.append(Saved(arrays, made_with))
        return False

    set_aside_if_damaged(missing)
    return training.train_many(
        tasks,
        config,
        score=scorer(config),
        on_epoch=on_epoch,
        saved=found[0] if found else None,
        save=lambda state: archives.save_archive(kept, state.arrays, settings),
        save_every=folder.save_every,
    )


def scorer(config: training.TrainConfig) -> training.Score | None:
    """What the epochs of a training are ranked by."""
    if config.select_by == "loss":
        return None
    return functools.partial(_score, config.select_by)


def _score(metric: str, labels: np.ndarray, confidence: np.ndarray) -> float:
    return metrics.evaluate(labels, confidence)[metric]


def evaluate_stage(folder: Folder) -> dict[str, Any]:
    """Predict and judge; cheap, so it is done anew every time."""
    if not _trained(folder):
        raise ValueError(
            f"{_network_file(folder)} is missing; run experiments/train.py on this folder first"
        )
    data = Dataset(folder)
    result = checkpoints.load(folder.model)
    found = {}
    for part in PARTS[1:]:
        found[part] = predicted(data, getattr(data.split, part), network(result))
        folder.save(folder.predictions(part), "evaluate", vars(found[part]))
    judged = _judge(folder, found["validation"], found["test"])
    judged["events"] = {
        "triggered": len(data.events),
        "runs": data.runs,
        "strains": [event.strain for event in data.events.values()],
        "sizes": [event.size for event in data.events.values()],
    }
    archives.write_json(folder.metrics, judged)
    return judged


Predictor = Callable[[Sequence[Any]], Sequence[np.ndarray]]
"""Graphs to a confidence (N,) for each."""


def network(result: training.TrainResult) -> Predictor:
    """A trained network as a predictor."""
    return functools.partial(training.predict, result.params, result.config)


def predicted(data: Dataset, specimens: Iterable[int], predictor: Predictor) -> Predictions:
    """Labels and confidences of the graphs of some specimens, pooled."""
    lanes, graphs = data.lanes(specimens), data.of(specimens)
    sizes = [int(graph.n_node[0]) for graph in graphs]
    return Predictions(
        label=np.concatenate([np.asarray(graph.nodes.label) for graph in graphs]),
        confidence=np.concatenate(predictor(graphs)),
        specimen=np.repeat([number for number, _ in lanes], sizes),
        direction=np.repeat([direction for _, direction in lanes], sizes),
    )


def parts(data: Dataset, split: Split, predictor: Predictor) -> tuple[Predictions, Predictions]:
    """Predictions on validation and test."""
    return (
        predicted(data, split.validation, predictor),
        predicted(data, split.test, predictor),
    )


def _judge(folder: Folder, validation: Predictions, test: Predictions) -> dict[str, Any]:
    """`metrics.json`: the judgement, and its main lines under names of their own."""
    judged = verdict.judge(validation, test, folder.key(Purpose.BOOTSTRAP))
    pooled = judged["pooled"]
    found = {
        "validation": metrics.evaluate(validation.label, validation.confidence),
        "test": pooled["at_half"],
        "verdict": judged,
    }
    if pooled["at_best_mcc"] is not None:
        found["test_at_validation_threshold"] = pooled["at_best_mcc"]
    return found
