"""A compiled step of training, for a single network or for lanes: networks of one shape."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import optax
from jax import Array

from stzjax.learning import models, sampling
from stzjax.numerics import batching


class State(NamedTuple):
    """A network and its optimiser."""

    network: Any
    optimiser: Any


class Step(NamedTuple):
    """Input of a step of a lane: a padded graph, its random key, and whether the step counts."""

    graph: jraph.GraphsTuple
    key: Array
    counts: np.bool_


def stack(lanes: Sequence[Any]) -> Any:
    """Trees of several lanes as a tree with a leading axis; a single tree stays as it is."""
    return lanes[0] if len(lanes) == 1 else batching.stack(lanes)


def pick(tree: Any, place: int, num_lanes: int) -> Any:
    """The tree of a lane, from the tree that `stack` made."""
    return tree if num_lanes == 1 else jax.tree.map(lambda leaf: leaf[place], tree)


def start(key, graph, rate, *, model: models.Config) -> State:
    """A new network and its optimiser at rest."""
    network = _network(key, graph, model=model)
    return State(network, optax.adam(rate).init(network))


@functools.partial(jax.jit, static_argnames="model")
def _network(key, graph, *, model: models.Config):
    return models.network(model).init(key, graph)["params"]


def _advance(state: State, step: Step, terms, rate, ratio, model: models.Config, loss: Callable):
    """State after a step of a lane, and its loss; a step that does not count changes nothing."""
    nodes = step.graph.nodes
    counting = sampling.kept(jax.random.fold_in(step.key, 1), nodes.label, nodes.mask, ratio)
    num_graphs, num_nodes = len(step.graph.n_node), len(nodes.label)
    graph = jnp.repeat(jnp.arange(num_graphs), step.graph.n_node, total_repeat_length=num_nodes)

    def loss_of(network):
        logits = models.network(model).apply(
            {"params": network}, step.graph, train=True, rngs={"dropout": step.key}
        )
        return loss(logits, nodes.label, counting, terms, graph=graph, num_graphs=num_graphs)

    value, gradient = jax.value_and_grad(loss_of)(state.network)
    update, optimiser = optax.adam(rate).update(gradient, state.optimiser)
    moved = State(optax.apply_updates(state.network, update), optimiser)
    kept = jax.tree.map(lambda new, old: jnp.where(step.counts, new, old), moved, state)
    return kept, value


@functools.partial(jax.jit, static_argnames=("model", "loss", "many"))
def take(state, step, terms, rate, ratio, *, model: models.Config, loss: Callable, many: bool):
    """State and loss after a step, of a single lane or, with a leading axis, of many lanes."""
    advance = functools.partial(_advance, rate=rate, ratio=ratio, model=model, loss=loss)
    return (jax.vmap(advance) if many else advance)(state, step, terms)


@functools.partial(jax.jit, static_argnames=("model", "many"))
def forward(network, graph, *, model: models.Config, many: bool):
    """Logits (A, 2) of a padded graph; (lanes, A, 2) if there are many lanes."""

    def logits(network, graph):
        return models.network(model).apply({"params": network}, graph)

    return (jax.vmap(logits) if many else logits)(network, graph)


@functools.partial(jax.jit, static_argnames="loss")
def judge(logits, labels, mask, terms, *, loss: Callable):
    """Loss of logits (A, 2), all of them as of one graph."""
    return loss(logits, labels, mask, terms, graph=None, num_graphs=1)
