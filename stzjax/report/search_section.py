"""The grid search: Table 1 beside the paper's, and all shapes as a heat map and a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stzjax.figures import studies
from stzjax.figures.studies import shape_name
from stzjax.report import verdict_section
from stzjax.report.words import Cell, Table, between, counted, decimals, dig, known, number, text
from stzjax.run_folder.contents import parse

_SCORES = {
    "Recall": "recall",
    "Precision": "precision",
    "F1": "f1",
    "MCC": "mcc",
    "AUC": "auc",
    "AP": "ap",
    "AP/prevalence": "ap_over_prevalence",
}
"""Names of the metrics in Table 1 and in a verdict."""

_HEADS = [title.replace("/", " / ") for title in _SCORES]
"""The titles may break at their slash."""


def section(search: dict[str, Any]) -> dict[str, Any]:
    """The chapter of the grid search."""
    longest = _longest(search["grid"])
    values = np.array([row["ap_over_prevalence"] for row in longest])
    spreads = np.array([row["ap_over_prevalence_deviation"] for row in longest])
    lost = int(np.isnan(values).sum())
    judged = search["judged"].values()
    return {
        "shapes": len(longest),
        "folds": len(search["folds"]),
        "table_1": _table_1(search),
        "intervals": any(dig(one, "verdict", "pooled", "interval") for one in judged),
        "winners": _winners(search),
        "nowhere": [metric for metric, winner in search["winners"].items() if winner is None],
        "lost": lost,
        "ends": [number(np.nanmin(values)), number(np.nanmax(values))]
        if lost < len(values)
        else [],
        "spread": number(np.nanmedian(spreads)) if np.isfinite(spreads).any() else "",
        "halved": len({row["epochs"] for row in search["grid"]}) > 1,
        "chart": studies.grid(longest, search["winners"]),
        "table": _grid(search["grid"]),
    }


def _table_1(search: dict[str, Any]) -> Table:
    """Table 1 as in the paper; intervals come from the verdicts."""
    place = {name: n for n, name in enumerate(search["columns"])}
    rows = []
    for row in search["table"]:
        shape = {letter: row[place[letter]] for letter in "LMN"}
        name = "_".join(f"{letter}{int(value)}" for letter, value in shape.items())
        own = row[0] != "paper"
        spans = dig(search["judged"], name, "verdict", "pooled", "interval") if own else None
        cells = [Cell(row[0]), Cell(row[place["optimised for"]], ""), *map(Cell, shape.values())]
        for title, metric in _SCORES.items():
            value = parse(row[place[title]])
            cells.append(Cell(decimals(value), value, [between(dig(spans, metric))]))
        rows.append(cells)
    ours = sum(row[0] != "paper" for row in search["table"])
    return Table(["", "Optimised for", "L", "M", "N", *_HEADS], rows, range(ours), [ours])


def _winners(search: dict[str, Any]) -> Table:
    """The trainings of the winners, and their hits."""
    rows = []
    shares: list[str] = []
    for name, one in search["judged"].items():
        metrics = [metric for metric, winner in search["winners"].items() if winner == name]
        record, hits = one.get("record") or {}, dig(one, "verdict", "pooled", "hits") or {}
        shares = list(hits)
        epochs = f"{text(record.get('best_epoch', '–'))} of {text(record.get('epochs', '–'))}"
        first = [Cell(name.replace("_", " ")), Cell(text(metrics), ""), Cell(epochs)]
        rows.append([*first, *map(verdict_section.hit_cell, hits.values())])
    head = ["", "Best on validation by", "Best epoch"]
    return Table([*head, *(f"Hit in top {100 * float(share):g} %" for share in shares)], rows)


def _longest(grid: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The row with the most epochs of each shape: successive halving trains some for less."""
    found: dict[str, dict[str, float]] = {}
    for row in grid:
        name = shape_name(row)
        if name not in found or row["epochs"] > found[name]["epochs"]:
            found[name] = row
    return list(found.values())


def _grid(grid: Sequence[dict[str, float]]) -> Table:
    rows = []
    for row in sorted(grid, key=_rank):
        name = shape_name(row)
        cells = [Cell(name.replace("_", " "), name), Cell(f"{row['epochs']:g}", row["epochs"])]
        cells += [Cell(decimals(row[metric]), row[metric]) for metric in _SCORES.values()]
        cells += [counted(row[name]) for name in ("ap_over_prevalence_deviation", "seconds")]
        rows.append(cells)
    head = ["Shape", "Epochs", *_HEADS, "± over folds", "Seconds"]
    return Table(head, rows, sortable=True)


def _rank(row: dict[str, float]) -> float:
    value = row["ap_over_prevalence"]
    return -value if known(value) else float("inf")
