"""Damage to real files, drawn by hypothesis, and plain readers that say what a file holds."""

import re
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

_NUMBERS = ("nan", "inf", "-1", "1e999", "0", "3.7", "1e-3", "99999999999", "--5", "1,5", "é", "x")


class Held(NamedTuple):
    """Content of a structure file, in the order of ids.

    Attributes:
      cell: (3, 3) vectors as columns [Å].
      positions: (N, 3) [Å].
      symbols: (N,) chemical symbols.
    """

    cell: np.ndarray
    positions: np.ndarray
    symbols: list[str]


@st.composite
def damaged(draw, whole: bytes, text: bool = True) -> bytes:
    """A file with one to three kinds of damage."""
    content = whole
    kinds = ["cut", "flip", "drop", "double", "zeros"]
    kinds += ["number", "line", "swap", "twin", "words", "end"] if text else []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
        content = _damage(draw, content, kind)
    return content


def _damage(draw, content: bytes, kind: str) -> bytes:
    if not content:
        return content
    place = draw(st.integers(0, len(content) - 1))
    length = draw(st.integers(1, 200))
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        changed = content[place] ^ (1 << draw(st.integers(0, 7)))
        return content[:place] + bytes([changed]) + content[place + 1 :]
    if kind == "drop":
        return content[:place] + content[place + length :]
    if kind == "double":
        return content[: place + length] + content[place:]
    if kind == "zeros":
        return (
            content[:place] + b"\0" * min(length, len(content) - place) + content[place + length :]
        )
    if kind == "number":
        words = list(re.finditer(rb"\S+", content))
        word = words[draw(st.integers(0, len(words) - 1))]
        other = draw(st.sampled_from(_NUMBERS)).encode()
        return content[: word.start()] + other + content[word.end() :]
    if kind == "end":
        return content.rstrip()[: -draw(st.integers(1, 12))]
    lines = content.splitlines(keepends=True)
    first = draw(st.integers(0, len(lines) - 1))
    if kind == "line":
        del lines[first]
        return b"".join(lines)
    second = draw(st.integers(0, len(lines) - 1))
    if kind == "swap":
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == "twin":  # The last words of a line are often coordinates.
        tail = lines[second].split()[-3:]
        lines[first] = b" ".join([*lines[first].split()[: -len(tail)], *tail]) + b"\n"
    else:
        words = lines[first].split()
        draw(st.randoms(use_true_random=False)).shuffle(words)
        lines[first] = b" ".join(words) + b"\n"
    return b"".join(lines)


def _floats(words: list[str]) -> list[float]:
    found = [float(word) for word in words]
    if not np.isfinite(found).all():
        raise ValueError("not finite")
    return found


MASSES = {"Cu": 63.5, "Zr": 91.2}
"""Standard masses, rounded [amu]."""


def _typed(word: str, elements: tuple[str, ...], mass: str = "", name: str = "") -> str:
    """Symbol of a type, which neither a mass nor a name may contradict."""
    symbol = elements[elements.index(word) if word in elements else int(word) - 1]
    if int(word in elements or word) < 1 or (name or symbol) != symbol:
        raise ValueError("unknown type, or another element")
    if mass and abs(float(mass) / MASSES[symbol] - 1.0) > 0.03:
        raise ValueError("mass of another element")
    return symbol


