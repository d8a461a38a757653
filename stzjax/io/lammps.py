"""LAMMPS data and dump files, read in one pass: damage and contradictions are refused.

Units are *metal* or *real*, whose lengths are Å. Atoms come in the order of their ids, at the
places that the file says, up to whole cell vectors.
"""

import itertools
import re
from collections.abc import Sequence

import numpy as np

from stzjax.core import units
from stzjax.io import words
from stzjax.io.frames import Frame, in_cell
from stzjax.io.words import Row

_STYLES = {"atomic": (1, 2), "charge": (1, 3), "full": (2, 4)}
_STYLES |= dict.fromkeys(("molecular", "bond", "angle"), (2, 3))
"""Columns of the type and of the first coordinate, by atom style."""

_SIDES = ("xlo xhi", "ylo yhi", "zlo zhi")
_GENERAL = ("avec", "bvec", "cvec", "abc origin")
_SIZES = {"atoms": 1, **dict.fromkeys(_SIDES, 2), "xy xz yz": 3, **dict.fromkeys(_GENERAL, 3)}
"""Header keywords that matter, and how many numbers stand before each."""

_HEADER = re.compile(rf"((?:\S+ )*?)({'|'.join(_SIZES)})")
_COUNTED = re.compile(
    r"\d+ ((atom|bond|angle|dihedral|improper) types|bonds|angles|dihedrals|impropers"
    r"|extra [a-z ]+ per atom|ellipsoids|lines|triangles|bodies)"
)
_HEADING = re.compile(r"[A-Za-z][\w/]*( [A-Za-z][\w/]*)*")
_SECTIONS = ("Atom Type Labels", "Masses", "Atoms", "Velocities")
_LAYOUT = {0: "ITEM: TIMESTEP", 2: "ITEM: NUMBER OF ATOMS", 4: "ITEM: BOX BOUNDS", 8: "ITEM: ATOMS"}
_AXES = (("x", "y", "z"), ("xu", "yu", "zu"), ("xs", "ys", "zs"), ("xsu", "ysu", "zsu"))
_NAMES = ("element", "typelabel")
_WIDTHS = {"": 2, "xy xz yz": 3, "abc origin": 4}
_REMEDY = "pass elements in the order of the types, type 1 first, or mend the line"
_UNITS = re.compile(r"^ITEM: UNITS\s+(\w+)|^.*\bunits = (\w+)")


def recognised(text: str) -> bool:
    """Whether a text begins like a LAMMPS data or dump file."""
    head = [" ".join(line.split("#")[0].split()) for line in text[:4000].split("\n")]
    return head[0].startswith("ITEM:") or any(
        line.endswith((*_SIDES, *_GENERAL)) for line in head[1:]
    )


def read(text: str, elements: Sequence[str]) -> Frame:
    """The atoms of a data file, or of the last frame of a dump; `elements` are those of the types.

    Raises:
      ValueError: damaged, cut short, in other units, or at odds with `elements`; says where.
    """
    if not recognised(text):
        raise ValueError(
            "it is neither a LAMMPS dump, which begins with ITEM:, nor a data file, which says "
            "xlo xhi in its header; write it anew"
        )
    words.check_end(text)
    found = _UNITS.match(text)
    if found and not {"metal", "real"} & set(found.groups()):
        raise ValueError(f"it is in units {found[1] or found[2]}; write it anew in metal units")
    symbols = {str(kind): symbol for kind, symbol in enumerate(elements, 1)}
    return _dump(text, symbols) if text.startswith("ITEM:") else _data(text.split("\n"), symbols)


