"""The stages that learn and judge: train, evaluate."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stzjax.evaluation import metrics, verdict
from stzjax.evaluation.averages import Trial
from stzjax.evaluation.verdict import Predictions
from stzjax.io import archives
from stzjax.io.archives import Saved
from stzjax.learning import checkpoints, training
from stzjax.learning.splits import Split
from stzjax.pipeline import trials, work_queue
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.work_queue import Bar
from stzjax.run_folder.folder import Folder, Purpose, same, unless_damaged

_LOG = logging.getLogger(__name__)


def train_stage(folder: Folder) -> None:
    """Train the network on the training specimens; validation chooses the epoch."""

    def done() -> bool:
        return unless_damaged(folder.model, lambda: _network(folder)) is not None

    work_queue.once(folder.claims, "model", done, lambda: _train(folder))


def _network(folder: Folder) -> training.TrainResult | None:
    """The trained network, if it is there, made with these settings."""
    marker = folder.model / "stage.json"
    if not (marker.exists() and (folder.model / "network.npz").exists()):
        return None
    same(marker, archives.read_record(marker), folder.stage_settings("train"))
    return checkpoints.load(folder.model)


def _train(folder: Folder) -> None:
    data, path = Dataset(folder), folder.model / "network.npz"
    data.check(data.split)
    config, settings = folder.settings.train_config(), folder.stage_settings("train")
    with Bar("train", config.epochs, "epoch") as bar:
        task = data.task(data.split, config.seed)
        [result] = fit(folder, path, settings, [task], config, lambda _, epoch, __: bar.to(epoch))
    checkpoints.save(folder.model, result)
    archives.write_record(folder.model / "split.json", data.split._asdict())
    archives.write_record(folder.model / "stage.json", settings)
    folder.finish(path)
    _LOG.info("trained: epoch %d of %d is the best", result.best_epoch, len(result.history))


def fit(
    folder: Folder,
    path: Path,
    settings: Mapping[str, Any],
    tasks: Sequence[training.Task],
    config: training.TrainConfig,
    on_epoch: Callable[[int, int, training.Record], None] | None = None,
) -> list[training.TrainResult]:
    """Train networks side by side (`training.train_many`), from where they were interrupted.

    The caller drops the saved state by `folder.finish` when the results are written.

    Args:
      folder: folder of the run.
      path: file to which the results will lead.
      settings: all settings on which the results depend.
      tasks: the trainings.
      config: settings of all trainings.
      on_epoch: see `training.train_many`.

    Raises:
      ValueError: an interrupted training of other settings is kept for this path.
    """
    kept = folder.unfinished(path)

    def saved() -> Saved:
        arrays, made_with = archives.load_archive(kept)
        same(kept, made_with, archives.plain(settings))
        return Saved(arrays, made_with)

    def score(labels, confidence) -> float:
        return metrics.evaluate(labels, confidence)[config.select_by]

    return training.train_many(
        tasks,
        config,
        score=None if config.select_by == "loss" else score,
        on_epoch=on_epoch,
        saved=unless_damaged(kept, saved),
        save=lambda state: archives.save_archive(kept, state.arrays, settings),
        save_every=folder.save_every,
    )


def predict(result: training.TrainResult, data: Dataset, specimens: Iterable[int]) -> Predictions:
    """Labels and confidences of a network for the graphs of the given specimens, pooled."""
    graphs = data.of(specimens)
    return data.pooled(specimens, training.predict(result.params, result.config, graphs))


def trial(
    path: Path,
    settings: Mapping[str, Any],
    data: Dataset,
    split: Split,
    config: training.TrainConfig,
) -> tuple[Trial, training.TrainResult]:
    """A network trained on a split by `fit`, with its predictions on validation and test."""
    [result] = fit(data.folder, path, settings, [data.task(split, config.seed)], config)
    validation, test = (predict(result, data, part) for part in (split.validation, split.test))
    return Trial(validation, test, trials.summary(result)), result


def evaluate_stage(folder: Folder) -> dict[str, Any]:
    """Predict and judge, anew every time since it is cheap; the content of `metrics.json`."""
    result = _network(folder)
    if result is None:
        path = folder.model / "network.npz"
        raise ValueError(f"{path} is missing; run experiments/train.py on this folder first")
    data = Dataset(folder)
    validation, test = (predict(result, data, part) for part in data.split[1:])
    for part, predictions in (("validation", validation), ("test", test)):
        folder.save(folder.predictions(part), "evaluate", vars(predictions))
    judged = verdict.judge(validation, test, folder.key(Purpose.BOOTSTRAP))
    pooled = judged["pooled"]
    content = {
        "validation": metrics.evaluate(validation.label, validation.confidence),
        "test": pooled["at_half"],
        "verdict": judged,
    }
    if pooled["at_best_mcc"] is not None:
        content["test_at_validation_threshold"] = pooled["at_best_mcc"]
    content["events"] = {
        "triggered": len(data.events),
        "runs": data.num_runs,
        "strains": [event.strain for event in data.events.values()],
        "sizes": [event.size for event in data.events.values()],
    }
    archives.write_json(folder.path / "metrics.json", content)
    return content
