"""Remedies and baselines: a table, a forest plot, and in words how much lies behind them."""

from collections.abc import Callable, Mapping
from typing import Any

from stzjax.core import loads
from stzjax.evaluation import by_event_size
from stzjax.figures import studies
from stzjax.report.words import (
    Cell,
    Table,
    counted,
    dig,
    duration,
    known,
    measured,
    number,
    percent,
)
from stzjax.run_folder.contents import Row

_RATIO = ("ranks", "ap_over_prevalence")
_COLUMNS = {
    "AUC": ("ranks", "auc"),
    "AP": ("ranks", "ap"),
    "Recall": ("at_half", "recall"),
    "Precision": ("at_half", "precision"),
    "F1": ("at_half", "f1"),
    "MCC": ("at_half", "mcc"),
    "MCC, threshold chosen for it": ("at_best_mcc", "mcc"),
    "F1, threshold chosen for it": ("at_best_f1", "f1"),
}


def section(found: dict[str, Any]) -> dict[str, Any]:
    """The chapter of a comparison."""
    ratios = {row["name"]: dig(row, "average", *_RATIO) for row in found["rows"]}
    differences = {row["name"]: _difference(row) for row in found["rows"]}
    rows = sorted(found["rows"], key=_rank)
    return {
        "extent": _extent(found),
        "outcome": _outcome(found),
        "chart": studies.comparison(ratios, differences, found["reference"]),
        "table": _table(rows, found["reference"]),
        "directions": _directions(rows),
        "sizes": _sizes(rows),
    }


def _difference(row: Row) -> Any:
    return dig(row, "minus_reference", *_RATIO)


def _rank(row: Row) -> float:
    value = dig(row, "average", *_RATIO, "estimate")
    return -value if known(value) else float("inf")


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


def _outcome(found: dict[str, Any]) -> dict[str, Any]:
    """Entrants that differ from the reference, by the intervals, among all that have one."""
    spans = {row["name"]: _difference(row) for row in found["rows"]}
    spans = {name: span for name, span in spans.items() if known(dig(span, "low"))}
    return {
        "reference": found["reference"],
        "compared": len(spans),
        "better": [name for name, span in spans.items() if span["low"] > 0],
        "worse": [name for name, span in spans.items() if span["high"] < 0],
    }


def _table(rows: list[Row], reference: str) -> Table:
    hits = dict.fromkeys(share for row in rows for share in dig(row, "average", "hits") or {})
    head = ["Name", "AP / prevalence", "minus reference", *_COLUMNS]
    head += [f"Hit in top {100 * float(share):g} %" for share in hits]

    def cells(row: Row) -> list[Cell]:
        own = row["name"] == reference
        return [
            measured(dig(row, "average", *_RATIO)),
            Cell("reference") if own else measured(_difference(row)),
            *(measured(dig(row, "average", *path)) for path in _COLUMNS.values()),
            *(measured(dig(row, "average", "hits", share), percent) for share in hits),
            counted(row.get("brier")),
            Cell(duration(row.get("seconds") or 0.0), row.get("seconds")),
        ]

    marked = [place for place, row in enumerate(rows) if row["name"] == reference]
    return _named([*head, "Brier score", "Time"], rows, cells)._replace(marked=marked)


def _named(head: list[str], rows: list[Row], cells: Callable[[Row], list[Cell]]) -> Table:
    """A sortable table with the names in front."""
    body = [[Cell(str(row["name"]), str(row["name"])), *cells(row)] for row in rows]
    return Table(head, body, sortable=True)


def _directions(rows: list[Row]) -> Table | None:
    """AP over prevalence of each direction."""
    present = [d for d in loads.DIRECTIONS if any(d in (r.get("directions") or {}) for r in rows)]
    if not present:
        return None
    return _named(
        ["Name", *present],
        rows,
        lambda row: [counted(dig(row, "directions", d, "ap_over_prevalence")) for d in present],
    )


def _sizes(rows: list[Row]) -> Table | None:
    """AUC, ranking and hits of the events of each class of size."""
    classes: list[Row] = next((row["sizes"] for row in rows if row.get("sizes")), [])
    if not classes:
        return None
    head = ["Name"]
    for one in classes:
        title = f"{by_event_size.span(one)} atoms, {one['events']} events"
        head += [f"{title}: AUC", "AP / prevalence, median", "hit"]

    def cells(row: Row) -> list[Cell]:
        sizes = [*(row.get("sizes") or []), *({} for _ in classes)][: len(classes)]
        return [cell for one in sizes for cell in _size(one)]

    return _named(head, rows, cells)


def _size(one: Mapping[str, Any]) -> list[Cell]:
    auc, error, hit = one.get("auc"), one.get("auc_error"), one.get("hit")
    spread = f"± {number(error)}" if known(auc) and known(error) else ""
    return [
        Cell(number(auc), auc, [spread]),
        counted(one.get("ap_over_prevalence")),
        Cell(percent(hit), hit),
    ]
