"""The stages that learn and judge: train, evaluate."""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from stzjax import checkpoints, io, metrics, report, training, verdict
from stzjax.pipeline.dataset import PARTS, Dataset
from stzjax.pipeline.folder import Folder, Purpose
from stzjax.pipeline.stages import save
from stzjax.pipeline.workers import Bar
from stzjax.splits import Split
from stzjax.verdict import Predictions


def train_stage(folder: Folder) -> None:
    """Train the network on the training specimens; validation chooses the epoch."""
    marker = folder.model / "stage.json"
    if marker.exists():
        folder.check(marker, io.read_json(marker), "train")
        return
    data = Dataset(folder)
    data.check(data.split)
    config = folder.settings.train_config()
    with Bar("train", config.epochs, "epoch") as bar:
        result = training.train(
            data.of(data.split.train),
            data.of(data.split.validation),
            config,
            score=scorer(config),
            on_epoch=lambda epoch, record: bar.add(),
        )
    checkpoints.save(folder.model, result)
    io.write_json(folder.model / "split.json", data.split._asdict())
    io.write_json(marker, folder.stage_settings("train"))


def scorer(config: training.TrainConfig) -> training.Score | None:
    """What the epochs of a training are ranked by."""
    if config.select_by == "loss":
        return None
    return functools.partial(_score, config.select_by)


def _score(metric: str, labels: np.ndarray, confidence: np.ndarray) -> float:
    return metrics.evaluate(labels, confidence)[metric]


def evaluate_stage(folder: Folder, timings: dict[str, float]) -> dict[str, Any]:
    """Predict, judge and report; cheap, so it is done anew every time."""
    marker = folder.model / "stage.json"
    if not marker.exists():
        raise ValueError(f"{marker} is missing; run experiments/train.py on this folder first")
    folder.check(marker, io.read_json(marker), "train")
    started = time.perf_counter()
    data = Dataset(folder)
    result = checkpoints.load(folder.model)
    found = {}
    for part in PARTS[1:]:
        found[part] = predicted(data, getattr(data.split, part), network(result))
        save(folder, folder.predictions(part), "evaluate", vars(found[part]))
    judged = _judge(folder, found["validation"], found["test"])
    judged["events"] = {
        "triggered": len(data.events),
        "runs": data.runs,
        "strains": [event.strain for event in data.events.values()],
        "sizes": [event.size for event in data.events.values()],
    }
    judged["timings_s"] = {**timings, "evaluate": time.perf_counter() - started}
    io.write_json(folder.metrics, judged)
    report.write(folder.path)
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
