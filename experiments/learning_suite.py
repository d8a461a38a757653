"""Training steps of the graph network beside PyTorch Geometric's GATConv on the same graph.

Both begin with the same parameters and take the same steps in turns, each on all cores: ours here,
the peer's in a process of its own, whose interpreter may be another one. Memory is that of
processes of their own on both sides, and ours is that of a whole training:

    python experiments/learning_suite.py GLASS.npz LAYERS FEATURES HEADS

The peer hands large tensors back to the system after each use, and half its time may go into
getting them again. `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_ARENA_MAX=1` in the
environment lets glibc keep them, on both sides. With a GPU, `JAX_PLATFORMS=cpu` puts both on the
same processor. Linux only, which tells the memory and the cores.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import optax
from timings import alternate, row

from stzjax import graphs, io, losses, training
from stzjax.models import gat
from stzjax.structure import Structure

MISSING = "torch_geometric is not installed: training steps are measured alone"

SHAPES = ((2, 8, 4), (4, 15, 9), (6, 25, 9))
"""Layers, features per head and heads: a small one, the default, the median of the paper's grid."""

LOSS_TOLERANCE = 1e-5
"""Largest relative difference of two loss curves that are called equal.

The mean of 10,000 float32 terms is rounded by some 1e-7. On top of that, Adam makes a whole step
out of any gradient, also out of one that is rounding alone and points elsewhere in the peer.
"""

_FEATURES, _POSITIVES = 19, 0.01
"""Channels of the features, and share of the atoms that are labelled."""

_LEARNING_RATE = 1e-3
_STEPS = 4
"""Training steps of a turn."""

_GRAPHS, _EPOCHS = 4, 3
"""Graphs that the training whose memory is measured learns from, and its epochs."""

_COMPILED = "/jax/core/compile/backend_compile_duration"


class Torch(NamedTuple):
    """Where PyTorch Geometric is.

    Attributes:
      python: its interpreter.
      versions: of torch and torch_geometric.
      mode: "eager", or "compile" for `torch.compile`.
    """

    python: str
    versions: Mapping[str, str]
    mode: str = "eager"


class Turn(NamedTuple):
    """What some training steps gave.

    Attributes:
      losses: before each step.
      seconds: wall time of each step.
    """

    losses: list[float]
    seconds: list[float]


class Trial(NamedTuple):
    """What a training used, from the first graph to the last epoch.

    Attributes:
      memory: peak of the process [GiB].
      seconds: of the fastest epoch.
      compilations: after the first epoch.
    """

    memory: float
    seconds: float
    compilations: int


def find(folder: str, mode: str = "eager") -> Torch | None:
    """PyTorch Geometric in an environment, or beside us where none is named; None without it."""
    python = str(Path(folder) / "bin" / "python") if folder else sys.executable
    script = (
        "import json, torch, torch_geometric as g;"
        "print(json.dumps({'torch': torch.__version__, 'torch_geometric': g.__version__}))"
    )
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, text=True)
    except OSError:
        return None
    if done.returncode:
        return None
    return Torch(python, json.loads(done.stdout.splitlines()[-1]), mode)


def rows(
    glass: Structure,
    repeats: int,
    peer: Torch | None = None,
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
) -> list[dict[str, Any]]:
    """Times of a training step, loss curves, and memory, for networks of some shapes.

    Args:
      glass: N atoms.
      repeats: turns of each side.
      peer: where PyTorch Geometric is, or None.
      shapes: layers, features per head, heads.
    """
    graph = labelled(glass)
    return [entry for shape in shapes for entry in beside(glass, graph, shape, repeats, peer)]


def labelled(glass: Structure) -> jraph.GraphsTuple:
    """The Voronoi graph with random features, and labels that can be learned from them."""
    features = np.random.default_rng(0).normal(size=(glass.num_atoms, _FEATURES))
    score = features[:, 0] + 0.5 * features[:, 1] * features[:, 2]
    positives = max(1, round(_POSITIVES * glass.num_atoms))
    labels = np.zeros(glass.num_atoms, int)
    labels[np.argsort(score)[-positives:]] = 1
    return graphs.build(glass, features, labels)


def beside(
    glass: Structure,
    graph: jraph.GraphsTuple,
    shape: tuple[int, int, int],
    repeats: int,
    peer: Torch | None,
) -> list[dict[str, Any]]:
    """Rows of one shape."""
    config = gat.Config(*shape)
    given = problem(graph, config)
    mine = trainer(graph, config, given)
    with started(peer, given) as theirs:
        turn = (lambda _: theirs.take(_STEPS)) if theirs else None
        mine_first, first = take(mine, 1), [theirs.take(1)] if theirs else []  # Compiles.
        turns, other = alternate(lambda: take(mine, _STEPS), turn, repeats)
        memory = theirs.memory() if theirs else None
    name = "L{} M{} N{} {} atoms".format(*shape, glass.num_atoms)
    spent = _milliseconds(other) if other else None
    found = [row(f"step {name}", _milliseconds(turns), spent, "ms", "less")]
    if other:
        error = loss_difference([mine_first, *turns], first + other)
        found.append(row(f"loss {name}, off the peer's", error, None, "1"))
        if not error < LOSS_TOLERANCE:
            print(f"{name}: the loss curves are not equal, so the times say little")
    used = trial(glass, shape)
    return [
        *found,
        row(f"memory {name}", used.memory, memory, "GiB", "less"),
        row(f"epoch of {_GRAPHS} graphs {name}", used.seconds, None, "s"),
        row(f"compilations after the first epoch {name}", used.compilations, None, "1"),
    ]


