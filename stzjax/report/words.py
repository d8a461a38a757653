"""Values as the report words them: plain text, which the templates escape."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from stzjax.figures.chart import dig

Interval = Mapping[str, Mapping[str, Any]]
"""The intervals of `metrics.bootstrap`; empty where there is nothing to resample."""

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

UNDEFINED = "undefined"


def text(value: Any) -> str:
    """Any value as text; a list as its entries, a mapping as JSON."""
    if isinstance(value, list | tuple):
        return ", ".join(text(entry) for entry in value)
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    return f"{value:g}".replace("e+", "e") if isinstance(value, float) else str(value)


def known(value: Any) -> bool:
    """Whether a number is there: JSON holds null where it is undefined, arrays NaN."""
    return value is not None and not math.isnan(value)


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, or "undefined"."""
    if value is None or math.isnan(value):
        return UNDEFINED
    digits = f"{value:.3g}"
    return f"{value:,.0f}{unit}" if "e+" in digits else f"{digits}{unit}"


def odds(prevalence: float) -> str:
    """A positive prevalence as "1 in 556"."""
    return f"1 in {1 / prevalence:,.0f}" if prevalence < 0.1 else f"1 in {1 / prevalence:.1f}"


def decimals(value: float | None) -> str:
    """Four decimals, as the paper has them, or more where these would say little."""
    return number(value) if value is None or not 0.01 <= abs(value) <= 1 else f"{value:.4f}"


def percent(part: float | None) -> str:
    """A part of one as per cent, or "undefined"."""
    return f"{100 * part:.3g} %" if part is not None and known(part) else UNDEFINED


def share(part: str) -> str:
    """A share of the atoms, a key of hits such as "0.01", as per cent."""
    return f"{100 * float(part):g} %"


def rank(value: float | None) -> float:
    """A key that sorts numbers from the largest down, undefined ones last."""
    return -value if value is not None and known(value) else math.inf


def between(span: Mapping[str, Any] | None, word: Callable[[float | None], str] = number) -> str:
    """The ends of an interval, or nothing."""
    low, high = dig(span, "low"), dig(span, "high")
    return f"{word(low)} to {word(high)}" if known(low) and known(high) else ""


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
