"""Writing the report: the page around its sections, and the figures beside it."""

import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
import plotly.offline
from matplotlib.figure import Figure

from stzjax.evaluation import metrics
from stzjax.figures import stages
from stzjax.io import archives
from stzjax.report import (
    comparison_section,
    correlation_section,
    results,
    search_section,
    sections,
    space,
    threshold_section,
    verdict_section,
)
from stzjax.report.markup import PAPER, Interval, known, number, odds, text
from stzjax.report.results import Results

_RESAMPLES = 1000

_REMEDIES = (
    "Trainings against the imbalance of the classes under equal budgets; the paper's is the "
    "weighted cross-entropy."
)
_BASELINES = (
    "Simpler predictors beside the network, on the same features, and as a control the network "
    "with the labels of each glass dealt out anew, which must not beat chance."
)


def write(out: str | os.PathLike) -> Path:
    """Write `report.html` and `figures/*.png` into a run folder from what is in it.

    A stage that has not run yet is named as missing; the page is written all the same.

    Args:
      out: run folder, finished or not.

    Returns:
      Path of the page.

    Raises:
      ValueError: `out` is not a folder, or a file in it is damaged.
    """
    found = results.read(out)
    for name, figure in _figures(found).items():
        stages.save(figure, Path(out) / "figures" / f"{name}.png")
    path = Path(out) / "report.html"
    archives.write_text(path, _page(found))
    return path


def _page(found: Results) -> str:
    interval, studies = _interval(found), found.studies
    chapters = [
        ("settings", "Settings", sections.settings(found)),
        ("quench", "Quench", sections.quench(found)),
        ("shear", "Stress and strain", sections.shear(found)),
        ("events", "First events", sections.events(found)),
        ("metrics", "Metrics", sections.metrics(found, interval)),
        ("verdict", "Verdict", verdict_section.section(found)),
        ("curves", "ROC and precision–recall", sections.curves(found)),
        ("correlation", "Confidence and D²min", correlation_section.section(found)),
        ("atoms", "Atoms in space", space.section(found)),
        ("thresholds", "Thresholds", threshold_section.section(studies.thresholds, found.pictures)),
        ("search", "Grid search", search_section.section(studies.search)),
        (
            "remedies",
            "Remedies",
            comparison_section.section("remedies", studies.remedies, _REMEDIES),
        ),
        (
            "baselines",
            "Baselines",
            comparison_section.section("baselines", studies.baselines, _BASELINES),
        ),
        ("training", "Training", sections.training(found)),
        ("usage", "Time and memory", sections.usage(found)),
    ]
    links = "".join(f'<a href="#{name}">{name.capitalize()}</a>' for name, *_ in chapters)
    body = "".join(
        f'<section id="{n}"><h2>{t}</h2>{content}</section>' for n, t, content in chapters
    )
    parts = {
        "title": f"stzjax: {text(found.config.get('preset', 'run'))}",
        "plotly": plotly.offline.get_plotlyjs(),
        "body": f"<header><div>{_headline(found, interval)}</div></header>"
        f"<nav><div>{links}</div></nav><main>{body}{_footer(found)}</main>",
    }
    folder = resources.files("stzjax.report")
    template, parts["view"] = (
        folder.joinpath(f"{name}.html").read_text("utf-8") for name in ("page", "view")
    )
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _headline(found: Results, interval: Interval) -> str:
    config, event = found.config, found.events()
    test = found.metrics.get("test") or {}
    potential = Path(str(config.get("potential", "unrecorded"))).name
    sentences = [f"{_glasses(found)}; potential <code>{text(potential)}</code>."]
    if config.get("quench_rate") is not None:
        sentences.append(f"Quenched at {text(config['quench_rate'])} K/s.")
    if event["runs"]:
        sentences.append(
            f"Sheared athermally: {event['triggered']} of {event['runs']} runs reached a first "
            f"event (an atom with D²min above {found.threshold:g} Å²)."
        )
    sizes = sorted({glass.structure.num_atoms for glass in found.specimens.values()})
    prevalence = test.get("prevalence")
    tiles = [
        (f"{len(found.specimens)}", "specimens"),
        (" to ".join(f"{n:,}" for n in {*sizes[:1], *sizes[-1:]}) or "–", "atoms each"),
        (f"{event['triggered']} / {event['runs']}", "runs with a first event"),
        (odds(prevalence) if prevalence else "–", "test atoms that move first"),
        (number(test["ap_over_prevalence"], "×") if test else "–", "AP over chance, test"),
    ]
    cells = "".join(f'<div class="tile"><b>{value}</b><span>{t}</span></div>' for value, t in tiles)
    return (
        "<h1>Where does this glass yield first?</h1>"
        f"<p>Preset <code>{text(config.get('preset', 'unrecorded'))}</code>: "
        f'{" ".join(sentences)}</p><div class="tiles">{cells}</div>'
        f'<p class="verdict">{_verdict(found, interval)}</p>'
    )