def _milliseconds(turns: Sequence[Turn]) -> float:
    return 1e3 * statistics.median(spent for turn in turns for spent in turn.seconds)


def loss_difference(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """Largest relative difference of two loss curves."""
    mine, other = ([loss for turn in turns for loss in turn.losses] for turns in (ours, theirs))
    return float(np.abs(np.array(mine) / np.array(other) - 1.0).max())


def problem(graph: jraph.GraphsTuple, config: gat.Config) -> dict[str, np.ndarray]:
    """What `pyg_peer` is given: an unpadded graph, and the parameters that both begin with."""
    network: Any = jax.jit(gat.GAT(config).init)(jax.random.key(0), graph)
    flat = flax.traverse_util.flatten_dict(network["params"], sep="/")
    return {
        "features": graph.nodes.features,
        "label": graph.nodes.label,
        "edges": np.stack([graph.senders, graph.receivers]),
        "class_weights": np.float32(losses.class_weights(graph.nodes.label)),
        "learning_rate": np.float32(_LEARNING_RATE),
        "shape": np.array([config.layers, config.features_per_head, config.heads]),
        **{f"network/{name}": np.asarray(value) for name, value in flat.items()},
    }


def trainer(
    graph: jraph.GraphsTuple, config: gat.Config, given: Mapping[str, np.ndarray]
) -> Callable[[], jax.Array]:
    """A function that takes a training step, on a graph padded as in training; see `pyg_peer`."""
    padded = jax.device_put(graphs.pad(graph, *graphs.bucket_shape([graph])))
    start = {name.removeprefix("network/"): x for name, x in given.items() if "network/" in name}
    network = flax.traverse_util.unflatten_dict(start, sep="/")
    adam, weights = optax.adam(_LEARNING_RATE), jnp.asarray(given["class_weights"])

    @jax.jit
    def step(network, state):
        def loss_of(network):
            logits: Any = gat.GAT(config).apply({"params": network}, padded)
            nodes = padded.nodes
            return losses.weighted_cross_entropy(logits, nodes.label, nodes.mask, weights)

        loss, gradient = jax.value_and_grad(loss_of)(network)
        update, state = adam.update(gradient, state)
        return optax.apply_updates(network, update), state, loss

    now = network, adam.init(network)

    def advance() -> jax.Array:
        nonlocal now
        *now, loss = step(*now)
        return loss

    return advance


def take(advance: Callable[[], jax.Array], steps: int) -> Turn:
    """A turn of ours."""
    found: list[float] = []
    spent: list[float] = []
    for _ in range(steps):
        start = time.perf_counter()
        found.append(float(advance()))
        spent.append(time.perf_counter() - start)
    return Turn(found, spent)


class Peer(NamedTuple):
    """A running `pyg_peer`.

    Attributes:
      process: with unbuffered pipes to its input and from its output.
    """

    process: Any

    def take(self, steps: int) -> Turn:
        """A turn of the peer.

        Raises:
          ValueError: it has died.
        """
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{steps}\n".encode())
            answer = self.process.stdout.readline()
        if not answer:
            raise ValueError("PyTorch Geometric has stopped; its error is above")
        return Turn(**json.loads(answer))

    def memory(self) -> float:
        """Its peak so far [GiB]."""
        return peak_memory(str(self.process.pid))


@contextlib.contextmanager
def started(peer: Torch | None, given: Mapping[str, np.ndarray]) -> Iterator[Peer | None]:
    """The peer's process while the context lasts, with as many threads as we have cores."""
    if peer is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, allow_pickle=False, **given)
        script = Path(__file__).with_name("pyg_peer.py")
        threads = len(os.sched_getaffinity(0))
        command = [peer.python, str(script), str(path), str(threads), peer.mode]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as process:
            try:
                yield Peer(process)
            finally:
                process.terminate()


def peak_memory(process: str = "self") -> float:
    """Largest resident set of a process so far [GiB]."""
    status = Path("/proc") / process / "status"
    lines = status.read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 2**20


def trial(glass: Structure, shape: tuple[int, int, int]) -> Trial:
    """A short training in a process of its own, from the structure on.

    Raises:
      ValueError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "glass.npz"
        io.write(path, glass)
        command = [sys.executable, __file__, str(path), *map(str, shape)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError("the training has failed; its error is above")
    return Trial(**json.loads(done.stdout.splitlines()[-1]))


def train(glass: Structure, shape: tuple[int, int, int]) -> Trial:
    """What `trial` does there: graphs of slightly different sizes, then some epochs."""
    compiled = 0

    def count(event: str, duration_secs: float, **_: Any) -> None:
        nonlocal compiled
        compiled += event == _COMPILED

    jax.monitoring.register_event_duration_secs_listener(count)
    *learned, judged = (labelled(_without(glass, number)) for number in range(_GRAPHS + 1))
    ends, counts = [time.perf_counter()], []

    def note(epoch: int, record: training.Record) -> None:
        ends.append(time.perf_counter())
        counts.append(compiled)

    config = training.TrainConfig(gat.Config(*shape), epochs=_EPOCHS, select_by="loss")
    training.train(learned, [judged], config, on_epoch=note)
    return Trial(peak_memory(), float(np.diff(ends).min()), counts[-1] - counts[0])


def _without(glass: Structure, count: int) -> Structure:
    """The glass less its first atoms."""
    return glass.replace(fractional=glass.fractional[count:], species=glass.species[count:])


def main(path: str, *shape: str) -> None:
    """Print what a training uses."""
    jax.config.update("jax_enable_x64", True)
    layers, features, heads = map(int, shape)
    print(json.dumps(train(io.read(path), (layers, features, heads))._asdict()))


if __name__ == "__main__":
    main(*sys.argv[1:])
