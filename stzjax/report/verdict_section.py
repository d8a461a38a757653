"""The verdict: ranking and hits per event, pooled and by direction, beside chance."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from plotly.subplots import make_subplots

from stzjax.figures.stages import GREY
from stzjax.report import drawing, forest
from stzjax.report.markup import (
    UNDEFINED,
    Cell,
    absent,
    between,
    dig,
    known,
    number,
    percent,
    plot,
    table,
    text,
)
from stzjax.report.results import Results

_POOLED = "all directions"


def section(found: Results) -> str:
    """The chapter, from `metrics.json`."""
    judged = found.metrics.get("verdict")
    if not judged:
        return absent("No verdict yet: <code>experiments/evaluate.py</code> gives it.")
    parts = {_POOLED: judged["pooled"], **judged["directions"]}
    return (
        "<p>How good the ranking is, and how often one finds the first event by looking only at "
        "the most confident atoms of a glass: an event is hit if at least one of them moves first."
        f"{_looked(found, list(judged['pooled']['hits']))}</p>"
        f"{plot('verdict-plot', _figure(parts))}"
        '<p class="note">Dots: this model; diamonds: a random ranking, on average.</p>'
        f"{_table(parts)}"
        '<p class="note">Small print: 95 % interval over test specimens, and what a random ranking '
        "would hit or, on average, reach: more than 1 where few atoms move first (Bestgen, 2015). "
        f"{_reasons(parts)}{_widthless(parts)}</p>"
    )


def _looked(found: Results, shares: list[str]) -> str:
    """What the shares are in atoms, if all test glasses have as many."""
    sizes = {span.stop - span.start for _, _, span in found.test.runs()} if found.test else set()
    if len(sizes) != 1:
        return ""
    (size,) = sizes
    counts = ", ".join(f"{math.ceil(Fraction(share) * size)}" for share in shares)
    return f" Of {size:,} atoms, {', '.join(map(_share, shares))} are {counts}."


def _share(share: str) -> str:
    return f"{100 * float(share):g} %"


def _table(parts: Mapping[str, Any]) -> str:
    shares = list(parts[_POOLED]["hits"])
    rows = []
    for name, part in parts.items():
        hits, scores = part["hits"], part["at_half"]
        events = {int(one["events"]) for one in hits.values()}
        rows.append(
            [
                Cell(text(name)),
                Cell(f"{max(events, default=0):,}"),
                Cell(number(scores["prevalence"])),
                *(_ranked(part, metric) for metric in ("auc", "ap_over_prevalence")),
                *(_hit(hits[share]) for share in shares),
            ]
        )
    head = ["", "Events", "Prevalence", "AUC", "AP / prevalence"]
    head += [f"Hit in top {_share(share)}" for share in shares]
    return table(head, rows, marked=[0], rules=[1])


def _ranked(part: Mapping[str, Any], metric: str) -> Cell:
    value = part["at_half"][metric]
    chance = ""
    if metric == "ap_over_prevalence":
        chance = f"<small>chance {number(random_ranking(part['at_half']))}</small>"
    return Cell(number(value) + between(dig(part, "interval", metric)) + chance, value)


def random_ranking(scores: Mapping[str, Any]) -> float:
    """AP over prevalence that a random ranking without ties reaches on average; NaN if undefined.

    Exact, with H_N the harmonic number: 1 + (H_N - 1) (N - P) / (P (N - 1)) for P positives among
    N. Bestgen, Exact expected average precision of the random baseline for system evaluation,
    Prague Bulletin of Mathematical Linguistics 103, 131 (2015).
    """
    counts = scores["confusion"]
    num, positive = sum(counts.values()), counts["tp"] + counts["fn"]
    if not positive:
        return math.nan
    excess = np.sum(1.0 / np.arange(2, num + 1)) / max(num - 1, 1)
    return float(1.0 + excess * (num - positive) / positive)


def _hit(one: Mapping[str, Any]) -> Cell:
    chance = f"<small>chance {percent(one['chance'])}</small>"
    return Cell(percent(one["rate"]) + between(one["interval"], percent) + chance, one["rate"])


def _reasons(parts: Mapping[str, Any]) -> str:
    """Why something is missing, each reason once."""
    names = {
        "interval": "Intervals of AUC and AP",
        "hits": "Intervals of hits",
        "at_best_mcc": "The threshold that is best by MCC",
        "at_best_f1": "The threshold that is best by F1",
    }
    told: dict[tuple[str, str], list[str]] = {}
    for part, judged in parts.items():
        for what, reason in (judged.get("reasons") or {}).items():
            told.setdefault((what, reason), []).append(part)
    return " ".join(
        f"{names.get(what, what)}: {UNDEFINED} for "
        f"{'all' if len(where) == len(parts) else text(where)} ({text(reason)})."
        for (what, reason), where in told.items()
    )


def _widthless(parts: Mapping[str, Any]) -> str:
    """A warning if an interval says more than it can know."""
    spans = [one["interval"] for part in parts.values() for one in part["hits"].values()]
    if not any(span and known(span["low"]) and span["low"] == span["high"] for span in spans):
        return ""
    return (
        " An interval without width means that all events were hit, or none, so that drawing the "
        "same specimens again cannot change the rate; the rate is not known that well."
    )


def _figure(parts: Mapping[str, Any]) -> str:
    """AP over prevalence by direction, and the pooled hits beside chance."""
    figure = make_subplots(1, 2, horizontal_spacing=0.16)
    ratios = []
    for name, part in parts.items():
        span = dig(part, "interval", "ap_over_prevalence") or {}
        value = part["at_half"]["ap_over_prevalence"]
        low, high = span.get("low"), span.get("high")
        ratios.append(forest.Bar(name, value, low, high, name == _POOLED))
    forest.panel(figure, ratios, 1.0, 1)
    _hits_panel(figure, parts[_POOLED]["hits"])
    chances = [random_ranking(part["at_half"]) for part in parts.values()]
    _chance(figure, chances, list(parts), 1)
    drawing.axes(figure, "AP over prevalence", "", column=1)
    drawing.axes(figure, "events hit, all directions (%)", "", column=2)
    figure.update_xaxes(range=[-3, 103], col=2)
    return drawing.to_json(figure, 320)


def _hits_panel(figure, hits: Mapping[str, Any]) -> None:
    names = [f"top {_share(share)}" for share in hits]
    bars = []
    for name, one in zip(names, hits.values(), strict=True):
        rate, low, high = (
            100 * value if known(value) else None
            for value in (one["rate"], dig(one, "interval", "low"), dig(one, "interval", "high"))
        )
        bars.append(forest.Bar(name, rate, low, high, True))
    forest.panel(figure, bars, None, 2)
    chance = [np.nan if one["chance"] is None else 100 * one["chance"] for one in hits.values()]
    _chance(figure, chance, names, 2)


def _chance(figure, values: Sequence[float], names: list[str], place: int) -> None:
    figure.add_scatter(
        x=drawing.column(values), y=names, mode="markers", showlegend=False,
        marker={"symbol": "diamond-tall", "size": 11, "color": GREY}, row=1, col=place,
        hovertemplate="random ranking: %{x:.3g}<extra></extra>",
    )  # fmt: skip
