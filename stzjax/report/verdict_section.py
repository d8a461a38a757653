"""The verdict: ranking and hits per event, pooled and by direction, beside chance."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from stzjax.figures import studies
from stzjax.figures.chart import Chart
from stzjax.report.words import dig, known, share, text
from stzjax.run_folder.contents import Contents

_POOLED = "all directions"
_REASONS = {
    "interval": "Intervals of AUC and AP",
    "hits": "Intervals of hits",
    "at_best_mcc": "The threshold that is best by MCC",
    "at_best_f1": "The threshold that is best by F1",
}


def section(found: Contents) -> dict[str, Any] | None:
    """The chapter, from `metrics.json`."""
    judged = found.metrics.get("verdict")
    if not judged:
        return None
    parts = {_POOLED: judged["pooled"], **judged["directions"]}
    spans = [one["interval"] for part in parts.values() for one in part["hits"].values()]
    return {
        "looked": _looked(found, list(judged["pooled"]["hits"])),
        "chart": _chart(parts),
        "parts": parts,
        "reasons": _reasons(parts),
        "widthless": any(
            span and known(span["low"]) and span["low"] == span["high"] for span in spans
        ),
    }


def _looked(found: Contents, shares: list[str]) -> str:
    """The shares as numbers of atoms, if all test glasses have as many."""
    sizes = {span.stop - span.start for _, _, span in found.test.runs()} if found.test else set()
    if len(sizes) != 1:
        return ""
    (size,) = sizes
    counts = ", ".join(f"{math.ceil(Fraction(part) * size)}" for part in shares)
    return f"Of {size:,} atoms, {', '.join(map(share, shares))} are {counts}."


def random_ranking(scores: Mapping[str, Any]) -> float:
    """AP over prevalence that a random ranking without ties reaches on average; NaN if undefined.

    Exact, with H_N the harmonic number: 1 + (H_N - 1) (N - P) / (P (N - 1)) for P positives among
    N. Bestgen, Exact expected average precision of the random baseline for system evaluation,
    Prague Bulletin of Mathematical Linguistics 103, 131 (2015).
    """
    counts = scores["confusion"]
    num, positive = sum(counts.values()), counts["tp"] + counts["fn"]
    if not positive:
        return math.nan
    excess = np.sum(1.0 / np.arange(2, num + 1)) / max(num - 1, 1)
    return float(1.0 + excess * (num - positive) / positive)


def _reasons(parts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Names of missing numbers, parts that lack them and the reason, each reason once."""
    told: dict[tuple[str, str], list[str]] = {}
    for part, judged in parts.items():
        for what, reason in (judged.get("reasons") or {}).items():
            told.setdefault((what, reason), []).append(part)
    return [
        (_REASONS.get(what, what), "all" if len(where) == len(parts) else text(where), reason)
        for (what, reason), where in told.items()
    ]


def _chart(parts: Mapping[str, Any]) -> Chart:
    """AP over prevalence by direction, and the pooled hits in per cent, beside chance."""
    ratios = {
        name: {
            **(dig(part, "interval", "ap_over_prevalence") or {}),
            "estimate": part["at_half"]["ap_over_prevalence"],
        }
        for name, part in parts.items()
    }
    chances = [random_ranking(part["at_half"]) for part in parts.values()]
    hits = {
        f"top {share(looked)}": {
            "estimate": _hundredfold(one["rate"]),
            "low": _hundredfold(dig(one, "interval", "low")),
            "high": _hundredfold(dig(one, "interval", "high")),
            "chance": _hundredfold(one["chance"]),
        }
        for looked, one in parts[_POOLED]["hits"].items()
    }
    return studies.verdict(ratios, chances, hits, [one["chance"] for one in hits.values()])


def _hundredfold(part: float | None) -> float | None:
    return None if part is None else 100 * part
