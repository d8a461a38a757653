"""The interactive plots of the report: plotly figures, and the atoms for the 3D view.

Everything returns plain JSON text, safe inside a `<script>` element; the page draws it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from stzjax import figures, loading, metrics
from stzjax import structure as structures
from stzjax.figures import BLUE, FAINT, GREEN, GREY, INK, ORANGE
from stzjax.report.results import Results, Shear, Specimen

MAX_VIEW_ATOMS = 1_000_000
"""Atoms of all runs in the 3D view together; about 10 bytes of the page each."""


def script_json(value: Any) -> str:
    """JSON that cannot close the script element around it."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def stress_strain(shears: Sequence[Shear]) -> str:
    """Stress against strain of every run; one legend entry per direction, events as dots."""
    figure = go.Figure()
    seen: set[str] = set()
    for shear in sorted(shears, key=lambda s: loading.DIRECTIONS.index(s.direction)):
        colour, dash = figures.direction_style(shear.direction)
        figure.add_scatter(
            x=_short(100 * shear.strain), y=_short(shear.stress), mode="lines",
            line={"color": colour, "width": 1.5, "dash": "solid" if dash == "-" else "dash"},
            opacity=0.8, name=shear.direction, legendgroup=shear.direction,
            showlegend=shear.direction not in seen,
            hovertemplate=f"specimen {shear.specimen}, {shear.direction}<br>"
            "strain %{x:.3f} %<br>stress %{y:.3f} GPa<extra></extra>",
        )  # fmt: skip
        seen.add(shear.direction)
    for direction in sorted(seen, key=loading.DIRECTIONS.index):
        _add_events(figure, [s for s in shears if s.direction == direction], direction)
    _axes(figure, "shear strain (%)", "shear stress along the load (GPa)")
    return _json(figure, 440)


def _add_events(figure: go.Figure, shears: Sequence[Shear], direction: str) -> None:
    marked = [(s, s.event) for s in shears if s.event is not None]
    figure.add_scatter(
        x=_short([100 * s.strain[event] for s, event in marked]),
        y=_short([s.stress[event] for s, event in marked]),
        mode="markers", legendgroup=direction, showlegend=False,
        marker={
            "color": figures.direction_style(direction)[0], "size": 8,
            "line": {"color": "white", "width": 1},
        },
        customdata=[s.specimen for s, _ in marked],
        hovertemplate=f"first event of specimen %{{customdata}}, {direction}<br>"
        "strain %{x:.3f} %<extra></extra>",
    )  # fmt: skip


def quench_trace(specimens: Mapping[int, Specimen]) -> str:
    """Energy and density against temperature of every specimen with a recorded quench."""
    figure = make_subplots(1, 2, horizontal_spacing=0.11)
    for number, specimen in specimens.items():
        trace = specimen.trace
        for column, name, colour in ((1, "energy", BLUE), (2, "density", GREEN)):
            if "temperature" not in trace or name not in trace:
                continue
            keep = figures.thin(np.arange(len(trace[name])), np.zeros(len(trace[name])), 1000)
            figure.add_scatter(
                x=_short(trace["temperature"][keep]), y=_short(trace[name][keep]), mode="lines",
                line={"color": colour, "width": 1.3}, opacity=0.7, showlegend=False,
                hovertemplate=f"specimen {number}<br>%{{x:.0f}} K<br>%{{y:.4f}}<extra></extra>",
                row=1, col=column,
            )  # fmt: skip
    _axes(figure, "temperature (K)", "potential energy (eV/atom)", column=1)
    _axes(figure, "temperature (K)", "density (g/cm³)", column=2)
    return _json(figure, 360)


