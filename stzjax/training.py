"""Training with Adam, a choice of epoch on the validation graphs, prediction and checkpoints.

Everything random follows from `TrainConfig.seed`; same graphs, same config, same machine: the same
parameters to the byte. Arithmetic is float32 whether x64 is on or not.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import jraph
import numpy as np
import optax
import scipy.special
from jax import Array

from stzjax import graphs as graphs_
from stzjax import io, losses, splits
from stzjax.models import gat

SELECT_BY = ("loss", "ap", "mcc", "f1", "auc")
"""What the epoch may be chosen by, on the validation graphs."""

Score = Callable[[np.ndarray, np.ndarray], float]
"""Labels (n,) and confidences (n,) to a number; higher is better."""

Record = dict[str, float]
"""One epoch: "epoch", "train_loss", "validation_loss", and the "score" that ranks it."""

_PARAMS, _CONFIG, _HISTORY = "params.msgpack", "config.json", "history.json"


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What is trained, and how.

    Attributes:
      model: shape of the network.
      learning_rate: of Adam.
      epochs: passes over the training graphs, at most.
      graphs_per_batch: graphs per step.
      weight_power: power of the inverse class frequency in the loss; 0 weighs atoms alike.
      select_by: one of `SELECT_BY`; every one but "loss" needs `score` in `train`.
      seed: of parameters, shuffling and dropout.
      patience: stop after so many epochs without a better one; None never stops early.
    """

    model: gat.Config = dataclasses.field(default_factory=gat.Config)
    learning_rate: float = 1e-3
    epochs: int = 100
    graphs_per_batch: int = 1
    weight_power: float = 1.0
    select_by: str = "ap"
    seed: int = 0
    patience: int | None = None

    def __post_init__(self):
        """Refuse values that cannot train."""
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        counts = {"epochs": self.epochs, "graphs_per_batch": self.graphs_per_batch}
        if self.patience is not None:
            counts["patience"] = self.patience
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if not (np.isfinite(self.weight_power) and self.weight_power >= 0):
            raise ValueError(f"weight_power must not be negative, got {self.weight_power}")
        if self.select_by not in SELECT_BY:
            raise ValueError(
                f"select_by must be one of {', '.join(SELECT_BY)}, got {self.select_by!r}"
            )


class Params(NamedTuple):
    """All that was fitted: enough, with the config, to predict from raw features.

    Attributes:
      network: parameters of the flax module, float32.
      scaler: standardisation fitted on the training graphs.
    """

    network: Any
    scaler: splits.Scaler


class TrainResult(NamedTuple):
    """A trained network and how it came about.

    Attributes:
      params: of the chosen epoch.
      config: as given.
      history: one record per epoch, from epoch 1.
      best_epoch: the chosen epoch.
      selected_by: what chose it: `config.select_by`, or "loss" where the validation labels hold
        one class alone, so that no metric can rank epochs.
    """

    params: Params
    config: TrainConfig
    history: tuple[Record, ...]
    best_epoch: int
    selected_by: str


class _State(NamedTuple):
    network: Any
    optimiser: Any


