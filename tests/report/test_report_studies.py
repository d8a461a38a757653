"""What the report says of the verdict, of the studies and of D²min, beside the files it read."""

import html
import itertools
import json
import math

import jax
import numpy as np
import pytest
from test_report import NUM, Page, write_run

from stzjax import report
from stzjax.core import loads
from stzjax.evaluation import by_event_size, called_by_d2min, verdict
from stzjax.io import archives
from stzjax.learning.splits import Fold, Split
from stzjax.pipeline import comparisons, grid_search, trials
from stzjax.pipeline.trials import Trial
from stzjax.report import sections
from stzjax.run_folder import contents
from stzjax.run_folder.folder import Folder
from stzjax.run_folder.settings import PRESETS

SAMPLES = 60
ODD = "<i>odd</i> & <script>window.hacked = 1</script>"
ENTRANTS = {"weighted": 1.0, ODD: 2.0, "guess": 0.0}
SHAPES = [
    grid_search.Shape(2, 4, 3),
    grid_search.Shape(2, 8, 3),
    grid_search.Shape(4, 4, 3),
    grid_search.Shape(4, 8, 3),
]


def predictions(specimens, signal, seed=0, positive=8):
    """Random confidences of 40 atoms a run; without a signal all the same."""
    rng = np.random.default_rng(seed)
    runs = [(number, direction) for number in specimens for direction in ("+xy", "-yz")]
    label = np.zeros((len(runs), 40), int)
    label[:, :positive] = 1
    logit = rng.normal(-1.0, 1.0, label.shape) + signal * label
    confidence = 1 / (1 + np.exp(-logit)) if signal else np.full(label.shape, 0.1)
    return verdict.Predictions(
        label.ravel(),
        confidence.ravel(),
        np.repeat([number for number, _ in runs], 40),
        np.repeat([direction for _, direction in runs], 40),
    )


def contest_rows(folder, positive=8):
    """Rows of a contest on two splits with two seeds, as the pipeline writes them."""
    made = {
        name: [
            Trial(
                predictions([4, 5], signal, seed),
                predictions(tested, signal, seed + 7, positive),
                {"seconds": 2.0},
            )
            for tested in ([0, 1], [2, 3])
            for seed in (1, 2)
        ]
        for name, signal in ENTRANTS.items()
    }
    return comparisons.rows(folder, made, "weighted", SAMPLES)


def write_contest(out, title, rows, tested=((0, 1), (2, 3))):
    parts = [Split(np.array([6]), np.array([4, 5]), np.array(own))._asdict() for own in tested]
    record = {"reference": "weighted", "splits": parts, "rows": rows}
    archives.write_json(out / title / f"{title}.json", record)


def write_search(out, key):
    """A grid of four shapes, one of them undefined, and one tried for fewer epochs before."""
    rng = np.random.default_rng(3)
    names = (*grid_search.METRICS, "ap_over_prevalence")
    rows = [
        {"shape": shape, "epochs": 50, "seconds": 3.5, **dict.fromkeys(names, math.nan)}
        | {f"{name}_deviation": 0.1 for name in names}
        for shape in SHAPES
    ]
    for row in rows[:3]:
        row |= {name: float(rng.uniform(0.1, 0.9)) for name in names}
    chosen = {**grid_search.winners(rows), "mcc": None}
    judged = {}
    for place, shape in enumerate(shape for shape in dict.fromkeys(chosen.values()) if shape):
        sides = predictions([4, 5], 1.0, place), predictions([0, 1, 2], 1.0, place + 9)
        record = {"best_epoch": 7, "epochs": 50}
        judged[shape] = {"record": record, "verdict": verdict.judge(*sides, key, SAMPLES)}
    table = grid_search.table_1(chosen, judged)
    trials.write_table(out / "search", "table1", table)
    early = {**rows[0], "epochs": 5, "ap_over_prevalence": 0.001}
    trials.write_table(out / "search", "grid", grid_search.grid_table([early, *rows]))
    content = {
        "winners": {name: shape and shape.name for name, shape in chosen.items()},
        "judged": {shape.name: one for shape, one in judged.items()},
        "folds": [Fold(np.array([0]), np.array([1]))._asdict()] * 2,
    }
    archives.write_json(out / "search" / "search.json", content)
    return content, table