def events(strains: Sequence[float], sizes: Sequence[float]) -> str:
    """Histograms of the strain and the size of the first events."""
    figure = make_subplots(1, 2, horizontal_spacing=0.11)
    count = int(np.clip(2 * np.sqrt(max(len(strains), 1)), 5, 30))
    heights, edges = np.histogram(100 * np.asarray(strains, float), count)
    _bars(figure, heights, edges, BLUE, 1)
    logarithmic = figures.log_bins(sizes, count)
    heights, edges = np.histogram(sizes, logarithmic)
    # Bars on a logarithmic axis are placed by their centre and width in plain numbers.
    _bars(figure, heights, edges, GREEN, 2)
    _axes(figure, "strain of the first event (%)", "runs", column=1)
    _axes(figure, "atoms in the first event, log scale", "runs", column=2)
    figure.update_xaxes(**_log_ticks(edges[0], edges[-1]), col=2)
    figure.update_layout(bargap=0.04)
    return _json(figure, 320)


def _bars(figure: go.Figure, heights, edges, colour: str, column: int) -> None:
    figure.add_bar(
        x=_short((edges[1:] + edges[:-1]) / 2), y=heights, width=_short(0.96 * np.diff(edges)),
        marker={"color": colour}, showlegend=False, row=1, col=column,
        customdata=np.stack([edges[:-1], edges[1:]], 1),
        hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y} runs<extra></extra>",
    )  # fmt: skip


def curves(labels, confidence, thresholds: Mapping[str, float]) -> str:
    """ROC curve and precision–recall curve with the operating points marked."""
    figure = make_subplots(1, 2, horizontal_spacing=0.11)
    fpr, tpr, cut = metrics.roc_curve(labels, confidence)
    _curve(figure, fpr, tpr, cut, 1)
    precision, recall, cut = metrics.precision_recall_curve(labels, confidence)
    _curve(figure, recall, precision, np.append(cut, np.inf), 2)
    prevalence = float(np.mean(labels))
    chance = {"color": GREY, "width": 1.2, "dash": "dash"}
    for column, y, name in ((1, [0, 1], "chance"), (2, [prevalence] * 2, "prevalence")):
        figure.add_scatter(
            x=[0, 1], y=y, mode="lines", line=chance, name=name, showlegend=False, row=1,
            col=column, hovertemplate=f"{name} {prevalence:.4g}<extra></extra>",
        )  # fmt: skip
    for symbol, (name, value) in zip(("circle", "square"), thresholds.items(), strict=False):
        _operating_point(figure, metrics.evaluate(labels, confidence, value), name, symbol)
    figure.add_annotation(x=0.62, y=0.53, text="chance", showarrow=False, font={"color": GREY})
    figure.add_annotation(
        x=1, y=np.log10(prevalence), xanchor="right", yanchor="top", showarrow=False,
        text=f"chance = prevalence {prevalence:.4g}", font={"color": GREY}, row=1, col=2,
    )  # fmt: skip
    _axes(figure, "false positive rate", "recall", column=1)
    _axes(figure, "recall", "precision, log scale", column=2)
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_yaxes(range=[-0.02, 1.04], col=1)
    bottom = prevalence / 2
    figure.update_yaxes(**_log_ticks(bottom, 1), range=[np.log10(bottom), 0.08], col=2)
    figure.update_layout(legend={"x": 0.24, "y": 0.06, "xanchor": "left", "yanchor": "bottom"})
    return _json(figure, 440)


def _curve(figure: go.Figure, x, y, thresholds, column: int) -> None:
    keep = figures.thin(x, y)
    shown = np.where(np.isfinite(thresholds), thresholds, np.nan)[keep]
    figure.add_scatter(
        x=_short(x[keep]), y=_short(y[keep]), mode="lines", line={"color": BLUE, "width": 2},
        customdata=[None if np.isnan(t) else float(t) for t in shown], showlegend=False,
        hovertemplate="%{x:.4f}, %{y:.4f}<br>threshold %{customdata:.4f}<extra></extra>",
        row=1, col=column,
    )  # fmt: skip


def _operating_point(figure: go.Figure, scores: Mapping, name: str, symbol: str) -> None:
    counts = scores["confusion"]
    rate = counts["fp"] / max(counts["fp"] + counts["tn"], 1)
    points = ((1, rate, scores["recall"]), (2, scores["recall"], scores["precision"]))
    for column, x, y in points:
        if np.isfinite([x, y]).all() and (column == 1 or y > 0):
            figure.add_scatter(
                x=[x], y=[y], mode="markers", name=name, legendgroup=name, row=1, col=column,
                showlegend=column == 1, marker={
                    "color": ORANGE, "size": 11, "symbol": symbol,
                    "line": {"color": "white", "width": 1.5},
                },
                hovertemplate=f"{name}<br>%{{x:.4f}}, %{{y:.4f}}<extra></extra>",
            )  # fmt: skip


