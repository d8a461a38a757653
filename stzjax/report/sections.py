"""The run itself, section by section, as plain values and charts for the templates.

None stands for a section without anything to show.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from stzjax.evaluation import called_by_d2min
from stzjax.evaluation.called_by_d2min import OPERATING
from stzjax.figures import atoms, d2min, run, studies
from stzjax.figures.chart import Chart, dig
from stzjax.report.words import known, share, text
from stzjax.run_folder.contents import Contents

_POOLED = "all directions"
_REASONS = {
    "interval": "Intervals of AUC and AP",
    "hits": "Intervals of hits",
    "at_best_mcc": "The threshold that is best by MCC",
    "at_best_f1": "The threshold that is best by F1",
}


def glasses(found: Contents) -> str:
    """Number and composition of the specimens, such as "6 Cu64Zr36 glasses of 1,000 atoms"."""
    if not found.specimens:
        return "No specimen yet"
    first, num = next(iter(found.specimens.values())).structure, len(found.specimens)
    parts = 100 * np.bincount(first.species, minlength=len(first.elements)) / first.num_atoms
    formula = "".join(f"{e}{p:.3g}" for e, p in zip(first.elements, parts, strict=True) if p)
    return f"{num} {formula} glass{'' if num == 1 else 'es'} of {first.num_atoms:,} atoms"


def traces(found: Contents) -> Chart | None:
    """Energy and density along the quenches that were recorded."""
    whole = {n: one.trace for n, one in found.specimens.items() if len(one.trace) == 3}
    return run.quench_trace(whole) if whole else None


def events(found: Contents) -> dict[str, Any]:
    """Strains and sizes of the first events, and the class ratio."""
    event = found.events()
    prevalence = (found.metrics.get("test") or {}).get("prevalence")
    if prevalence is None and found.test:
        prevalence = float(np.mean(found.test.label))
    chart = None
    if event["strains"]:
        chart = run.events(event["strains"], event["sizes"], prevalence)
    percents = 100 * np.asarray(event["strains"] or [np.nan], float)
    return {
        **event, "percents": percents, "median": np.median(percents), "prevalence": prevalence,
        "median_size": np.median(event["sizes"] or [np.nan]), "chart": chart,
    }  # fmt: skip


def correlation(found: Contents) -> dict[str, Any] | None:
    """The share of atoms called positive against their D²min, and the histogram of D²min."""
    if found.test is None:
        return None
    values, runs = found.test_d2min(), found.test.runs()
    missing = sum(bool(np.isnan(values[span]).all()) for _, _, span in runs)
    test, seed = found.test, int(found.config.get("seed", 0))
    called = called_by_d2min.at_operating(
        values, test.confidence, test.specimen, found.threshold, seed
    )
    finite = np.isfinite(values)
    return {
        "runs": len(runs) - missing,
        "missing": missing,
        "atoms": int(called.atoms.sum()),
        "called": int(np.sum(finite & (test.confidence >= OPERATING))),
        "outside": int(np.sum(finite) - called.atoms.sum()),
        "specimens": called.specimens,
        "operating": OPERATING,
        "chart": d2min.shares(called, values, found.threshold),
    }


def shown(found: Contents) -> list[atoms.Scene]:
    """The test runs whose specimen is in the folder with the same number of atoms."""
    if found.test is None:
        return []
    values, test = found.test_d2min(), found.test
    glasses = {number: one.structure for number, one in found.specimens.items()}
    return [
        atoms.Scene(n, d, glasses[n], test.label[span], test.confidence[span], values[span])
        for n, d, span in test.runs()
        if n in glasses and glasses[n].num_atoms == span.stop - span.start
    ]


def view(found: Contents) -> dict[str, Any] | None:
    """The data of the 3D view, and how many test runs are left out of it."""
    if found.test is None:
        return None
    data = atoms.view(shown(found), found.operating(), found.threshold)
    return {"data": data, "omitted": len(found.test.runs()) - len(data["runs"])}


def verdict(found: Contents) -> dict[str, Any] | None:
    """The verdict of `metrics.json`: ranking and hits per event beside chance, by direction."""
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
    pooled = parts[_POOLED]["hits"]
    hits = {f"top {share(looked)}": _percents(one) for looked, one in pooled.items()}
    return studies.verdict(ratios, chances, hits, [one["chance"] for one in hits.values()])


def _percents(hit: Mapping[str, Any]) -> dict[str, float | None]:
    ends = {name: dig(hit, "interval", name) for name in ("low", "high")}
    shares = {"estimate": hit["rate"], **ends, "chance": hit["chance"]}
    return {name: None if part is None else 100 * part for name, part in shares.items()}
