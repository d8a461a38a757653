"""The paper's network: graph attention layers, then fully connected layers to two logits.

Attention runs over a table of neighbours by slot, one slot after the other, and not over the edge
list. On two CPU cores (10,000 atoms, 153,000 edges, largest degree 21, 6 heads of 10 features,
float32) a layer forward and back takes 43 ms against 97 ms for `jraph.segment_softmax` and
`segment_sum` with sorted receivers: a slot's work stays in cache, and its terms, computed again on
the way back, are never stored.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from jax import Array

from stzjax import graphs
from stzjax.descriptors import symmetry

_NEGATIVE_SLOPE = 0.2

_VARIANCE = 1e-8
"""Keeps a symmetry function that is the same for all atoms at zero."""

_MERGES = ("concat", "mean")
_NORMALISATIONS = ("none", "layer")


@dataclasses.dataclass(frozen=True)
class Config:
    """Shape of the network; L, M, N are the letters of the paper.

    Attributes:
      layers: attention layers L.
      features_per_head: M.
      heads: N.
      merge: how heads join, "concat" or "mean".
      merge_last: the same for the last attention layer.
      dense: widths of the hidden fully connected layers after attention.
      residual: add each attention layer's input to its output (projected where widths differ).
      normalisation: "none", or "layer" for layer normalisation before each activation.
      dropout: rate on the inputs of attention layers and on attention coefficients.
      radial, angular: symmetry functions that join the features, see `descriptors.symmetry`; the
        graphs then carry surroundings. None by default, as in the paper.
      learn_functions: whether training moves their parameters, or leaves them where they start.
    """

    layers: int = 4
    features_per_head: int = 15
    heads: int = 9
    merge: str = "concat"
    merge_last: str = "mean"
    dense: tuple[int, ...] = (32,)
    residual: bool = False
    normalisation: str = "none"
    dropout: float = 0.0
    radial: int = 0
    angular: int = 0
    learn_functions: bool = True

    def __post_init__(self):
        """Refuse a shape that makes no network."""
        for name, value in (("radial", self.radial), ("angular", self.angular)):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        sizes = {"layers": self.layers, "features_per_head": self.features_per_head}
        sizes |= {"heads": self.heads} | {f"dense[{i}]": w for i, w in enumerate(self.dense)}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        for name, choice, allowed in (
            ("merge", self.merge, _MERGES),
            ("merge_last", self.merge_last, _MERGES),
            ("normalisation", self.normalisation, _NORMALISATIONS),
        ):
            if choice not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {choice!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")


def attention(sent: Array, received: Array, senders: Array, filled: Array) -> Array:
    """Attention coefficients, softmax over the edges that end at a node.

    Veličković et al. 2018 (arXiv:1710.10903), eq. 3.

    Args:
      sent: (N, H) a_s · W h of each node as a sender.
      received: (N, H) a_r · W h of each node as a receiver.
      senders: (D, N) sender in each slot of each receiver.
      filled: (D, N) False for empty slots.

    Returns:
      (D, N, H) coefficients that sum to 1 over slots; 0 in empty ones.
    """
    score = nn.leaky_relu(sent[senders] + received, _NEGATIVE_SLOPE)
    return nn.softmax(score, axis=0, where=filled[..., None])


def aggregate(values: Array, coefficients: Array, senders: Array) -> Array:
    """Sum of the senders' values, weighted by the coefficients of their edges.

    Args:
      values: (N, H, M) W h of each node.
      coefficients: (D, N, H) weight of each edge.
      senders: (D, N) sender in each slot of each receiver.

    Returns:
      (N, H, M).
    """

    @jax.checkpoint
    def add_slot(total, slot):
        weight, sender = slot
        return total + weight[..., None] * values[sender], None

    return jax.lax.scan(add_slot, jnp.zeros_like(values), (coefficients, senders))[0]


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
    def __call__(self, x: Array, senders: Array, filled: Array, *, train: bool = False) -> Array:
        """Channels (N, C) to channels (N, N·M) or (N, M), given the neighbour table."""
        glorot = nn.initializers.glorot_uniform()
        shape = (self.heads, self.features)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        h = nn.Dense(self.heads * self.features, use_bias=False, kernel_init=glorot)(x)
        h = h.reshape(-1, *shape)
        sent = (h * self.param("sender", glorot, shape, jnp.float32)).sum(axis=-1)
        received = (h * self.param("receiver", glorot, shape, jnp.float32)).sum(axis=-1)
        coefficients = attention(sent, received, senders, filled)
        coefficients = nn.Dropout(self.dropout, deterministic=not train)(coefficients)
        out = aggregate(h, coefficients, senders)
        out = out.reshape(len(out), -1) if self.merge == "concat" else out.mean(axis=1)
        return out + self.param("bias", nn.initializers.zeros, out.shape[-1:], jnp.float32)


class SymmetryFunctions(nn.Module):
    """Symmetry functions with parameters of their own, standardised over the atoms.

    Attributes:
      radial: Gaussians of the distance.
      angular: functions of the angle.
      learn: False leaves the parameters where `symmetry.initial` puts them.
    """

    radial: int
    angular: int
    learn: bool = True

    @nn.compact
    def __call__(self, around: symmetry.Surroundings, mask: Array) -> Array:
        """Surroundings of N atoms and which of them are real (N,) to channels (N, F)."""
        start = symmetry.initial(self.radial, self.angular)

        def fitted(name: str, value: Array) -> Array:
            found = self.param(name, lambda _: jnp.asarray(value, jnp.float32))
            return found if self.learn else jax.lax.stop_gradient(found)

        # Positive by construction.
        basis = symmetry.Basis(
            centre=fitted("centre", start.centre),
            width=jnp.exp(fitted("log_width", jnp.log(start.width))),
            reach=jnp.exp(fitted("log_reach", jnp.log(start.reach))),
            exponent=jnp.exp(fitted("log_exponent", jnp.log(start.exponent))),
            sign=start.sign.astype(jnp.float32),
        )
        x = symmetry.functions(basis, around)
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
        x = jnp.asarray(graph.nodes.features)
        if config.radial or config.angular:
            if graph.nodes.surroundings is None:
                raise ValueError(
                    "a network with symmetry functions needs graphs built with surroundings="
                )
            more = SymmetryFunctions(config.radial, config.angular, config.learn_functions)(
                graph.nodes.surroundings, graph.nodes.mask
            )
            x = jnp.concatenate([x, more.astype(x.dtype)], axis=-1)
        for layer in range(config.layers):
            merge = config.merge_last if layer == config.layers - 1 else config.merge
            out = Attention(config.features_per_head, config.heads, merge, config.dropout)(
                x, senders, filled, train=train
            )
            if config.residual:
                same = out.shape[-1] == x.shape[-1]
                out = out + (x if same else nn.Dense(out.shape[-1], use_bias=False)(x))
            if config.normalisation == "layer":
                out = nn.LayerNorm()(out)
            x = jax.nn.mish(out)
        for width in config.dense:
            x = jax.nn.mish(nn.Dense(width)(x))
        return nn.Dense(2)(x)
