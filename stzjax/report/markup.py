"""Values as the report words them; every text that comes from outside is escaped here."""

import html
import json
import math
from collections.abc import Mapping
from typing import Any

Interval = Mapping[str, Mapping[str, float]]
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
    value = scores[key]
    return number(value) if value is None or not 0.01 <= abs(value) <= 1 else f"{value:.4f}"


def bounds(interval: Interval, key: str) -> str:
    """The bootstrap interval of a metric as small print, or nothing."""
    span = interval.get(key)
    if span is None or math.isnan(span["low"]):
        return ""
    return f"<small>{number(span['low'])} to {number(span['high'])}</small>"


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
