"""The graphs of a run folder with the labels of a threshold, by specimen and direction."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from stzjax.descriptors import symmetry_functions, symmetry_places
from stzjax.evaluation.verdict import Predictions
from stzjax.learning import splits
from stzjax.learning.graphs import build, with_surroundings
from stzjax.learning.splits import Fold, Split
from stzjax.learning.training import Task
from stzjax.neighbors import lists
from stzjax.pipeline import stages
from stzjax.pipeline.stages import RunId
from stzjax.run_folder.folder import Folder, Purpose

Graph = Any
"""A `jraph.GraphsTuple` as `graphs.build` makes it."""


class Event(NamedTuple):
    """A first event: its strain, and the number of atoms labelled."""

    strain: float
    size: int


class Dataset:
    """Graphs of the shear runs that had an event.

    Attributes:
      split: specimens of each part of the folder's own split.
      columns: names of the features.
      graphs: graph of each run with an event; raw features, labels of the first event.
      events: event of each of these runs.
      num_runs: number of all runs, with and without an event.
    """

    def __init__(self, folder: Folder):
        """Read features and runs of a described run folder, make labels and graphs."""
        self.folder = folder
        numbers = np.array(stages.specimens(folder))
        self.split = splits.by_specimen(numbers, key=folder.key(Purpose.SPLIT))
        self.columns: tuple[str, ...] = ()
        self.graphs: dict[RunId, Graph] = {}
        self.events: dict[RunId, Event] = {}
        run_ids, label = stages.run_ids(folder), folder.settings.labels
        self.num_runs = len(run_ids)
        for run_id in run_ids:
            run = stages.read_run(folder, run_id)
            step = run.event_step(label.threshold, label.min_cluster)
            if step is None:
                continue
            labels = run.labels(label.threshold, label.min_cluster)
            self.events[run_id] = Event(float(run.strain[step]), int(labels.sum()))
            arrays, glass = stages.read_features(folder, run_id), stages.glass(folder, run_id[0])
            self.columns = tuple(map(str, arrays["columns"]))
            self.graphs[run_id] = build(glass, arrays["features"], labels, arrays["pairs"])

    def run_ids(self, specimens: Iterable[int]) -> list[RunId]:
        """The runs with an event of the given specimens."""
        chosen = {int(number) for number in specimens}
        return [run_id for run_id in self.graphs if run_id[0] in chosen]

    def of(self, specimens: Iterable[int]) -> list[Graph]:
        """The graphs of the given specimens."""
        return [self.graphs[run_id] for run_id in self.run_ids(specimens)]

    def task(self, split: Split | Fold, seed: int) -> Task:
        """A training on the training and validation specimens of a split."""
        return Task(self.of(split.train), self.of(split.validation), seed)

    def pooled(self, specimens: Iterable[int], confidences: Sequence[np.ndarray]) -> Predictions:
        """Labels of the given specimens, pooled, with a confidence (N,) of each of their graphs."""
        ids, graphs = self.run_ids(specimens), self.of(specimens)
        sizes = [int(graph.n_node[0]) for graph in graphs]
        return Predictions(
            label=np.concatenate([np.asarray(graph.nodes.label) for graph in graphs]),
            confidence=np.concatenate(confidences),
            specimen=np.repeat([number for number, _ in ids], sizes),
            direction=np.repeat([direction for _, direction in ids], sizes),
        )

    def check(self, split: Split | Fold, where: str = "") -> None:
        """Raise ValueError if a part of a split holds no event; `where` is such as " of fold 2"."""
        for part, specimens in split._asdict().items():
            if not self.run_ids(specimens):
                raise ValueError(
                    f"no event in the {part} part{where} (specimens {list(map(int, specimens))}): "
                    "shear further (final_strain), add specimens, or take another seed"
                )

    def surround(self) -> None:
        """Give every graph the surroundings of its atoms, computed once for each specimen."""
        numbers = sorted({number for number, _ in self.graphs})
        glasses = {number: stages.glass(self.folder, number) for number in numbers}
        shape = symmetry_places.allocate(list(glasses.values()))
        around = {}
        for number, glass in glasses.items():
            near = lists.allocate(glass, shape.cutoff, skin=0.0)
            around[number] = jax.device_get(symmetry_functions.surroundings(glass, near, shape))
        for run_id, graph in self.graphs.items():
            self.graphs[run_id] = with_surroundings(graph, around[run_id[0]])

    def shuffled(self, seed: int) -> "Dataset":
        """The control: the labels of each graph distributed at random among its atoms."""
        rng, other = np.random.default_rng(seed), copy.copy(self)
        other.graphs = {}
        for run_id, graph in self.graphs.items():
            nodes = graph.nodes._replace(label=rng.permutation(graph.nodes.label))
            other.graphs[run_id] = graph._replace(nodes=nodes)
        return other
