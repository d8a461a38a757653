"""The interactive plots of a run: plotly figures as JSON text, which the page draws."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from stzjax.core import loads
from stzjax.evaluation import metrics
from stzjax.figures import stages
from stzjax.figures.stages import BLUE, GREEN, GREY, ORANGE
from stzjax.report.drawing import axes, log_ticks, short, to_json
from stzjax.report.results import Shear, Specimen


def stress_strain(shears: Sequence[Shear]) -> str:
    """Stress against strain of every run; one legend entry per direction, events as dots."""
    figure = go.Figure()
    seen: set[str] = set()
    for shear in sorted(shears, key=lambda s: loads.DIRECTIONS.index(s.direction)):
        colour, dash = stages.direction_style(shear.direction)
        figure.add_scatter(
            x=short(100 * shear.strain), y=short(shear.stress), mode="lines",
            line={"color": colour, "width": 1.5, "dash": "solid" if dash == "-" else "dash"},
            opacity=0.8, name=shear.direction, legendgroup=shear.direction,
            showlegend=shear.direction not in seen,
            hovertemplate=f"specimen {shear.specimen}, {shear.direction}<br>"
            "strain %{x:.3f} %<br>stress %{y:.3f} GPa<extra></extra>",
        )  # fmt: skip
        seen.add(shear.direction)
    for direction in sorted(seen, key=loads.DIRECTIONS.index):
        _add_events(figure, [s for s in shears if s.direction == direction], direction)
    axes(figure, "shear strain (%)", "shear stress along the load (GPa)")
    return to_json(figure, 440)


def _add_events(figure: go.Figure, shears: Sequence[Shear], direction: str) -> None:
    marked = [(s, s.event) for s in shears if s.event is not None]
    figure.add_scatter(
        x=short([100 * s.strain[event] for s, event in marked]),
        y=short([s.stress[event] for s, event in marked]),
        mode="markers", legendgroup=direction, showlegend=False,
        marker={
            "color": stages.direction_style(direction)[0], "size": 8,
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
            keep = stages.thin(np.arange(len(trace[name])), np.zeros(len(trace[name])), 1000)
            figure.add_scatter(
                x=short(trace["temperature"][keep]), y=short(trace[name][keep]), mode="lines",
                line={"color": colour, "width": 1.3}, opacity=0.7, showlegend=False,
                hovertemplate=f"specimen {number}<br>%{{x:.0f}} K<br>%{{y:.4f}}<extra></extra>",
                row=1, col=column,
            )  # fmt: skip
    axes(figure, "temperature (K)", "potential energy (eV/atom)", column=1)
    axes(figure, "temperature (K)", "density (g/cm³)", column=2)
    return to_json(figure, 360)


def events(strains: Sequence[float], sizes: Sequence[float]) -> str:
    """Histograms of the strain and the size of the first events."""
    figure = make_subplots(1, 2, horizontal_spacing=0.11)
    count = int(np.clip(2 * np.sqrt(max(len(strains), 1)), 5, 30))
    heights, edges = np.histogram(100 * np.asarray(strains, float), count)
    _bars(figure, heights, edges, BLUE, 1)
    logarithmic = stages.log_bins(sizes, count)
    heights, edges = np.histogram(sizes, logarithmic)
    # Bars on a logarithmic axis are placed by their centre and width in plain numbers.
    _bars(figure, heights, edges, GREEN, 2)
    axes(figure, "strain of the first event (%)", "runs", column=1)
    axes(figure, "atoms in the first event, log scale", "runs", column=2)
    figure.update_xaxes(**log_ticks(edges[0], edges[-1]), col=2)
    figure.update_layout(bargap=0.04)
    return to_json(figure, 320)


def _bars(figure: go.Figure, heights, edges, colour: str, column: int) -> None:
    figure.add_bar(
        x=short((edges[1:] + edges[:-1]) / 2), y=heights, width=short(0.96 * np.diff(edges)),
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
    axes(figure, "false positive rate", "recall", column=1)
    axes(figure, "recall", "precision, log scale", column=2)
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_yaxes(range=[-0.02, 1.04], col=1)
    bottom = prevalence / 2
    figure.update_yaxes(**log_ticks(bottom, 1), range=[np.log10(bottom), 0.08], col=2)
    figure.update_layout(legend={"x": 0.24, "y": 0.06, "xanchor": "left", "yanchor": "bottom"})
    return to_json(figure, 440)


def _curve(figure: go.Figure, x, y, thresholds, column: int) -> None:
    keep = stages.thin(x, y)
    shown = np.where(np.isfinite(thresholds), thresholds, np.nan)[keep]
    figure.add_scatter(
        x=short(x[keep]), y=short(y[keep]), mode="lines", line={"color": BLUE, "width": 2},
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
                x=history["epoch"], y=short(stages.finite(history[key])), mode="lines",
                name=name, line={"color": colour, "width": 2, "dash": dash}, row=1, col=column,
                showlegend=column == 1,
                hovertemplate="epoch %{x}<br>%{y:.4g}<extra></extra>",
            )  # fmt: skip
    axes(figure, "epoch", "weighted cross-entropy", column=1)
    axes(figure, "epoch", "validation score", column=2)
    figure.update_layout(legend={"x": 0.44, "y": 1, "xanchor": "right", "yanchor": "top"})
    return to_json(figure, 340)
