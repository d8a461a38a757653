"""The paper's network: graph attention layers, then fully connected layers to two logits.

Attention runs over a table of neighbours by slot and not over the edge list, and nothing of the
size of edges times features is ever stored. On the way back nothing is scattered: every edge has
one in the other direction, so a node gathers from those it has sent to.

The loops that `lax.scan` makes here are short and there for XLA's CPU backend, which fuses
whatever comes before and after into a sum over neighbours and then no longer vectorises it; what
goes into a loop and comes out of it is left alone.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from jax import Array

from stzjax.core.settings import check, setting
from stzjax.descriptors import symmetry_functions
from stzjax.learning import graphs

_NEGATIVE_SLOPE = 0.2

_PIECE = 16
"""Features of a head, at most, that are summed in one go on the way back."""

_VARIANCE = 1e-8
"""Keeps a symmetry function that is the same for all atoms at zero."""

_MERGES = ("concat", "mean")


@dataclasses.dataclass(frozen=True)
class Config:
    """Shape of the network; L, M, N are the letters of the paper."""

    layers: int = setting(4, "Attention layers L.", limits="[1, inf)")
    features_per_head: int = setting(15, "Features per attention head M.", limits="[1, inf)")
    heads: int = setting(9, "Attention heads N.", limits="[1, inf)")
    merge: str = setting("concat", "How heads join.", _MERGES)
    merge_last: str = setting(
        "mean", "How the heads of the last attention layer join.", _MERGES, flag=None
    )
    dense: tuple[int, ...] = setting(
        (32,), "Widths of the fully connected layers.", limits="[1, inf)"
    )
    residual: bool = setting(
        False, "Add the input of each attention layer to its output, projected where widths differ."
    )
    normalisation: str = setting(
        "none", "Layer normalisation before each activation.", ("none", "layer")
    )
    dropout: float = setting(
        0.0, "Dropout rate of inputs and attention coefficients.", limits="[0, 1)"
    )
    # Symmetry functions of `descriptors.symmetry_functions`; none by default, as in the paper.
    radial: int = setting(
        0,
        "Radial symmetry functions that join the features; the graphs then carry surroundings.",
        limits="[0, inf)",
        flag=None,
    )
    angular: int = setting(
        0, "Angular symmetry functions that join the features.", limits="[0, inf)", flag=None
    )
    learn_functions: bool = setting(
        True, "Whether training moves the parameters of the symmetry functions.", flag=None
    )

    def __post_init__(self):
        """Refuse a shape that makes no network."""
        check(self)


class Table(NamedTuple):
    """The edges by slot and receiver; every edge has another in the other direction.

    Attributes:
      senders: (D, N) sender in each slot of each receiver; the receiver itself where empty.
      filled: (D, N) False for empty slots.
      reverse: (D, N) of `reverse_slots`.
    """

    senders: Array
    filled: Array
    reverse: Array


def mish(x: Array) -> Array:
    """Activation x tanh(log(1 + exp x)), by one exponential and one division.

    Misra 2019 (arXiv:1908.08681).
    """
    # Beyond 20 the tangent is 1 even in float64.
    e = jnp.exp(jnp.minimum(x, 20.0))
    ratio = e * (e + 2.0)
    return x * (ratio / (ratio + 2.0))


_activation = jax.checkpoint(mish)
"""Keeps its input alone for the way back."""


def attention(sent: Array, received: Array, senders: Array, filled: Array) -> Array:
    """Attention coefficients, softmax over the edges that end at a node.

    Veličković et al. 2018 (arXiv:1710.10903), eq. 3.

    Args:
      sent: (N, H) a_s · W h of each node as a sender.
      received: (N, H) a_r · W h of each node as a receiver.
      senders: see `Table`.
      filled: see `Table`.

    Returns:
      (D, N, H) coefficients that sum to 1 over slots; 0 in empty ones, but for nodes without edges.
    """
    num_slots, num_nodes = senders.shape
    # Node N sends to the empty slots, and nobody listens. Long rows keep the softmax vectorised.
    nobody = jnp.full_like(sent[:1], -0.5 * jnp.finfo(sent.dtype).max)
    sender = _unsigned(jnp.where(filled, senders, num_nodes))
    score = jnp.concatenate([sent, nobody])[sender].reshape(num_slots, -1) + received.reshape(-1)
    coefficients = nn.softmax(nn.leaky_relu(score, _NEGATIVE_SLOPE), axis=0)
    return coefficients.reshape(num_slots, *received.shape)


def reverse_slots(senders: Array) -> Array:
    """Number (D, N) of the edge in the other direction, counted row by row, from `Table.senders`.

    It is that of the slot itself where this is empty or a self-edge.
    """
    number = jnp.arange(senders.size, dtype=senders.dtype).reshape(senders.shape)
    node, sender = number[0], _unsigned(senders)
    itself = senders == node

    def look(found, row):
        candidates, numbers = row
        back = (candidates[sender] == node) & ~itself
        return jnp.where(back, numbers[sender], found), None

    return jax.lax.scan(look, number, (senders, number))[0]


@jax.custom_vjp
def aggregate(values: Array, coefficients: Array, senders: Array, reverse: Array) -> Array:
    """Sum of the senders' values, weighted by the coefficients of their edges.

    Values (N, H, M) and coefficients (D, N, H) give (N, H, M); the others are those of `Table`. Can
    be differentiated in reverse mode alone, any number of times.
    """
    del reverse
    return _weighted_sum(values, coefficients, senders)


def _aggregate(*args):
    return aggregate(*args), args


def _aggregate_back(args, change):
    values, coefficients, senders, reverse = args
    returned = coefficients.reshape(-1, coefficients.shape[-1])[_unsigned(reverse)]
    # Through `aggregate`, so that second derivatives take the short way, too.
    back = aggregate(change, returned, senders, reverse)
    return back, _products(change, values, senders), None, None


aggregate.defvjp(_aggregate, _aggregate_back)


def _weighted_sum(values: Array, weights: Array, senders: Array) -> Array:
    def add(total, half):
        weight, sender = half
        return total + (weight[..., None] * values[sender]).sum(axis=0), None

    halves = _split(weights, 2), _split(_unsigned(senders), 2)
    return jax.lax.scan(add, jnp.zeros_like(values), halves)[0]


def _products(change: Array, values: Array, senders: Array) -> Array:
    """Products of each node's change with its senders' values, summed over features, (D, N, H)."""
    sender = _unsigned(senders)
    count = max(2, -(-values.shape[-1] // _PIECE))

    def add(total, piece):
        ours, theirs = piece
        return total + (ours * theirs[sender]).sum(axis=2), None

    def pieces(x):
        # Heads last: a sum over the last axis is not vectorised.
        return _split(jnp.moveaxis(x, -1, 0), count).swapaxes(1, 2)

    start = jnp.zeros((*senders.shape, values.shape[1]), values.dtype)
    return jax.lax.scan(add, start, (pieces(change), pieces(values)))[0]


def _split(x: Array, count: int) -> Array:
    """The first axis in so many pieces of one length, filled up with zeros."""
    whole = jnp.pad(x, ((0, -len(x) % count), *((0, 0),) * (x.ndim - 1)))
    return whole.reshape(count, -1, *x.shape[1:])


def _unsigned(index: Array) -> Array:
    # Signed ones are compared with zero for each number read: negative ones count from the end.
    return index.astype(jnp.uint32)


class Attention(nn.Module):
    """One graph attention layer without its activation.

    Attributes:
      features: features per head M.
      heads: N.
      merge: "concat" gives N·M channels, "mean" gives M.
      dropout: rate on inputs and coefficients.
    """

    features: int
    heads: int
    merge: str
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, table: Table, *, train: bool = False) -> Array:
        """Channels (N, C) to channels (N, N·M) or (N, M), given the neighbour table."""
        glorot = nn.initializers.glorot_uniform()
        shape = (self.heads, self.features)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        h = nn.Dense(self.heads * self.features, use_bias=False, kernel_init=glorot)(x)
        ends = [self.param(name, glorot, shape, jnp.float32) for name in ("sender", "receiver")]
        sent, received = jnp.split(h @ _by_head(ends).astype(h.dtype), 2, axis=1)
        h = h.reshape(-1, *shape)
        coefficients = attention(sent, received, table.senders, table.filled)
        coefficients = nn.Dropout(self.dropout, deterministic=not train)(coefficients)
        out = aggregate(h, coefficients, table.senders, table.reverse)
        out = out.reshape(len(out), -1) if self.merge == "concat" else out.mean(axis=1)
        return out + self.param("bias", nn.initializers.zeros, out.shape[-1:], jnp.float32)


def _by_head(vectors) -> Array:
    """V times (H, M) as one matrix (H·M, V·H), which multiplies each head by its own vectors."""
    own = jnp.eye(len(vectors[0]), dtype=vectors[0].dtype)
    columns = [(vector[..., None] * own[:, None]).reshape(-1, len(own)) for vector in vectors]
    return jnp.concatenate(columns, axis=1)


class SymmetryFunctions(nn.Module):
    """Symmetry functions with parameters of their own, standardised over the atoms.

    Attributes:
      radial: Gaussians of the distance.
      angular: functions of the angle.
      learn: False leaves the parameters where `symmetry_functions.initial` puts them.
    """

    radial: int
    angular: int
    learn: bool = True

    @nn.compact
    def __call__(self, around: symmetry_functions.Surroundings, mask: Array) -> Array:
        """Surroundings of N atoms and which of them are real (N,) to channels (N, F)."""
        start = symmetry_functions.initial(self.radial, self.angular)

        def fitted(name: str, value: Array) -> Array:
            found = self.param(name, lambda _: jnp.asarray(value, jnp.float32))
            return found if self.learn else jax.lax.stop_gradient(found)

        # Positive by construction.
        basis = symmetry_functions.Basis(
            centre=fitted("centre", start.centre),
            width=jnp.exp(fitted("log_width", jnp.log(start.width))),
            reach=jnp.exp(fitted("log_reach", jnp.log(start.reach))),
            exponent=jnp.exp(fitted("log_exponent", jnp.log(start.exponent))),
            sign=start.sign.astype(jnp.float32),
        )
        x = symmetry_functions.functions(basis, around)
        real = jnp.asarray(mask)[:, None]
        mean = jnp.mean(x, axis=0, where=real)
        variance = jnp.var(x, axis=0, where=real)
        return jnp.where(real, (x - mean) * jax.lax.rsqrt(variance + _VARIANCE), 0.0)


class GAT(nn.Module):
    """Graph attention network from standardised features to two logits per atom.

    Parameters are float32 whether x64 is on or not; the arithmetic follows the features' type.

    Attributes:
      config: shape of the network.
    """

    config: Config

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, *, train: bool = False) -> Array:
        """Logits (num_nodes, 2) of a graph from `stzjax.graphs`, padding nodes included.

        Args:
          graph: standardised features; self-edges included; padded or not.
          train: dropout on; needs the "dropout" key.
        """
        config = self.config
        senders, filled = graphs.incoming_table(graph)
        table = Table(senders, filled, reverse_slots(senders))
        x = jnp.asarray(graph.nodes.features)
        if config.radial or config.angular:
            if graph.nodes.surroundings is None:
                raise ValueError(
                    "a network with symmetry functions needs graphs built with surroundings="
                )
            functions = SymmetryFunctions(config.radial, config.angular, config.learn_functions)
            more = functions(graph.nodes.surroundings, graph.nodes.mask)
            x = jnp.concatenate([x, more.astype(x.dtype)], axis=-1)
        for merge in [config.merge] * (config.layers - 1) + [config.merge_last]:
            layer = Attention(config.features_per_head, config.heads, merge, config.dropout)
            out = layer(x, table, train=train)
            if config.residual:
                same = out.shape[-1] == x.shape[-1]
                out = out + (x if same else nn.Dense(out.shape[-1], use_bias=False)(x))
            if config.normalisation == "layer":
                out = nn.LayerNorm()(out)
            x = _activation(out)
        for width in config.dense:
            x = _activation(nn.Dense(width)(x))
        return nn.Dense(2)(x)
