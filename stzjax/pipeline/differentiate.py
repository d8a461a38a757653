"""Three questions to a finished run that derivatives answer; each returns numbers and a figure."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from stzjax.core import geometry, units
from stzjax.descriptors import table
from stzjax.evaluation import metrics
from stzjax.figures import gradients, picture
from stzjax.learning import checkpoints, models, sensitivity, training
from stzjax.learning.splits import Split
from stzjax.mechanics import allocation
from stzjax.mechanics.relax import RelaxConfig
from stzjax.neighbors import lists
from stzjax.pipeline import comparisons, stages
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.draw import Drawn
from stzjax.run_folder.folder import Folder

_TIGHT = RelaxConfig(force_tolerance=1e-9, max_iterations=100_000)
"""Differences of relaxed states see the tolerance of the relaxation."""

VARIANTS = ("features", "frozen", "learned")
"""The paper's columns alone; with symmetry functions as they start; and as training makes them."""


def confidence(folder: Folder, atom: int | None = None) -> Drawn:
    """The positions that move the confidence of an atom of the first test graph most.

    The atom is the most confident one by default.

    Raises:
      ValueError: the run is not trained, or there is no such atom.
    """
    result, data = checkpoints.load(folder.model), Dataset(folder)
    data.check(data.split)
    number, direction = data.run_ids(data.split.test)[0]
    graph = data.graphs[number, direction]
    if atom is None:
        atom = int(np.argmax(training.predict(result.params, result.config, [graph])[0]))
    glass, potential = stages.glass(folder, number), stages.load_potential(folder)
    if not 0 <= atom < glass.num_atoms:
        raise ValueError(f"there is no atom {atom} among {glass.num_atoms}")
    neighbors = lists.allocate(glass, potential.cutoff, inner=potential.inner_cutoff)
    shape = table.allocate(glass, neighbors, stages.feature_config(folder))
    network = result.params, result.config.model
    found = sensitivity.confidence_gradient(
        *network, glass, potential, neighbors, shape, graph, direction, atom
    )
    everyone, slopes = jax.device_get(found)
    away = geometry.minimum_image(glass.fractional - glass.fractional[atom])
    distances = np.linalg.norm(np.asarray(away @ glass.cell.T), axis=1)
    bonded = np.isin(np.arange(glass.num_atoms), graph.senders[graph.receivers == atom])
    strength = np.linalg.norm(slopes, axis=1)
    order = np.argsort(strength)[::-1]
    half = int(np.searchsorted(np.cumsum(strength[order] ** 2), 0.5 * np.sum(strength**2))) + 1
    numbers = {
        "specimen": number,
        "direction": direction,
        "atom": atom,
        "confidence": float(everyone[atom]),
        "norm": float(np.linalg.norm(slopes)),
        "atoms_with_half_of_the_square": half,
        "strongest": [
            {"atom": int(k), "distance": float(distances[k]), "slope": float(strength[k])}
            for k in order[:20]
        ],
    }
    positions = np.asarray(glass.positions())
    figure = gradients.confidence(distances, slopes, bonded, positions, glass.cell, atom)
    return Drawn(figure, numbers)


