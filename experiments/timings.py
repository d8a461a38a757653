"""What every benchmark needs: timing, taking turns with a peer, and a table of the results."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax


def row(name: str, ours: float, peer: float | None, unit: str, better: str = "") -> dict[str, Any]:
    """One line of the result.

    Args:
      name: what was measured.
      ours: our number.
      peer: the peer's, or None.
      unit: of both.
      better: "less" or "more", whichever is better; empty where neither is and no ratio is due.
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


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Wall time of a call, to the end of the computation it started [s]."""
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def alternate(ours: Callable[[], Any], peer: Callable[[int], Any] | None, repeats: int):
    """Results of ours and of the peer, which take turns; the peer is told the repeat."""
    results: list[tuple[Any, Any]] = []
    for repeat in range(repeats):
        mine = ours()
        results.append((mine, peer(repeat) if peer else None))
    mine, other = zip(*results, strict=True)
    return list(mine), list(other) if peer else []