def _data(lines: list[str], symbols: dict[str, str]) -> Frame:
    sections, style = _sections(lines)
    number, vectors = _header(sections[""])
    labels, masses = (sections.get(name, []) for name in ("Atom Type Labels", "Masses"))
    if "Atoms" not in sections:
        raise ValueError("it has no section Atoms; write it anew")
    if style not in _STYLES:
        known = ", ".join(_STYLES)
        raise ValueError(f"its atom style {style!r} is not read; write it in one of {known}")
    words.check_width([*labels, *masses], 2)
    # Labels of a model have whatever mass the model gives them.
    chemical = all(map(units.is_element, symbols.values()))
    for line, (kind, label) in labels:
        if kind in symbols:
            _check_name(line, kind, label, symbols[kind])
            symbols = {**symbols, label: symbols[kind]}
    for line, (kind, mass) in masses:
        if chemical and (kind in symbols or not kind.isdigit()):
            _check_mass(line, kind, mass, _symbol(line, kind, symbols))
    rows, (told, first) = sections["Atoms"], _STYLES[style]
    words.check_width(rows, first + 3, first + 6)
    kinds = [_symbol(line, row[told], symbols) for line, row in rows]
    return _frame(number, rows, (0, first, first + 1, first + 2), kinds, vectors)


def _sections(lines: list[str]) -> tuple[dict[str, list[Row]], str]:
    """Sections by name, the header under "", and the atom style behind `Atoms`."""
    rows: list[Row] = []
    sections, style = {"": rows}, "atomic"
    for number, line in enumerate(lines[1:], 2):
        content, _, comment = line.partition("#")
        row = content.split()
        name = " ".join(row)
        # A line of labels alone is a damaged row; foreign headings stand between empty lines.
        apart = not "".join(lines[number - 2 : number + 1 : 2]).strip()
        if _HEADING.fullmatch(name) and (apart or name in _SECTIONS):
            if name in sections:
                raise words.wrong(number, f"begins the section {name} again")
            rows = sections[name] = []
            style = (comment.split() or ["atomic"])[0] if name == "Atoms" else style
        elif row:
            rows.append((number, row))
    return sections, style


def _header(rows: list[Row]) -> tuple[int, np.ndarray]:
    """Number of atoms, and the cell vectors as columns."""
    held: dict[str, np.ndarray] = {}
    for line, row in rows:
        found = _HEADER.fullmatch(" ".join(row))
        if found:
            name, given = found[2], found[1].split()
            if name in held or len(given) != _SIZES[name]:
                raise words.wrong(line, f"must be the only one of {name}: {_SIZES[name]} numbers")
            held[name] = words.numbers([(line, given)])[0]
            if name == "atoms":
                words.count(given[0], line, "the number of atoms")
        elif not _COUNTED.fullmatch(" ".join(row)):
            raise words.wrong(line, f"is no header of a LAMMPS data file: {' '.join(row)[:60]!r}")
    box = _GENERAL if "avec" in held else _SIDES
    missing = [name for name in ("atoms", *box) if name not in held]
    if missing:
        raise ValueError(f"its header lacks the line of {', '.join(missing)}; write it anew")
    number = int(held["atoms"][0])
    if box is _GENERAL:
        return number, np.column_stack([held[name] for name in box[:3]])
    low, high = np.array([held[name] for name in _SIDES]).T
    return number, _box(low, high, held.get("xy xz yz", np.zeros(3)))


def _dump(text: str, symbols: dict[str, str]) -> Frame:
    start = max(text.rfind(_LAYOUT[0]), 0)
    before = text.count("\n", 0, start)
    lines = text[start:].rstrip().split("\n")
    for at, head in _LAYOUT.items():
        if not "".join(lines[at : at + 1]).startswith(head):
            remedy = "the last frame is cut short or damaged: write it anew"
            raise words.wrong(before + at + 1, f"must begin with {head!r}", remedy)
    found = words.rows(lines, before + 1)
    number = words.count(lines[3].strip(), before + 4, "the number of atoms")
    vectors, origin = _bounds(found[4:8])
    columns, rows = found[8][1][2:], found[9:]
    words.check_width(rows, len(columns))
    axes = next((axes for axes in _AXES if set(axes) <= set(columns)), None)
    kind = next((name for name in ("type", *_NAMES) if name in columns), None)
    if "id" not in columns or axes is None or kind is None:
        raise words.wrong(before + 9, "lacks the columns id, type, or x y z (or xs, xu, xsu)")
    kinds = _kinds(rows, columns, kind, symbols)
    places = tuple(columns.index(name) for name in ("id", *axes))
    return _frame(number, rows, places, kinds, vectors, origin if "s" in axes[0] else None)


