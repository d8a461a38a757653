"""Extended XYZ files: `Lattice`, `Properties`, and a line for each atom."""

import re

import numpy as np

from stzjax.io import words
from stzjax.io.frames import Frame, in_cell

_VALUE = r"""(?<!\S)%s\s*=\s*("[^"]*"|'[^']*'|\{[^}]*\}|\[[^]]*\]|[^\s"'{[]\S*)"""
_TRUE = {"T", "True", "true", "TRUE", "1"}


def read(text: str) -> Frame:
    """The last frame of an extended XYZ file, atoms in the order of the file.

    Raises:
      ValueError: cut short, damaged or not periodic; names the line.
    """
    words.check_end(text)
    lines = text.rstrip().split("\n")
    start = end = number = 0
    while end < len(lines):
        start = end
        head = words.rows([lines[start]], start + 1)
        words.check_width(head, 1)
        number = words.count(head[0][1][0], start + 1, "the number of atoms")
        end = start + 2 + number
    rows = words.rows(lines[start + 2 : end], start + 3)
    if len(rows) != number or not rows:
        raise words.wrong(start + 1, f"says {number} atoms, but {len(rows)} lines hold atoms")
    vectors, symbol, first, width = _comment(lines[start + 1], start + 2)
    words.check_width(rows, width)
    positions = words.numbers(rows, (first, first + 1, first + 2))
    symbols = [row[symbol].capitalize() for _, row in rows]
    return Frame(vectors, in_cell(vectors, positions), symbols, range(1, number + 1))


def _comment(line: str, number: int) -> tuple[np.ndarray, int, int, int]:
    """Cell vectors, columns of the symbol and of x, and number of columns."""
    lattice = _values("Lattice", line, number)
    if len(lattice) != 9 or not _TRUE.issuperset(_values("pbc", line, number) or "T"):
        raise words.wrong(
            number,
            'is not periodic: stzjax needs Lattice="…" with nine numbers and pbc="T T T"',
            "write the file as extended XYZ of a bulk glass",
        )
    vectors = words.numbers([(number, lattice)]).reshape(3, 3).T
    named = (_values("Properties", line, number) or ["species:S:1:pos:R:3"])[0].split(":")
    columns, width = {}, 0
    for *property_, size in zip(named[::3], named[1::3], named[2::3], strict=False):
        columns[":".join([*property_, size])] = width
        width += words.count(size, number, "the columns of a property")
    if len(named) % 3 or not {"species:S:1", "pos:R:3"} <= columns.keys():
        raise words.wrong(number, "needs Properties with species:S:1 and pos:R:3")
    return vectors, columns["species:S:1"], columns["pos:R:3"], width


def _values(key: str, line: str, number: int) -> list[str]:
    """Words of the value of a key; none where the key is missing."""
    found = re.findall(_VALUE % key, line)
    if len(found) > 1:
        raise words.wrong(number, f"has {key} {len(found)} times")
    return found[0].strip("\"'{}[]").replace(",", " ").split() if found else []
