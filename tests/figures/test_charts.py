"""Figures hold the numbers they were given, and touch nothing outside of themselves."""

import base64
import json
import subprocess
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.evaluation import metrics
from stzjax.figures import atoms, chart, d2min, gradients, interactive, picture, run, studies
from stzjax.figures.chart import Bars, Curve, Rule
from stzjax.run_folder import contents


def _labelled(num=500, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random(num) < 0.05
    return labels, 1 / (1 + np.exp(-rng.normal(-1, 1, num) - 2 * labels))


def _sheared(specimen, direction, strain, stress, event):
    return contents.Sheared(specimen, direction, strain, stress, event, None, "", ())


def _trace(temperature, energy, density):
    return {"temperature": temperature, "energy": energy, "density": density}


def _examples():
    rng = np.random.default_rng(1)
    labels, confidence = _labelled()
    strain = np.linspace(0, 0.01, 20)
    trace = np.linspace(2000, 300, 50)
    cell = np.array([[10.0, 1.0, 2.0], [0.0, 11.0, 3.0], [0.0, 0.0, 12.0]])
    history = [{"epoch": n, "train_loss": 3 - n, "score": n / 10 or None} for n in range(3)]
    runs = [_sheared(0, "+xy", strain, strain, 3), _sheared(4, "-xz", strain, strain, None)]
    fractional = rng.random((500, 3))
    glass = Structure.create(fractional, cell, np.zeros(500, int), ("Cu",))
    scene = atoms.Scene(3, "+xy", glass, labels, confidence, np.full(500, np.nan))
    bonded = rng.random(500) < 0.03
    slopes = (
        np.linspace(0, 9, 500),
        rng.normal(size=(500, 3)),
        bonded,
        fractional @ cell.T,
        cell,
        0,
    )
    bars = {
        HOSTILE: {"estimate": 2.0, "low": 1.0, "high": 3.0}, "b": {"estimate": 1.5}, "c": None
    }  # fmt: skip
    apart = {HOSTILE: None, "b": {"estimate": -1, "low": -2, "high": 0.5}, "c": None}
    shapes = [
        {"L": 2, "M": m, "N": n, "epochs": 5, "ap_over_prevalence": m / n if m > 4 else None,
         "ap_over_prevalence_deviation": np.nan}
        for m in (4, 8, 12) for n in (3, 6)
    ]  # fmt: skip
    return {
        "stress_strain": run.stress_strain(runs),
        "quench": run.quench_trace({0: _trace(trace, trace / 1000, -trace / 1000)}),
        "curves": run.curves(labels, confidence, {"threshold 0.5": 0.5}),
        "events": run.events([0.001, 0.004], [3, 300], 0.002),
        "d2min": d2min.histogram(10.0 ** rng.uniform(-6, 0, 1000), 0.1),
        "training": run.training(history),
        "agreement": gradients.agreement(["a", HOSTILE], [1, -2], [1.1, -2], "GPa"),
        "spread": gradients.spread({"frozen": [1, 2], "learned": [2, 1]}, "AP", 1.0),
        "comparison": studies.comparison(bars, apart, HOSTILE),
        "verdict": studies.verdict(bars, [1.1, 1.2, np.nan], {"top": {"estimate": 5}}, [1.0]),
        "grid": studies.grid(shapes, {"ap": "L2_M8_N3", "mcc": None}),
        "atoms": lambda: atoms.figure(scene),
        "confidence": lambda: gradients.confidence(*slopes),
    }


HOSTILE = "<script>alert(1)</script> & $x_1^2"
EXAMPLES = _examples()
CHARTS = {name: one for name, one in EXAMPLES.items() if isinstance(one, chart.Chart)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_saved_picture_is_not_blank_and_labelled(name, tmp_path):
    path = tmp_path / "deep" / f"{name}.png"
    figure = picture.draw(CHARTS[name]) if name in CHARTS else EXAMPLES[name]()
    picture.save(figure, path)
    image = matplotlib.image.imread(path)
    assert min(image.shape[:2]) > 300
    assert image[..., :3].std() > 0.02
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    for axes in figure.axes:
        if axes.get_label() != "<colorbar>" and axes.name != "3d":
            assert axes.get_xlabel() and (axes.get_ylabel() or axes.get_yticklabels())


def _numbers(values):
    """Numbers of a plotly figure, which come plain or in base64."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return np.array(values, float)


@pytest.mark.parametrize("name", CHARTS)
def test_page_and_paper_hold_the_numbers_of_the_chart(name):
    """Every curve and bar of the description, in both drawings, and nothing but that."""
    figure = picture.draw(CHARTS[name])
    traces = json.loads(interactive.to_json(CHARTS[name]))["data"]
    shown = [trace for trace in traces if "x" in trace and "fill" not in trace]
    for panel, axes in zip(CHARTS[name].panels, figure.axes, strict=False):
        lines = [line for line in axes.lines if line.get_transform() == axes.transData]
        for one in panel.series:
            if isinstance(one, Curve):
                trace = shown.pop(0)
                expected = np.array([one.x, one.y], float)
                found = np.array([_numbers(trace["x"]), _numbers(trace["y"])])
                np.testing.assert_allclose(found, expected, rtol=1e-6)
                assert trace["showlegend"] is bool(one.name)
                line = lines.pop(0)
                np.testing.assert_array_equal(line.get_xdata(), expected[0])
                if np.any(one.hollow):
                    lines.pop(0)
            elif isinstance(one, Bars):
                np.testing.assert_allclose(_numbers(shown.pop(0)["y"]), one.height)
                heights = [bar.get_height() for bar in axes.patches[: len(one.height)]]
                assert name == "events" or heights == list(one.height)
    assert not shown


def test_words_from_outside_are_escaped_in_both():
    text = interactive.to_json(CHARTS["comparison"])
    assert "<" not in text
    figure = json.loads(text)
    assert figure["layout"]["yaxis"]["ticktext"][0] == HOSTILE.replace("&", "&amp;").replace(
        "<", "&lt;"
    ).replace(">", "&gt;").replace("$", "&#36;")
    drawn = picture.draw(CHARTS["comparison"])
    drawn.draw_without_rendering()
    label = drawn.axes[0].get_yticklabels()[0]
    assert label.get_text() == HOSTILE and not label.get_parse_math()


def test_no_global_state():
    """Neither pyplot nor the global settings are touched, whatever backend the caller has."""
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "from stzjax.figures import picture, run\n"
        "picture.draw(run.training([{'epoch': 1, 'score': 2.0}]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_stress_strain_draws_the_runs_and_marks_the_event():
    strain, stress = np.array([0.0, 0.001, 0.002]), np.array([0.0, 0.03, 0.01])
    (panel,) = run.stress_strain([_sheared(7, "-yz", strain, stress, 2)]).panels
    line, mark, legend = panel.series
    np.testing.assert_allclose(line.x, [0, 0.1, 0.2])
    np.testing.assert_allclose(line.y, stress)
    assert line.line == "dash" and line.colour == chart.DIRECTION_COLOURS["yz"]
    assert mark.x[0] == pytest.approx(0.2) and mark.y[0] == 0.01
    assert mark.group == line.group and "7" in line.hover and mark.text == ["7"]
    assert [line.name, mark.name, legend.name] == ["-yz", "", "first event"]


def test_styles_tell_the_six_directions_apart():
    assert len({chart.direction_style(d) for d in loads.DIRECTIONS}) == 6
    assert chart.direction_style("xy") == chart.direction_style("+xy")
    with pytest.raises(ValueError, match="unknown direction"):
        chart.direction_style("zz")


def test_operating_point_lies_on_both_curves():
    labels, confidence = _labelled()
    found = metrics.evaluate(labels, confidence, 0.4)
    roc, pr = run.curves(labels, confidence, {"chosen": 0.4}).panels
    rate = found["confusion"]["fp"] / (~labels).sum()
    for panel, place in (
        (roc, (rate, found["recall"])),
        (pr, (found["recall"], found["precision"])),
    ):
        (point,) = (one for one in panel.series if getattr(one, "group", "") == "chosen")
        assert (point.x[0], point.y[0]) == place
    assert [one.value for one in pr.series if isinstance(one, Rule)] == [labels.mean()], (
        "prevalence"
    )


def test_thresholds_are_told_along_the_curves():
    """The words of a point are the threshold that gives its rates."""
    labels, confidence = _labelled()
    curve = run.curves(labels, confidence, {}).panels[0].series[1]
    for x, y, word in list(zip(curve.x, curve.y, curve.text, strict=True))[1::40]:
        predicted = confidence >= float(word) - 5e-5
        assert (
            abs(predicted[~labels].mean() - x) < 0.01 and abs(predicted[labels].mean() - y) < 0.05
        )


def test_event_bars_count_every_event():
    strains, sizes = np.random.default_rng(2).random((2, 37)) + 0.01
    panels = run.events(strains, 100 * sizes).panels
    assert [sum(panel.series[0].height) for panel in panels] == [37, 37]
    assert sum(run.events([0.01], []).panels[0].series[0].height) == 1


def test_atoms_are_sorted_as_the_confusion_matrix():
    labels, confidence = _labelled()
    places = np.random.default_rng(3).random((500, 3))
    glass = Structure.create(places, 9 * np.eye(3), np.zeros(500, int), ("Cu",))
    scene = atoms.Scene(0, "+xy", glass, labels, confidence, np.zeros(500))
    figure = atoms.figure(scene, 0.4)
    counts = metrics.evaluate(labels, confidence, 0.4)["confusion"]
    predicted, moved = (
        [text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes
    )
    assert predicted == [f"predicted only: {counts['fp']}", f"moved and predicted: {counts['tp']}"]
    assert moved == [f"moved only: {counts['fn']}", f"moved and predicted: {counts['tp']}"]


def test_box_has_the_twelve_edges_of_the_cell():
    cell = np.array([[2.0, 0.5, 0.25], [0.0, 3.0, 0.75], [0.0, 0.0, 4.0]])
    edges = atoms.box_edges(cell)
    vectors = edges[:, 1] - edges[:, 0]
    for column in cell.T:
        assert np.isclose(vectors, column).all(axis=1).sum() == 4
    corners = np.unique(edges.reshape(-1, 3).round(9), axis=0)
    assert len(corners) == 8
    np.testing.assert_allclose(corners.mean(axis=0), cell.sum(axis=1) / 2)


def test_empty_and_odd_input_is_drawn():
    for one in (
        run.stress_strain([]),
        run.quench_trace({}),
        d2min.histogram(np.zeros(10), 0.1),
        run.training([{"epoch": 0, "score": None}, {"epoch": 1}]),
        run.training([]),
        run.curves(np.zeros(4, int), np.array([0.1, 0.2, 0.3, 0.4]), {"a": 0.5}),
        studies.comparison({}, {}, "nobody"),
    ):
        picture.draw(one).draw_without_rendering()
        assert json.loads(interactive.to_json(one))["layout"]["height"]


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5000), st.integers(2, 300), st.integers(0, 99))
def test_thin_keeps_the_shape(num, limit, seed):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.random(num)), np.sort(rng.random(num))
    keep = chart.thin(x, y, limit)
    assert len(keep) <= max(limit, 2) and np.all(np.diff(keep) > 0)
    assert keep[0] == 0 and keep[-1] == num - 1
    error = np.abs(np.interp(x, x[keep], y[keep]) - y)
    steps = np.abs(np.diff(x)) + np.abs(np.diff(y))
    assert error.max() <= 2 / (limit - 1) + steps.max() + 1e-9


def test_spread_shows_every_trial_and_their_means():
    found = {"frozen": [1.0, 3.0, 2.0], "learned": [2.0, 2.5, 6.0]}
    (panel,) = gradients.spread(found, "AP", 1.0).panels
    *trials, points, means, chance = panel.series
    np.testing.assert_array_equal([line.y for line in trials], np.array([*found.values()]).T)
    assert sorted(points.y) == sorted(np.concatenate([*found.values()]))
    np.testing.assert_allclose(means.y, [2.0, 3.5])
    np.testing.assert_allclose(means.high - means.y, [1.0, np.std([2, 2.5, 6], ddof=1)])
    assert chance.y == [1.0, 1.0]


def test_strongest_atoms_are_drawn_where_they_are():
    slopes = np.zeros((100, 3))
    slopes[7], slopes[3] = (0.0, 2.0, 0.0), (0.1, 0.0, 0.0)
    x = np.random.default_rng(0).random((100, 3)) * 9
    figure = gradients.confidence(np.arange(100.0), slopes, slopes[:, 0] > 0, x, 9 * np.eye(3), 7)
    scatter = figure.axes[-1].collections[0]
    np.testing.assert_allclose(np.array(scatter._offsets3d).T[:2], x[[7, 3]])
