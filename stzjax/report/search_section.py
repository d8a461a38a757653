"""The grid search: Table 1 beside the paper's, and all shapes as a heat map and a table."""

from collections.abc import Sequence

import numpy as np
from plotly.subplots import make_subplots

from stzjax.figures.stages import ORANGE
from stzjax.report import drawing
from stzjax.report.markup import (
    Cell,
    absent,
    between,
    decimals,
    dig,
    fold,
    known,
    number,
    percent,
    plot,
    table,
    text,
)
from stzjax.report.studies import Search, parse

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


def section(search: Search | None) -> str:
    """The chapter of the grid search."""
    if search is None:
        return absent(
            "No grid search yet: run <code>experiments/search.py</code> on this folder, then "
            "<code>experiments/evaluate.py</code> for this page."
        )
    longest = _longest(search.grid)
    return (
        f"<p>{len(longest)} shapes (L attention layers, M features per head, N heads), each "
        f"validated on {search.num_folds} folds of the training and validation specimens. The best "
        "shape by each metric was trained anew on the run's own split and judged once on the test "
        f"specimens, at threshold 0.5.</p>{_table_1(search)}"
        "<p class=\"note\">Below the line: the paper's winners on the paper's glasses. Precision, "
        "F1, MCC and AP rise with the prevalence, so only AP over prevalence and AUC can be set "
        "beside them. Small print: 95 % interval over test specimens"
        f"{'' if _has_intervals(search) else ', of which there are too few here'}.</p>"
        f"<h3>Winners</h3>{_winners(search)}<h3>All shapes on validation</h3>"
        f"<p>{_about(search.grid, longest)}</p>{plot('grid-plot', _heat_map(search, longest))}"
        f"{fold(f'The grid as a table, {len(search.grid)} rows', _grid(search.grid))}"
    )


def _name(layers, features, heads) -> str:
    """As the winners are named in the files."""
    return f"L{int(layers)}_M{int(features)}_N{int(heads)}"


def _spaced(title: str) -> str:
    """A title that may break at its slash."""
    return title.replace("/", " / ")


def _table_1(search: Search) -> str:
    """As in the paper; intervals come from the verdicts."""
    place = {name: n for n, name in enumerate(search.columns)}
    rows, ours = [], 0
    for row in search.table:
        own = row[0] != "paper"
        ours += own
        shape = [row[place[letter]] for letter in "LMN"]
        spans = dig(search.judged, _name(*shape), "verdict", "pooled", "interval") if own else None
        cells = [Cell(text(row[0])), Cell(text(row[place["optimised for"]]), "")]
        cells += [Cell(text(value)) for value in shape]
        for title, metric in _SCORES.items():
            value = parse(row[place[title]])
            cells.append(Cell(decimals(value) + between(dig(spans, metric)), value))
        rows.append(cells)
    head = ["", "Optimised for", "L", "M", "N", *map(_spaced, _SCORES)]
    return table(head, rows, rules=[ours], marked=range(ours))


def _has_intervals(search: Search) -> bool:
    return any(dig(one, "verdict", "pooled", "interval") for one in search.judged.values())


def _winners(search: Search) -> str:
    """How the winners' trainings went, and what they hit."""
    rows = []
    shares: list[str] = []
    for name, one in search.judged.items():
        metrics = [metric for metric, winner in search.winners.items() if winner == name]
        record, hits = one.get("record") or {}, dig(one, "verdict", "pooled", "hits") or {}
        shares = list(hits)
        rows.append(
            [
                Cell(text(name.replace("_", " "))),
                Cell(text(metrics), ""),
                Cell(f"{text(record.get('best_epoch', '–'))} of {text(record.get('epochs', '–'))}"),
                *(
                    Cell(
                        percent(hit["rate"])
                        + between(hit["interval"], percent)
                        + f"<small>chance {percent(hit['chance'])}</small>"
                    )
                    for hit in hits.values()
                ),
            ]
        )
    lost = [metric for metric, winner in search.winners.items() if winner is None]
    words = f'<p class="note">Undefined for every shape: {text(lost)}.</p>' if lost else ""
    head = ["", "Best on validation by", "Best epoch"]
    head += [f"Hit in top {100 * float(share):g} %" for share in shares]
    return table(head, rows) + words