def training(history: Mapping[str, Sequence]) -> str:
    """Losses, and the score on the validation specimens, against the epoch."""
    figure = make_subplots(1, 2, horizontal_spacing=0.11)
    lines = (
        ("train_loss", "training", ORANGE, "dash", 1),
        ("validation_loss", "validation", BLUE, "solid", 1),
        ("validation_score", "score", GREEN, "solid", 2),
    )
    for key, name, colour, dash, column in lines:
        if history.get(key):
            figure.add_scatter(
                x=history["epoch"], y=_short(figures.finite(history[key])), mode="lines",
                name=name, line={"color": colour, "width": 2, "dash": dash}, row=1, col=column,
                showlegend=column == 1,
                hovertemplate="epoch %{x}<br>%{y:.4g}<extra></extra>",
            )  # fmt: skip
    _axes(figure, "epoch", "weighted cross-entropy", column=1)
    _axes(figure, "epoch", "validation score", column=2)
    figure.update_layout(legend={"x": 0.44, "y": 1, "xanchor": "right", "yanchor": "top"})
    return _json(figure, 340)


def view(found: Results) -> dict[str, Any]:
    """What the 3D view needs, arrays in base64: 18 bytes per atom and specimen, 7 per run.

    Runs beyond `MAX_VIEW_ATOMS` are left out, as those whose specimen is not stored; "omitted"
    counts both. "start" is the first run with an event.
    """
    test, runs, used, total = found.test, [], set(), 0
    for number, direction, span in found.shown_runs():
        total += span.stop - span.start
        if test is None or total > MAX_VIEW_ATOMS:
            break
        used.add(number)
        run = {"specimen": number, "direction": direction}
        run["label"] = _base64(test.label[span], "u1")
        run["confidence"] = _base64(test.confidence[span], "<f4")
        runs.append((run, bool(test.label[span].any())))
    return {
        "runs": [run for run, _ in runs],
        "start": next((index for index, (_, moved) in enumerate(runs) if moved), 0),
        "omitted": len(test.runs()) - len(runs) if test else 0,
        "specimens": {str(number): _atoms(found.specimens[number]) for number in sorted(used)},
        "thresholds": found.thresholds(),
        "colours": figures.ATOM_COLOURS,
    }


def _atoms(specimen: Specimen) -> dict[str, Any]:
    glass = specimen.structure
    return {
        "positions": _base64(structures.positions(glass), "<f4"),
        "species": _base64(glass.species, "u1"),
        "elements": list(glass.elements),
        "box": figures.box_edges(glass.cell).round(4).tolist(),
        "lengths": np.linalg.norm(glass.cell, axis=0).round(2).tolist(),
    }


def _base64(values, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(dtype)).tobytes()).decode()


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis, ticked at 1, 2, 5 of each decade if short, at the decades if long."""
    steps = (1, 2, 5) if high < 300 * low else (1,)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _short(values) -> np.ndarray:
    """Single precision: the page needs no more, and it halves it."""
    return np.asarray(values, np.float32)


def _axes(figure: go.Figure, x: str, y: str, column: int | None = None) -> None:
    style: dict[str, Any] = {
        "gridcolor": FAINT,
        "linecolor": GREY,
        "zeroline": False,
        "ticks": "outside",
    }
    style |= {"automargin": True, "title_standoff": 10}
    figure.update_xaxes(title_text=x, col=column, **style)
    figure.update_yaxes(title_text=y, col=column, **style)


def _json(figure: go.Figure, height: int) -> str:
    figure.update_layout(
        height=height, margin={"l": 60, "r": 16, "t": 34, "b": 52}, plot_bgcolor="white",
        paper_bgcolor="white", hovermode="closest", template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
    )  # fmt: skip
    # Plotly escapes the characters that could close the script element.
    return figure.to_json(engine="json")
