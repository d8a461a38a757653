"""Charts as plotly figures for the page, to be zoomed and pointed at."""

import html
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.offline
from plotly.subplots import make_subplots

from stzjax.figures import chart

_MANY = 200
"""Longer curves are stored in single precision and base64: the page needs no more."""

_MARKS = {"o": "circle", "s": "square", "D": "diamond-tall", "^": "triangle-up", "": "circle"}
_PIXELS = 1.5
"""Marks on the page [px] for one point on paper."""

_Where = dict[str, int]
"""Row and column of a panel."""


def to_json(drawn: chart.Chart) -> str:
    """The figure of a chart as JSON text that is safe inside a script element."""
    figure = make_subplots(
        drawn.rows, drawn.columns, horizontal_spacing=drawn.gap,
        vertical_spacing=0.44 / max(drawn.rows, 1),
    )  # fmt: skip
    for number, panel in enumerate(drawn.panels):
        row, column = divmod(number, drawn.columns)
        where = {"row": row + 1, "col": column + 1}
        for series in panel.series:
            _ADD[type(series)](figure, where, panel, series)
        _frame(figure, where, panel, number + 1)
    titled = any(panel.title for panel in drawn.panels)
    figure.update_layout(
        height=drawn.height, plot_bgcolor="white", paper_bgcolor="white", hovermode="closest",
        margin={"l": 60, "r": 16, "t": 60 if titled else 34, "b": 52}, template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": chart.INK}, bargap=0.04,
        legend=_legend(drawn.legend, figure.layout.xaxis.domain, figure.layout.yaxis.domain),
    )  # fmt: skip
    # Plotly escapes the characters that could close the script element.
    return figure.to_json(engine="json")


def _legend(place: str, x: Any, y: Any) -> dict[str, Any]:
    """The place of the legend; a corner is one of the first panel."""
    if place in ("", "right"):
        return {}
    if place == "below":
        return {"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.14, "yanchor": "top"}
    vertical, horizontal = place.split()
    inset, upper, left = 0.02, vertical == "upper", horizontal == "left"
    return {
        "x": x[0] + inset if left else x[1] - inset, "xanchor": horizontal,
        "y": y[1] - inset if upper else y[0] + inset, "yanchor": "top" if upper else "bottom",
        "bgcolor": "rgba(255, 255, 255, 0.7)",
    }  # fmt: skip


def _frame(figure: go.Figure, where: _Where, panel: chart.Panel, number: int) -> None:
    """Axes, title and what an empty panel is empty for."""
    figure.update_xaxes(**_axis(panel.x), **where)
    figure.update_yaxes(**_axis(panel.y), **where)
    axes = str(number) if number > 1 else ""
    domain: dict[str, Any] = {"xref": f"x{axes} domain", "yref": f"y{axes} domain"}
    if panel.title:
        figure.add_annotation(
            text=_words(panel.title), x=0, y=1, xanchor="left", yanchor="bottom", yshift=4,
            showarrow=False, font={"size": 13}, align="left", **domain,
        )  # fmt: skip
    if panel.empty:
        # Plotly leaves a panel without any trace out.
        figure.add_scatter(x=[None], y=[None], showlegend=False, **where)
        figure.add_annotation(
            text=_words(panel.empty), x=0.5, y=0.5, showarrow=False, font={"color": chart.GREY},
            **domain,
        )  # fmt: skip


def _axis(axis: chart.Axis) -> dict[str, Any]:
    style: dict[str, Any] = {
        "title_text": _words(axis.label), "title_standoff": 10, "title_font_size": 14,
        "gridcolor": chart.FAINT, "linecolor": chart.GREY, "zeroline": False, "ticks": "outside",
        "automargin": True, "showticklabels": not axis.bare,
    }  # fmt: skip
    if axis.log:
        style["type"] = "log"
    if axis.ticks is not None:
        words = [_words(word) for word in axis.ticks.values()]
        style |= {"tickvals": list(axis.ticks), "ticktext": words}
    if axis.ends is not None:
        style["range"] = np.log10(axis.ends).tolist() if axis.log else list(axis.ends)
    return style


def _add_curve(figure: go.Figure, where: _Where, panel: chart.Panel, one: chart.Curve) -> None:
    marks: dict[str, Any] = {
        "size": _PIXELS * one.size, "symbol": _MARKS[one.mark], "color": one.colour,
        "line": {"color": "#ffffff", "width": 1},
    }  # fmt: skip
    if np.size(one.hollow):
        marks["color"] = ["#ffffff" if empty else one.colour for empty in one.hollow]
        marks["line"] = {"color": one.colour, "width": 1.5}
    mode = "+".join(["lines"] * bool(one.line) + ["markers"] * bool(one.mark))
    figure.add_scatter(
        x=_values(one.x), y=_values(one.y), mode=mode, opacity=one.opacity, marker=marks,
        line={"color": one.colour, "width": one.width, "dash": one.line or "solid"},
        name=_words(one.name), showlegend=bool(one.name), legendgroup=one.group or one.name,
        text=[_words(text) for text in one.text] or None, connectgaps=False, **_hover(one.hover),
        **_intervals(one), **where,
    )  # fmt: skip


def _intervals(one: chart.Curve) -> dict[str, Any]:
    """Error bars; none where a value or an end is undefined."""
    if not len(one.low):
        return {}
    value = np.array(_column(one.x if one.along == "x" else one.y), float)
    low, high = (np.array(_column(ends), float) for ends in (one.low, one.high))
    bars = {
        "type": "data", "symmetric": False, "color": _faint(one.colour, 0.6), "thickness": 2,
        "width": 0, "array": _column(high - value), "arrayminus": _column(value - low),
    }  # fmt: skip
    return {f"error_{one.along}": bars}


def _add_band(figure: go.Figure, where: _Where, panel: chart.Panel, band: chart.Band) -> None:
    """One closed polygon for each stretch without a gap."""
    outline: dict[str, list[float | None]] = {"x": [], "y": []}
    x, low, high = (np.asarray(values, float) for values in (band.x, band.low, band.high))
    there = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    for part in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1):
        outline["x"] += [*x[part], *x[part][::-1], None]
        outline["y"] += [*low[part], *high[part][::-1], None]
    figure.add_scatter(
        **outline, mode="lines", fill="toself", fillcolor=_faint(band.colour, 0.18),
        line={"width": 0}, hoverinfo="skip", name=_words(band.name), showlegend=bool(band.name),
        **where,
    )  # fmt: skip