def write_thresholds(out, rows):
    """Three thresholds, out of order; the middle one without any defined metric."""
    found = []
    for value, row in zip((0.3, 0.1, 0.02), (rows[0], None, rows[1]), strict=True):
        numbers = {**rows[0]["average"]["at_half"], **rows[0]["average"]["ranks"]}
        if row is None:
            nothing = dict.fromkeys(("estimate", "low", "high", "standard_error", "undefined"))
            numbers = dict.fromkeys(numbers, nothing)
        test = {name: number["estimate"] for name, number in numbers.items()}
        row = {"threshold": value, "events": 4, "runs": 6, "class_ratio": 0.1 * value}
        found.append({**row, "test": test, "interval": numbers})
    archives.write_json(out / "thresholds" / "thresholds.json", {"rows": found})


def add_verdict(out):
    """The judgement of the predictions of a run in its `metrics.json`, as evaluate leaves it."""
    sides = []
    for part in ("validation", "test"):
        arrays, _ = archives.load_archive(out / "predictions" / f"{part}.npz")
        columns = ("label", "confidence", "specimen", "direction")
        sides.append(verdict.Predictions(*(arrays[name] for name in columns)))
    judged = verdict.judge(*sides, jax.random.key(5), SAMPLES)
    archives.write_json(
        out / "metrics.json", archives.read_json(out / "metrics.json") | {"verdict": judged}
    )
    return sides[1]


