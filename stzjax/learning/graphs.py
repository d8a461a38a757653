"""Voronoi graphs of a glass: building, batching and padding to few shapes, on the host.

Nodes are atoms, edges join atoms that share a Voronoi face, both ways, plus self-edges. Edges are
sorted by receiver, and stay so after batching and padding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax import Array

from stzjax.core.structure import Structure
from stzjax.descriptors import voronoi

UNLABELLED = -1
"""Label of an atom whose class is not known."""

_STEPS_PER_OCTAVE = 16
_DEGREE_STEP = 2


class Nodes(NamedTuple):
    """Arrays of the atoms; the `nodes` field of every `jraph.GraphsTuple` here.

    Attributes:
      features: (N, F) float32 descriptors.
      label: (N,) int32; 1 where the atom belongs to the first event, 0 elsewhere, or
        `UNLABELLED`.
      mask: (N,) bool; False for padding.
      incoming: (N, D) bool; row i is True in as many leading slots as edges end at node i. The
        compiler knows the width D, the largest number of incoming edges, by the shape.
      surroundings: `symmetry_functions.Surroundings` in float32, for networks that learn
        functions of it; None for all others.
    """

    features: Any
    label: Any
    mask: Any
    incoming: Any
    surroundings: Any = None


class Bucket(NamedTuple):
    """A padded shape, in the order in which `pad` takes it."""

    num_nodes: int
    num_edges: int
    num_graphs: int
    degree: int


def build(
    structure: Structure, features, labels=None, pairs=None, surroundings=None
) -> jraph.GraphsTuple:
    """The Voronoi graph of one structure.

    Args:
      structure: N atoms.
      features: (N, F) finite descriptors, stored as float32.
      labels: (N,) of 0 and 1, or bools; None: unknown.
      pairs: (P, 2) atoms that share a Voronoi face: both (i, j) and (j, i), each once, no
        self-pairs; None tessellates the structure.
      surroundings: surroundings of the atoms, for networks with symmetry functions; the same
        shape in all graphs.

    Returns:
      One unpadded graph of NumPy arrays with `Nodes`; no edge features, no globals.

    Raises:
      ValueError: a shape or a value is wrong.
    """
    num_atoms = structure.num_atoms
    features = _checked_features(features, num_atoms)
    labels = _checked_labels(labels, num_atoms)
    if pairs is None:
        pairs = voronoi.tessellate(structure).pairs
    senders, receivers = _edges(pairs, num_atoms)
    degree = np.bincount(receivers, minlength=num_atoms)
    incoming = np.arange(degree.max()) < degree[:, None]
    graph = jraph.GraphsTuple(
        nodes=Nodes(features, labels, np.ones(num_atoms, bool), incoming),
        edges=None,
        senders=senders,
        receivers=receivers,
        globals=None,
        n_node=np.array([num_atoms], np.int32),
        n_edge=np.array([len(senders)], np.int32),
    )
    return graph if surroundings is None else with_surroundings(graph, surroundings)


def _checked_features(features, num_atoms: int) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != num_atoms or not features.shape[1]:
        raise ValueError(f"features must have shape ({num_atoms}, F), got {features.shape}")
    with np.errstate(over="ignore"):
        features = features.astype(np.float32)
    if not np.isfinite(features).all():
        atom, column = np.argwhere(~np.isfinite(features))[0]
        raise ValueError(
            f"feature column {column} of atom {atom} is {features[atom, column]}: describe the "
            "structure again, or drop the column"
        )
    return features


def _checked_labels(labels, num_atoms: int) -> np.ndarray:
    if labels is None:
        return np.full(num_atoms, UNLABELLED, np.int32)
    labels = np.asarray(labels)
    if labels.shape != (num_atoms,):
        raise ValueError(f"labels must have shape ({num_atoms},), got {labels.shape}")
    wrong = labels[(labels != 0) & (labels != 1)]
    if len(wrong):
        raise ValueError(f"labels must be 0 or 1, got {wrong[0]}: apply a threshold to D²min first")
    return labels.astype(np.int32)


def with_surroundings(graph: jraph.GraphsTuple, surroundings) -> jraph.GraphsTuple:
    """An unpadded graph whose atoms carry their surroundings, too; see `build`."""
    num_atoms = int(graph.n_node.sum())
    for name, value in surroundings._asdict().items():
        if len(value) != num_atoms:
            raise ValueError(f"surroundings of {len(value)} atoms, but there are {num_atoms} atoms")
        if not np.isfinite(value).all():
            raise ValueError(
                f"{name} of the surroundings is not finite: allocate a shape from this structure"
            )
    narrow = jax.tree.map(
        lambda x: np.asarray(x, np.float32 if np.issubdtype(x.dtype, np.floating) else np.int32),
        surroundings,
    )
    return graph._replace(nodes=graph.nodes._replace(surroundings=narrow))


def _edges(pairs, num_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Senders and receivers with self-edges, (E,) each, sorted by receiver, then sender."""
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(f"pairs must be (P, 2) integers, got {pairs.dtype} of shape {pairs.shape}")
    if len(pairs) and not 0 <= pairs.min() <= pairs.max() < num_atoms:
        raise ValueError(
            f"pairs name atoms {pairs.min()} to {pairs.max()}, but there are {num_atoms} atoms"
        )
    one, other = pairs.astype(np.int64).T
    forward, backward = np.sort(one * num_atoms + other), np.sort(other * num_atoms + one)
    if (one == other).any():
        raise ValueError(f"pairs hold atom {one[one == other][0]} with itself: drop self-pairs")
    if (forward[1:] == forward[:-1]).any():
        raise ValueError("pairs hold the same (i, j) twice: give each direction once")
    if (forward != backward).any():
        raise ValueError("pairs hold an (i, j) without its (j, i): give both directions")
    loops = np.arange(num_atoms) * (num_atoms + 1)
    receivers, senders = np.divmod(np.sort(np.concatenate([forward, loops])), num_atoms)
    return senders.astype(np.int32), receivers.astype(np.int32)


