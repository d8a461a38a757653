"""Figure 4 of the paper: the class ratio and the metrics against the threshold of D²min."""

from collections.abc import Mapping, Sequence
from typing import Any

from stzjax.figures import d2min
from stzjax.report.words import UNDEFINED, Cell, Table, between, counted, dig, known, number

_COLUMNS = {
    "class_ratio": "Event atoms to others",
    "recall": "Recall",
    "precision": "Precision",
    "auc": "AUC",
    "ap": "AP",
    "f1": "F1",
    "mcc": "MCC",
    "ap_over_prevalence": "AP / prevalence",
}


def section(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The chapter, from the rows of the table of thresholds."""
    cells = []
    for row in rows:
        counts = row.get("events"), row.get("runs")
        told = f"{counts[0]} of {counts[1]}" if None not in counts else UNDEFINED
        line = [counted(row["threshold"]), Cell(told)]
        for name in _COLUMNS:
            value = row.get(name) if name == "class_ratio" else dig(row, "test", name)
            span = between(dig(row, "interval", name)) if known(value) else ""
            line.append(Cell(number(value), value, [span]))
        cells.append(line)
    table = Table(["Threshold (Å²)", "Runs with an event", *_COLUMNS.values()], cells)
    return {"num": len(rows), "chart": d2min.thresholds(rows), "table": table}