def train(
    train_graphs: Sequence[jraph.GraphsTuple],
    validation_graphs: Sequence[jraph.GraphsTuple],
    config: TrainConfig,
    *,
    score: Score | None = None,
    on_epoch: Callable[[int, Record], None] | None = None,
) -> TrainResult:
    """Train on some graphs and keep the epoch that does best on others.

    Args:
      train_graphs: labelled, unpadded, raw features; the scaler is fitted on these alone.
      validation_graphs: labelled, of other specimens.
      config: see `TrainConfig`.
      score: what `config.select_by` names, on all validation atoms pooled; None for "loss".
      on_epoch: called after each epoch with its number, from 1, and its record.

    Raises:
      ValueError: graphs that cannot be learned from, a missing score, or a loss that diverged.
    """
    _check(train_graphs, validation_graphs, config, score)
    weights = losses.class_weights(_labels(train_graphs), config.weight_power).astype(np.float32)
    truth = _labels(validation_graphs)
    selected_by = config.select_by if np.ptp(truth) else "loss"
    score = None if selected_by == "loss" else score
    scaler = splits.fit_scaler([graph.nodes.features for graph in train_graphs])
    learned = [_scale(graph, scaler) for graph in train_graphs]
    judged = [_scale(graph, scaler) for graph in validation_graphs]
    bucket = graphs_.bucket_shape(learned + judged, config.graphs_per_batch)
    init_key, key = jax.random.split(jax.random.key(config.seed))
    state = _init(config, graphs_.pad(learned[0], *bucket), init_key)

    best, best_epoch, best_score = state.network, 0, -np.inf
    history: list[Record] = []
    for epoch in range(1, config.epochs + 1):
        epoch_key = jax.random.fold_in(key, epoch)
        state, loss = _epoch(state, learned, bucket, config, weights, epoch_key)
        logits = np.concatenate(list(_logits(state.network, judged, bucket, config)))
        record = _judge(epoch, loss, logits, truth, weights, score)
        history.append(record)
        if record["score"] > best_score:
            best, best_epoch, best_score = state.network, epoch, record["score"]
        if on_epoch is not None:
            on_epoch(epoch, record)
        if config.patience is not None and epoch - best_epoch >= config.patience:
            break
    if not best_epoch:
        raise ValueError(f"{selected_by} was not a number in any epoch: set another select_by")
    params = Params(jax.device_get(best), scaler)
    return TrainResult(params, config, tuple(history), best_epoch, selected_by)


def predict(
    params: Params, config: TrainConfig, graphs: Sequence[jraph.GraphsTuple]
) -> list[np.ndarray]:
    """Confidence that each atom belongs to the first event: softmax probability of class 1.

    Args:
      params: as trained; raw features are scaled here.
      config: of the training.
      graphs: unpadded; labels are not looked at.

    Returns:
      (N,) float32 in [0, 1] per graph.
    """
    if not graphs:
        return []
    scaled = [_scale(graph, params.scaler) for graph in graphs]
    bucket = graphs_.bucket_shape(scaled, config.graphs_per_batch)
    logits = _logits(params.network, scaled, bucket, config)
    return [_confidence(each) for each in logits]


def save(folder: str | os.PathLike, result: TrainResult) -> None:
    """Write a result into a folder, each file atomically, the parameters last."""
    folder = Path(folder)
    io.write_json(folder / _CONFIG, dataclasses.asdict(result.config))
    chosen = {"best_epoch": result.best_epoch, "selected_by": result.selected_by}
    io.write_json(folder / _HISTORY, {**chosen, "epochs": list(result.history)})
    content = {"network": result.params.network, "scaler": result.params.scaler._asdict()}
    with io.atomic(folder / _PARAMS) as temporary:
        temporary.write_bytes(flax.serialization.msgpack_serialize(jax.device_get(content)))


def load(folder: str | os.PathLike) -> TrainResult:
    """Read what `save` wrote.

    Raises:
      ValueError: a file is missing, truncated, or not of this kind.
    """
    folder = Path(folder)
    settings, past = io.read_json(folder / _CONFIG), io.read_json(folder / _HISTORY)
    try:
        content = flax.serialization.msgpack_restore((folder / _PARAMS).read_bytes())
        params = Params(content["network"], splits.Scaler(**content["scaler"]))
    except OSError as error:
        raise ValueError(f"cannot read {folder / _PARAMS}: {error.strerror}") from error
    except Exception as error:  # msgpack raises a dozen unrelated types on damaged bytes
        raise ValueError(
            f"{folder / _PARAMS} is not a complete model ({error}); delete it and train again"
        ) from error
    try:
        shape = {**settings.pop("model")}
        model = gat.Config(**{**shape, "dense": tuple(shape["dense"])})
        config = TrainConfig(model=model, **settings)
        history, chosen = tuple(past["epochs"]), (past["best_epoch"], past["selected_by"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} holds no training of this version ({error}); train again"
        ) from error
    return TrainResult(params, config, history, *chosen)


def _check(train_graphs, validation_graphs, config: TrainConfig, score: Score | None) -> None:
    for name, given in (("training", train_graphs), ("validation", validation_graphs)):
        if not given:
            raise ValueError(f"no {name} graphs: give at least one")
        for number, graph in enumerate(given):
            if (graph.nodes.label == graphs_.UNLABELLED).any():
                raise ValueError(f"{name} graph {number} has no labels: build it with labels")
            if not np.isfinite(graph.nodes.features).all():
                raise ValueError(f"{name} graph {number} has a feature that is not finite")
            if not graph.nodes.mask.all():
                raise ValueError(
                    f"{name} graph {number} is padded: give it as `graphs.build` made it"
                )
    if score is None and config.select_by != "loss":
        raise ValueError(
            f"select_by={config.select_by!r} needs score=, a function of labels and confidences; "
            'or set select_by="loss"'
        )


