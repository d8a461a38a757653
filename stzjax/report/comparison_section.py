"""Remedies and baselines: a table, a forest plot, and in words how much lies behind them."""

from collections.abc import Mapping
from typing import Any

from plotly.subplots import make_subplots

from stzjax.core import loads
from stzjax.evaluation import by_event_size
from stzjax.report import drawing, forest
from stzjax.report.markup import (
    Cell,
    absent,
    dig,
    duration,
    fold,
    known,
    measured,
    number,
    percent,
    plot,
    table,
    text,
)
from stzjax.report.studies import Contest, Row

_RATIO = ("ranks", "ap_over_prevalence")
_COLUMNS = {
    "AUC": ("ranks", "auc"),
    "AP": ("ranks", "ap"),
    "Recall": ("at_half", "recall"),
    "Precision": ("at_half", "precision"),
    "F1": ("at_half", "f1"),
    "MCC": ("at_half", "mcc"),
    "MCC, threshold chosen for it": ("at_best_mcc", "mcc"),
    "F1, threshold chosen for it": ("at_best_f1", "f1"),
}


def section(title: str, contest: Contest | None, about: str) -> str:
    """The chapter of a contest.

    Args:
      title: its name in file names, such as "remedies".
      contest: what has been found.
      about: what the entrants are, as HTML.
    """
    if contest is None:
        return absent(
            f"No {title} tried yet: run <code>experiments/{title}.py</code> on this folder, then "
            "<code>experiments/evaluate.py</code> for this page."
        )
    return (
        f"<p>{about} {_extent(contest)}</p><p>{_outcome(contest)}</p>"
        f"{plot(f'{title}-plot', _forest(contest))}"
        '<p class="note">AP over prevalence, the reference in orange, and its paired difference '
        "from the reference. Bars: 95 % interval; a hollow dot has none. Dashes: chance at 1, and "
        "no difference.</p>"
        f"{_table(contest)}"
        '<p class="note">Each number is measured on every test set by a model that was not trained '
        "on it, and then averaged. Small print: 95 % interval when whole specimens are drawn again "
        "with replacement; the differences are paired, both sides see the same specimens. Recall, "
        "precision, F1 and MCC are at threshold 0.5 unless said otherwise. Where few atoms move "
        "first, a random ranking reaches somewhat more than 1 on average (see Verdict). A hit in "
        "the top 1 %: of the 1 % of the atoms with the highest confidence, at least one moves "
        f"first. A click on a column sorts by it.</p>{_directions(contest)}{_sizes(contest)}"
    )


def _extent(contest: Contest) -> str:
    """How many splits, repeats and test specimens."""
    num, tested = len(contest.splits), len(contest.tested)
    fewest = min(len(split["test"]) for split in contest.splits)
    repeats = sorted({int(row.get("repeats", num)) for row in contest.rows})
    times = " to ".join(f"{n}" for n in dict.fromkeys([repeats[0], repeats[-1]]))
    seeds = " to ".join(f"{n // num}" for n in dict.fromkeys([repeats[0], repeats[-1]]))
    words = (
        f"Each was fitted {times} time{'s' if repeats[-1] > 1 else ''} ({num} "
        f"split{'s' if num > 1 else ''}, {seeds} seed{'s' if repeats[-1] > num else ''}) and "
        f"tested on {tested} specimen{'s' if tested > 1 else ''} in all."
    )
    if fewest < 2:
        words += (
            " A test set of one specimen gives no interval: nothing here tells skill from luck."
        )
    return words


def _outcome(contest: Contest) -> str:
    """Who differs from the reference and who from chance, by the intervals."""
    reference = f"<b>{text(contest.reference)}</b>"
    groups: dict[str, list[str]] = {"better": [], "worse": []}
    apart = [row for row in contest.rows if known(dig(_difference(row), "low"))]
    for row in apart:
        span = _difference(row)
        if span["low"] > 0 or span["high"] < 0:
            groups["better" if span["low"] > 0 else "worse"].append(text(row["name"]))
    if not apart:
        return f"The differences from the reference, {reference}, have no intervals."
    told = [
        f"{kind}: {', '.join(f'<i>{name}</i>' for name in names)}"
        for kind, names in groups.items()
        if names
    ]
    words = "By AP over prevalence, the 95 % interval of the difference from the reference, "
    words += f"{reference}, excludes zero for {sum(map(len, groups.values())) or 'none'} of "
    words += f"{len(apart)}"
    words += f" ({'; '.join(told)})." if told else "."
    expected = len(apart) / 20
    if expected >= 0.5:
        words += f" Of so many comparisons, chance alone would give about {expected:.1g}."
    return words


