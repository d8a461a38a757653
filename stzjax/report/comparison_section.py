"""Remedies and baselines: a forest plot, and in words how much lies behind them."""

from typing import Any

from stzjax.core import loads
from stzjax.evaluation import by_event_size
from stzjax.figures import studies
from stzjax.report.words import dig, known, rank
from stzjax.run_folder.contents import Row

_RATIO = ("ranks", "ap_over_prevalence")


def section(found: dict[str, Any]) -> dict[str, Any]:
    """The chapter of a comparison; its rows come best first."""
    rows = sorted(found["rows"], key=lambda row: rank(dig(row, "average", *_RATIO, "estimate")))
    ratios = {row["name"]: dig(row, "average", *_RATIO) for row in rows}
    differences = {row["name"]: dig(row, "minus_reference", *_RATIO) for row in rows}
    sizes: list[Row] = next((row["sizes"] for row in rows if row.get("sizes")), [])
    compared = [name for name, span in differences.items() if known(dig(span, "low"))]
    return {
        **_extent(found),
        "rows": rows,
        "reference": found["reference"],
        "compared": len(compared),
        "better": [name for name in compared if differences[name]["low"] > 0],
        "worse": [name for name in compared if differences[name]["high"] < 0],
        "chart": studies.comparison(ratios, differences, found["reference"]),
        "hits": list(dict.fromkeys(s for row in rows for s in dig(row, "average", "hits") or ())),
        "directions": [
            d for d in loads.DIRECTIONS if any(d in (row.get("directions") or ()) for row in rows)
        ],
        "sizes": [{**one, "span": by_event_size.span(one)} for one in sizes],
    }


def _extent(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers of splits, repeats and test specimens."""
    num = len(found["splits"])
    repeats = sorted({int(row.get("repeats", num)) for row in found["rows"]})
    ends = list(dict.fromkeys([repeats[0], repeats[-1]]))
    return {
        "splits": num,
        "times": " to ".join(f"{n}" for n in ends),
        "seeds": " to ".join(f"{n // num}" for n in ends),
        "repeats": repeats[-1],
        "tested": len({number for split in found["splits"] for number in split["test"]}),
        "fewest": min(len(split["test"]) for split in found["splits"]),
    }
