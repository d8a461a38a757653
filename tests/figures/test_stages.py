"""Figures hold the numbers they were given, and touch nothing outside of themselves."""

import subprocess
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from stzjax.core import loads
from stzjax.evaluation import metrics
from stzjax.figures import gradients, stages


def _labelled(num=500, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random(num) < 0.05
    return labels, 1 / (1 + np.exp(-rng.normal(-1, 1, num) - 2 * labels))


def _examples():
    rng = np.random.default_rng(1)
    labels, confidence = _labelled()
    strain = np.linspace(0, 0.01, 20)
    trace = np.linspace(2000, 300, 50)
    cell = np.array([[10.0, 1.0, 2.0], [0.0, 11.0, 3.0], [0.0, 0.0, 12.0]])
    history = {"epoch": [0, 1, 2], "train_loss": [3, 2, 1], "validation_score": [None, 0.1, 0.2]}
    runs = (["+xy", "-xz"], [strain] * 2, [strain] * 2, [3, None])
    atoms = (rng.random((500, 3)) @ cell.T, cell, labels, confidence)
    bonded = rng.random(500) < 0.03
    slopes = (np.linspace(0, 9, 500), rng.normal(size=(500, 3)), bonded, atoms[0], cell, 0)
    return {
        "stress_strain": lambda: stages.stress_strain(*runs),
        "quench": lambda: stages.quench_trace([trace], [trace / 1000], [-trace / 1000]),
        "curves": lambda: stages.curves(labels, confidence, {"threshold 0.5": 0.5}),
        "events": lambda: stages.events([0.001, 0.004], [3, 300], 0.002),
        "d2min": lambda: stages.d2min_histogram(10.0 ** rng.uniform(-6, 0, 1000), 0.1),
        "training": lambda: stages.training(history),
        "atoms": lambda: stages.atoms(*atoms),
        "confidence": lambda: gradients.confidence(*slopes),
        "agreement": lambda: gradients.agreement(["a", "b"], [1, -2], [1.1, -2], "GPa"),
        "spread": lambda: gradients.spread({"frozen": [1, 2], "learned": [2, 1]}, "AP", 1.0),
    }


@pytest.mark.parametrize(("name", "draw"), _examples().items())
def test_saved_picture_is_not_blank_and_labelled(name, draw, tmp_path):
    path = tmp_path / "deep" / f"{name}.png"
    figure = draw()
    stages.save(figure, path)
    image = matplotlib.image.imread(path)
    assert min(image.shape[:2]) > 300
    assert image[..., :3].std() > 0.02
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    for axes in figure.axes:
        assert axes.get_ylabel() or axes.name == "3d"
        assert axes.get_xlabel() or axes.get_title() or axes.get_title("left") == "Class ratio"


def test_no_global_state():
    """Neither pyplot nor the global settings are touched, whatever backend the caller has."""
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "from stzjax import figures\n"
        "figures.quench_trace([[1, 2]], [[1, 2]], [[1, 2]])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_stress_strain_draws_the_runs_and_marks_the_event():
    strain, stress = np.array([0.0, 0.001, 0.002]), np.array([0.0, 0.03, 0.01])
    axes = stages.stress_strain(["-yz"], [strain], [stress], [2]).axes[0]
    run, mark = axes.lines
    np.testing.assert_allclose(run.get_xdata(), [0, 0.1, 0.2])
    np.testing.assert_allclose(run.get_ydata(), stress)
    assert run.get_linestyle() == "--" and run.get_color() == stages.DIRECTION_COLOURS["yz"]
    assert mark.get_xdata()[0] == pytest.approx(0.2) and mark.get_ydata()[0] == 0.01
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["-yz", "first event"]


def test_styles_tell_the_six_directions_apart():
    assert len({stages.direction_style(d) for d in loads.DIRECTIONS}) == 6
    assert stages.direction_style("xy") == stages.direction_style("+xy")
    with pytest.raises(ValueError, match="unknown direction"):
        stages.direction_style("zz")


def test_operating_point_lies_on_both_curves():
    labels, confidence = _labelled()
    found = metrics.evaluate(labels, confidence, 0.4)
    roc, pr = stages.curves(labels, confidence, {"chosen": 0.4}).axes
    rate = found["confusion"]["fp"] / (~labels).sum()
    point = next(line for line in roc.lines if line.get_label() == "chosen")
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (rate, found["recall"])
    point = next(line for line in pr.lines if line.get_label() == "chosen")
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (found["recall"], found["precision"])
    assert any(labels.mean() in np.asarray(line.get_ydata()) for line in pr.lines), "prevalence"


def test_event_bars_count_every_event():
    strains, sizes = np.random.default_rng(2).random((2, 37)) + 0.01
    left, right = stages.events(strains, 100 * sizes).axes
    assert sum(bar.get_height() for bar in left.patches) == 37
    assert sum(bar.get_height() for bar in right.patches) == 37
    left, right = stages.events([0.01], []).axes
    assert sum(bar.get_height() for bar in left.patches) == 1


def test_atoms_are_sorted_as_the_confusion_matrix():
    labels, confidence = _labelled()
    positions = np.random.default_rng(3).random((500, 3))
    figure = stages.atoms(positions, np.eye(3), labels, confidence, 0.4)
    counts = metrics.evaluate(labels, confidence, 0.4)["confusion"]
    predicted, moved = (
        [text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes
    )
    assert predicted == [f"predicted only: {counts['fp']}", f"moved and predicted: {counts['tp']}"]
    assert moved == [f"moved only: {counts['fn']}", f"moved and predicted: {counts['tp']}"]


def test_box_has_the_twelve_edges_of_the_cell():
    cell = np.array([[2.0, 0.5, 0.25], [0.0, 3.0, 0.75], [0.0, 0.0, 4.0]])
    edges = stages.box_edges(cell)
    vectors = edges[:, 1] - edges[:, 0]
    for column in cell.T:
        assert np.isclose(vectors, column).all(axis=1).sum() == 4
    corners = np.unique(edges.reshape(-1, 3).round(9), axis=0)
    assert len(corners) == 8
    np.testing.assert_allclose(corners.mean(axis=0), cell.sum(axis=1) / 2)


def test_empty_and_odd_input_is_drawn():
    stages.stress_strain([], [], [], [])
    stages.quench_trace([], [], [])
    stages.d2min_histogram(np.zeros(10), 0.1)
    stages.training({"epoch": [0, 1], "validation_score": [None, None]})
    stages.training({"epoch": []})
    figure = stages.curves(np.zeros(4, int), np.array([0.1, 0.2, 0.3, 0.4]), {"a": 0.5})
    assert isinstance(figure, Figure)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5000), st.integers(2, 300), st.integers(0, 99))
