"""Charts: curves, bands, bars and maps, described once for the paper and for the page.

Nothing here draws: `picture` makes a Matplotlib figure of a chart, `interactive` a plotly figure.
Words are plain text, which both of them escape. Colours are those of Okabe and Ito (2008), which
colour-blind readers can tell apart.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stzjax.core import loads

BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
INK, GREY, FAINT = "#1f2933", "#7b8794", "#e4e7eb"

DIRECTION_COLOURS = {"xy": BLUE, "yz": ORANGE, "xz": GREEN}
"""One hue for each shear plane; the sign is in the dash."""


class Axis(NamedTuple):
    """A horizontal or vertical axis.

    Attributes:
      label: name and unit.
      ends: first and last value shown; from the data if None.
      log: whether it is logarithmic.
      ticks: words by value; chosen by the backend if None.
      bare: whether the words are left out, since a panel beside this one has them.
    """

    label: str = ""
    ends: tuple[float, float] | None = None
    log: bool = False
    ticks: Mapping[float, str] | None = None
    bare: bool = False


class Curve(NamedTuple):
    """Points, joined by a line or not; NaN is a gap.

    Attributes:
      x: (P,) places.
      y: (P,) values.
      colour: of line and marks.
      line: "solid", "dash", or "" for none.
      mark: "o", "s", "D", "^", or "" for none.
      width: of the line [pt].
      size: of the marks [pt].
      opacity: in (0, 1].
      name: in the legend, if any.
      group: the curves that a click in the legend hides together.
      hover: what the page says of a point; %{x:.3f}, %{y} and %{text} stand for its values.
      text: (P,) words of each point.
      low: (P,) ends of the intervals of the points; none if empty.
      high: (P,) their other ends.
      along: axis of the intervals, "x" or "y".
      hollow: (P,) bool, marks without a filling; none if empty.
    """

    x: Any
    y: Any
    colour: str = BLUE
    line: str = "solid"
    mark: str = ""
    width: float = 1.4
    size: float = 5.0
    opacity: float = 1.0
    name: str = ""
    group: str = ""
    hover: str = ""
    text: Sequence[str] = ()
    low: Any = ()
    high: Any = ()
    along: str = "y"
    hollow: Any = ()


class Band(NamedTuple):
    """The area between two curves; NaN is a gap."""

    x: Any
    low: Any
    high: Any
    colour: str = BLUE
    name: str = ""


class Bars(NamedTuple):
    """Bars that stand on zero, from `left` to `right` each; `text` is written above them."""

    left: Any
    right: Any
    height: Any
    colour: str = BLUE
    text: Sequence[str] = ()
    hover: str = ""


class Rule(NamedTuple):
    """A straight line across the panel at one value of an axis."""

    value: float
    axis: str = "x"
    colour: str = ORANGE
    line: str = "solid"


class Words(NamedTuple):
    """Words at a point; `anchor` is the corner or side of theirs that lies there."""

    x: float
    y: float
    words: str
    colour: str = GREY
    anchor: str = "upper left"


class Map(NamedTuple):
    """Values (R, C) as colours on a scale, a word in each cell; row 0 lies at y = 0.

    Attributes:
      values: NaN is left blank.
      scale: values of the first and the last colour.
      text: (R, C) what the page says of a cell.
      framed: (row, column) of the cells that stand out.
    """

    values: np.ndarray
    scale: tuple[float, float]
    text: np.ndarray
    framed: Sequence[tuple[int, int]] = ()


Series = Any
"""A `Curve`, `Band`, `Bars`, `Rule`, `Words` or `Map`."""


class Panel(NamedTuple):
    """Series on two axes.

    Attributes:
      series: later ones cover earlier ones.
      x: horizontal axis.
      y: vertical axis.
      title: above it.
      empty: why nothing is there, said in the middle.
      square: whether both axes have one scale, on paper.
    """

    series: list[Series]
    x: Axis
    y: Axis
    title: str = ""
    empty: str = ""
    square: bool = False


class Chart(NamedTuple):
    """Panels in rows.

    Attributes:
      panels: row by row.
      columns: panels in a row.
      size: width and height on paper [inches].
      height: on the page [px].
      legend: "right" or "below" of all panels, a corner of the first one, or "" for none.
      gap: width between panels on the page, as a share of the whole.
    """

    panels: Sequence[Panel]
    columns: int = 2
    size: tuple[float, float] = (8.6, 3.4)
    height: int = 360
    legend: str = ""
    gap: float = 0.11

    @property
    def rows(self) -> int:
        """Number of rows."""
        return -(-len(self.panels) // self.columns)


def lettered(panels: Iterable[Panel]) -> list[Panel]:
    """Panels with A, B, C … before their titles, as papers have them."""
    return [one._replace(title=f"{chr(65 + n)}  {one.title}") for n, one in enumerate(panels)]


def log_axis(label: str, low: float, high: float) -> Axis:
    """A logarithmic axis, ticked at the decades if long, and within them if short."""
    steps: tuple[float, ...] = (1, 2, 5) if high < 300 * low else (1,)
    steps = (1, 1.5, 2, 3, 5, 7) if high < 8 * low else steps
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    thinned = decades[:: max(1, len(decades) // 9)]
    ticks = [step * 10.0**decade for decade in thinned for step in steps]
    inside = [tick for tick in ticks if low / 1.001 <= tick <= high * 1.001]
    return Axis(label, (low, high), True, {tick: _power(tick) for tick in inside})


def _power(tick: float) -> str:
    """A tick in plain figures, a far one as a power of ten."""
    if 1e-4 <= tick <= 1e5:
        return f"{tick:g}"
    mantissa, exponent = f"{tick:.0e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ("" if mantissa == "1" else f"{mantissa}·") + f"10{raised}"


def named_axis(label: str, names: Sequence[str], bare: bool = False, down: bool = False) -> Axis:
    """An axis with a name at 0, 1, 2 …; `down` puts the first one at the top."""
    ends = (len(names) - 0.4, -0.6) if down else (-0.5, len(names) - 0.5)
    return Axis(label, ends, False, dict(enumerate(names)), bare)


def dig(value: Any, *path: str) -> Any:
    """The value under nested keys; None where a key is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def finite(values: Iterable[float | None]) -> np.ndarray:
    """Floats with NaN where JSON has null."""
    return np.array([np.nan if v is None else v for v in values], float)


