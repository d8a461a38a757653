"""What the page says about the run itself, section by section, as plain values for the templates.

None stands for a section without anything to show.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stzjax.evaluation import called_by_d2min
from stzjax.figures import atoms, d2min, run
from stzjax.figures.chart import Chart
from stzjax.report import verdict_section
from stzjax.report.words import PAPER, Cell, Interval, between, decimals, known, number, odds
from stzjax.run_folder.contents import GOOD, Contents

OPERATING = 0.5
"""Confidence from which the paper calls an atom positive."""

_NAMES = {
    "recall": "Recall",
    "precision": "Precision",
    "f1": "F1",
    "mcc": "MCC",
    "auc": "AUC",
    "ap": "AP",
    "prevalence": "Prevalence",
    "ap_over_prevalence": "AP / prevalence",
    "threshold": "Threshold",
}


def headline(found: Contents) -> dict[str, Any]:
    """The first sentence and the tiles below it."""
    event, test = found.events(), found.metrics.get("test") or {}
    glasses = [one.structure for one in found.specimens.values()]
    sizes = sorted({glass.num_atoms for glass in glasses})
    prevalence = test.get("prevalence")
    tiles = [
        (f"{len(glasses)}", "specimens"),
        (" to ".join(f"{n:,}" for n in {*sizes[:1], *sizes[-1:]}) or "–", "atoms each"),
        (f"{event['triggered']} / {event['runs']}", "runs with a first event"),
        (odds(prevalence) if prevalence else "–", "test atoms that move first"),
        (number(test["ap_over_prevalence"], "×") if test else "–", "AP over chance, test"),
    ]
    words = "No specimen yet"
    if glasses:
        first = glasses[0]
        share = 100 * np.bincount(first.species, minlength=len(first.elements)) / first.num_atoms
        formula = "".join(f"{e}{s:.3g}" for e, s in zip(first.elements, share, strict=True) if s)
        plural = "" if len(glasses) == 1 else "es"
        words = f"{len(glasses)} {formula} glass{plural} of {first.num_atoms:,} atoms"
    potential = Path(str(found.config.get("potential", "unrecorded"))).name
    return {"glasses": words, "potential": potential, "event": event, "tiles": tiles}


def judgement(found: Contents, interval: Interval) -> tuple[str, str]:
    """What the numbers allow to say: in a few words, and in sentences."""
    test = found.metrics.get("test")
    if not test:
        return "No verdict yet:", "the model has not been tested."
    ratio = test["ap_over_prevalence"]
    if ratio is None:
        return (
            "No verdict:",
            "no atom of the test set moves first, so a ranking cannot be judged. Shear further, "
            "or test on more specimens.",
        )
    span, chance = interval.get("ap_over_prevalence"), verdict_section.random_ranking(test)
    words = f"Average precision is {number(ratio)} times the prevalence"
    if ends := between(span):
        words += f" (95 % over test specimens: {ends})"
    words += (
        f"; a random ranking reaches {number(chance)} times on average, a perfect one "
        f"{number(1 / test['prevalence'])}, and the paper's model "
        f"{PAPER['ap_over_prevalence']:.2g} of {1 / PAPER['prevalence']:.0f}."
    )
    if not span:
        words += " One test specimen cannot tell how much of this is luck."
    if test["precision"] is None:
        words += " At threshold 0.5 it points at no atom."
    else:
        words += (
            f" At threshold 0.5 it finds {100 * test['recall']:.0f} % of the first movers, and of "
            f"100 atoms it points at, {number(100 * test['precision'])} do move first."
        )
    return f"{_short(ratio, span, chance)}.", words


def _short(ratio: float, span: Mapping[str, Any] | None, chance: float) -> str:
    if ratio <= chance:
        return "No better than chance"
    if span is None or not known(span["low"]) or span["low"] <= chance:
        return "Not established beyond chance"
    return "Better than chance" if ratio >= 3 else "Slightly better than chance"


def traces(found: Contents) -> Chart | None:
    """Energy and density along the quenches that were recorded."""
    whole = [(n, one.trace) for n, one in found.specimens.items() if len(one.trace) == 3]
    names = ("temperature", "energy", "density")
    columns = [[trace[name] for _, trace in whole] for name in names]
    return run.quench_trace([number for number, _ in whole], *columns) if whole else None


def outcomes(found: Contents) -> dict[str, int]:
    """Number of shear runs by how they ended."""
    return dict(sorted(Counter(one.outcome or "unrecorded" for one in found.shears).items()))


def faults(found: Contents) -> list[tuple[str, str]]:
    """Specimens and runs with which something went wrong, and what."""
    rows = [
        (f"specimen {number}", one.outcome)
        for number, one in found.specimens.items()
        if one.outcome != GOOD
    ]
    return rows + [
        (f"specimen {one.specimen}, {one.direction}", "; ".join(one.faults))
        for one in found.shears
        if one.faults
    ]


def events(found: Contents) -> dict[str, Any]:
    """When the first events came and how large they were, and the class ratio."""
    event = found.events()
    prevalence = (found.metrics.get("test") or {}).get("prevalence")
    if prevalence is None and found.test:
        prevalence = float(np.mean(found.test.label))
    chart = None
    if event["strains"]:
        chart = run.events(event["strains"], event["sizes"], prevalence)
    percents = 100 * np.asarray(event["strains"] or [np.nan], float)
    return {
        **event, "percents": percents, "median": np.median(percents), "prevalence": prevalence,
        "median_size": np.median(event["sizes"] or [np.nan]), "chart": chart,
    }  # fmt: skip


def metrics(found: Contents, interval: Interval) -> dict[str, Any] | None:
    """The metrics beside those of the paper, and the confusion matrices."""
    columns = {
        "Test, threshold 0.5": found.metrics.get("test"),
        "Test, threshold from validation": found.metrics.get("test_at_validation_threshold"),
        "Validation": found.metrics.get("validation"),
    }
    if not any(columns.values()):
        return None

    def cell(scores: Mapping[str, Any] | None, key: str, span: Any = None) -> Cell:
        there = scores is not None and key in scores
        return Cell(decimals(scores[key]) if scores and there else "–", None, [between(span)])

    first, *others = columns.values()
    rows = {
        key: [
            cell(first, key, interval.get(key)),
            *(cell(scores, key) for scores in (*others, PAPER)),
        ]
        for key in _NAMES
    }
    counts = {title: one.get("confusion") or {} for title, one in columns.items() if one}
    counts.pop("Validation", None)
    return {
        "titles": list(columns), "names": _NAMES, "rows": rows, "matrices": counts,
        "interval": bool(interval),
    }  # fmt: skip


def curves(found: Contents) -> dict[str, Any] | None:
    """ROC and precision–recall curves of the test set."""
    if found.test is None:
        return None
    label = found.test.label
    positive = int(np.sum(label))
    chart = None
    if 0 < positive < len(label):
        chart = run.curves(label, found.test.confidence, found.operating())
    return {"positive": positive, "atoms": len(label), "chart": chart}


def correlation(found: Contents) -> dict[str, Any] | None:
    """The share of atoms called positive against their D²min, and the histogram of D²min."""
    if found.test is None:
        return None
    values, runs = found.test_d2min(), found.test.runs()
    missing = sum(bool(np.isnan(values[span]).all()) for _, _, span in runs)
    # The same numbers as experiments/draw.py writes: bins, key and threshold are the same.
    called = found.test.confidence >= OPERATING
    edges = called_by_d2min.bins(values, found.threshold)
    key = jax.random.key(int(found.config.get("seed", 0)))
    share = called_by_d2min.by_d2min(values, called, found.test.specimen, edges, key=key)
    finite = np.isfinite(values)
    return {
        "runs": len(runs) - missing,
        "missing": missing,
        "atoms": int(share.atoms.sum()),
        "called": int(np.sum(called & finite)),
        "outside": int(np.sum(finite) - share.atoms.sum()),
        "specimens": share.specimens,
        "operating": OPERATING,
        "few": d2min.FEW,
        "chart": d2min.shares(share, values, found.threshold, OPERATING),
    }


def shown(found: Contents) -> list[atoms.Shown]:
    """The test runs that can be drawn in space."""
    if found.test is None:
        return []
    values, test = found.test_d2min(), found.test
    return [
        atoms.Shown(
            number, direction, found.specimens[number].structure, test.label[span],
            test.confidence[span], values[span],
        )
        for number, direction, span in found.shown_runs()
    ]  # fmt: skip


def view(found: Contents) -> dict[str, Any] | None:
    """The data of the 3D view, and how many test runs are left out of it."""
    if found.test is None:
        return None
    data = atoms.view(shown(found), found.operating(), found.threshold)
    return {"data": data, "omitted": len(found.test.runs()) - len(data["runs"])}
