"""Values as the report words them; every text that comes from outside is escaped here."""

import html
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

Interval = Mapping[str, Mapping[str, Any]]
"""What `metrics.bootstrap` returns; empty where there is nothing to resample."""

PAPER = {
    "recall": 0.7002,
    "precision": 0.0086,
    "f1": 0.0169,
    "mcc": 0.0662,
    "auc": 0.8508,
    "ap": 0.0160,
    "prevalence": 0.0018,
    "ap_over_prevalence": 0.0160 / 0.0018,
    "threshold": 0.5,
}
"""Lee and Ryu, Table 1, the model optimised for AUC: L = 4, M = 15, N = 9."""

UNDEFINED = '<span class="undefined">undefined</span>'


def text(value: Any) -> str:
    """Any value as escaped text; a list as its entries, a mapping as JSON."""
    if isinstance(value, list | tuple):
        return ", ".join(text(entry) for entry in value)
    if isinstance(value, dict):
        value = json.dumps(value, default=str)
    elif isinstance(value, float):
        value = f"{value:g}".replace("e+", "e")
    return html.escape(str(value))


class Cell(NamedTuple):
    """A cell of a table: what it shows, as HTML, and what it is sorted by."""

    shown: str
    key: float | str | None = None


def known(value: Any) -> bool:
    """Whether a number is there: JSON holds null where it is undefined, arrays NaN."""
    return value is not None and not math.isnan(value)


def dig(value: Any, *path: str) -> Any:
    """What lies under nested keys; None where one of them is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, or "undefined"."""
    if value is None or math.isnan(value):
        return UNDEFINED
    digits = f"{value:.3g}"
    return f"{value:,.0f}{unit}" if "e+" in digits else f"{digits}{unit}"


def odds(prevalence: float) -> str:
    """A positive prevalence as "1 in 556"."""
    return f"1 in {1 / prevalence:,.0f}" if prevalence < 0.1 else f"1 in {1 / prevalence:.1f}"


def score(scores: Mapping[str, Any] | None, key: str) -> str:
    """One metric of a set, to four decimals or more; a dash if the set is not there or lacks it."""
    if not scores or key not in scores:
        return "–"
    return decimals(scores[key])


def decimals(value: float | None) -> str:
    """Four decimals, as the paper has them, or more where these would say little."""
    return number(value) if value is None or not 0.01 <= abs(value) <= 1 else f"{value:.4f}"


def percent(share: float | None) -> str:
    """A share of one as per cent, or "undefined"."""
    return f"{100 * share:.3g} %" if share is not None and known(share) else UNDEFINED


def bounds(interval: Interval | None, key: str) -> str:
    """The bootstrap interval of a metric as small print, or nothing."""
    return between(dig(interval, key))


def between(span: Mapping[str, Any] | None, word: Callable[[float | None], str] = number) -> str:
    """The ends of an interval as small print, or nothing."""
    low, high = dig(span, "low"), dig(span, "high")
    return f"<small>{word(low)} to {word(high)}</small>" if known(low) and known(high) else ""


def measured(span: Mapping[str, Any] | None, word: Callable[[float | None], str] = number) -> Cell:
    """A number with its interval: estimate, low and high."""
    value = dig(span, "estimate")
    return Cell(word(value) + between(span, word), value)


def count(value: Any) -> str:
    """An integer with separators, or a dash."""
    return f"{value:,}" if isinstance(value, int) else "–"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def absent(words: str) -> str:
    """A paragraph that says what is not there; `words` is HTML."""
    return f'<p class="absent">{words}</p>'


def plot(name: str, figure: str) -> str:
    """A place for a plotly figure and its JSON, which the script of the page draws."""
    return (
        f'<div class="plot" id="{name}"></div>'
        f'<script type="application/json" data-plot="{name}">{figure}</script>'
    )


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    marked: Collection[int] = (),
    rules: Collection[int] = (),
    sortable: bool = False,
) -> str:
    """A table that scrolls within its box; the first cell of a row names it.

    Args:
      head: names of the columns, as HTML.
      rows: of cells.
      marked: numbers of rows that stand out.
      rules: numbers of rows above which there is a line.
      sortable: a click on a column sorts by it, undefined cells last.
    """
    names = (f"<button>{name}</button>" if sortable and name else name for name in head)
    titles = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = ""
    for place, row in enumerate(rows):
        kinds = [kind for kind, those in (("key", marked), ("rule", rules)) if place in those]
        cells = "".join(map(_cell, row[1:]))
        name = f'<th scope="row"{_key(row[0].key)}>{row[0].shown}</th>'
        body += f'<tr class="{" ".join(kinds)}">{name}{cells}</tr>'
    kind = "numbers sortable" if sortable else "numbers"
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    kind = ' class="words"' if isinstance(cell.key, str) else ""
    return f"<td{kind}{_key(cell.key)}>{cell.shown}</td>"


def _key(key: float | str | None) -> str:
    if isinstance(key, str):
        return f' data-key="{html.escape(key)}"'
    return f' data-key="{key:.9g}"' if known(key) else ""


def picture(pictures: Collection[str], number: int) -> str:
    """A link to a figure of the paper that experiments/draw.py has drawn, or nothing."""
    name = f"figure{number}.png"
    if name not in pictures:
        return ""
    link = f'<a href="figures/{name}">figures/{name}</a>'
    return f'<p class="note">Figure {number} of the paper for this run, as a picture: {link}</p>'


def fold(summary: str, content: str) -> str:
    """Content that a click unfolds."""
    return f"<details><summary>{summary}</summary>{content}</details>"