def _labels(graphs: Sequence[jraph.GraphsTuple]) -> np.ndarray:
    return np.concatenate([graph.nodes.label for graph in graphs])


def _scale(graph: jraph.GraphsTuple, scaler: splits.Scaler) -> jraph.GraphsTuple:
    features = scaler.apply(graph.nodes.features).astype(np.float32)
    return graph._replace(nodes=graph.nodes._replace(features=features))


def _init(config: TrainConfig, graph: jraph.GraphsTuple, key: Array) -> _State:
    network = _network(key, graph, model=config.model)
    return _State(network, optax.adam(config.learning_rate).init(network))


@functools.partial(jax.jit, static_argnames="model")
def _network(key, graph, *, model: gat.Config):
    variables: Any = gat.GAT(model).init(key, graph)
    return variables["params"]


@functools.partial(jax.jit, static_argnames="model")
def _step(state: _State, graph, weights, learning_rate, key, *, model: gat.Config):
    def loss_of(network):
        logits: Any = gat.GAT(model).apply(
            {"params": network}, graph, train=model.dropout > 0, rngs={"dropout": key}
        )
        return losses.weighted_cross_entropy(logits, graph.nodes.label, graph.nodes.mask, weights)

    loss, gradient = jax.value_and_grad(loss_of)(state.network)
    update, optimiser = optax.adam(learning_rate).update(gradient, state.optimiser)
    return _State(optax.apply_updates(state.network, update), optimiser), loss


@functools.partial(jax.jit, static_argnames="model")
def _forward(network, graph, *, model: gat.Config):
    return gat.GAT(model).apply({"params": network}, graph)


_loss = jax.jit(losses.weighted_cross_entropy)


def _batches(ordered, bucket: graphs_.Bucket, size: int) -> Iterator[jraph.GraphsTuple]:
    for start in range(0, len(ordered), size):
        yield graphs_.pad(graphs_.batch(ordered[start : start + size]), *bucket)


def _epoch(state, learned, bucket, config: TrainConfig, weights, key) -> tuple[_State, float]:
    """One pass over the training graphs in a random order, and the mean loss of its steps."""
    order_key, dropout_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(order_key, len(learned)))
    found = []
    shuffled = [learned[i] for i in order]
    for number, graph in enumerate(_batches(shuffled, bucket, config.graphs_per_batch)):
        step_key = jax.random.fold_in(dropout_key, number)
        rate = np.float32(config.learning_rate)
        state, loss = _step(state, graph, weights, rate, step_key, model=config.model)
        found.append(loss)
    return state, float(np.mean(jax.device_get(found)))


def _logits(network, scaled, bucket, config: TrainConfig) -> Iterator[np.ndarray]:
    """Logits (N, 2) of each graph, without its padding."""
    sizes = [int(graph.n_node.sum()) for graph in scaled]
    for number, graph in enumerate(_batches(scaled, bucket, config.graphs_per_batch)):
        logits = np.asarray(_forward(network, graph, model=config.model))
        here = sizes[number * config.graphs_per_batch :][: config.graphs_per_batch]
        yield from np.split(logits[: sum(here)], np.cumsum(here)[:-1])


def _confidence(logits: np.ndarray) -> np.ndarray:
    # The softmax of two logits is the logistic function of their difference.
    return scipy.special.expit(logits[:, 1] - logits[:, 0])


def _judge(epoch, loss: float, logits, truth, weights, score: Score | None) -> Record:
    everywhere = np.ones(len(truth), bool)
    validation = float(_loss(logits, truth, everywhere, weights))
    if not (np.isfinite(loss) and np.isfinite(validation)):
        raise ValueError(
            f"training diverged: loss {loss}, validation loss {validation} in epoch {epoch}; "
            "lower learning_rate"
        )
    value = -validation if score is None else float(score(truth, _confidence(logits)))
    return {"epoch": epoch, "train_loss": loss, "validation_loss": validation, "score": value}
