"""The grid search: Table 1 beside the paper's, and all shapes as a heat map and a table."""

from typing import Any

import numpy as np

from stzjax.figures import studies
from stzjax.figures.studies import shape_name
from stzjax.report.words import dig, known, number, rank
from stzjax.run_folder.contents import parse

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


def section(search: dict[str, Any]) -> dict[str, Any]:
    """The chapter of the grid search."""
    grid, judged = search["grid"], search["judged"]
    # Successive halving trains some shapes for less: the row with the most epochs counts.
    by_epochs = sorted(grid, key=lambda row: row["epochs"])
    longest = list({shape_name(row): row for row in by_epochs}.values())
    values = [row["ap_over_prevalence"] for row in longest if known(row["ap_over_prevalence"])]
    ranked = sorted(grid, key=lambda row: rank(row["ap_over_prevalence"]))
    spreads = np.array([row["ap_over_prevalence_deviation"] for row in longest])
    return {
        "shapes": len(longest),
        "folds": len(search["folds"]),
        "table_1": [_judged(search, row) for row in search["table"]],
        "intervals": any(dig(one, "verdict", "pooled", "interval") for one in judged.values()),
        "judged": judged,
        "hits": next((dig(one, "verdict", "pooled", "hits") for one in judged.values()), None),
        "winners": search["winners"],
        "lost": len(longest) - len(values),
        "ends": [number(min(values)), number(max(values))] if values else [],
        "spread": number(np.nanmedian(spreads)) if np.isfinite(spreads).any() else "",
        "halved": len({row["epochs"] for row in grid}) > 1,
        "chart": studies.grid(longest, search["winners"]),
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
