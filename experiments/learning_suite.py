"""Epochs of the graph network's training beside PyTorch Geometric's GATConv on the same graph.

Both begin with the same parameters and take turns, each in a process of its own and on all cores;
the peer's interpreter may be another one. An epoch learns from one graph (forward, backward, Adam)
and judges another. What a whole training needs is measured in one more process. These are

    python experiments/learning_suite.py turns GLASS.npz LAYERS FEATURES HEADS
    python experiments/learning_suite.py trial GLASS.npz LAYERS FEATURES HEADS

The peer returns large tensors to the system after each use, and half its time may go into
allocating them again. `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_ARENA_MAX=1`
in the environment lets glibc keep them, on both sides. With a GPU, `JAX_PLATFORMS=cpu` puts both on
the same processor. It runs on Linux only, for the memory and the number of cores.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from timings import alternate, row

from stzjax import io
from stzjax.core.structure import Structure
from stzjax.learning import graphs, losses, training
from stzjax.learning.models import gat
from stzjax.pipeline import stage_cost

MISSING = "torch_geometric is not installed: training is measured alone"

SHAPES = ((2, 8, 4), (4, 15, 9), (6, 25, 9))
"""Layers, features per head and heads: a small one, the default, the median of the paper's grid."""

LOSS_TOLERANCE = 1e-5
"""Largest relative difference of two loss curves that are called equal.

The mean of 10,000 float32 terms is rounded by about 1e-7. On top of that, Adam makes a whole step
of any gradient, also of a gradient that is rounding alone and has another direction in the peer.
"""

_FEATURES, _POSITIVES = 19, 0.01
"""Channels of the features, and share of the atoms that are labelled."""

_EPOCHS = 4
"""Epochs of a turn, and of a trial."""

_GRAPHS = 4
"""Training graphs of a trial."""

_NO_STEP = 1e-30
"""Learning rate that leaves every parameter where it starts."""

_ENDLESS = 2**31 - 1
"""Epochs of a training that is stopped from outside: the most that the setting takes."""

_COMPILED = "/jax/core/compile/backend_compile_duration"


class Torch(NamedTuple):
    """An installed PyTorch Geometric.

    Attributes:
      python: path of its interpreter.
      versions: versions of torch and torch_geometric.
      mode: "eager", or "compile" for `torch.compile`.
    """

    python: str
    versions: Mapping[str, str]
    mode: str = "eager"


class Turn(NamedTuple):
    """Losses and times of a number of epochs.

    Attributes:
      losses: loss of the training graph before the step, and of the other graph after it.
      seconds: wall time of each epoch.
    """

    losses: list[list[float]]
    seconds: list[float]


class Trial(NamedTuple):
    """Cost of a training, from the structure to the last epoch.

    Attributes:
      memory: peak memory of the process [GiB].
      seconds: time of the fastest epoch [s].
      compilations: number of compilations after the first epoch.
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
    """Times of an epoch, loss curves, and memory, for networks of the given shapes.

    Args:
      glass: N atoms.
      repeats: turns of each side.
      peer: PyTorch Geometric, or None.
      shapes: layers, features per head, heads.
    """
    return [entry for shape in shapes for entry in beside(glass, shape, repeats, peer)]


def beside(
    glass: Structure, shape: tuple[int, int, int], repeats: int, peer: Torch | None
) -> list[dict[str, Any]]:
    """Rows of a shape."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        mine = stack.enter_context(started(our_command("turns", glass, shape, Path(name))))
        theirs = None
        if peer is not None:
            given = problem(glass, shape)
            theirs = stack.enter_context(started(peer_command(peer, given, Path(name))))
        turn = (lambda: theirs.take(_EPOCHS)) if theirs else None
        first, other_first = mine.take(1), [theirs.take(1)] if theirs else []  # Compiles.
        turns, other = alternate(lambda: mine.take(_EPOCHS), turn, repeats)
        memory = theirs.memory() if theirs else None
        used = trial(our_command("trial", glass, shape, Path(name)))
    name = "L{} M{} N{} {} atoms".format(*shape, glass.num_atoms)
    spent = _milliseconds(other) if other else None
    found = [row(f"epoch {name}", _milliseconds(turns), spent, "ms", "less")]
    if other:
        error = loss_difference([first, *turns], other_first + other)
        found.append(row(f"losses {name}, off the peer's", error, None, "1"))
        if not error < LOSS_TOLERANCE:
            print(f"{name}: the loss curves are not equal, so the times say little")
    return [
        *found,
        row(f"memory {name}", used.memory, memory, "GiB", "less"),
        row(f"epoch of {_GRAPHS} graphs {name}", used.seconds, None, "s"),
        row(f"compilations after the first epoch {name}", used.compilations, None, "1"),
    ]


def _milliseconds(turns: Sequence[Turn]) -> float:
    return 1e3 * statistics.median(spent for turn in turns for spent in turn.seconds)