def test_thin_keeps_the_shape(num, limit, seed):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.random(num)), np.sort(rng.random(num))
    keep = stages.thin(x, y, limit)
    assert len(keep) <= max(limit, 2) and np.all(np.diff(keep) > 0)
    assert keep[0] == 0 and keep[-1] == num - 1
    error = np.abs(np.interp(x, x[keep], y[keep]) - y)
    steps = np.abs(np.diff(x)) + np.abs(np.diff(y))
    assert error.max() <= 2 / (limit - 1) + steps.max() + 1e-9


def test_spread_shows_every_trial_and_their_means():
    found = {"frozen": [1.0, 3.0, 2.0], "learned": [2.0, 2.5, 6.0]}
    axes = gradients.spread(found, "AP", 1.0).axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(
        [line.get_ydata() for line in points], np.array([*found.values()]).T
    )
    means = axes.containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(means, [2.0, 3.5])


def test_strongest_atoms_are_drawn_where_they_are():
    slopes = np.zeros((100, 3))
    slopes[7], slopes[3] = (0.0, 2.0, 0.0), (0.1, 0.0, 0.0)
    x = np.random.default_rng(0).random((100, 3)) * 9
    figure = gradients.confidence(np.arange(100.0), slopes, slopes[:, 0] > 0, x, 9 * np.eye(3), 7)
    scatter = figure.axes[-1].collections[0]
    np.testing.assert_allclose(np.array(scatter._offsets3d).T[:2], x[[7, 3]])
