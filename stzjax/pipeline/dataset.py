"""The graphs of a run folder with the labels of a threshold, by specimen and direction."""

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from stzjax.descriptors import symmetry_functions
from stzjax.io import archives
from stzjax.learning import splits
from stzjax.learning.graphs import build, with_surroundings
from stzjax.learning.splits import Split
from stzjax.neighbors import lists
from stzjax.pipeline import stages
from stzjax.run_folder.folder import Folder, Purpose

PARTS = ("train", "validation", "test")

Graph = Any
"""A `jraph.GraphsTuple` as `graphs.build` makes it."""

Lane = tuple[int, str]
"""Specimen and direction of a shear run."""


class Event(NamedTuple):
    """A first event: its strain, and the number of atoms labelled."""

    strain: float
    size: int


class Dataset:
    """Graphs of the runs that had an event.

    Attributes:
      split: specimens of each part of the run's own split.
      columns: names of the features.
      graphs: the graph of each lane; raw features, labels of the first event.
      events: the event of each lane.
      runs: runs in all.
    """

    def __init__(self, folder: Folder, threshold: float | None = None):
        """Read features and runs, make labels and graphs.

        Args:
          folder: a described run.
          threshold: of D²min [Å²], instead of that of the settings.
        """
        settings = folder.settings
        threshold = settings.threshold if threshold is None else threshold
        self.folder = folder
        numbers = np.array(stages.specimens(folder))
        self.split = splits.by_specimen(numbers, key=folder.key(Purpose.SPLIT))
        self.columns: tuple[str, ...] = ()
        self.graphs: dict[Lane, Graph] = {}
        self.events: dict[Lane, Event] = {}
        self.runs = 0
        for lane in stages.all_lanes(folder):
            run = stages.read_run(folder, lane)
            self.runs += 1
            step = run.event_step(threshold, settings.min_cluster)
            if step is None:
                continue
            labels = run.labels(threshold, settings.min_cluster)
            self.events[lane] = Event(float(run.strain[step]), int(labels.sum()))
            self.graphs[lane] = self._graph(lane, labels)

    def _graph(self, lane: Lane, labels: np.ndarray) -> Graph:
        path = self.folder.features(*lane)
        if not self.folder.done(path, "describe"):
            raise ValueError(f"{path} is missing; run experiments/describe.py on this folder first")
        arrays, _ = archives.load_archive(path)
        self.columns = tuple(str(name) for name in arrays["columns"])
        structure = stages.glass(self.folder, lane[0])
        return build(structure, arrays["features"], labels, arrays["pairs"])

    def lanes(self, specimens: Iterable[int]) -> list[Lane]:
        """The lanes with an event among some specimens."""
        chosen = {int(number) for number in specimens}
        return [lane for lane in self.graphs if lane[0] in chosen]

    def of(self, specimens: Iterable[int]) -> list[Graph]:
        """The graphs of some specimens."""
        return [self.graphs[lane] for lane in self.lanes(specimens)]

    def check(self, split: Split) -> None:
        """Raise ValueError if a part of a split holds no event."""
        for part in PARTS:
            specimens = [int(number) for number in getattr(split, part)]
            if not self.lanes(specimens):
                raise ValueError(
                    f"no event in the {part} part (specimens {specimens}): shear further "
                    "(final_strain), add specimens, or take another seed"
                )

    def surround(self) -> None:
        """Give every graph the surroundings of its atoms, once a specimen."""
        numbers = sorted({number for number, _ in self.graphs})
        glasses = {number: stages.glass(self.folder, number) for number in numbers}
        shape = symmetry_functions.allocate(list(glasses.values()))
        around = {}
        for number, glass in glasses.items():
            near = lists.allocate(glass, shape.cutoff, skin=0.0)
            around[number] = jax.device_get(symmetry_functions.surroundings(glass, near, shape))
        for lane, graph in self.graphs.items():
            self.graphs[lane] = with_surroundings(graph, around[lane[0]])

    def shuffled(self, seed: int) -> "Dataset":
        """The control: the labels of each graph dealt out anew among its atoms."""
        rng, other = np.random.default_rng(seed), copy.copy(self)
        other.graphs = {
            lane: graph._replace(
                nodes=graph.nodes._replace(label=rng.permutation(graph.nodes.label))
            )
            for lane, graph in self.graphs.items()
        }
        return other
