"""The studies of a run folder, read back: grid search, thresholds, remedies, baselines."""

import csv
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stzjax.io import archives

Row = Mapping[str, Any]


class Contest(NamedTuple):
    """Entrants judged on the same splits.

    Attributes:
      reference: name of the entrant with which the others are compared.
      splits: specimens of each part, one mapping for each split.
      rows: one for each entrant; null where a number is undefined.
    """

    reference: str
    splits: list[dict[str, list[int]]]
    rows: list[Row]

    @property
    def tested(self) -> set[int]:
        """Specimens that some split tests."""
        return {number for split in self.splits for number in split["test"]}


class Search(NamedTuple):
    """A grid search.

    Attributes:
      columns: of Table 1.
      table: rows of Table 1, as text; empty where a value is undefined.
      grid: one row for each shape and budget, by column; NaN where a value is undefined.
      winners: name of the best shape by metric, None where there is none.
      judged: record and verdict of each winner by name.
      num_folds: of the cross-validation.
    """

    columns: list[str]
    table: list[list[str]]
    grid: list[dict[str, float]]
    winners: dict[str, str | None]
    judged: dict[str, Row]
    num_folds: int


@dataclasses.dataclass(frozen=True)
class Studies:
    """What has been studied; None for the rest.

    Attributes:
      search: the grid search.
      thresholds: one row for each threshold of D²min, in ascending order.
      remedies: trainings against imbalance.
      baselines: simpler predictors beside the network.
    """

    search: Search | None
    thresholds: list[Row] | None
    remedies: Contest | None
    baselines: Contest | None


def read(out: Path) -> Studies:
    """The studies in a run folder.

    Raises:
      ValueError: a file is damaged.
    """
    thresholds = _load(out / "thresholds" / "thresholds.json", {"rows": "threshold"})
    return Studies(
        search=_search(out / "search"),
        thresholds=_ascending(thresholds["rows"]) if thresholds else None,
        remedies=_contest(out / "remedies" / "remedies.json"),
        baselines=_contest(out / "baselines" / "baselines.json"),
    )


def _ascending(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["threshold"])


def _load(path: Path, lists: Mapping[str, str]) -> dict[str, Any] | None:
    """An object with some lists, none of them empty, of objects that hold a certain key."""
    if not path.exists():
        return None
    content = archives.read_json(path)
    for name, key in lists.items():
        rows = content.get(name) if isinstance(content, dict) else None
        whole = isinstance(rows, list) and all(isinstance(row, dict) and key in row for row in rows)
        if not rows or not whole:
            raise ValueError(f"{path} holds no {name}, each with a {key}; delete it and run again")
    return content


def _contest(path: Path) -> Contest | None:
    found = _load(path, {"rows": "name", "splits": "test"})
    if found is None:
        return None
    return Contest(str(found.get("reference")), found["splits"], found["rows"])


def _search(folder: Path) -> Search | None:
    path = folder / "search.json"
    found = _load(path, {"folds": "validation"})
    if found is None:
        return None
    if not isinstance(found.get("judged"), dict) or not isinstance(found.get("winners"), dict):
        raise ValueError(f"{path} lacks winners and how they were judged; delete it and run again")
    (columns, *table), (names, *grid) = (_csv(folder / f"{n}.csv") for n in ("table1", "grid"))
    return Search(
        columns=columns,
        table=table,
        grid=[dict(zip(names, map(parse, row), strict=True)) for row in grid],
        winners=found["winners"],
        judged=found["judged"],
        num_folds=len(found["folds"]),
    )


def _csv(path: Path) -> list[list[str]]:
    """Header and rows of a table, all of one length."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except FileNotFoundError:
        rows = []
    if not rows or len({len(row) for row in rows}) > 1:
        raise ValueError(f"{path} is missing or damaged; run experiments/search.py again")
    return rows


def parse(value: str) -> float:
    """A number of a CSV file; NaN if nothing is written there."""
    return float(value) if value else math.nan
