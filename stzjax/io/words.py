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


def check_end(text: str) -> None:
    """Refuse a text that ends inside a word: the last number may have lost digits unseen.

    Raises:
      ValueError: it does.
    """
    if text and not text[-1].isspace() and not text.endswith(_CLOSING):
        raise wrong(
            text.count("\n") + 1,
            f"is cut short: the file ends inside {text[-30:].split()[-1]!r}",
            "get it anew, or end that line if the file is whole",
        )


def wrong(
    line: int, what: str, remedy: str = "mend that line, or write the file anew"
) -> ValueError:
    """An error that names a line (counted from 1), what is wrong there, and what to do."""
    return ValueError(f"line {line} {what}; {remedy}")


def check_width(rows: Sequence[Sequence[str]], first: int, *widths: int) -> None:
    """Refuse rows of words that have another number of words than allowed.

    Args:
      rows: words of successive lines.
      first: number of the first line.
      widths: numbers of words that a row may have.

    Raises:
      ValueError: a row has more or fewer.
    """
    for number, row in enumerate(rows, first):
        if len(row) not in widths:
            wanted = " or ".join(str(width) for width in widths)
            raise wrong(number, f"has {len(row)} words instead of {wanted}")


def numbers(words: Sequence[str], lines: Iterable[int]) -> np.ndarray:
    """Finite numbers that words stand for, shape (len(words),).

    Args:
      words: from one line or many.
      lines: number of the line of each word.

    Raises:
      ValueError: a word is no finite number.
    """
    try:
        values = np.array([float(word) for word in words])
        if np.isfinite(values).all():
            return values
    except ValueError:
        pass
    line, word = next(pair for pair in zip(lines, words, strict=False) if not _finite(pair[1]))
    raise wrong(line, f"has {word[:30]!r} where a finite number must stand")


def count(word: str, line: int, what: str) -> int:
    """Whole number, from 0, that a word stands for.

    Raises:
      ValueError: it is none; says what it should have been.
    """
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise wrong(line, f"has {word[:30]!r} where {what} must stand")
    return int(word)


def _finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
