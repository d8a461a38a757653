"""Values as the report words them: plain text, which the templates escape."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from stzjax.evaluation import metrics
from stzjax.figures.chart import dig

Interval = Mapping[str, Mapping[str, Any]]
"""The intervals of `metrics.bootstrap`; empty where there is nothing to resample."""

TABLE_1 = (
    ("recall", 10, 25, 12, 0.7333, 0.0074, 0.0147, 0.0615, 0.8451, 0.0150),
    ("precision, f1", 6, 35, 9, 0.6821, 0.0089, 0.0175, 0.0668, 0.8488, 0.0160),
    ("mcc", 4, 40, 9, 0.6931, 0.0088, 0.0173, 0.0670, 0.8491, 0.0161),
    ("auc", 4, 15, 9, 0.7002, 0.0086, 0.0169, 0.0662, 0.8508, 0.0160),
    ("ap", 8, 20, 12, 0.7030, 0.0084, 0.0165, 0.0654, 0.8494, 0.0167),
)
"""Table 1 of Lee and Ryu (2022): metric optimised, L, M, N, and `SCORES`, AUC, AP of the test."""

PREVALENCE = (1134 + 486) / 900_000
"""Prevalence of their test set, from its confusion matrix."""

PAPER = {
    **dict(zip((*metrics.SCORES, "auc", "ap"), TABLE_1[3][4:], strict=True)),
    "prevalence": PREVALENCE,
    "ap_over_prevalence": TABLE_1[3][-1] / PREVALENCE,
    "threshold": 0.5,
}
"""Their model optimised for AUC."""

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
