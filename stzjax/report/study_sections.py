"""The studies of a run, remedies, baselines and the grid search, as plain values and charts."""

from typing import Any

import numpy as np

from stzjax.core import loads
from stzjax.evaluation import by_event_size
from stzjax.figures import studies
from stzjax.figures.chart import dig
from stzjax.figures.studies import shape_name
from stzjax.report.words import known, number, rank
from stzjax.run_folder.contents import Row, parse

SCORES = {
    "Recall": "recall",
    "Precision": "precision",
    "F1": "f1",
    "MCC": "mcc",
    "AUC": "auc",
    "AP": "ap",
    "AP/prevalence": "ap_over_prevalence",
}
"""Names of the metrics in Table 1 and in a verdict."""

_RATIO = ("ranks", "ap_over_prevalence")


def comparison(found: dict[str, Any]) -> dict[str, Any]:
    """Remedies or baselines: rows, the best first, a plot, and how much lies behind them."""
    rows = sorted(found["rows"], key=lambda row: rank(dig(row, "average", *_RATIO, "estimate")))
    ratios = {row["name"]: dig(row, "average", *_RATIO) for row in found["rows"]}
    differences = {row["name"]: dig(row, "minus_reference", *_RATIO) for row in found["rows"]}
    sizes: list[Row] = next((row["sizes"] for row in rows if row.get("sizes")), [])
    compared = [name for name, span in differences.items() if known(dig(span, "low"))]
    return {
        **_extent(found),
        "rows": rows,
        "reference": found["reference"],
        "compared": len(compared),
        "better": [name for name in compared if differences[name]["low"] > 0],
        "worse": [name for name in compared if differences[name]["high"] < 0],
        "chart": studies.comparison(ratios, differences, found["reference"]),
        "hits": list(dict.fromkeys(s for row in rows for s in dig(row, "average", "hits") or ())),
        "directions": [
            d for d in loads.DIRECTIONS if any(d in (row.get("directions") or ()) for row in rows)
        ],
        "sizes": [{**one, "span": by_event_size.span(one)} for one in sizes],
    }


def _extent(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers of splits, repeats and test specimens."""
    num = len(found["splits"])
    repeats = sorted({int(row.get("repeats", num)) for row in found["rows"]})
    ends = list(dict.fromkeys([repeats[0], repeats[-1]]))
    return {
        "splits": num,
        "times": " to ".join(f"{n}" for n in ends),
        "seeds": " to ".join(f"{n // num}" for n in ends),
        "repeats": repeats[-1],
        "tested": len({number for split in found["splits"] for number in split["test"]}),
        "fewest": min(len(split["test"]) for split in found["splits"]),
    }


def search(found: dict[str, Any]) -> dict[str, Any]:
    """The grid search: Table 1 beside the paper's, and all shapes, the best first."""
    grid, judged = found["grid"], found["judged"]
    # Successive halving trains some shapes for less: the row with the most epochs counts.
    by_epochs = sorted(grid, key=lambda row: row["epochs"])
    longest = list({shape_name(row): row for row in by_epochs}.values())
    values = [row["ap_over_prevalence"] for row in longest if known(row["ap_over_prevalence"])]
    ranked = sorted(grid, key=lambda row: rank(row["ap_over_prevalence"]))
    spreads = np.array([row["ap_over_prevalence_deviation"] for row in longest])
    return {
        "shapes": len(longest),
        "folds": len(found["folds"]),
        "table_1": [_judged(found, row) for row in found["table"]],
        "intervals": any(dig(one, "verdict", "pooled", "interval") for one in judged.values()),
        "judged": judged,
        "hits": next((dig(one, "verdict", "pooled", "hits") for one in judged.values()), None),
        "winners": found["winners"],
        "lost": len(longest) - len(values),
        "ends": [number(min(values)), number(max(values))] if values else [],
        "spread": number(np.nanmedian(spreads)) if np.isfinite(spreads).any() else "",
        "halved": len({row["epochs"] for row in grid}) > 1,
        "chart": studies.grid(longest, found["winners"]),
        "grid": [{**row, "name": shape_name(row)} for row in ranked],
    }


def _judged(search: dict[str, Any], cells: list[str]) -> dict[str, Any]:
    """A row of Table 1: its cells by column, and the intervals of what this run has judged."""
    row: dict[str, Any] = dict(zip(search["columns"], cells, strict=True))
    own = row[""] != "paper"
    spans = dig(search["judged"], shape_name(row), "verdict", "pooled", "interval")
    return {
        **row,
        "own": own,
        "scores": {metric: parse(row[title]) for title, metric in SCORES.items()},
        "spans": spans if own else None,
    }
