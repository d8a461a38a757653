"""Training with Adam, a choice of epoch on the validation graphs, and prediction.

Everything random follows from the seed; same graphs, same config, same machine: the same
parameters to the byte. Arithmetic is float32 whether x64 is on or not. Folds and seeds of one
shape can be trained side by side, in one compiled step (`train_many`).
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jraph
import numpy as np

from stzjax.io import archives
from stzjax.io.archives import Clock, Saved
from stzjax.learning import calibration, graphs, losses, sampling, splits, train_step
from stzjax.learning.calibration import Calibration
from stzjax.learning.graphs import Bucket
from stzjax.learning.train_config import TrainConfig

Score = Callable[[np.ndarray, np.ndarray], float]
"""Labels (n,) and confidences (n,) to a number; higher is better."""

_RECORD = ("epoch", "train_loss", "validation_loss", "score")

Record = dict[str, float]
"""One epoch: "epoch", "train_loss", "validation_loss", and the "score" that ranks it."""


class Params(NamedTuple):
    """All fitted parameters: with the config they are enough to predict from raw features.

    Attributes:
      network: parameters of the flax module, float32.
      scaler: standardisation fitted on the training graphs.
      calibration: calibration of the logits.
    """

    network: Any
    scaler: splits.Scaler
    calibration: Calibration = Calibration()


class TrainResult(NamedTuple):
    """A trained network and the course of its training.

    Attributes:
      params: parameters of the chosen epoch.
      config: settings of the training.
      history: record of each epoch, from epoch 1.
      best_epoch: the chosen epoch.
      selected_by: quantity that chose it: `config.select_by`, or "loss" if the validation labels
        hold a single class, so that no metric can rank epochs.
    """

    params: Params
    config: TrainConfig
    history: tuple[Record, ...]
    best_epoch: int
    selected_by: str


class Task(NamedTuple):
    """Labelled, unpadded graphs with raw features, and the seed, instead of `TrainConfig.seed`."""

    train: Sequence[jraph.GraphsTuple]
    validation: Sequence[jraph.GraphsTuple]
    seed: int = 0


def train(
    train_graphs: Sequence[jraph.GraphsTuple],
    validation_graphs: Sequence[jraph.GraphsTuple],
    config: TrainConfig,
    *,
    score: Score | None = None,
    on_epoch: Callable[[int, Record], None] | None = None,
) -> TrainResult:
    """A network trained on graphs, at the epoch that is best on the validation graphs.

    `on_epoch` is called with the number of the epoch, from 1, and its record. The other arguments,
    and the errors, are those of `train_many` for a single `Task`.
    """
    task = Task(train_graphs, validation_graphs, config.seed)
    told = None if on_epoch is None else lambda _, epoch, record: on_epoch(epoch, record)
    return train_many([task], config, score=score, on_epoch=told)[0]


def train_many(
    tasks: Sequence[Task],
    config: TrainConfig,
    *,
    score: Score | None = None,
    on_epoch: Callable[[int, int, Record], None] | None = None,
    saved: Saved | None = None,
    save: Callable[[Saved], None] | None = None,
    save_every: float = 60.0,
) -> list[TrainResult]:
    """Networks of one shape trained side by side: folds, seeds, or both.

    All graphs are padded to one bucket and a step of every lane is one call of one compiled
    function, which suits a GPU. A lane that has stopped early waits for the others.

    Args:
      tasks: graphs and seed of each training.
      config: settings of all trainings.
      score: the metric that `config.select_by` names, of all validation atoms pooled; None for
        "loss".
      on_epoch: called after each epoch with the place of the task, its epoch, and its record.
      saved: state of the same trainings to go on from; the results have the same bits as without
        the interruption.
      save: called after an epoch now and then with the state.
      save_every: time between saves [s].

    Raises:
      ValueError: graphs that cannot be learned from, a missing score, a loss that diverged, or a
        state of other trainings.
    """
    for task in tasks:
        _check(task, config, score)
    lanes = [_Lane(task, config, score) for task in tasks]
    shown = [graph for lane in lanes for graph in (*lane.learned, *lane.judged)]
    bucket = graphs.bucket_shape(shown, config.graphs_per_batch)
    state = train_step.stack([lane.start(bucket) for lane in lanes])
    terms = train_step.stack([lane.terms for lane in lanes])
    if saved is not None:
        state = _resume(state, lanes, saved)
    first = 1 + len(max((lane.history for lane in lanes), key=len))
    clock = Clock(save_every if save else math.inf)
    for epoch in range(first, config.epochs + 1):
        if all(lane.done for lane in lanes):
            break
        state, losses_ = _epoch(state, lanes, bucket, config, terms, epoch)
        logits = _logits(state.network, [lane.judged for lane in lanes], bucket, config)
        for place, lane in enumerate(lanes):
            if not lane.done:
                network = train_step.pick(state.network, place, len(lanes))
                record = lane.judge(epoch, losses_[place], np.concatenate(logits[place]), network)
                if on_epoch is not None:
                    on_epoch(place, epoch, record)
        if save is not None and clock.struck():
            with clock.saving():
                save(_suspend(state, lanes))
    return [lane.result() for lane in lanes]


def predict(
    params: Params, config: TrainConfig, members: Sequence[jraph.GraphsTuple]
) -> list[np.ndarray]:
    """Confidence that each atom belongs to the first event: probability of class 1.

    The graphs are unpadded, with raw features; labels are not used.

    Returns:
      (N,) float32 in [0, 1] for each graph.
    """
    if not members:
        return []
    scaled = [_scale(graph, params.scaler) for graph in members]
    bucket = graphs.bucket_shape(scaled, config.graphs_per_batch)
    [found] = _logits(params.network, [scaled], bucket, config)
    return [np.asarray(calibration.confidence(own, params.calibration)) for own in found]


class _Lane:
    """A training on the host: its graphs, its history, and its best epoch."""

    def __init__(self, task: Task, config: TrainConfig, score: Score | None):
        self.config = dataclasses.replace(config, seed=task.seed)
        labels = [np.asarray(graph.nodes.label) for graph in task.train]
        counts = sampling.counts(labels, config.undersample, config.oversample)
        self.loss, self.terms = losses.LOSSES[config.loss].value, losses.terms(counts, config)
        self.positives = [int(own.sum()) for own in labels]
        self.truth = np.concatenate([graph.nodes.label for graph in task.validation])
        self.selected_by = config.select_by if np.ptp(self.truth) else "loss"
        self.score = None if self.selected_by == "loss" else score
        self.scaler = splits.fit_scaler([graph.nodes.features for graph in task.train])
        self.learned = [_scale(graph, self.scaler) for graph in task.train]
        self.judged = [_scale(graph, self.scaler) for graph in task.validation]
        self.init_key, self.key = jax.random.split(jax.random.key(task.seed))
        self.best: tuple[int, float, Any, Any] = (0, -np.inf, None, None)
        self.history: list[Record] = []
        self.done = False

    def start(self, bucket: Bucket) -> train_step.State:
        graph = graphs.pad(self.learned[0], *bucket)
        rate = self.config.learning_rate
        return train_step.start(self.init_key, graph, rate, model=self.config.model)

    def steps(self, bucket: Bucket, epoch: int) -> Iterator[train_step.Step]:
        """The steps of an epoch, followed by steps without end that do not count."""
        order_key, step_key = jax.random.split(jax.random.fold_in(self.key, epoch))
        order = sampling.order(order_key, self.positives, self.config.oversample)
        shown = [self.learned[place] for place in order]
        number = 0
        for number, graph in enumerate(_batches(shown, bucket, self.config.graphs_per_batch)):
            yield train_step.Step(graph, jax.random.fold_in(step_key, number), np.bool_(True))
        while True:
            yield train_step.Step(graph, step_key, np.bool_(False))

    @property
    def num_steps(self) -> int:
        return -(-len(self.learned) // self.config.graphs_per_batch)

    def judge(self, epoch: int, loss: float, logits: np.ndarray, network: Any) -> Record:
        """Record an epoch, and keep its network if it is the best so far."""
        every = np.ones(len(self.truth), bool)
        validation = float(train_step.judge(logits, self.truth, every, self.terms, loss=self.loss))
        if not (np.isfinite(loss) and np.isfinite(validation)):
            raise ValueError(
                f"training diverged: loss {loss}, validation loss {validation} in epoch {epoch}; "
                "lower learning_rate"
            )
        value = -validation
        if self.score is not None:
            confidence = calibration.confidence(logits, Calibration())
            value = float(self.score(self.truth, np.asarray(confidence)))
        if value > self.best[1]:
            self.best = (epoch, value, network, logits)
        self.done = 0 < self.config.patience <= epoch - self.best[0]
        self.history.append(dict(zip(_RECORD, (epoch, loss, validation, value), strict=True)))
        return self.history[-1]

    def result(self) -> TrainResult:
        epoch, _, network, logits = self.best
        if not epoch:
            raise ValueError(
                f"{self.selected_by} was not a number in any epoch: set another select_by"
            )
        calibrated = calibration.fit(self.config.calibration, logits, self.truth)
        params = Params(jax.device_get(network), self.scaler, calibrated)
        return TrainResult(params, self.config, tuple(self.history), epoch, self.selected_by)


def _suspend(state: train_step.State, lanes: Sequence[_Lane]) -> Saved:
    """The whole state after an epoch, from which the trainings can go on."""
    arrays = archives.named(state, "state")
    for place, lane in enumerate(lanes):
        epoch, value, network, logits = lane.best
        history = [[record[name] for name in _RECORD] for record in lane.history]
        arrays[f"{place}.history"] = np.array(history, float).reshape(-1, len(_RECORD))
        arrays[f"{place}.best"] = np.array([epoch, value, lane.done], float)
        if epoch:
            arrays[f"{place}.logits"] = logits
            arrays |= archives.named(network, f"{place}.network")
    return Saved(arrays, {})


def _resume(state: train_step.State, lanes: Sequence[_Lane], saved: Saved) -> train_step.State:
    """The saved state of the networks; history and best epoch go back into the lanes."""
    for place, lane in enumerate(lanes):
        epoch, value, done = saved.arrays[f"{place}.best"].tolist()
        rows = saved.arrays[f"{place}.history"].tolist()
        lane.history = [dict(zip(_RECORD, (int(row[0]), *row[1:]), strict=True)) for row in rows]
        lane.done = bool(done)
        if epoch:
            like = train_step.pick(state.network, place, len(lanes))
            network = archives.fill(like, saved.arrays, f"{place}.network")
            lane.best = (int(epoch), value, network, saved.arrays[f"{place}.logits"])
    return archives.fill(state, saved.arrays, "state")


def _check(task: Task, config: TrainConfig, score: Score | None) -> None:
    for name, given in (("training", task.train), ("validation", task.validation)):
        if not given:
            raise ValueError(f"no {name} graphs: give at least one")
        for number, graph in enumerate(given):
            graphs.check(f"{name} graph {number}", graph, labelled=True)
    if score is None and config.select_by != "loss":
        raise ValueError(
            f"select_by={config.select_by!r} needs score=, a function of labels and confidences; "
            'or set select_by="loss"'
        )


def _scale(graph: jraph.GraphsTuple, scaler: splits.Scaler) -> jraph.GraphsTuple:
    features = scaler.apply(graph.nodes.features).astype(np.float32)
    return graph._replace(nodes=graph.nodes._replace(features=features))


def _batches(ordered, bucket: Bucket, size: int) -> Iterator[jraph.GraphsTuple]:
    for start in range(0, len(ordered), size):
        yield graphs.pad(graphs.batch(ordered[start : start + size]), *bucket)


def _epoch(state, lanes: Sequence[_Lane], bucket, config: TrainConfig, terms, epoch: int):
    """A pass of every lane over its training graphs: the state, and the mean loss of each lane."""
    plans = [lane.steps(bucket, epoch) for lane in lanes]
    fixed = terms, np.float32(config.learning_rate), np.float32(config.undersample)
    kind = {"model": config.model, "loss": lanes[0].loss, "many": len(lanes) > 1}
    found = []
    for _ in range(max(lane.num_steps for lane in lanes)):
        step = train_step.stack([next(plan) for plan in plans])
        state, loss = train_step.take(state, step, *fixed, **kind)
        found.append(loss)
    values = np.reshape(jax.device_get(found), (len(found), len(lanes)))
    return state, [float(values[: lane.num_steps, i].mean()) for i, lane in enumerate(lanes)]


def _logits(network, members, bucket, config: TrainConfig) -> list[list[np.ndarray]]:
    """Logits (N, 2) of the graphs of each lane, without their padding."""
    size, many = config.graphs_per_batch, len(members) > 1
    padded = [list(_batches(own, bucket, size)) for own in members]
    found: list[list[np.ndarray]] = [[] for _ in members]
    for number in range(max(map(len, padded))):
        graph = train_step.stack([own[min(number, len(own) - 1)] for own in padded])
        logits = np.asarray(train_step.forward(network, graph, model=config.model, many=many))
        for place, own in enumerate(members):
            here = [int(graph.n_node.sum()) for graph in own[number * size :][:size]]
            if here:
                mine = train_step.pick(logits, place, len(members))[: sum(here)]
                found[place] += np.split(mine, np.cumsum(here)[:-1])
    return found
