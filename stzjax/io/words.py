"""Words and numbers of text files; what is damaged is refused by its line.

Errors say what is wrong and what to do; the readers put the name of the file before it.
"""

import bz2
import gzip
import lzma
import math
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

Row = tuple[int, list[str]]
"""A line: its number, counted from 1, and its words."""

_OPENERS = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ": lzma.decompress}
_CLOSING = (">", "}", "]", ")", '"', "'")


def load(path: str | os.PathLike) -> str:
    """Text of a file, plain or compressed by gzip, bzip2 or xz, which its first bytes tell.

    Raises:
      ValueError: it cannot be read, or its compression is damaged.
    """
    try:
        content = Path(path).read_bytes()
        for magic, decompress in _OPENERS.items():
            if content.startswith(magic):
                content = decompress(content)
    except (EOFError, ValueError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ValueError("its compression is damaged or cut short; get the file anew") from error
    except OSError as error:
        raise ValueError(f"{error.strerror or error}; give a file that can be read") from error
    return content.decode("utf-8-sig", errors="replace")


def wrong(
    line: int, what: str, remedy: str = "mend that line, or write the file anew"
) -> ValueError:
    """An error that names a line (counted from 1), what is wrong there, and what to do."""
    return ValueError(f"line {line} {what}; {remedy}")


def check_end(text: str) -> None:
    """Raise ValueError for a text that ends inside a word: its last number may be short."""
    if text and not text[-1].isspace() and not text.endswith(_CLOSING):
        raise wrong(
            text.count("\n") + 1,
            f"is cut short: the file ends inside {text[-30:].split()[-1]!r}",
            "get it anew, or end that line if the file is whole",
        )


def rows(lines: Iterable[str], first: int) -> list[Row]:
    """Successive lines in words, from the number of the first line."""
    return [(number, line.split()) for number, line in enumerate(lines, first)]


def check_width(found: Iterable[Row], *widths: int) -> None:
    """Raise ValueError for the first line with another number of words than one of `widths`."""
    for line, row in found:
        if len(row) not in widths:
            raise wrong(line, f"has {len(row)} words instead of {' or '.join(map(str, widths))}")


def numbers(found: Iterable[Row], columns: Sequence[int] | None = None) -> np.ndarray:
    """Finite numbers in the given columns of lines, or in all columns, shape (lines, columns).

    Raises:
      ValueError: a word is no finite number.
    """
    if columns is not None:
        found = [(line, [row[place] for place in columns]) for line, row in found]
    return np.array([[_number(word, line) for word in row] for line, row in found])


def _number(word: str, line: int) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise wrong(line, f"has {word[:30]!r} where a finite number must stand")
    return value


def count(word: str, line: int, what: str) -> int:
    """Whole number, from 0, that a word stands for.

    Raises:
      ValueError: it is none; says what it should have been.
    """
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise wrong(line, f"has {word[:30]!r} where {what} must stand")
    return int(word)
