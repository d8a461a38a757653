"""Charts of the stages of a run: quench, shear, events, training, and the curves of the test."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stzjax.core import loads
from stzjax.evaluation import metrics
from stzjax.figures import chart
from stzjax.figures.chart import BLUE, GREEN, GREY, ORANGE, Axis, Chart, Curve, Panel, Words


def stress_strain(runs: Sequence[Any]) -> Chart:
    """Shear stress against strain of every run, the stress drop of the first event marked.

    A run has specimen, its number; direction; strain (S,); stress (S,) along the load [GPa]; and
    event, the state after the first event, or None.
    """
    series: list[chart.Series] = []
    opacity = float(np.clip(40 / max(len(runs), 1), 0.3, 0.9))
    for direction in loads.DIRECTIONS:
        colour, line = chart.direction_style(direction)
        mine = [run for run in runs if run.direction == direction]
        series += [
            Curve(
                100 * run.strain, run.stress, colour, line, width=1.2, opacity=opacity,
                group=direction, name=direction if place == 0 else "",
                hover=f"specimen {run.specimen}, {direction}\n"
                "strain %{x:.3f} %\nstress %{y:.3f} GPa",
            )
            for place, run in enumerate(mine)
        ]  # fmt: skip
        if marked := [run for run in mine if run.event is not None]:
            series.append(
                Curve(
                    [100 * run.strain[run.event] for run in marked],
                    [run.stress[run.event] for run in marked],
                    colour, "", "o", group=direction, text=[f"{run.specimen}" for run in marked],
                    hover=f"first event of specimen %{{text}}, {direction}\nstrain %{{x:.3f}} %",
                )
            )  # fmt: skip
    series.append(Curve([np.nan], [np.nan], GREY, "", "o", name="first event"))
    axes = Axis("shear strain (%)"), Axis("shear stress along the load (GPa)")
    return Chart([Panel(series, *axes)], 1, (7.2, 4.2), 440, "right")


def quench_trace(traces: Mapping[int, Mapping[str, np.ndarray]]) -> Chart:
    """Energy and density against temperature, one line for each specimen.

    A trace holds temperature [K], energy [eV/atom] and density [g/cm³], (T,) each.
    """
    opacity = float(np.clip(12 / max(len(traces), 1), 0.25, 0.9))
    panels = []
    for name, label, colour in (
        ("energy", "potential energy (eV/atom)", BLUE), ("density", "density (g/cm³)", GREEN)
    ):  # fmt: skip
        series = []
        for number, trace in traces.items():
            steps = np.arange(len(trace[name]))
            keep = chart.thin(steps, 0 * steps, 1000)
            hover = f"specimen {number}\n%{{x:.0f}} K\n%{{y:.4f}}"
            place, values = trace["temperature"][keep], trace[name][keep]
            series.append(Curve(place, values, colour, width=1.1, opacity=opacity, hover=hover))
        title = f"{name.capitalize()} along the quench"
        panels.append(Panel(series, Axis("temperature (K)"), Axis(label), title))
    return Chart(panels)


def events(
    strains: Sequence[float], sizes: Sequence[float], prevalence: float | None = None
) -> Chart:
    """Histograms of strain (E,) and size (E,) of the first events, and the class ratio if known."""
    num = int(np.clip(np.sqrt(max(len(strains), 1)) * 2, 5, 30))
    when = chart.counted(100 * np.asarray(strains, float), num, BLUE, "runs")
    edges = chart.log_bins(sizes, num)
    how_large, size = chart.counted(sizes, edges, GREEN, "runs"), "atoms in the first event"
    panels = [
        Panel([when], Axis("strain of the first event (%)"), Axis("runs"), "When"),
        Panel([how_large], chart.log_axis(size, edges[0], edges[-1]), Axis("runs"), "How large"),
    ]
    if prevalence is not None:
        panels.append(_class_ratio(prevalence))
    return Chart(panels, len(panels), (3.2 * len(panels), 3.2), 340, gap=0.09)


def _class_ratio(prevalence: float) -> Panel:
    parts = ((0, 1 - prevalence, GREY), (1, prevalence, ORANGE))
    bars = [
        chart.Bars([x - 0.31], [x + 0.31], [value], colour, [f"{100 * value:.3g} %"])
        for x, value, colour in parts
    ]
    names = chart.named_axis("test atoms", ["others", "first movers"])
    return Panel(bars, names, Axis("fraction of atoms", (0, 1.15)), "Class ratio")


def training(epochs: Sequence[Mapping[str, float | None]]) -> Chart:
    """Losses and the validation score against the epoch.

    Each epoch has its number under epoch, and train_loss, validation_loss and score; any of these
    three may be absent or None.
    """
    epoch, loss, validation, score = (
        chart.finite(row.get(name) for row in epochs)
        for name in ("epoch", "train_loss", "validation_loss", "score")
    )
    hover = "epoch %{x}\n%{y:.4g}"
    losses = [
        Curve(epoch, loss, ORANGE, "dash", name="training", hover=hover),
        Curve(epoch, validation, BLUE, name="validation", hover=hover),
    ]
    scores: list[chart.Series] = [Curve(epoch, score, GREEN, hover=hover)]
    if np.isfinite(score).any():
        best = int(np.nanargmax(score))
        scores += [
            Curve(epoch[[best]], score[[best]], GREEN, "", "o", size=7),
            Words(epoch[best], score[best], f"best {score[best]:.3g} ", GREEN, "upper right"),
        ]
    panels = [
        Panel(losses, Axis("epoch"), Axis("weighted cross-entropy"), "Loss"),
        Panel(scores, Axis("epoch"), Axis("score"), "Score on the validation specimens"),
    ]
    return Chart(panels, legend="upper right")


def curves(labels, confidence, thresholds: Mapping[str, float]) -> Chart:
    """ROC curve, and precision against recall with the prevalence, which chance would give.

    Labels and confidences are (A,); `thresholds` are operating points to mark, by name.
    """
    panels = roc(labels, confidence), _precision_recall(labels, confidence)
    for (name, value), mark in zip(thresholds.items(), "osD^", strict=False):
        point = metrics.evaluate(labels, confidence, value)
        counts = point["confusion"]
        rate = counts["fp"] / max(counts["fp"] + counts["tn"], 1)
        # A precision of zero has no place on a logarithmic axis.
        places = (rate, point["recall"]), (point["recall"], point["precision"] or np.nan)
        for panel, (x, y), named in zip(panels, places, (name, ""), strict=True):
            style: dict[str, Any] = {"line": "", "mark": mark, "size": 7, "group": name}
            hover = f"{name}\n%{{x:.4f}}, %{{y:.4f}}"
            panel.series.append(Curve([x], [y], ORANGE, name=named, hover=hover, **style))
    return Chart(panels, 2, (8.6, 4.0), 440, "lower right" if thresholds else "")


def roc(labels, confidence) -> Panel:
    """The ROC curve of labels and confidences (A,) beside that of chance, and its area."""
    axes = Axis("false positive rate", (-0.02, 1.02)), Axis("recall", (-0.02, 1.02))
    if not 0 < np.mean(labels) < 1:
        positive = f"{int(np.sum(labels)):,} of {np.size(labels):,}"
        words = f"ROC undefined:\n{positive} test atoms are positive"
        return Panel([], *axes, "ROC", words, square=True)
    fpr, tpr, cut = metrics.roc_curve(labels, confidence)
    area = metrics.evaluate(labels, confidence)["auc"]
    chance = Curve([0, 1], [0, 1], GREY, "dash", width=1)
    note = Words(0.62, 0.57, "chance", GREY, "upper left")
    series = [chance, _by_threshold(fpr, tpr, cut), note]
    return Panel(series, *axes, f"ROC, AUC {area:.3f}", square=True)


def _precision_recall(labels, confidence) -> Panel:
    precision, recall, cut = metrics.precision_recall_curve(labels, confidence)
    prevalence = float(np.mean(labels))
    score = metrics.evaluate(labels, confidence)["ap"]
    lowest = max(prevalence, 1e-6)
    series = [
        chart.Rule(prevalence, "y", GREY, "dash"),
        _by_threshold(recall, precision, np.append(cut, np.inf)),
        Words(1.0, lowest, f"chance = prevalence {prevalence:.4g}", GREY, "upper right"),
    ]
    y = chart.log_axis("precision, log scale", lowest / 2, 1.2)
    title = f"Precision–recall, AP {score:.3g}"
    return Panel(series, Axis("recall", (-0.02, 1.02)), y, title)


def _by_threshold(x, y, cut) -> Curve:
    """A long curve, thinned; the page says the threshold of each point."""
    keep = chart.thin(x, y)
    words = [f"{value:.4f}" if np.isfinite(value) else "above all" for value in cut[keep]]
    hover = "%{x:.4f}, %{y:.4f}\nthreshold %{text}"
    return Curve(x[keep], y[keep], width=1.8, text=words, hover=hover)
