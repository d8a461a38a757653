"""What the plotly figures of the report have in common: axes, ticks, bands, marks."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from stzjax.figures.stages import FAINT, GREY, INK


def axes(figure: go.Figure, x: str, y: str, column: int | None = None, row: int | None = None):
    """Name the axes of one panel, or of all, and give them the style of the page."""
    style: dict[str, Any] = {
        "gridcolor": FAINT,
        "linecolor": GREY,
        "zeroline": False,
        "ticks": "outside",
    }
    style |= {"automargin": True, "title_standoff": 10, "title_font_size": 14}
    figure.update_xaxes(title_text=x, col=column, row=row, **style)
    figure.update_yaxes(title_text=y, col=column, row=row, **style)


def title(figure: go.Figure, words: str, place: int = 1) -> None:
    """A title above one panel, which it follows when the page is narrow."""
    number = "" if place == 1 else str(place)
    figure.add_annotation(
        text=words, x=0, y=1, xref=f"x{number} domain", yref=f"y{number} domain", xanchor="left",
        yanchor="bottom", yshift=4, showarrow=False, font={"size": 13}, align="left",
    )  # fmt: skip


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis, ticked at the decades if long, and within them if short."""
    steps: tuple[float, ...] = (1, 2, 5) if high < 300 * low else (1,)
    steps = (1, 1.5, 2, 3, 5, 7) if high < 8 * low else steps
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [
        step * 10.0**decade for decade in decades[:: max(1, len(decades) // 9)] for step in steps
    ]
    return {"type": "log", "tickvals": ticks, "ticktext": [_power(tick) for tick in ticks]}


def _power(tick: float) -> str:
    """A tick in plain figures, a far one as a power of ten."""
    if 1e-4 <= tick <= 1e5:
        return f"{tick:g}"
    mantissa, exponent = f"{tick:.0e}".split("e")
    return ("" if mantissa == "1" else f"{mantissa}·") + f"10<sup>{int(exponent)}</sup>"


def short(values) -> np.ndarray:
    """Single precision: the page needs no more, and it halves it."""
    return np.asarray(values, np.float32)


def column(rows: Iterable[Any]) -> list[float | None]:
    """Numbers with None, which plotly leaves out, where they are undefined."""
    return [None if row is None or not np.isfinite(row) else float(row) for row in rows]


def bars(values, low, high, colour: str, width: float = 1.2) -> dict[str, Any]:
    """Error bars from intervals; none where a value or an end is undefined."""
    values, low, high = (np.array(column(x), float) for x in (values, low, high))
    return {
        "type": "data", "symmetric": False, "color": colour, "thickness": width, "width": 0,
        "array": column(high - values), "arrayminus": column(values - low),
    }  # fmt: skip


def band(x, low, high) -> dict[str, list[float | None]]:
    """Outlines of a band, one closed polygon for each stretch without a gap."""
    outline: dict[str, list[float | None]] = {"x": [], "y": []}
    x, low, high = (np.asarray(values, float) for values in (x, low, high))
    there = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    for part in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1):
        outline["x"] += [*x[part], *x[part][::-1], None]
        outline["y"] += [*low[part], *high[part][::-1], None]
    return outline


def to_json(figure: go.Figure, height: int) -> str:
    """The figure in the style of the page, as text that is safe inside a script element."""
    titled = any(note.xref != "x" and note.yshift for note in figure.layout.annotations)
    top = 60 if titled else 34  # The buttons of plotly stand above the titles.
    figure.update_layout(
        height=height, margin={"l": 60, "r": 16, "t": top, "b": 52}, plot_bgcolor="white",
        paper_bgcolor="white", hovermode="closest", template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
    )  # fmt: skip
    # Plotly escapes the characters that could close the script element.
    return figure.to_json(engine="json")
