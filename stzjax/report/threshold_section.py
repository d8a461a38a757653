"""Figure 4 of the paper: the class ratio and the metrics against the threshold of D²min."""

from collections.abc import Collection, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from stzjax.figures.stages import BLUE, GREY
from stzjax.report import drawing
from stzjax.report.markup import (
    UNDEFINED,
    Cell,
    absent,
    between,
    dig,
    known,
    number,
    picture,
    plot,
    table,
)
from stzjax.report.studies import Row

_PANELS = {
    "class_ratio": "Event atoms to others",
    "recall": "Recall",
    "precision": "Precision",
    "auc": "AUC",
    "ap": "AP",
    "f1": "F1",
    "mcc": "MCC",
    "ap_over_prevalence": "AP / prevalence",
}
_CHANCE = {"auc": 0.5, "mcc": 0.0, "ap_over_prevalence": 1.0}
_OWN_CHANCE = ("precision", "ap")
"""What guessing reaches here is the prevalence, which changes with the threshold."""


def section(rows: Sequence[Row] | None, pictures: Collection[str]) -> str:
    """The chapter; `pictures` are the names of the files in `figures/`."""
    if rows is None:
        return absent(
            "No other thresholds tried: run <code>experiments/thresholds.py</code> on this folder, "
            "then <code>experiments/evaluate.py</code> for this page."
        )
    several = len(rows) > 1
    return (
        f"<p>{len(rows)} threshold{'s' if several else ''} of D²min above which an atom counts as "
        "moved: labels, training and judgement anew for each. A higher threshold leaves fewer "
        "events with fewer atoms in them, which lowers what chance gives for precision and AP; "
        "compare thresholds by AUC and AP over prevalence.</p>"
        f"{plot('thresholds-plot', figure(rows))}{_table(rows)}"
        '<p class="note">At confidence 0.5. Bars and small print: 95 % interval over test '
        "specimens. Dashes: chance. A gap is an undefined value, not zero.</p>"
        f"{picture(pictures, 4)}"
    )


def values(rows: Sequence[Row], *path: str) -> list[float | None]:
    """One number of each row, None where it is missing or undefined."""
    return drawing.column([dig(row, *path) for row in rows])


def figure(rows: Sequence[Row]) -> str:
    """Eight panels over the thresholds."""
    place = [float(row["threshold"]) for row in rows]
    drawn = make_subplots(2, 4, horizontal_spacing=0.075, vertical_spacing=0.22)
    for number_, (name, words) in enumerate(_PANELS.items()):
        where = {"row": number_ // 4 + 1, "col": number_ % 4 + 1}
        path = (name,) if name == "class_ratio" else ("test", name)
        shown = values(rows, *path)
        drawn.add_scatter(
            x=place, y=_chance(rows, name), mode="lines", showlegend=False, hoverinfo="skip",
            line={"color": GREY, "width": 1.2, "dash": "dash"}, **where,
        )  # fmt: skip
        low, high = (values(rows, "interval", name, end) for end in ("low", "high"))
        drawn.add_scatter(
            x=place, y=shown, mode="lines+markers", connectgaps=False, showlegend=False,
            line={"color": BLUE, "width": 1.6}, marker={"size": 8}, **where,
            error_y=drawing.bars(shown, low, high, "rgba(0, 114, 178, 0.5)", 2),
            hovertemplate="%{x:g} Å²: %{y:.4g}<extra></extra>",
        )  # fmt: skip
        title = words if any(value is not None for value in shown) else f"{words}: undefined"
        drawing.title(drawn, title, number_ + 1)
    drawing.axes(drawn, "threshold of D²min (Å²)", "")
    _scales(drawn, place, values(rows, "class_ratio"))
    return drawing.to_json(drawn, 520)


def _chance(rows: Sequence[Row], name: str) -> list[float | None]:
    """What guessing gives; nothing for metrics in which that depends on how one guesses."""
    if name in _OWN_CHANCE:
        return values(rows, "test", "prevalence")
    return [_CHANCE.get(name)] * len(rows)


def _scales(drawn: go.Figure, place: list[float], ratios: list[float | None]) -> None:
    low, high = min(place), max(place)
    if high >= 5 * low:
        margin = (high / low) ** 0.06
        ends = np.log10([low / margin, high * margin]).tolist()
        drawn.update_xaxes(**drawing.log_ticks(low, high), range=ends)
    defined = [ratio for ratio in ratios if ratio]
    if defined:
        ends = min(defined) / 1.5, max(defined) * 1.5
        ticks = drawing.log_ticks(*ends)
        drawn.update_yaxes(**ticks, range=np.log10(ends).tolist(), row=1, col=1)


def _table(rows: Sequence[Row]) -> str:
    cells = []
    for row in rows:
        line = [Cell(number(row["threshold"]), row["threshold"])]
        counts = row.get("events"), row.get("runs")
        line.append(Cell(f"{counts[0]} of {counts[1]}" if None not in counts else UNDEFINED))
        for name in _PANELS:
            value = row.get(name) if name == "class_ratio" else dig(row, "test", name)
            span = dig(row, "interval", name)
            line.append(Cell(number(value) + (between(span) if known(value) else ""), value))
        cells.append(line)
    return table(["Threshold (Å²)", "Runs with an event", *_PANELS.values()], cells)
