"""What a LAMMPS data or dump file must hold to be read for what it says.

ASE reads both, and what is missing in a damaged file it fills in without a word: a side of the
box, atoms that the header counts but no line holds.
"""

import math
import re
from collections.abc import Sequence

_SIDES = ("xlo xhi", "ylo yhi", "zlo zhi")
_TYPE_COLUMN = {"atomic": 1, "charge": 1, "full": 2, "molecular": 2, "bond": 2, "angle": 2}
_INTEGER = re.compile(r"[+-]?\d+")


def check(text: str, num_types: int) -> None:
    """Refuse a file that is not complete.

    Args:
      text: of a data file, or of a dump whose last frame counts.
      num_types: types that are known, from 1.

    Raises:
      ValueError: says what is missing, or in which line something is wrong.
    """
    if text.lstrip().startswith("ITEM:"):
        _check_dump(text, num_types)
    else:
        _check_data(text, num_types)


def _check_data(text: str, num_types: int) -> None:
    lines = text.splitlines()
    words = [line.split("#")[0].split() for line in lines]
    starts = [n for n, line in enumerate(words) if line[:1] == ["Atoms"]]
    if len(starts) != 1:
        raise ValueError(f"it has {len(starts)} Atoms sections instead of one")
    (start,) = starts
    header = [" ".join(line) for line in words[1:start]]
    for side in _SIDES:
        found = [line.removesuffix(side).split() for line in header if line.endswith(side)]
        if len(found) != 1 or len(found[0]) != 2 or not _rising(found[0]):
            raise ValueError(f"its header must say lo and hi of the box once: {side}")
    tilts = [line.split() for line in header if "xy" in line.split()]
    for tilt in tilts:
        if tilt[3:] != ["xy", "xz", "yz"] or len(tilts) > 1 or not _finite(tilt[:3]):
            raise ValueError("the tilt of its box must be three numbers: xy xz yz")
    counts = [line.split()[0] for line in header if re.fullmatch(r"\S+ atoms", line)]
    if len(counts) != 1 or not counts[0].isdigit():
        raise ValueError("its header must say the number of atoms once")
    style = lines[start].split("#")[1].strip() if "#" in lines[start] else "atomic"
    if style not in _TYPE_COLUMN:
        raise ValueError(f"its atom style {style!r} is not one of {', '.join(_TYPE_COLUMN)}")
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(words[start + 1 :], start + 2):
        if line and line[0][0].isalpha() and rows:
            break
        if line:
            rows.append((number, line))
    _check_rows(rows, 0, _TYPE_COLUMN[style], int(counts[0]), num_types)
    least = _TYPE_COLUMN[style] + 4
    for number, line in rows:
        if len(line) < least or not _finite(line[1:]):
            raise ValueError(f"line {number} is no atom: {' '.join(line)[:60]}")


def _check_dump(text: str, num_types: int) -> None:
    lines = text.splitlines()
    items = [n for n, line in enumerate(lines) if line.startswith("ITEM:")]
    last = max((n for n in items if lines[n].split()[1:] == ["TIMESTEP"]), default=None)
    frame = [n for n in items if last is not None and n >= last]
    names = [" ".join(lines[n].split()[1:3]) for n in frame]
    if len(frame) != 4 or names[1] != "NUMBER OF" or names[2] != "BOX BOUNDS":
        raise ValueError("its last frame lacks a section, or has one too many")
    if not names[3].startswith("ATOMS"):
        raise ValueError("its last frame lacks the atoms")
    box = [line.split() for line in lines[frame[2] + 1 : frame[3]]]
    tilted = lines[frame[2]].split()[3:6] == ["xy", "xz", "yz"]
    width = 3 if tilted else 2
    if len(box) != 3 or not all(len(row) == width and _rising(row) for row in box):
        raise ValueError(f"its box must be three lines of {width} numbers, lo below hi")
    columns = lines[frame[3]].split()[2:]
    if "id" not in columns or "type" not in columns:
        raise ValueError("its atoms lack the column id or type")
    counted = lines[frame[1] + 1].strip()
    if not counted.isdigit():
        raise ValueError("its number of atoms is no number")
    rows = [(n + 1, lines[n].split()) for n in range(frame[3] + 1, len(lines)) if lines[n].strip()]
    for number, line in rows:
        if len(line) != len(columns):
            raise ValueError(f"line {number} has {len(line)} of {len(columns)} columns")
    places = columns.index("id"), columns.index("type")
    _check_rows(rows, places[0], places[1], int(counted), num_types)
    coordinates = [n for n, name in enumerate(columns) if re.fullmatch(r"[xyz][su]?u?", name)]
    for number, line in rows:
        if not _finite([line[place] for place in coordinates]):
            raise ValueError(f"a coordinate in line {number} is not finite")


def _check_rows(
    rows: Sequence[tuple[int, list[str]]], id_: int, type_: int, count: int, num_types: int
) -> None:
    """Refuse rows that are not the atoms counted, each with an id of its own and a known type."""
    if len(rows) != count:
        raise ValueError(f"it counts {count} atoms but has {len(rows)}")
    seen: set[int] = set()
    for number, line in rows:
        numbers = line[id_ : id_ + 1], line[type_ : type_ + 1]
        if not all(len(one) == 1 and _INTEGER.fullmatch(one[0]) for one in numbers):
            raise ValueError(f"line {number} has no whole numbers for id and type")
        atom, kind = int(line[id_]), int(line[type_])
        if atom in seen:
            raise ValueError(f"line {number} repeats the id {atom}")
        if not 1 <= kind <= num_types:
            raise ValueError(f"line {number} has type {kind}, but elements names {num_types}")
        seen.add(atom)


def _finite(words: Sequence[str]) -> bool:
    try:
        return all(math.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def _rising(words: Sequence[str]) -> bool:
    return _finite(words) and float(words[0]) < float(words[1])
