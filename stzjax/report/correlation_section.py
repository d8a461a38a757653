"""Figure 3 of the paper: what the confidence of an atom has to do with how far it then moves."""

import jax
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from stzjax.evaluation import called_by_d2min
from stzjax.evaluation.called_by_d2min import Share
from stzjax.figures.paper import FEW
from stzjax.figures.stages import BLUE, GREY, ORANGE
from stzjax.report import drawing
from stzjax.report.markup import absent, picture, plot
from stzjax.report.results import Results

OPERATING = 0.5
"""Confidence from which the paper calls an atom positive."""

_D2MIN = "D²min in the step of the first event (Å²)"


def section(found: Results) -> str:
    """The share of atoms called positive against their D²min, and the histogram of D²min."""
    if found.test is None:
        return absent("No predictions yet: <code>experiments/evaluate.py</code> makes them.")
    d2min, runs = found.test_d2min(), found.test.runs()
    missing = sum(bool(np.isnan(d2min[span]).all()) for _, _, span in runs)
    if missing == len(runs):
        return absent(
            "The shear runs in this folder hold no D²min that gives the labels of the test atoms; "
            "run <code>experiments/evaluate.py</code> again."
        )
    measured = share(found, d2min)
    called = found.test.confidence >= OPERATING
    words = (
        f"<p>Of the {int(measured.atoms.sum()):,} atoms in {len(runs) - missing} test runs, "
        f"{int(np.sum(called & np.isfinite(d2min))):,} are called positive: their confidence is at "
        f"least {OPERATING:g}. A model that has learned something calls the more atoms positive "
        f"the further they move. Above {found.threshold:g} Å² an atom counts as moved.</p>"
    )
    behind = "for the number of atoms in a bin; one specimen tells nothing about others"
    if measured.specimens > 1:
        behind = f"over {measured.specimens} specimens or for the number of atoms in a bin, "
        behind += "whichever is wider"
    notes = [f"Band: 95 % interval {behind}. Hollow: fewer than {FEW} atoms."]
    outside = int(np.sum(np.isfinite(d2min)) - measured.atoms.sum())
    if outside:
        notes.append(f"{outside:,} atoms whose D²min is rounding noise are in neither plot.")
    if missing:
        notes.append(
            f"{missing} test runs are left out: no D²min is stored that gives their labels."
        )
    return (
        f"{words}{plot('correlation-plot', figure(measured, d2min, found.threshold))}"
        f'<p class="note">{" ".join(notes)}</p>{picture(found.pictures, 3)}'
    )


def share(found: Results, d2min: np.ndarray) -> Share:
    """The same numbers as experiments/draw.py writes: bins, key and threshold are the same."""
    assert found.test is not None
    key = jax.random.key(int(found.config.get("seed", 0)))
    called = found.test.confidence >= OPERATING
    edges = called_by_d2min.bins(d2min, found.threshold)
    return called_by_d2min.by_d2min(d2min, called, found.test.specimen, edges, key=key)


def figure(measured: Share, d2min: np.ndarray, threshold: float) -> str:
    """Both panels, on logarithmic axes of D²min."""
    drawn = make_subplots(1, 2, horizontal_spacing=0.11)
    _share_panel(drawn, measured)
    density = _density_panel(drawn, d2min[np.isfinite(d2min)], threshold)
    drawing.axes(drawn, _D2MIN, f"share with confidence ≥ {OPERATING:g}", column=1)
    drawing.axes(drawn, _D2MIN, "probability density (1/Å²)", column=2)
    ends = measured.edges[0], measured.edges[-1]
    drawn.update_xaxes(**drawing.log_ticks(*ends), range=np.log10(ends).tolist())
    drawn.update_yaxes(range=[-0.02, 1.04], col=1)
    lowest, highest = np.nanmin(density) / 2, np.nanmax(density) * 2
    drawn.update_yaxes(
        **drawing.log_ticks(lowest, highest), range=np.log10([lowest, highest]).tolist(), col=2
    )
    for place in (1, 2):
        drawn.add_vline(threshold, line={"color": ORANGE, "width": 1.5}, row=1, col=place)
    # On a logarithmic axis the place of an annotation is a logarithm.
    drawn.add_annotation(
        x=np.log10(threshold), y=0, yref="y domain", text=f"{threshold:g} Å²", showarrow=False,
        xanchor="right", yanchor="bottom", font={"color": ORANGE},
    )  # fmt: skip
    drawn.update_layout(legend={"x": 0.02, "y": 0.98, "xanchor": "left", "yanchor": "top"})
    return drawing.to_json(drawn, 420)


def _share_panel(drawn: go.Figure, measured: Share) -> None:
    centre = np.sqrt(measured.edges[1:] * measured.edges[:-1])
    drawn.add_scatter(
        **drawing.band(centre, measured.low, measured.high), mode="lines", fill="toself",
        fillcolor="rgba(0, 114, 178, 0.18)", line={"width": 0}, hoverinfo="skip",
        showlegend=False, row=1, col=1,
    )  # fmt: skip
    overall = np.nansum(measured.share * measured.atoms) / max(measured.atoms.sum(), 1)
    drawn.add_scatter(
        x=measured.edges[[0, -1]], y=[overall, overall], mode="lines", row=1, col=1,
        line={"color": GREY, "width": 1.2, "dash": "dash"}, name=f"all atoms: {overall:.3g}",
        hoverinfo="skip",
    )  # fmt: skip
    few = measured.atoms < FEW
    there = measured.atoms > 0
    drawn.add_scatter(
        x=centre[there], y=measured.share[there], mode="lines+markers", name="in a bin of D²min",
        line={"color": BLUE, "width": 1.5}, row=1, col=1,
        marker={
            "size": 8, "line": {"color": BLUE, "width": 1.5},
            "color": np.where(few, "#ffffff", BLUE)[there].tolist(),
        },
        error_y=drawing.bars(measured.share[there], measured.low[there], measured.high[there],
                             "rgba(0, 114, 178, 0.45)"),
        customdata=np.stack([measured.edges[:-1], measured.edges[1:], measured.atoms, measured.low,
                             measured.high], 1)[there],
        hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g} Å²: %{customdata[2]} atoms"
        "<br>share %{y:.3f} (%{customdata[3]:.3f} to %{customdata[4]:.3f})<extra></extra>",
    )  # fmt: skip


def _density_panel(drawn: go.Figure, values: np.ndarray, threshold: float) -> np.ndarray:
    """Draw the histogram; its heights, NaN where nothing was counted."""
    edges = called_by_d2min.bins(values, threshold, 8)
    count = np.histogram(values, edges)[0]
    density = np.where(count > 0, count / (len(values) * np.diff(edges)), np.nan)
    drawn.add_scatter(
        x=np.repeat(edges, 2)[1:-1], y=drawing.column(np.repeat(density, 2)), mode="lines",
        line={"color": BLUE, "width": 1.6}, showlegend=False, row=1, col=2,
        customdata=np.repeat(np.stack([edges[:-1], edges[1:], count], 1), 2, axis=0),
        hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g} Å²<br>"
        "%{customdata[2]} atoms<extra></extra>",
    )  # fmt: skip
    return density
