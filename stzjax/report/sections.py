"""The sections about the run itself: each takes its results and returns HTML."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stzjax.report import scenes
from stzjax.report.markup import (
    PAPER,
    Interval,
    absent,
    bounds,
    count,
    duration,
    fold,
    odds,
    picture,
    plot,
    score,
    text,
)
from stzjax.report.results import GOOD, Results

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


def settings(found: Results) -> str:
    """All flat settings of the run."""
    config = {k: v for k, v in found.config.items() if k != "provenance"}
    if not config:
        return absent("No settings recorded: <code>config.json</code> is not there.")
    rows = "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in config.items())
    return fold(f"{len(config)} settings of all stages", f'<dl class="pairs">{rows}</dl>')


def quench(found: Results) -> str:
    """Energy and density along the quench."""
    if not any("temperature" in s.trace for s in found.specimens.values()):
        return absent("No quench recorded.")
    return (
        f"<p>{len(found.specimens)} specimens cooled from the melt at constant pressure.</p>"
        + plot("quench-plot", scenes.quench_trace(found.specimens))
    )


def shear(found: Results) -> str:
    """Stress against strain of all runs, and how the runs ended."""
    if not found.shears:
        return absent("No shear run yet.")
    ends: dict[str, int] = {}
    for shear in found.shears:
        ends[shear.outcome or "unrecorded"] = ends.get(shear.outcome or "unrecorded", 0) + 1
    words = ", ".join(f"{text(name)} {count}" for name, count in sorted(ends.items()))
    several = int(found.config.get("min_cluster", 1))
    whose = "an atom's D²min exceeds" if several < 2 else f"{several} bonded atoms' D²min exceed"
    return (
        f"<p>Athermal quasi-static shear, {len(found.shears)} runs. A dot marks the first state "
        f"in which {whose} {found.threshold:g} Å². A click in the legend hides a "
        f"direction.</p>{plot('stress-plot', scenes.stress_strain(found.shears))}"
        f'<p class="note">Outcome of the runs: {words}.</p>{_faults(found)}'
    )


def _faults(found: Results) -> str:
    """What went wrong with specimens and runs, a row each; a sentence if nothing did."""
    rows = [
        (f"specimen {number}", one.outcome)
        for number, one in found.specimens.items()
        if one.outcome != GOOD
    ]
    rows += [
        (f"specimen {run.specimen}, {run.direction}", "; ".join(run.faults))
        for run in found.shears
        if run.faults
    ]
    if not rows:
        return '<p class="note">No faults: every specimen relaxed, no energy rose in a step.</p>'
    cells = "".join(f"<tr><th>{text(who)}</th><td>{text(what)}</td></tr>" for who, what in rows)
    return (
        f"<p>{len(rows)} faults. A specimen named here was not sheared; a run was used as far as "
        f'it went.</p><div class="scroll"><table id="faults">{cells}</table></div>'
    )


def events(found: Results) -> str:
    """When the first events came and how large they were, and the class ratio."""
    event = found.events()
    if not event["runs"]:
        return absent("No shear run yet.")
    if not event["strains"]:
        content = absent(
            f"None of {event['runs']} runs reached a first event: no atom exceeded "
            f"{found.threshold:g} Å² up to the largest strain. Shear further to see one."
        )
    else:
        strains, sizes = 100 * np.asarray(event["strains"], float), event["sizes"]
        content = (
            f"<p>{event['triggered']} of {event['runs']} runs reached a first event, at strains "
            f"from {strains.min():.3g} to {strains.max():.3g} % (median {np.median(strains):.3g} %)"
        )
        if sizes:
            content += f", of {min(sizes)} to {max(sizes)} atoms (median {np.median(sizes):g})"
        content += ".</p>" + plot("events-plot", scenes.events(event["strains"], sizes))
    return content + _class_ratio(found)


def _class_ratio(found: Results) -> str:
    prevalence = (found.metrics.get("test") or {}).get("prevalence")
    if prevalence is None and found.test:
        prevalence = float(np.mean(found.test.label))
    if prevalence is None:
        return "<h3>Class ratio</h3>" + absent("No test set yet.")
    words = odds(prevalence) if prevalence else "none"
    return (
        '<h3>Class ratio</h3><div class="ratio">'
        f'<i style="width:{100 * prevalence:.4f}%"></i></div>'
        f"<p>{100 * prevalence:.3g} % of the test atoms move first ({words}); in the paper, "
        f"{100 * PAPER['prevalence']:.2g} % ({odds(PAPER['prevalence'])}).</p>"
    )


def metrics(found: Results, interval: Interval) -> str:
    """The metrics beside those of the paper, and the confusion matrices."""
    columns = [
        ("Test, threshold 0.5", found.metrics.get("test")),
        ("Test, threshold from validation", found.metrics.get("test_at_validation_threshold")),
        ("Validation", found.metrics.get("validation")),
    ]
    if not any(column for _, column in columns):
        return absent("No metrics yet: the model has not been tested.")
    head = "".join(f"<th>{title}</th>" for title, _ in columns)
    rows = ""
    for key, name in _NAMES.items():
        cells = "".join(
            f"<td>{score(column, key)}{bounds(interval, key) if column_number == 0 else ''}</td>"
            for column_number, (_, column) in enumerate(columns)
        )
        mark = ' class="key"' if key == "ap_over_prevalence" else ""
        rows += f"<tr{mark}><th>{name}</th>{cells}<td>{score(PAPER, key)}</td></tr>"
    matrices = "".join(_matrix(title, column) for title, column in columns[:2] if column)
    return (
        f'<div class="scroll"><table class="scores"><thead><tr><th></th>{head}'
        f"<th>Paper, Table 1<br>L 4, M 15, N 9</th></tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="note">The paper\'s glasses, their number and the share of atoms that move '
        "first differ from this run's, so its column cannot be compared line by line: precision, "
        "F1, MCC and AP rise with the prevalence. AP over prevalence (how many times better than a "
        "random ranking) is the line to compare, bearing in mind that its ceiling is one over the "
        f"prevalence. {_interval_words(interval)}</p>"
        f'<h3>Confusion matrices</h3><div class="matrices scroll">{matrices}</div>'
    )


def _matrix(title: str, scores: Mapping[str, Any]) -> str:
    counts = scores.get("confusion") or {}

    def cell(key: str, name: str, kind: str) -> str:
        return f'<td class="{kind}"><b>{count(counts.get(key))}</b><span>{name}</span></td>'

    return (
        f'<table class="matrix"><caption class="note">{title}</caption>'
        "<tr><th></th><th>predicted</th><th>not predicted</th></tr>"
        f"<tr><th>moved first</th>{cell('tp', 'true positive', 'good')}"
        f"{cell('fn', 'false negative', 'bad')}</tr>"
        f"<tr><th>did not</th>{cell('fp', 'false positive', 'bad')}"
        f"{cell('tn', 'true negative', 'good')}</tr></table>"
    )


def curves(found: Results) -> str:
    """ROC and precision–recall curves of the test set."""
    if found.test is None:
        return absent("No predictions yet.")
    positive = int(np.sum(found.test.label))
    if positive in (0, len(found.test.label)):
        which = "no" if positive == 0 else "every"
        return absent(f"The curves are undefined: {which} atom of the test set moves first.")
    drawn = scenes.curves(found.test.label, found.test.confidence, found.thresholds())
    words = f"{positive:,} first movers among {len(found.test.label):,} test atoms."
    return f"<p>{words}</p>{plot('curves-plot', drawn)}{picture(found.pictures, 2)}"


def training(found: Results) -> str:
    """Loss and validation score by epoch."""
    if not found.history.get("epoch"):
        return absent("No training history.")
    return plot("training-plot", scenes.training(found.history))


def usage(found: Results) -> str:
    """Time and peak memory of each stage."""
    stages = found.usage
    if not stages:
        return absent("No timings recorded.")
    longest = max(*(one["seconds"] for one in stages.values()), 1e-9)
    device = any("device_peak_mib" in one for one in stages.values())

    def memory(one: dict[str, float], name: str) -> str:
        return f"<td>{one[name] / 1024:.2f} GiB</td>" if name in one else "<td>–</td>"

    rows = "".join(
        f"<tr><th>{text(stage)}</th><td>{duration(one['seconds'])}</td>"
        f"{memory(one, 'peak_mib')}{memory(one, 'device_peak_mib') if device else ''}"
        f'<td><i class="bar" style="width:{400 * one["seconds"] / longest:.0f}px"></i></td></tr>'
        for stage, one in stages.items()
    )
    total = duration(sum(one["seconds"] for one in stages.values()))
    head = "<tr><th></th><th>time</th><th>peak memory</th>"
    head += "<th>of a device</th></tr>" if device else "</tr>"
    return (
        f'<div class="scroll"><table>{head}{rows}<tr><th>total</th><td>{total}</td></tr></table>'
        "</div>"
    )


def _interval_words(interval: Interval) -> str:
    if not interval:
        return "No interval is given: it takes at least two test specimens."
    return (
        "Small print: 95 % interval when the test specimens are drawn again with replacement; with "
        "a handful of specimens it is itself uncertain, and rather too narrow."
    )