def thin(x, y, limit: int = 1500) -> np.ndarray:
    """Indices of at most `limit` points that keep the look of a long curve.

    Points lie evenly along the path (both axes count alike), the two ends are always in.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) <= limit:
        return np.arange(len(x))
    path = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    return np.unique(np.searchsorted(path, np.linspace(0.0, path[-1], limit)).clip(0, len(x) - 1))


def log_bins(values, num: int) -> np.ndarray:
    """Edges of `num` bins of equal width in the logarithm, around positive values."""
    values = np.asarray(values, float)
    values = values[values > 0]
    low, high = (values.min(), values.max()) if len(values) else (1.0, 10.0)
    return np.geomspace(low / 1.1, high * 1.1, num + 1)


def counted(values, edges, colour: str, of: str) -> Bars:
    """Bars with the number of values in each bin; `of` is what is counted."""
    count, edges = np.histogram(np.asarray(values, float), edges)
    spans = [f"{a:.3g} to {b:.3g}" for a, b in itertools.pairwise(edges)]
    return Bars(edges[:-1], edges[1:], count, colour, spans, f"%{{text}}: %{{y}} {of}")


def direction_style(direction: str) -> tuple[str, str]:
    """Colour and line of a shear direction."""
    signed = loads.canonical(direction)
    return DIRECTION_COLOURS[signed[1:]], "solid" if signed[0] == "+" else "dash"