def _add_bars(figure: go.Figure, where: _Where, panel: chart.Panel, bars: chart.Bars) -> None:
    """Bars, by their middle and width in plain numbers, on a logarithmic axis too."""
    left, right = np.asarray(bars.left, float), np.asarray(bars.right, float)
    words = [_words(text) for text in bars.text]
    figure.add_bar(
        x=_values((left + right) / 2), y=_values(bars.height), width=_values(0.96 * (right - left)),
        marker={"color": bars.colour}, showlegend=False, text=words or None,
        textposition="none" if bars.hover else "outside", cliponaxis=False,
        **_hover(bars.hover), **where,
    )  # fmt: skip


def _add_rule(figure: go.Figure, where: _Where, panel: chart.Panel, rule: chart.Rule) -> None:
    line = {"color": rule.colour, "width": 1.4, "dash": rule.line}
    add = figure.add_vline if rule.axis == "x" else figure.add_hline
    add(rule.value, line=line, exclude_empty_subplots=False, **where)


def _add_words(figure: go.Figure, where: _Where, panel: chart.Panel, one: chart.Words) -> None:
    """Words; on a logarithmic axis their place is a logarithm."""
    vertical, horizontal = one.anchor.split()
    axes = ((one.x, panel.x), (one.y, panel.y))
    x, y = (float(np.log10(value)) if axis.log else value for value, axis in axes)
    figure.add_annotation(
        x=x, y=y, text=_words(one.words), showarrow=False, font={"color": one.colour},
        xanchor=horizontal, yanchor={"upper": "top", "lower": "bottom"}[vertical], **where,
    )  # fmt: skip


def _add_map(figure: go.Figure, where: _Where, panel: chart.Panel, one: chart.Map) -> None:
    low, high = one.scale
    figure.add_heatmap(
        z=[_column(line) for line in one.values], coloraxis="coloraxis", xgap=1, ygap=1,
        texttemplate="%{z:.2f}", textfont={"size": 11 if one.values.shape[1] < 6 else 9},
        hovertext=[[_words(word) for word in line] for line in one.text],
        hovertemplate="%{hovertext}<extra></extra>", **where,
    )  # fmt: skip
    bar = {"thickness": 14, "outlinewidth": 0}
    figure.update_layout(
        coloraxis={"colorscale": "Viridis", "colorbar": bar, "cmin": low, "cmax": high}
    )
    for row, column in one.framed:
        figure.add_shape(
            type="rect", x0=column - 0.47, x1=column + 0.47, y0=row - 0.47, y1=row + 0.47,
            line={"color": chart.ORANGE, "width": 3}, **where,
        )  # fmt: skip


_ADD: dict[type, Callable[[go.Figure, _Where, chart.Panel, Any], None]] = {
    chart.Curve: _add_curve,
    chart.Band: _add_band,
    chart.Bars: _add_bars,
    chart.Rule: _add_rule,
    chart.Words: _add_words,
    chart.Map: _add_map,
}


def _hover(template: str) -> dict[str, str]:
    if not template:
        return {"hoverinfo": "skip"}
    return {"hovertemplate": f"{_words(template)}<extra></extra>"}


def _words(text: str) -> str:
    """Plain text as plotly wants it, which takes tags for style and dollar signs for formulas."""
    return html.escape(str(text), quote=False).replace("$", "&#36;").replace("\n", "<br>")


def _values(values: Any) -> Any:
    return _column(values) if len(values) < _MANY else np.asarray(values, np.float32)


def _column(values: Iterable[Any]) -> list[float | None]:
    """Numbers with None, which plotly leaves out, where they are undefined."""
    return [None if v is None or not np.isfinite(v) else float(v) for v in values]


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def library() -> str:
    """The script of plotly, which goes with the page."""
    return plotly.offline.get_plotlyjs()