def _longest(grid: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Of each shape the row with the most epochs: successive halving trains some for less."""
    found: dict[str, dict[str, float]] = {}
    for row in grid:
        name = _name(row["L"], row["M"], row["N"])
        if name not in found or row["epochs"] > found[name]["epochs"]:
            found[name] = row
    return list(found.values())


def _about(grid: Sequence[dict[str, float]], longest: Sequence[dict[str, float]]) -> str:
    values = [row["ap_over_prevalence"] for row in longest]
    lost = sum(not known(value) for value in values)
    words = "AP over prevalence, mean over the folds; 1 is chance. Frames mark the winners."
    spreads = [row["ap_over_prevalence_deviation"] for row in longest]
    if lost < len(values):
        words += (
            f" The shapes reach from {number(np.nanmin(values))} to {number(np.nanmax(values))}"
        )
    if np.isfinite(spreads).any():
        words += f", with a standard deviation of {number(np.nanmedian(spreads))} between folds"
    words += "."
    if lost:
        words += f" Blank: undefined in all folds ({lost} of {len(values)})."
    if len({row["epochs"] for row in grid}) > 1:
        words += (
            " Successive halving stopped the weaker shapes after fewer epochs, given when you "
            "point at a cell; their colours say less than those of the others."
        )
    return words


def _heat_map(search: Search, longest: Sequence[dict[str, float]]) -> str:
    """Mean AP over prevalence over L and M, one panel for each N."""
    layers, features, heads = (sorted({int(row[letter]) for row in longest}) for letter in "LMN")
    columns = min(len(heads), 4)
    deep = -(-len(heads) // columns)
    figure = make_subplots(deep, columns, horizontal_spacing=0.05, vertical_spacing=0.3 / deep)
    for place, count in enumerate(heads):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        rows = [row for row in longest if row["N"] == count]
        _panel(figure, rows, layers, features, search.winners, where)
        drawing.title(figure, f"N = {count}", place + 1)
        left = where["col"] == 1
        drawing.axes(figure, "M", "L" if left else "", row=where["row"], column=where["col"])
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(
        coloraxis={"colorscale": "Viridis", "colorbar": {"thickness": 14, "outlinewidth": 0}}
    )
    return drawing.to_json(figure, deep * (130 + 34 * max(len(layers), 3)))


def _panel(figure, rows, layers: list[int], features: list[int], winners, where) -> None:
    """The shapes with one N; winners are framed."""
    values = np.full((len(layers), len(features)), np.nan)
    words = np.full(values.shape, "", object)
    for row in rows:
        cell = layers.index(int(row["L"])), features.index(int(row["M"]))
        values[cell] = row["ap_over_prevalence"]
        spread, name = row["ap_over_prevalence_deviation"], _name(row["L"], row["M"], row["N"])
        around = f"± {spread:.2g}" if known(spread) else "from one fold"
        words[cell] = f"{name.replace('_', ', ')}<br>{values[cell]:.3g} {around}"
        words[cell] += f"<br>{row['epochs']:g} epochs"
        best = [metric for metric, winner in winners.items() if winner == name]
        if best:
            words[cell] += f"<br>best by {', '.join(best)}"
            figure.add_shape(
                type="rect", x0=cell[1] - 0.47, x1=cell[1] + 0.47, y0=cell[0] - 0.47,
                y1=cell[0] + 0.47, line={"color": ORANGE, "width": 3}, **where,
            )  # fmt: skip
    figure.add_heatmap(
        x=[f"{one}" for one in features], y=[f"{one}" for one in layers],
        z=[drawing.column(line) for line in values], coloraxis="coloraxis", xgap=1, ygap=1,
        texttemplate="%{z:.2f}", textfont={"size": 11 if len(features) < 6 else 9},
        hovertext=words.tolist(), hovertemplate="%{hovertext}<extra></extra>", **where,
    )  # fmt: skip


def _grid(grid: Sequence[dict[str, float]]) -> str:
    names = {
        "Shape": "name",
        "Epochs": "epochs",
        **_SCORES,
        "± over folds": "",
        "Seconds": "seconds",
    }
    rows = []
    ranked = sorted(grid, key=lambda row: -np.nan_to_num(row["ap_over_prevalence"], nan=-np.inf))
    for row in ranked:
        name = _name(row["L"], row["M"], row["N"])
        cells = [Cell(name.replace("_", " "), name), Cell(f"{row['epochs']:g}", row["epochs"])]
        cells += [Cell(decimals(row[metric]), row[metric]) for metric in _SCORES.values()]
        for metric in ("ap_over_prevalence_deviation", "seconds"):
            cells.append(Cell(number(row[metric]), row[metric]))
        rows.append(cells)
    return table([_spaced(name) for name in names], rows, sortable=True)
