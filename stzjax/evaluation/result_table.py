"""One table of results as Markdown, CSV and LaTeX."""

import csv
import io as streams
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

UNDEFINED = "undefined"


class ResultTable(NamedTuple):
    """Rows under named columns.

    Attributes:
      columns: their names.
      rows: values; a float that is not a number, or None, is said to be undefined.
      digits: decimals of floats in Markdown and LaTeX; CSV holds all of them.
      rules: numbers of rows before which a line parts the table in LaTeX.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    digits: int = 4
    rules: Sequence[int] = ()

    def _of_words(self) -> list[bool]:
        """Whether a column holds words."""
        return [any(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]

    def _cells(self) -> list[list[str]]:
        return [[_text(value, self.digits) for value in row] for row in self.rows]

    def markdown(self) -> str:
        """A pipe table, numbers to the right."""
        ruled = ["---" if words else "---:" for words in self._of_words()]
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, *self._cells())]
        lines.insert(1, "|" + "|".join(ruled) + "|")
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Comma-separated values with a header; nothing where a value is undefined."""
        stream = streams.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if _undefined(value) else value for value in row] for row in self.rows)
        return stream.getvalue()

    def latex(self) -> str:
        """A tabular with rules of the booktabs package."""
        align = "".join("l" if words else "r" for words in self._of_words())
        lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule"]
        lines += [" & ".join(map(_escaped, self.columns)) + r" \\", r"\midrule"]
        for number, row in enumerate(self._cells()):
            lines += [r"\midrule"] * (number in self.rules)
            lines.append(" & ".join(map(_escaped, row)) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Any, digits: int) -> str:
    if _undefined(value):
        return UNDEFINED
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash "), ("_", r"\_"), ("%", r"\%"), ("&", r"\&")):
        text = text.replace(plain, escaped)
    return text