def _kinds(rows: list[Row], columns: list[str], kind: str, symbols: dict[str, str]) -> list[str]:
    """Symbol of each atom of a dump, told by one column and not contradicted by another."""
    if kind != "type":
        symbols = {symbol: symbol for symbol in symbols.values()}
    told = columns.index(kind)
    kinds = [_symbol(line, row[told], symbols) for line, row in rows]
    for name in {*_NAMES, "mass"}.intersection(columns) - {kind}:
        at, check = columns.index(name), _check_mass if name == "mass" else _check_name
        seen = {(row[told], row[at]): line for line, row in rows}
        for (word, value), line in seen.items():
            check(line, word, value, symbols[word])
    return kinds


def _bounds(rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Cell vectors as columns, and origin, of the box of a dump: its heading and three lines."""
    (line, heading), *sides = rows
    flags = heading[3:]
    if flags[-3:] != ["pp"] * 3 or " ".join(flags[:-3]) not in _WIDTHS:
        raise words.wrong(line, "must end with pp pp pp, as for a box that is periodic")
    width = _WIDTHS[" ".join(flags[:-3])]
    words.check_width(sides, width)
    box = words.numbers(sides)
    if width == 4:
        return box[:, :3].T, box[:, 3]
    xy, xz, yz = tilts = box[:, 2] if width == 3 else np.zeros(3)
    # The bounds of a tilted box are those of the rectangle around it.
    low = box[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = box[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    return _box(low, high, tilts), low


def _box(low: np.ndarray, high: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """Cell vectors as columns."""
    if np.any(high <= low):
        raise ValueError("the sides of its box must each have lo below hi; mend its bounds")
    xy, xz, yz = tilts
    return np.diag(high - low) + np.array([[0.0, xy, xz], [0.0, 0.0, yz], [0.0, 0.0, 0.0]])


def _frame(number, rows: list[Row], places, kinds, vectors, origin=None) -> Frame:
    """Atoms in the order of ids.

    Args:
      number: number of atoms that the file counts.
      rows: lines of the atoms.
      places: columns of id, x, y, z.
      kinds: symbols of the atoms.
      vectors: cell vectors as columns [Å].
      origin: corner of the box [Å], if the coordinates are in units of the vectors from there.
    """
    if len(rows) != number or not number:
        raise ValueError(
            f"it counts {number} atoms, but {len(rows)} lines hold atoms; "
            "it is cut short or damaged: get it anew"
        )
    identity, *axes = places
    ids = [words.count(row[identity], line, "an id") for line, row in rows]
    order = sorted(range(number), key=ids.__getitem__)
    for first, second in itertools.pairwise(order):
        if ids[first] == ids[second]:
            raise words.wrong(rows[second][0], f"repeats the id {ids[second]}")
    found = words.numbers(rows, axes)
    scaled = origin is not None
    fractional = found + in_cell(vectors, origin[None]) if scaled else in_cell(vectors, found)
    return Frame(vectors, fractional[order], [kinds[k] for k in order], [ids[k] for k in order])


def _symbol(line: int, kind: str, symbols: dict[str, str]) -> str:
    if kind not in symbols:
        named = ", ".join(symbols.values()) or "none"
        raise words.wrong(line, f"has the type {kind[:20]}, but elements names {named}", _REMEDY)
    return symbols[kind]


def _check_name(line: int, kind: str, name: str, symbol: str) -> None:
    if name != symbol:
        said = f"calls type {kind} {name[:20]}, but elements makes it {symbol}"
        raise words.wrong(line, said, _REMEDY)


def _check_mass(line: int, kind: str, word: str, symbol: str) -> None:
    mass = words.numbers([(line, [word])]).item()
    if not units.is_mass_of(mass, symbol):
        own = units.masses((symbol,))[0]
        said = f"gives type {kind} the mass {mass:g}, but elements makes it {symbol} ({own:g})"
        raise words.wrong(line, said, _REMEDY)