def _verdict(found: Results, interval: Interval) -> str:
    """What the numbers allow to say, in words."""
    test = found.metrics.get("test")
    if not test:
        return "<strong>No verdict yet:</strong> the model has not been tested."
    ratio = test["ap_over_prevalence"]
    if ratio is None:
        return (
            "<strong>No verdict:</strong> no atom of the test set moves first, so a ranking "
            "cannot be judged. Shear further, or test on more specimens."
        )
    span, chance = interval.get("ap_over_prevalence"), verdict_section.random_ranking(test)
    words = f"<strong>{_judgement(ratio, span, chance)}.</strong> "
    words += f"Average precision is {number(ratio)} times the prevalence"
    if span and known(span["low"]):
        words += f" (95 % over test specimens: {number(span['low'])} to {number(span['high'])})"
    words += (
        f"; a random ranking reaches {number(chance)} times on average, a perfect one "
        f"{number(1 / test['prevalence'])}, and the paper's model "
        f"{PAPER['ap_over_prevalence']:.2g} of {1 / PAPER['prevalence']:.0f}."
    )
    if not span:
        words += " One test specimen cannot tell how much of this is luck."
    if test["precision"] is None:
        return words + " At threshold 0.5 it points at no atom."
    return words + (
        f" At threshold 0.5 it finds {100 * test['recall']:.0f} % of the first movers, and of 100 "
        f"atoms it points at, {number(100 * test['precision'])} do move first."
    )


def _judgement(ratio: float, span: Mapping[str, Any] | None, chance: float) -> str:
    if ratio <= chance:
        return "No better than chance"
    if span is None or not known(span["low"]) or span["low"] <= chance:
        return "Not established beyond chance"
    return "Better than chance" if ratio >= 3 else "Slightly better than chance"


def _figures(found: Results) -> dict[str, Figure]:
    """The figures that the run has data for, by file name."""
    drawn: dict[str, Figure] = {}
    shears, test, event = found.shears, found.test, found.events()
    if shears:
        columns = zip(*[(s.direction, s.strain, s.stress, s.event) for s in shears], strict=True)
        drawn["stress_strain"] = stages.stress_strain(*columns)
    traces = [s.trace for s in found.specimens.values() if len(s.trace) == 3]
    if traces:
        names = ("temperature", "energy", "density")
        drawn["quench"] = stages.quench_trace(*[[t[name] for t in traces] for name in names])
    if event["strains"]:
        prevalence = float(np.mean(test.label)) if test else None
        drawn["events"] = stages.events(event["strains"], event["sizes"], prevalence)
    fields = [s.event_d2min for s in shears if s.event_d2min is not None]
    if fields:
        drawn["d2min"] = stages.d2min_histogram(np.concatenate(fields), found.threshold)
    if found.history.get("epoch"):
        drawn["training"] = stages.training(found.history)
    if test and 0 < np.mean(test.label) < 1:
        drawn["curves"] = stages.curves(test.label, test.confidence, found.thresholds())
    if test and found.shown_runs():
        drawn["atoms"] = _atoms(found)
    return drawn


def _footer(found: Results) -> str:
    versions = found.config.get("provenance") or {}
    listed = ", ".join(f"{text(k)} {text(v)}" for k, v in versions.items())
    return (
        f"<footer><p>The same plots lie as PNG in <code>figures/</code>. {listed}</p>"
        "<p>Paper: J. Lee and S. Ryu, Evaluating the predictive power of machine learning model "
        "for shear transformation in metallic glasses using metrics for an imbalanced dataset."
        "</p></footer>"
    )


def _atoms(found: Results) -> Figure:
    """The first test run with an event, at the threshold chosen on validation if there is one."""
    assert found.test is not None
    label, confidence, runs = found.test.label, found.test.confidence, found.shown_runs()
    number, _, span = next((run for run in runs if label[run[2]].any()), runs[0])
    glass = found.specimens[number].structure
    threshold = list(found.thresholds().values())[-1]
    return stages.atoms(glass.positions(), glass.cell, label[span], confidence[span], threshold)


def _interval(found: Results) -> Interval:
    """Over the test specimens, recorded or computed; nothing if there are fewer than two."""
    if recorded := found.metrics.get("verdict"):
        return recorded["pooled"]["interval"] or {}
    test = found.test
    if test is None or len(np.unique(test.specimen)) < 2:
        return {}
    return metrics.bootstrap(
        test.label, test.confidence, test.specimen, _RESAMPLES, key=jax.random.key(0)
    )


def _glasses(found: Results) -> str:
    """Such as "6 Cu64Zr36 glasses of 1,000 atoms"."""
    if not found.specimens:
        return "No specimen yet"
    glass = next(iter(found.specimens.values())).structure
    share = 100 * np.bincount(glass.species, minlength=len(glass.elements)) / glass.num_atoms
    formula = "".join(f"{e}{s:.3g}" for e, s in zip(glass.elements, share, strict=True) if s)
    plural = "" if len(found.specimens) == 1 else "es"
    return f"{len(found.specimens)} {text(formula)} glass{plural} of {glass.num_atoms:,} atoms"