def stiffness(folder: Folder, number: int = 0, change: float = 1e-4) -> Drawn:
    """The mean C44 of a specimen by the coefficients of the potential, two ways.

    The implicit function theorem, and differences between glasses that were relaxed again under
    coefficients with the relative `change`.
    """
    glass, potential = stages.glass(folder, number), stages.load_potential(folder)
    neighbors = lists.allocate(glass, potential.cutoff, inner=potential.inner_cutoff)
    tiling = allocation.tiling(glass, neighbors, 1.1)

    @jax.jit
    def modulus(potential):
        return sensitivity.mean_stiffness(potential, glass, neighbors, tiling, config=_TIGHT)

    value, gradient = jax.value_and_grad(modulus)(potential)
    if not np.isfinite(value):
        raise ValueError(f"specimen {number} does not relax to {_TIGHT.force_tolerance} eV/Å")
    scale = units.GPA
    which = sensitivity.coefficients(potential)
    exact, found = [], []
    for some in which:
        ends = [
            float(modulus(sensitivity.scaled(potential, some, 1.0 + sign * change)))
            for sign in (1, -1)
        ]
        found.append(scale * (ends[0] - ends[1]) / (2.0 * change))
        exact.append(scale * sensitivity.logarithmic_slope(potential, gradient, some))
    names = [some.label for some in which]
    worst = float(np.max(np.abs(np.subtract(exact, found))) / np.max(np.abs(exact)))
    numbers = {
        "specimen": number,
        "c44_gpa": scale * float(value),
        "change": change,
        "worst_relative_to_largest": worst,
        "rows": [
            {"coefficients": n, "implicit_gpa": e, "differences_gpa": f}
            for n, e, f in zip(names, exact, found, strict=True)
        ],
    }
    return Drawn(picture.draw(gradients.agreement(names, exact, found, "GPa")), numbers)


def descriptor(
    folder: Folder, seeds: Sequence[int], radial: int = 8, angular: int = 4, threads: int = 1
) -> Drawn:
    """Symmetry functions learned through the network against the same ones frozen.

    Every specimen with an event is held out once: the next one chooses the epoch, the others train.
    The same splits and seeds for all of `VARIANTS`; the trials go to `differentiate/trials/`,
    `threads` at a time. Functions are radial for each species, angular for each pair.
    """
    data, base = Dataset(folder), folder.settings.train_config()
    data.surround()
    more = {"radial": radial, "angular": angular}
    shapes = [models.reshaped(base.model, {**more, "learn_functions": on}) for on in (False, True)]
    candidates = [
        comparisons.network(data, variant, dataclasses.replace(base, model=model), seeds)
        for variant, model in zip(VARIANTS, (base.model, *shapes), strict=True)
    ]
    numbers = np.array(sorted({number for number, _ in data.graphs}))
    chosen = [
        Split(
            numbers[(numbers != test) & (numbers != chooser)], np.array([chooser]), np.array([test])
        )
        for test, chooser in zip(numbers, np.roll(numbers, -1), strict=True)
    ]
    found = comparisons.make_trials(folder, "differentiate", candidates, chosen, threads)
    places = [(int(s.test[0]), int(s.validation[0]), int(seed)) for s in chosen for seed in seeds]
    rows: list[dict[str, Any]] = []
    for variant, own in found.items():
        for (test, chooser, seed), trial in zip(places, own, strict=True):
            judged = metrics.evaluate(trial.test.label, trial.test.confidence)
            row = {"test": test, "validation": chooser, "seed": seed, "variant": variant}
            rows.append(row | {name: judged[name] for name in metrics.RANKS})
    ratios = {
        variant: [row["ap_over_prevalence"] for row in rows if row["variant"] == variant]
        for variant in VARIANTS
    }
    figure = picture.draw(gradients.spread(ratios, "AP / prevalence", 1.0))
    return Drawn(figure, {"rows": rows, "summary": _summary(rows)})


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and spread of each variant, and of its paired difference from the frozen variant.

    Networks that were judged on one specimen are no independent trials: errors are over specimens.
    """
    tests = sorted({row["test"] for row in rows})

    def ratio(variant: str, test: int) -> float:
        own = [row for row in rows if (row["variant"], row["test"]) == (variant, test)]
        return float(np.mean([row["ap_over_prevalence"] for row in own]))

    values = {variant: np.array([ratio(variant, n) for n in tests]) for variant in VARIANTS}
    apart = {variant: own - values["frozen"] for variant, own in values.items()}
    return {
        variant: {
            "mean": float(own.mean()),
            "deviation": float(own.std(ddof=1)),
            "minus_frozen": float(apart[variant].mean()),
            "standard_error": float(apart[variant].std(ddof=1) / np.sqrt(len(own))),
        }
        for variant, own in values.items()
    }