def check(
    title: str, graph: jraph.GraphsTuple, labelled: bool, columns: Sequence[str] = ()
) -> None:
    """Raise ValueError unless a graph is unpadded, finite and, if it has to be, labelled.

    The title names the graph in the message, the columns its features.
    """
    finite = np.isfinite(graph.nodes.features).all(axis=0)
    if not finite.all():
        column = int(np.argmin(finite))
        name = columns[column] if columns else f"feature {column}"
        raise ValueError(f"{title} has a value of {name} that is not finite")
    if labelled and (graph.nodes.label == UNLABELLED).any():
        raise ValueError(f"{title} has no labels: build it with labels")
    if not graph.nodes.mask.all():
        raise ValueError(f"{title} is padded: give it as `graphs.build` made it")


def batch(graphs: Sequence[jraph.GraphsTuple]) -> jraph.GraphsTuple:
    """Several unpadded graphs as one, their `incoming` brought to one width."""
    degree = max(graph.nodes.incoming.shape[1] for graph in graphs)
    return _int32(jraph.batch_np([_widen(graph, degree) for graph in graphs]))


def pad(
    graph: jraph.GraphsTuple,
    num_nodes: int,
    num_edges: int,
    num_graphs: int | None = None,
    degree: int | None = None,
) -> jraph.GraphsTuple:
    """Bring a graph (or a batch) to a given shape by a graph of padding after the real ones.

    Padding edges join padding nodes only, and receivers stay sorted. The padding has a node at
    least, and is a single graph by default; `degree` is the width of `incoming`.
    """
    width, graphs = graph.nodes.incoming.shape[1], len(graph.n_node) + 1
    needed = Bucket(int(graph.n_node.sum()) + 1, int(graph.n_edge.sum()), graphs, width)
    asked = Bucket(num_nodes, num_edges, num_graphs or graphs, degree or width)
    if any(a < n for a, n in zip(asked, needed, strict=True)):
        raise ValueError(f"cannot pad to {asked}: at least {needed} is needed")
    return _int32(jraph.pad_with_graphs(_widen(graph, asked.degree), *asked[:3]))


def bucket_shape(graphs: Sequence[jraph.GraphsTuple], graphs_per_batch: int = 1) -> Bucket:
    """A shape that holds any `graphs_per_batch` of these graphs.

    Sizes are rounded up to sixteen steps per factor of two: less than 1/16 is wasted, shapes are
    few, and glasses of about the same size share a compiled program.
    """
    if not graphs or graphs_per_batch < 1:
        raise ValueError(
            f"need a graph and a batch of one or more, got {len(graphs)} and {graphs_per_batch}"
        )
    most = min(graphs_per_batch, len(graphs))
    nodes = sorted((int(graph.n_node.sum()) for graph in graphs), reverse=True)[:most]
    edges = sorted((int(graph.n_edge.sum()) for graph in graphs), reverse=True)[:most]
    degree = max(graph.nodes.incoming.shape[1] for graph in graphs)
    return Bucket(
        num_nodes=_no_power_of_two(_round_up(sum(nodes) + 1)),
        num_edges=_round_up(sum(edges)),
        num_graphs=most + 1,
        degree=-(-degree // _DEGREE_STEP) * _DEGREE_STEP,
    )


def _no_power_of_two(size: int) -> int:
    """The size, or the next step if it is a power of two of 1024 or more.

    XLA's CPU backend aborts on a batch of graphs of 2048, 4096, … nodes: jaxlib 0.10.1 makes
    constants of that many numbers, aligned to their size, and its loader accepts no alignment
    beyond a page.
    """
    return size + size // _STEPS_PER_OCTAVE if size >= 1024 and size.bit_count() == 1 else size


def _round_up(size: int) -> int:
    step = max(1, 2 ** ((size - 1).bit_length() - 1) // _STEPS_PER_OCTAVE)
    return -(-size // step) * step


def _widen(graph: jraph.GraphsTuple, degree: int) -> jraph.GraphsTuple:
    incoming = graph.nodes.incoming
    wider = np.pad(incoming, ((0, 0), (0, degree - incoming.shape[1])))
    return graph._replace(nodes=graph.nodes._replace(incoming=wider))


def _int32(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    # jraph offsets node numbers by an int64 sum.
    return graph._replace(
        senders=graph.senders.astype(np.int32), receivers=graph.receivers.astype(np.int32)
    )


def incoming_table(graph: jraph.GraphsTuple) -> tuple[Array, Array]:
    """The edge list of a graph, padded or not, by slot and receiver; can be jitted.

    Returns:
      (D, N) senders, an empty slot holding the receiver itself; (D, N) bool, False where empty.
    """
    filled = jnp.asarray(graph.nodes.incoming).T
    degree = filled.sum(axis=0, dtype=jnp.int32)
    first = jnp.cumsum(degree, dtype=jnp.int32) - degree
    edge = first + jnp.arange(filled.shape[0], dtype=jnp.int32)[:, None]
    senders = jnp.asarray(graph.senders).at[edge].get(mode="clip")
    return jnp.where(filled, senders, jnp.arange(filled.shape[1], dtype=jnp.int32)), filled
