"""Tools of the benchmarks: timing, turns of ours and a peer, and a table of the results."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax


def row(name: str, ours: float, peer: float | None, unit: str, better: str = "") -> dict[str, Any]:
    """A line of the results.

    Args:
      name: name of the quantity.
      ours: our number.
      peer: number of the peer, or None.
      unit: unit of both numbers.
      better: "less" or "more", whichever is better; empty for no ratio.
    """
    ratio = None
    if better and peer is not None:
        above, below = (peer, ours) if better == "less" else (ours, peer)
        ratio = above / below if below else None
    return {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text with aligned columns."""

    def shown(value: Any) -> str:
        return value if isinstance(value, str) else "-" if value is None else f"{value:.4g}"

    names = ("name", "ours", "peer", "ratio", "unit")
    cells = [names, *(tuple(shown(entry[name]) for name in names) for entry in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for name, *numbers, unit in cells:
        right = (n.rjust(w) for n, w in zip(numbers, widths[1:4], strict=True))
        lines.append("  ".join((name.ljust(widths[0]), *right, unit)))
    return "\n".join(lines)


Timed = tuple[float, Any]
"""Wall time of a call [s] and its result."""


def timed(function: Callable[..., Any], *args: Any) -> Timed:
    """Wall time of a call, to the end of the computation it started [s], and its result."""
    start = time.perf_counter()
    result = jax.block_until_ready(function(*args))
    return time.perf_counter() - start, result


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Wall time of a call, to the end of the computation it started [s]."""
    return timed(function, *args)[0]


def median(measured: Sequence[Timed]) -> float:
    """Median of the wall times [s]."""
    return statistics.median(spent for spent, _ in measured)


def alternate(ours: Callable[[], Any], peer: Callable[[], Any] | None, repeats: int):
    """Results of ours and of the peer, which take turns."""
    mine, other = [], []
    for _ in range(repeats):
        mine.append(ours())
        if peer:
            other.append(peer())
    return mine, other