def loss_difference(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """Largest relative difference of the loss curves."""
    mine, other = ([pair for turn in turns for pair in turn.losses] for turns in (ours, theirs))
    return float(np.abs(np.array(mine) / np.array(other) - 1.0).max())


def labelled(glass: Structure, seed: int = 0) -> Any:
    """The Voronoi graph with random features, and labels that can be learned from them."""
    features = np.random.default_rng(seed).normal(size=(glass.num_atoms, _FEATURES))
    score = features[:, 0] + 0.5 * features[:, 1] * features[:, 2]
    positives = max(1, round(_POSITIVES * glass.num_atoms))
    labels = np.zeros(glass.num_atoms, int)
    labels[np.argsort(score)[-positives:]] = 1
    return graphs.build(glass, features, labels)


def settings(shape: tuple[int, int, int], epochs: int) -> training.TrainConfig:
    """Settings of all trainings here; none stops early."""
    model = gat.Config(*shape)
    return training.TrainConfig(model=model, epochs=epochs, patience=0, select_by="loss")


def problem(glass: Structure, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Input of `pyg_peer`: our graphs, scaled, and the first parameters of our network."""
    learned, judged = labelled(glass), labelled(glass, seed=1)
    config = settings(shape, 1)
    still = dataclasses.replace(config, learning_rate=_NO_STEP)
    start = training.train([learned], [judged], still).params
    leaves = jax.tree_util.tree_leaves_with_path(start.network)
    scaled = [start.scaler.apply(x.nodes.features).astype(np.float32) for x in (learned, judged)]
    return {
        "features": np.stack(scaled),
        "label": np.stack([learned.nodes.label, judged.nodes.label]),
        "edges": np.stack([learned.senders, learned.receivers]),
        "class_weights": np.float32(losses.class_weights(np.bincount(learned.nodes.label))),
        "learning_rate": np.float32(config.learning_rate),
        "shape": np.array(shape),
        **{"/".join(["network", *(key.key for key in path)]): leaf for path, leaf in leaves},
    }


class Side(NamedTuple):
    """A process that takes turns.

    Attributes:
      process: with unbuffered pipes to its input and from its output.
    """

    process: Any

    def take(self, epochs: int) -> Turn:
        """Some more epochs.

        Raises:
          ValueError: it has died.
        """
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{epochs}\n".encode())
            answer = self.process.stdout.readline()
        if not answer:
            raise ValueError("a training has stopped; its error is above")
        return Turn(**json.loads(answer))

    def memory(self) -> float:
        """Its peak so far [GiB]."""
        return stage_cost.peak(str(self.process.pid)) / 2**30


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[Side]:
    """A process that takes turns while the context lasts."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as process:
        try:
            yield Side(process)
        finally:
            process.terminate()


def our_command(
    task: str, glass: Structure, shape: tuple[int, int, int], folder: Path
) -> list[str]:
    """Command of this file."""
    path = folder / "glass.npz"
    io.write(path, glass)
    return [sys.executable, __file__, task, str(path), *map(str, shape)]


def peer_command(peer: Torch, given: Mapping[str, Any], folder: Path) -> list[str]:
    """Command of `pyg_peer`, with as many threads as we have cores."""
    path = folder / "problem.npz"
    np.savez(path, allow_pickle=False, **given)
    script = Path(__file__).with_name("pyg_peer.py")
    return [peer.python, str(script), str(path), str(len(os.sched_getaffinity(0))), peer.mode]


def trial(command: Sequence[str]) -> Trial:
    """Result of a process that runs `train_once`.

    Raises:
      ValueError: it failed.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError("the training has failed; its error is above")
    return Trial(**json.loads(done.stdout.splitlines()[-1]))


def train_in_turns(glass: Structure, shape: tuple[int, int, int]) -> None:
    """Train on a graph; each line read is a number of epochs, each line written their result."""
    turn, asked = Turn([], []), int(input())
    start = time.perf_counter()

    def note(epoch: int, record: training.Record) -> None:
        nonlocal asked, start
        turn.seconds.append(time.perf_counter() - start)
        turn.losses.append([record["train_loss"], record["validation_loss"]])
        if len(turn.seconds) == asked:
            print(json.dumps(turn._asdict()), flush=True)
            for told in turn:
                told.clear()
            asked = int(input())
        start = time.perf_counter()

    with contextlib.suppress(EOFError):
        graphs_ = [labelled(glass)], [labelled(glass, seed=1)]
        training.train(*graphs_, settings(shape, _ENDLESS), on_epoch=note)


def train_once(glass: Structure, shape: tuple[int, int, int]) -> None:
    """Train on graphs of slightly different sizes and print the cost."""
    compiled = 0

    def count(event: str, duration_secs: float, **_: Any) -> None:
        nonlocal compiled
        compiled += event == _COMPILED

    jax.monitoring.register_event_duration_secs_listener(count)
    *learned, judged = (labelled(_without(glass, number)) for number in range(_GRAPHS + 1))
    ends: list[float] = []
    counts: list[int] = []

    def note(epoch: int, record: training.Record) -> None:
        ends.append(time.perf_counter())
        counts.append(compiled)

    training.train(learned, [judged], settings(shape, _EPOCHS), on_epoch=note)
    used = Trial(stage_cost.peak() / 2**30, float(np.diff(ends).min()), counts[-1] - counts[0])
    print(json.dumps(used._asdict()))


def _without(glass: Structure, count: int) -> Structure:
    """The glass less its first atoms."""
    return glass.replace(fractional=glass.fractional[count:], species=glass.species[count:])


def main(task: str, path: str, *shape: str) -> None:
    """One of the two trainings."""
    jax.config.update("jax_enable_x64", True)
    layers, features, heads = map(int, shape)
    run = {"turns": train_in_turns, "trial": train_once}[task]
    run(io.read(path), (layers, features, heads))


if __name__ == "__main__":
    main(*sys.argv[1:])
