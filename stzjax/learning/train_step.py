"""One step of training, compiled: of one network, or of many of one shape side by side."""

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


class State(NamedTuple):
    """A network and its optimiser."""

    network: Any
    optimiser: Any


class Step(NamedTuple):
    """What one step of one lane takes: a padded graph, its key, and whether it counts."""

    graph: jraph.GraphsTuple
    key: Array
    counts: np.bool_


def stack(lanes: Sequence[Any]) -> Any:
    """Trees of several lanes as one with a leading axis; that of a single lane as it is."""
    if len(lanes) == 1:
        return lanes[0]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)


def pick(tree: Any, place: int, num_lanes: int) -> Any:
    """The tree of one of several lanes; that of a single lane as it is."""
    return tree if num_lanes == 1 else jax.tree.map(lambda leaf: leaf[place], tree)


@functools.partial(jax.jit, static_argnames="model")
def start(key, graph, *, model: models.Config):
    """Parameters of a new network."""
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
        return loss(logits, nodes.label, counting, *terms, graph=graph, num_graphs=num_graphs)

    value, gradient = jax.value_and_grad(loss_of)(state.network)
    update, optimiser = optax.adam(rate).update(gradient, state.optimiser)
    moved = State(optax.apply_updates(state.network, update), optimiser)
    kept = jax.tree.map(lambda new, old: jnp.where(step.counts, new, old), moved, state)
    return kept, value


@functools.partial(jax.jit, static_argnames=("model", "loss", "many"))
def take(state, step, terms, rate, ratio, *, model: models.Config, loss: Callable, many: bool):
    """State and loss after a step, of one lane or, with a leading axis, of many."""
    advance = functools.partial(_advance, rate=rate, ratio=ratio, model=model, loss=loss)
    return (jax.vmap(advance) if many else advance)(state, step, terms)


@functools.partial(jax.jit, static_argnames="model")
def forward(network, graph, *, model: models.Config):
    """Logits (A, 2) of a padded graph."""
    return models.network(model).apply({"params": network}, graph)


@functools.partial(jax.jit, static_argnames="model")
def forward_many(network, graph, *, model: models.Config):
    """Logits (lanes, A, 2) of the padded graph of each lane."""
    return jax.vmap(lambda n, g: models.network(model).apply({"params": n}, g))(network, graph)


@functools.partial(jax.jit, static_argnames="loss")
def judge(logits, labels, mask, terms, *, loss: Callable):
    """Loss of logits (A, 2), all of them as of one graph."""
    return loss(logits, labels, mask, *terms, graph=None, num_graphs=1)