def write_studies(out):
    """Verdict, remedies, baselines, grid search and thresholds."""
    add_verdict(out)
    rows = contest_rows(Folder(out, PRESETS["smoke"]))
    write_contest(out, "remedies", rows)
    write_contest(out, "baselines", rows[:1] + rows[2:], tested=((0,), (2,)))
    write_search(out, jax.random.key(1))
    write_thresholds(out, rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = write_run(tmp_path_factory.mktemp("studied"))
    write_studies(out)
    (out / "figures").mkdir()
    (out / "figures" / "figure3.png").write_bytes(b"")
    return out


@pytest.fixture(scope="module")
def page(run):
    return Page(report.write(run))


def table(page, section, first):
    """Rows of the table of a section whose first header is `first`, by the name of the row."""
    rows = page.rows[section]
    start = next(n for n, row in enumerate(rows) if row[0] == first and len(row) > 2)
    found = {}
    for row in itertools.takewhile(lambda row: len(row) == len(rows[start]), rows[start + 1 :]):
        found.setdefault(row[0], dict(zip(rows[start], row, strict=True)))
    return found


def spanned(number, low=None, high=None):
    """An estimate and its interval as a cell holds them."""
    ends = "" if low is None else f" {low:.3g} to {high:.3g}"
    if number is None:
        return "undefined"
    return f"{number:.3g}{ends}"


def test_verdict_says_the_numbers_of_the_file(page, run):
    judged = archives.read_json(run / "metrics.json")["verdict"]
    rows = table(page, "verdict", "")
    assert list(rows) == ["all directions", *judged["directions"]]
    for name, part in [("all directions", judged["pooled"]), *judged["directions"].items()]:
        span = part["interval"]["auc"]
        assert rows[name]["AUC"] == spanned(part["at_half"]["auc"], span["low"], span["high"])
        span, value = part["interval"]["ap_over_prevalence"], part["at_half"]["ap_over_prevalence"]
        words = spanned(value, span["low"], span["high"])
        assert rows[name]["AP / prevalence"].startswith(f"{words} chance ")
        for share, hit in part["hits"].items():
            cell = rows[name][f"Hit in top {100 * float(share):g} %"]
            if hit["rate"] is None:
                assert cell == "undefined chance undefined" and not hit["events"]
                continue
            assert cell.startswith(f"{100 * hit['rate']:.3g} %")
            assert cell.endswith(f"chance {100 * hit['chance']:.3g} %")
            if hit["interval"]:
                assert f"{100 * hit['interval']['low']:.3g} % to" in cell
        assert rows[name]["Events"] == str(hit["events"])
    assert f"Of {NUM} atoms, 0.1 %, 1 %, 5 % are 1, 3, 15." in page.words


def test_one_interval_wherever_the_page_gives_it(page, run):
    span = archives.read_json(run / "metrics.json")["verdict"]["pooled"]["interval"][
        "ap_over_prevalence"
    ]
    assert page.words.count(f" {span['low']:.3g} to {span['high']:.3g}") == 3


@pytest.mark.parametrize(("num", "positive"), [(6, 2), (7, 1), (5, 5), (4, 3)])
def test_random_ranking_is_the_mean_over_all_rankings(num, positive):
    """AP by its definition over every way to place the positives."""
    values = []
    for ranks in itertools.combinations(range(1, num + 1), positive):
        values.append(np.mean([(n + 1) / rank for n, rank in enumerate(ranks)]))
    counts = {"tp": 1, "fn": positive - 1, "fp": 1, "tn": num - positive - 1}
    found = sections.random_ranking({"confusion": counts})
    assert found == pytest.approx(np.mean(values) * num / positive, rel=1e-12)
    assert math.isnan(sections.random_ranking({"confusion": {**counts, "tp": 0, "fn": 0}}))


def test_verdict_without_events_is_undefined_and_not_zero(tmp_path):
    write_run(tmp_path, events=False)
    add_verdict(tmp_path)
    page = Page(report.write(tmp_path))
    rows = table(page, "verdict", "")
    for row in rows.values():
        assert row["AUC"] == "undefined"
        assert row["AP / prevalence"] == "undefined chance undefined"
        assert row["Hit in top 1 %"] == "undefined chance undefined"
    assert "validation holds one class only" in page.words
    figure = json.loads(page.blocks["verdict-plot"])
    shown = [x for trace in figure["data"] if trace["mode"] == "markers" for x in trace["x"]]
    assert not any(x is not None for x in shown)
    notes = [note["text"] for note in figure["layout"]["annotations"]]
    assert notes.count(" undefined") == 10
    assert "nan" not in page.words.lower().split()


def test_contest_says_the_numbers_of_the_file(page, run):
    content = archives.read_json(run / "remedies" / "remedies.json")
    rows = table(page, "remedies", "Name")
    best = sorted(
        content["rows"], key=lambda row: -row["average"]["ranks"]["ap_over_prevalence"]["estimate"]
    )
    assert list(rows) == [row["name"] for row in best] and ODD in rows
    for row in content["rows"]:
        shown, average = rows[row["name"]], row["average"]
        for title, (group, name) in {
            "AUC": ("ranks", "auc"),
            "AP": ("ranks", "ap"),
            "AP / prevalence": ("ranks", "ap_over_prevalence"),
            "Recall": ("at_half", "recall"),
            "F1": ("at_half", "f1"),
        }.items():
            value = average[group][name]
            assert shown[title] == spanned(value["estimate"], value["low"], value["high"])
        if row["name"] == "weighted":
            assert shown["minus reference"] == "reference"
        else:
            value = row["minus_reference"]["ranks"]["ap_over_prevalence"]
            words = spanned(value["estimate"], value["low"], value["high"])
            assert shown["minus reference"] == words
        hit = average["hits"]["0.05"]
        assert shown["Hit in top 5 %"].startswith(f"{100 * hit['estimate']:.3g} %")
    assert rows["guess"]["Precision"] == rows["guess"]["MCC"] == "undefined"
    marked = [page.rows["remedies"][n][0] for section, n in page.marked if section == "remedies"]
    assert marked == ["weighted"]
    assert "fitted 4 times (2 splits, 2 seeds) and tested on 4 specimens in all" in page.words
    assert "<i>odd</i>" not in (run / "report.html").read_text(encoding="utf-8")


def test_forest_shows_estimates_intervals_and_the_reference(page, run):
    content = archives.read_json(run / "remedies" / "remedies.json")
    figure = json.loads(page.blocks["remedies-plot"])
    names, shown = figure["layout"]["yaxis"]["ticktext"], {}
    for trace in figure["data"]:
        for place, row in enumerate(trace["y"]):
            name = html.unescape(names[int(row)])
            ends = [trace["error_x"][end][place] for end in ("arrayminus", "array")]
            shown[trace["xaxis"], name] = trace["x"][place], ends, trace["error_x"]["color"]
    for row in content["rows"]:
        for axis, value in (("x", row["average"]), ("x2", row["minus_reference"])):
            if value is None:
                assert (axis, row["name"]) not in shown
                continue
            span = value["ranks"]["ap_over_prevalence"]
            estimate, ends, _ = shown[axis, row["name"]]
            assert estimate == span["estimate"]
            assert ends == pytest.approx([estimate - span["low"], span["high"] - estimate])
    assert shown["x", "weighted"][2] != shown["x", "guess"][2] == shown["x", ODD][2]
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [1.0, 0.0]


def test_test_set_of_one_specimen_is_said_to_prove_nothing(page):
    assert "A test set of one specimen gives no interval" in page.words


def test_undefined_contest_is_undefined_and_not_zero(tmp_path):
    rows = contest_rows(Folder(tmp_path, PRESETS["smoke"]), positive=0)
    write_contest(tmp_path, "baselines", rows)
    page = Page(report.write(tmp_path))
    for name, row in table(page, "baselines", "Name").items():
        assert row["AUC"] == row["AP / prevalence"] == row["Hit in top 1 %"] == "undefined", name
    figure = json.loads(page.blocks["baselines-plot"])
    drawn = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    assert not any(trace["x"] for trace in drawn)
    words = [note["text"] for note in figure["layout"]["annotations"]]
    assert words.count(" undefined") == 5
    assert "have no intervals" in page.words


def test_sizes_of_events_are_told_and_done_without(tmp_path):
    sizes = by_event_size.by_size([predictions([0, 1], 1.0, positive=3)])
    write_contest(tmp_path, "remedies", [{"name": "a", "sizes": sizes}, {"name": "old"}])
    rows = Page(report.write(tmp_path)).rows["remedies"]
    start = next(n for n, row in enumerate(rows) if "1 to 3 atoms, 4 events: AUC" in row)
    head, first, other = rows[start : start + 3]
    assert "201 or more atoms, 0 events: AUC" in head
    assert first[:2] == ["a", f"{sizes[0]['auc']:.3g} ± {sizes[0]['auc_error']:.3g}"]
    # The empty classes of the one, and all of the other, are undefined and not zero.
    assert (first.count("undefined"), other.count("undefined")) == (12, 15)
    write_contest(tmp_path, "remedies", [{"name": "old"}])
    assert "By size of the event" not in Page(report.write(tmp_path)).words


def test_table_1_has_the_papers_rows_and_intervals(page, run):
    content = archives.read_json(run / "search" / "search.json")
    rows = page.rows["search"]
    start = next(n for n, row in enumerate(rows) if "Optimised for" in row)
    ours = [row for row in rows[start + 1 :] if row[0] == "this run"]
    paper = [row for row in rows[start + 1 :] if row[0] == "paper"]
    assert len(paper) == len(report.words.TABLE_1)
    assert paper[0][1:] == ["recall", "10", "25", "12", "0.7333", "0.0074", "0.0147", "0.0615",
                            "0.8451", "0.0150", "8.33"]  # fmt: skip
    assert len(ours) == len(content["judged"])
    for row, (name, one) in zip(ours, content["judged"].items(), strict=True):
        assert f"L{row[2]}_M{row[3]}_N{row[4]}" == name
        pooled = one["verdict"]["pooled"]
        span = pooled["interval"]["auc"]
        words = f"{pooled['at_half']['auc']:.4f} {span['low']:.3g} to {span['high']:.3g}"
        assert row[9] == words
    assert "Undefined for every shape: mcc." in page.words


def test_grid_is_drawn_at_its_longest_and_listed_whole(page, run):
    grid = contents.read(run).search["grid"]
    assert len(grid) == 5 and math.isnan(grid[-1]["ap_over_prevalence"])
    figure = json.loads(page.blocks["grid-plot"])
    (panel,), layout = figure["data"], figure["layout"]
    assert layout["xaxis"]["ticktext"] == ["4", "8"] and layout["yaxis"]["ticktext"] == ["2", "4"]
    expected = [[grid[1]["ap_over_prevalence"], grid[2]["ap_over_prevalence"]],
                [grid[3]["ap_over_prevalence"], None]]  # fmt: skip
    assert panel["z"] == expected
    rows = table(page, "search", "Shape")
    assert rows["L4 M8 N3"]["AUC"] == "undefined"
    assert rows["L2 M8 N3"]["AUC"] == f"{grid[2]['auc']:.4f}"
    assert "Blank: undefined in all folds (1 of 4)." in page.words
    assert "Successive halving" in page.words


def test_thresholds_have_gaps_where_they_are_undefined(page, run):
    figure = json.loads(page.blocks["thresholds-plot"])
    lines = [trace for trace in figure["data"] if trace["mode"] == "lines+markers"]
    assert len(lines) == 8
    content = archives.read_json(run / "thresholds" / "thresholds.json")["rows"]
    for trace, name in zip(lines[1:], ("recall", "precision", "auc", "ap"), strict=False):
        assert trace["x"] == [0.02, 0.1, 0.3] and trace["connectgaps"] is False
        assert trace["y"][1] is None and trace["error_y"]["array"][1] is None
        assert trace["y"][2] == content[0]["test"][name]
    assert lines[0]["y"] == pytest.approx([0.002, 0.01, 0.03])
    rows = table(page, "thresholds", "Threshold (Å²)")
    assert list(rows) == ["0.02", "0.1", "0.3"]
    assert rows["0.1"]["AUC"] == rows["0.1"]["MCC"] == "undefined"
    assert rows["0.1"]["Runs with an event"] == "4 of 6"


def test_correlation_is_the_share_of_each_bin(page, run):
    """Counted anew atom by atom, on bins that share nothing but their edges."""
    arrays, _ = archives.load_archive(run / "predictions" / "test.npz")
    d2min = np.full(len(arrays["label"]), np.nan)
    for place, (number, direction) in enumerate(itertools.product((1, 2), loads.DIRECTIONS)):
        stored, _ = archives.load_archive(run / "shears" / f"{number:04d}_{direction}.npz")
        if len(stored["history_d2min"]):
            d2min[place * NUM : (place + 1) * NUM] = stored["history_d2min"][-1]
    figure = json.loads(page.blocks["correlation-plot"])
    line = next(t for t in figure["data"] if t["mode"] == "markers" and "error_y" in t)
    assert len(line["y"]) > 10
    edges = called_by_d2min.bins(d2min, 0.1)
    assert any(edge == pytest.approx(0.1, rel=1e-12) for edge in edges)
    for x, share, told in zip(line["x"], line["y"], line["text"], strict=True):
        place = np.searchsorted(edges, x)
        inside = (d2min >= edges[place - 1]) & (d2min < edges[place])
        assert f": {inside.sum()} atoms<br>" in told
        assert share == pytest.approx(np.mean(arrays["confidence"][inside] >= 0.5))
    assert f"Of the {np.isfinite(d2min).sum():,} atoms in" in page.words
    assert page.links == ["figures/figure3.png"]


def test_labels_of_another_threshold_are_left_out(tmp_path):
    write_run(tmp_path)
    config = archives.read_json(tmp_path / "config.json")
    archives.write_json(tmp_path / "config.json", config | {"threshold": 0.5})
    page = Page(report.write(tmp_path))
    assert "hold no D²min that gives the labels" in page.words
    assert all(one["d2min"] is None for one in json.loads(page.blocks["view-data"])["runs"])


def test_event_is_the_first_with_enough_bonded_atoms(tmp_path):
    write_run(tmp_path, specimens=3)
    path = tmp_path / "shears" / "0000_+xy.npz"
    arrays, settings = archives.load_archive(path)
    fields = np.zeros((2, NUM))
    fields[0, 5] = fields[1, [7, 8, 9]] = 0.4
    arrays |= {
        "history_step": np.array([2, 4]),
        "history_d2min": fields,
        "max_d2min": np.array([0.0, 0.0, 0.4, 0.0, 0.4]),
        "pairs": np.array([[7, 8], [8, 7], [5, 6]]),
    }
    for name in ("strain", "stress", "energy", "iterations", "residual"):
        arrays[name] = np.resize(arrays[name], (5, *arrays[name].shape[1:]))
    archives.save_archive(path, arrays, settings)
    config = archives.read_json(tmp_path / "config.json")
    for size, event in ((1, 2), (2, 4), (3, None)):
        for other in (tmp_path / "shears").glob("*.npz"):
            if other != path:
                other.unlink()
        archives.write_json(tmp_path / "config.json", config | {"min_cluster": size})
        (shear,) = contents.read(tmp_path).shears
        assert shear.event == event
        if event:
            np.testing.assert_array_equal(shear.event_d2min, fields[event // 2 - 1])


def test_each_missing_study_names_its_script(tmp_path):
    page = Page(report.write(tmp_path))
    for script in ("search", "thresholds", "remedies", "baselines", "evaluate"):
        assert f"experiments/{script}.py" in page.words
    assert page.links == []


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("remedies/remedies.json", {"rows": []}, "holds no rows"),
        ("remedies/remedies.json", {"rows": [{"name": "a"}]}, "holds no splits"),
        ("baselines/baselines.json", [1], "holds no rows"),
        ("thresholds/thresholds.json", {"rows": [{"test": {}}]}, "each with a threshold"),
        ("search/search.json", {"folds": [{"validation": [1]}]}, "lacks winners"),
        (
            "search/search.json",
            {"folds": [{"validation": [1]}], "winners": {}, "judged": {}},
            "table1.csv is missing",
        ),
    ],
)
def test_damaged_study_is_named(tmp_path, name, content, complaint):
    archives.write_json(tmp_path / name, content)
    with pytest.raises(ValueError, match=complaint):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_page_of_36_test_runs_stays_small(tmp_path):
    """36 runs of 2,000 atoms: two million characters at most beside plotly itself."""
    path = report.write(write_run(tmp_path, specimens=7, test=tuple(range(1, 7)), num=2000))
    page = Page(path)
    assert len(json.loads(page.blocks["view-data"])["runs"]) == 36
    plotly = page.blocks["script"]
    assert len(path.read_text(encoding="utf-8")) - len(plotly) < 2e6
