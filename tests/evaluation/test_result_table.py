"""Tables read back by other readers."""

import csv
import io
import math

from stzjax.evaluation.result_table import ResultTable

TABLE = ResultTable(
    ["name", "a_b", "share %"],
    [["x & y", 0.123456, 3], ["z_1", math.nan, 4], ["\\w", None, 5]],
    digits=3,
    rules=(2,),
)


def test_csv_holds_every_digit_and_nothing_where_undefined():
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows == [
        ["name", "a_b", "share %"],
        ["x & y", "0.123456", "3"],
        ["z_1", "", "4"],
        ["\\w", "", "5"],
    ]


def test_markdown_is_a_pipe_table():
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "| name | a_b | share % |"
    assert lines[1] == "|---|---:|---:|"
    assert lines[2] == "| x & y | 0.123 | 3 |"
    assert lines[3] == "| z_1 | undefined | 4 |"


def test_latex_escapes_and_parts_the_rows():
    text = TABLE.latex()
    assert r"\begin{tabular}{lrr}" in text
    assert r"x \& y & 0.123 & 3 \\" in text
    assert r"z\_1 & undefined & 4 \\" in text
    assert r"share \%" in text
    before, after = text.split(r"\textbackslash w")
    assert before.rstrip().endswith(r"\midrule") and r"\bottomrule" in after