def _difference(row: Row) -> Any:
    return dig(row, "minus_reference", *_RATIO)


def _forest(contest: Contest) -> str:
    ratios = forest.descending(
        [
            forest.bar(row["name"], dig(row, "average", *_RATIO), _is_reference(contest, row))
            for row in contest.rows
        ]
    )
    by_name = {row["name"]: row for row in contest.rows}
    names = [one.name for one in ratios]
    differences = [forest.bar(name, _difference(by_name[name])) for name in names]
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    forest.panel(figure, ratios, 1.0, 1)
    others = [one for one in differences if one.name != contest.reference]
    forest.panel(figure, others, 0.0, 2)
    drawing.axes(figure, "AP over prevalence", "", column=1)
    drawing.axes(figure, f"minus {text(contest.reference)}", "", column=2)
    # The panels share their lines, the reference among them.
    forest.names(figure, names)
    return drawing.to_json(figure, forest.height(len(names)))


def _is_reference(contest: Contest, row: Row) -> bool:
    return row["name"] == contest.reference


def _table(contest: Contest) -> str:
    shares = list(
        dict.fromkeys(s for row in contest.rows for s in dig(row, "average", "hits") or {})
    )
    head = ["Name", "AP / prevalence", "minus reference", *_COLUMNS]
    head += [f"Hit in top {100 * float(share):g} %" for share in shares]
    rows = [
        [
            Cell(text(row["name"]), str(row["name"])),
            measured(dig(row, "average", *_RATIO)),
            Cell("reference") if _is_reference(contest, row) else measured(_difference(row)),
            *(measured(dig(row, "average", *path)) for path in _COLUMNS.values()),
            *(measured(dig(row, "average", "hits", share), percent) for share in shares),
            Cell(number(row.get("brier")), row.get("brier")),
            Cell(duration(row.get("seconds") or 0.0), row.get("seconds")),
        ]
        for row in sorted(contest.rows, key=_rank)
    ]
    marked = [n for n, row in enumerate(rows) if row[0].key == contest.reference]
    return table([*head, "Brier score", "Time"], rows, marked=marked, sortable=True)


def _rank(row: Row) -> float:
    value = dig(row, "average", *_RATIO, "estimate")
    return -value if known(value) else float("inf")


def _directions(contest: Contest) -> str:
    """AP over prevalence of each direction, folded away."""
    present = [
        direction
        for direction in loads.DIRECTIONS
        if any(direction in (row.get("directions") or {}) for row in contest.rows)
    ]
    if not present:
        return ""

    def cell(row: Mapping[str, Any], direction: str) -> Cell:
        value = dig(row, "directions", direction, "ap_over_prevalence")
        return Cell(number(value), value)

    rows = [
        [Cell(text(row["name"]), str(row["name"])), *(cell(row, d) for d in present)]
        for row in sorted(contest.rows, key=_rank)
    ]
    content = table(["Name", *present], rows, sortable=True)
    return fold("AP over prevalence by direction", content)


def _sizes(contest: Contest) -> str:
    """How well events of each class of size are found, folded away."""
    classes: list[Row] = next((row["sizes"] for row in contest.rows if row.get("sizes")), [])
    if not classes:
        return ""

    def cells(row: Row, place: int) -> list[Cell]:
        sizes = row.get("sizes") or []
        one = sizes[place] if place < len(sizes) else {}
        auc, error = one.get("auc"), one.get("auc_error")
        spread = f"<small>± {number(error)}</small>" if known(auc) and known(error) else ""
        ratio, hit = one.get("ap_over_prevalence"), one.get("hit")
        return [
            Cell(number(auc) + spread, auc),
            Cell(number(ratio), ratio),
            Cell(percent(hit), hit),
        ]

    head = ["Name"]
    for one in classes:
        title = f"{by_event_size.span(one)} atoms, {one['events']} events"
        head += [f"{title}: AUC", "AP / prevalence, median", "hit"]
    rows = [
        [
            Cell(text(row["name"]), str(row["name"])),
            *(cell for place in range(len(classes)) for cell in cells(row, place)),
        ]
        for row in sorted(contest.rows, key=_rank)
    ]
    note = (
        '<p class="note">Every event is ranked among the atoms of its own glass and weighs the '
        "same, while in the table above every labelled atom does. Small print: standard error by "
        "specimens. A hit is among the most confident 1 % of the atoms.</p>"
    )
    return fold("By size of the event", table(head, rows, sortable=True) + note)