def data(text: str, elements: tuple[str, ...]) -> Held:
    """A LAMMPS data file of atom style atomic, read line by line.

    Raises:
      ValueError, IndexError: it is not one.
    """
    lines = [line.split("#")[0].split() for line in text.splitlines()[1:]]
    header: dict[str, list[str]] = {}
    start = next(n for n, words in enumerate(lines) if words[:1] == ["Atoms"])
    for words in lines[:start]:
        for name in ("atoms", "xlo", "ylo", "zlo", "xy"):
            if name in words and len(words) > 1:
                header.setdefault(name, words[: words.index(name)])
    (xlo, xhi), (ylo, yhi), (zlo, zhi) = (_floats(header[n]) for n in ("xlo", "ylo", "zlo"))
    xy, xz, yz = _floats(header.get("xy", ["0", "0", "0"]))
    for heading, column in ((["Masses"], "mass"), (["Atom", "Type", "Labels"], "name")):
        for words in lines[lines.index(heading) + 2 :] if heading in lines else []:
            if not words or words[0] in ("Atoms", "Masses"):
                break
            _typed(words[0], elements, **{column: words[1]})
    rows = []
    for words in lines[start + 1 :]:
        if words and not re.fullmatch(r"[+-]?\d+", words[0]):
            break
        if words:
            rows.append([int(words[0]), _typed(words[1], elements), *_floats(words[2:5])])
    return _held(
        int(header["atoms"][0]),
        np.array([[xhi - xlo, xy, xz], [0, yhi - ylo, yz], [0, 0, zhi - zlo]]),
        rows,
    )


def dump(text: str, elements: tuple[str, ...]) -> Held:
    """The last frame of a LAMMPS dump with columns id, type, …, and x, y, z or xs, ys, zs.

    Raises:
      ValueError, IndexError: it is not one.
    """
    frame = text.split("ITEM: TIMESTEP\n")[-1].splitlines()
    number = int(frame[frame.index("ITEM: NUMBER OF ATOMS") + 1])
    box = next(n for n, line in enumerate(frame) if line.startswith("ITEM: BOX BOUNDS"))
    bounds = np.array([_floats(line.split()) for line in frame[box + 1 : box + 4]])
    if bounds.shape != (3, 3):
        raise ValueError("no tilts")
    xy, xz, yz = bounds[:, 2]
    low = bounds[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
    high = bounds[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0]
    cell = np.diag(high - low) + np.array([[0, xy, xz], [0, 0, yz], [0, 0, 0]])
    head = next(n for n, line in enumerate(frame) if line.startswith("ITEM: ATOMS"))
    names = frame[head].split()[2:]
    scaled = "x" not in names
    rows = []
    for line in "\n".join(frame[head + 1 :]).rstrip().split("\n"):
        words = line.split()
        if len(words) != len(names):
            raise ValueError("ragged")
        row = dict(zip(names, words, strict=True))
        place = np.array(_floats([row[name] for name in (("xs", "ys", "zs") if scaled else "xyz")]))
        symbol = _typed(row["type"], elements, row.get("mass", ""), row.get("element", ""))
        rows.append([int(row["id"]), symbol, *(cell @ place if scaled else place)])
    return _held(number, cell, rows)


def _held(number: int, cell: np.ndarray, rows: list) -> Held:
    rows.sort()
    ids = [row[0] for row in rows]
    if len(rows) != number or len(set(ids)) != number:
        raise ValueError("wrong number of atoms")
    return Held(cell, np.array([row[2:] for row in rows]), [row[1] for row in rows])


def extxyz(text: str, elements: tuple[str, ...]) -> Held:
    """The first and only frame of an extended XYZ file with columns species and position.

    Raises:
      ValueError, IndexError: it is not one.
    """
    lines = text.splitlines()
    number = int(lines[0])
    lattice = re.search(r'Lattice="([^"]*)"', lines[1])
    periodic = re.search(r'pbc="([^"]*)"', lines[1])
    # The format has these columns where none are named.
    columns = re.search(r"(?<!\S)Properties=(\S*)", lines[1])
    if (
        lattice is None
        or (columns and columns[1] != "species:S:1:pos:R:3")
        or (periodic and periodic[1] != "T T T")
    ):
        raise ValueError("not periodic")
    rows = [line.split() for line in lines[2 : 2 + number]]
    if len(rows) != number or any(len(row) != 4 for row in rows):
        raise ValueError("wrong number of atoms")
    cell = np.array(_floats(lattice[1].split())).reshape(3, 3).T
    return Held(cell, np.array([_floats(row[1:4]) for row in rows]), [row[0] for row in rows])
