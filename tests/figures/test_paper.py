"""The paper's figures hold the numbers they were given; shares and intervals are right."""

import copy

import jax
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import EllipseCollection
from scipy.stats import binomtest

from stzjax.core.structure import Structure
from stzjax.evaluation import called_by_d2min, metrics
from stzjax.figures import d2min, paper, picture
from stzjax.figures.atoms import Scene
from stzjax.figures.chart import Band, Curve, Rule, lettered

CELL = np.array([[20.0, 2.5, -1.5], [0.0, 19.0, 3.0], [0.0, 0.0, 21.0]])
METRICS = ("recall", "precision", "f1", "mcc", "auc", "ap", "prevalence", "ap_over_prevalence")


def _atoms(num=900, specimens=3, seed=0):
    """D²min, confidence that goes with it, and specimen of each atom."""
    rng = np.random.default_rng(seed)
    d2min = 10.0 ** rng.uniform(-5, 0.5, num)
    confidence = 1 / (1 + np.exp(-rng.normal(0, 1, num) - np.log10(d2min) - 2))
    return d2min, confidence, np.arange(num) % specimens


def _share(d2min, confidence, specimen, threshold=0.1):
    edges = called_by_d2min.bins(d2min, threshold)
    return called_by_d2min.by_d2min(
        d2min, confidence >= 0.5, specimen, edges, key=jax.random.key(0)
    )


def _scene(num=300, seed=1):
    """A group that moved, across two faces of a tilted cell."""
    rng = np.random.default_rng(seed)
    fractional = rng.random((num, 3))
    away = fractional - [0.02, 0.5, 0.97]
    radius = np.linalg.norm((away - np.round(away)) @ CELL.T, axis=1)
    d2min = 2.0 * np.exp(-radius / 2) + 1e-5
    label = (d2min > 0.1).astype(int)
    glass = Structure.create(fractional, CELL, np.zeros(num, int), ("Cu",))
    return Scene(3, "+xy", glass, label, rng.random(num), d2min)


def _places(scene):
    return np.asarray(scene.glass.fractional)


def _row(threshold, **changed):
    test = {name: 0.1 * (k + 1) * threshold**0.1 for k, name in enumerate(METRICS)}
    ends = {n: {"low": 0.9 * v, "high": 1.2 * v} for n, v in test.items()}
    row = {"threshold": threshold, "events": 9, "runs": 10, "class_ratio": 0.01 / threshold}
    return {**row, "test": test, "interval": ends, **changed}


def _examples():
    values, confidence, specimen = _atoms()
    scene, labels = _scene(), values > 0.1
    found = _share(values, confidence, specimen)
    return {
        "figure2": lambda: paper.prediction(labels, confidence, scene),
        "figure3": lambda: paper.correlation(found, values, scene, 0.1),
        "figure4": lambda: picture.draw(d2min.thresholds([_row(t) for t in (0.05, 0.1, 0.5)])),
    }


@pytest.mark.parametrize(("name", "draw"), _examples().items())
def test_same_input_gives_the_same_bytes(name, draw, tmp_path):
    for ending in ("png", "pdf"):
        paths = [tmp_path / f"{name}{k}.{ending}" for k in (0, 1)]
        for path in paths:
            picture.save(draw(), path)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith(b"%PDF") and b"Date" not in paths[0].read_bytes()
    image = matplotlib.image.imread(tmp_path / f"{name}0.png")
    assert min(image.shape[:2]) > 600 and image[..., :3].std() > 0.02


@pytest.mark.parametrize(("name", "draw"), _examples().items())
def test_nothing_is_clipped(name, draw):
    """Every text lies on the page, and no two titles meet."""
    figure = draw()
    figure.draw_without_rendering()
    page = figure.bbox.padded(1.0)
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert axes.name == "3d" or (
            page.containsx(box.x0) and page.containsx(box.x1)
            and page.containsy(box.y0) and page.containsy(box.y1)
        ), (name, axes.get_title("left"))  # fmt: skip


def test_save_refuses_other_endings(tmp_path):
    with pytest.raises(ValueError, match=r"\.png or \.pdf"):
        picture.save(picture.blank(2, 2), tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 99), st.floats(1e-3, 10.0), st.integers(1, 10))
def test_bins_hold_all_values_and_part_them_at_the_threshold(seed, threshold, per_decade):
    d2min = 10.0 ** np.random.default_rng(seed).uniform(-9, 2, 50)
    edges = called_by_d2min.bins([*d2min, 0.0, 1e-14, np.nan], threshold, per_decade)
    assert threshold in edges
    assert edges[0] <= d2min.min() * (1 + 1e-12) and edges[-1] > d2min.max()
    np.testing.assert_allclose(edges[1:] / edges[:-1], 10.0 ** (1 / per_decade))


def test_shares_are_those_of_a_loop():
    d2min, confidence, specimen = _atoms()
    d2min[:3] = np.nan, 0.0, 1e-15
    found = _share(d2min, confidence, specimen)
    for k in range(len(found.share)):
        inside = [
            confidence[a] >= 0.5
            for a in range(len(d2min))
            if found.edges[k] <= d2min[a] < found.edges[k + 1]
        ]
        assert found.atoms[k] == len(inside)
        assert found.share[k] == (pytest.approx(np.mean(inside)) if inside else pytest.approx(
            np.nan, nan_ok=True
        ))  # fmt: skip
    assert found.atoms.sum() == len(d2min) - 3


def test_interval_of_one_specimen_is_wilsons():
    """SciPy's interval is the reference; empty bins, none and all included."""
    d2min = np.repeat([0.02, 0.2, 2.0], [40, 7, 11])
    called = np.arange(58) % 3 == 0
    called[d2min == 0.2], called[d2min == 2.0] = False, True
    edges = np.array([0.01, 0.1, 1.0, 10.0, 100.0])
    found = called_by_d2min.by_d2min(d2min, called, np.zeros(58), edges, key=jax.random.key(0))
    for k, (hits, number) in enumerate(((14, 40), (0, 7), (11, 11))):
        expected = binomtest(hits, number).proportion_ci(0.95, method="wilson")
        assert (found.low[k], found.high[k]) == pytest.approx((expected.low, expected.high))
    assert np.isnan([found.low[3], found.high[3], found.share[3]]).all()


def test_interval_over_specimens_sees_that_they_differ():
    """Two specimens, one all called and one not at all: resamples are 0, 1/2 or 1."""
    d2min, specimen = np.full(4000, 0.2), np.repeat([4, 7], 2000)
    edges = np.array([0.1, 1.0])
    found = called_by_d2min.by_d2min(d2min, specimen == 4, specimen, edges, key=jax.random.key(0))
    assert found.share == 0.5 and found.specimens == 2
    assert (found.low[0], found.high[0]) == (0.0, 1.0)
    mixed = called_by_d2min.by_d2min(
        d2min, np.arange(4000) % 2 == 0, specimen, edges, key=jax.random.key(0)
    )
    expected = binomtest(2000, 4000).proportion_ci(0.95, method="wilson")
    assert (mixed.low[0], mixed.high[0]) == pytest.approx((expected.low, expected.high))


def test_order_of_atoms_does_not_matter():
    columns = _atoms()
    order = np.random.default_rng(5).permutation(len(columns[0]))
    found = [_share(*columns), _share(*(column[order] for column in columns))]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_roc_is_that_of_the_metrics():
    d2min, confidence, _ = _atoms()
    labels = d2min > 0.1
    axes = paper.prediction(labels, confidence, _scene()).axes
    fpr, tpr, _ = metrics.roc_curve(labels, confidence)
    curve = axes[0].lines[1]
    np.testing.assert_array_equal(curve.get_xdata(), fpr)
    np.testing.assert_array_equal(curve.get_ydata(), tpr)
    area = metrics.evaluate(labels, confidence)["auc"]
    assert axes[0].get_title("left") == f"A  ROC, AUC {area:.3f}"
    assert [a.get_title()[:4] for a in axes[1:]] == ["B  P", "C  M"]


def test_undefined_roc_is_said():
    scene = _scene()._replace(label=np.zeros(300, int), d2min=np.full(300, np.nan))
    figure = paper.prediction(scene.label, scene.confidence, scene)
    assert "0 of 300 test atoms are positive" in figure.axes[0].texts[0].get_text()
    assert not figure.axes[0].lines
    found = _share(scene.d2min, scene.confidence, np.zeros(300))
    figure = paper.correlation(found, scene.d2min, scene, 0.1)
    for axes in figure.axes[:2]:
        assert any("no D²min" in text.get_text() for text in axes.texts)
    figure.draw_without_rendering()


def _of(panel, kind):
    return [one for one in panel.series if isinstance(one, kind)]


def test_share_curve_and_histogram_hold_their_numbers():
    values, confidence, specimen = _atoms()
    values[(values > 1e-4) & (values < 1e-3)] = 2e-3
    found = _share(values, confidence, specimen)
    left, right = d2min.shares(found, values, 0.1).panels
    _, line, points = _of(left, Curve)
    np.testing.assert_array_equal(line.y, found.share)
    np.testing.assert_allclose(line.x**2, found.edges[1:] * found.edges[:-1])
    assert np.isnan(line.y).sum() == np.sum(found.atoms == 0) >= 3
    assert len(points.x) == np.sum(found.atoms > 0)
    np.testing.assert_array_equal(points.low, found.low[found.atoms > 0])
    np.testing.assert_array_equal(points.high, found.high[found.atoms > 0])
    (band,) = _of(left, Band)
    np.testing.assert_array_equal([band.low, band.high], [found.low, found.high])
    assert [rule.value for rule in _of(left, Rule) + _of(right, Rule)] == [0.1, 0.1]
    (stairs,) = _of(right, Curve)
    edges, density = np.append(stairs.x[::2], stairs.x[-1]), stairs.y[::2]
    np.testing.assert_array_equal(stairs.y[1::2], density)
    expected, _ = np.histogram(values, edges, density=True)
    np.testing.assert_allclose(np.nan_to_num(density), expected)
    assert np.nansum(density * np.diff(edges)) == pytest.approx(1.0)
    assert np.isnan(density).any(), "empty bins are gaps, not zeros"


def test_few_atoms_are_hollow():
    values = np.repeat([0.02, 0.2], [40, 7])
    panel, _ = d2min.shares(_share(values, np.ones(47), np.zeros(47)), values, 0.1).panels
    points, legend = _of(panel, Curve)[-2:]
    np.testing.assert_array_equal(points.hollow, [False, True])
    assert points.x[1] == pytest.approx(0.2, rel=0.5)
    assert legend.name == "hollow: fewer than 20 atoms"


def _sections(scene, **options):
    """D²min and confidence of the cross-sections, with the places they are drawn at."""
    found = _share(scene.d2min, scene.confidence, np.zeros(len(scene.label)))
    figure = paper.correlation(found, scene.d2min, scene, 0.1, **options)
    drawn = [c for axes in figure.axes for c in axes.collections]
    discs = [c for c in drawn if isinstance(c, EllipseCollection)]
    return figure, [(np.asarray(c.get_offsets()), np.asarray(c.get_array())) for c in discs]


def _slab(scene, height, thickness):
    """Atoms by a loop over their images, about the most mobile atom in x and y."""
    core, found = _places(scene)[np.argmax(scene.d2min)], []
    for atom, place in enumerate(_places(scene)):
        for image in np.ndindex(5, 5, 5):
            away = place - core + np.array(image) - 2
            away[2] += core[2] - height / CELL[2, 2]
            flat = CELL @ away
            if abs(flat[2]) <= thickness / 2 and np.all((away >= -0.5) & (away < 0.5)):
                found.append((*flat[:2], scene.d2min[atom], scene.confidence[atom], flat[2]))
    return np.array(sorted(found))


@pytest.mark.parametrize("options", [{}, {"section": 20.9, "thickness": 4.0}, {"section": 6.5}])
def test_cross_section_holds_the_atoms_of_its_slab(options):
    scene = _scene()
    core = CELL[2, 2] * _places(scene)[np.argmax(scene.d2min), 2]
    expected = _slab(scene, options.get("section", core), options.get("thickness", 3.0))
    assert len(expected) > 10
    _, drawn = _sections(scene, **options)
    for column, (places, values) in enumerate(drawn):
        rows = np.array(sorted(zip(*places.T, values, strict=True)))
        np.testing.assert_allclose(rows, expected[:, [0, 1, 2 + column]], atol=1e-6)
        order = np.argsort(np.lexsort(places.T[::-1]))
        assert np.all(np.diff(expected[order, 4]) >= 0), "what lies above is drawn later"


def test_cross_section_does_not_see_where_the_cell_begins():
    scene = _scene()
    places = np.mod(_places(scene) + np.array([0.3, 0.6, 0.45]), 1.0)
    moved = scene._replace(glass=scene.glass.replace(fractional=places))
    for (places, values), (others, same) in zip(
        _sections(scene)[1], _sections(moved)[1], strict=True
    ):
        np.testing.assert_allclose(places, others, atol=1e-9)
        np.testing.assert_array_equal(values, same)


def test_chosen_atoms_stand_in_space_with_their_values():
    scene = _scene()
    figure, _ = _sections(scene)
    spaces = [axes for axes in figure.axes if axes.name == "3d"]
    called = scene.confidence >= 0.5
    for axes, chosen, values in zip(
        spaces, (scene.label == 1, called), (scene.d2min, scene.confidence), strict=True
    ):
        scatter = axes.collections[0]
        assert len(scatter._offsets3d[0]) == chosen.sum()
        np.testing.assert_allclose(scatter.get_array(), values[chosen])
    # The group lies across two faces of the cell and is drawn whole about the middle.
    places = np.array(spaces[0].collections[0]._offsets3d).T
    assert np.linalg.norm(places - CELL.sum(1) / 2, axis=1).max() < 9.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"section": -0.1}, "between z = 0 and 21.00"),
        ({"section": 21.5}, "got 21.5"),
        ({"thickness": 0.0}, "thickness"),
        ({"thickness": 30.0}, "thickness"),
        ({"section": float("nan")}, "got nan"),
    ],
)
def test_impossible_cross_sections_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        _sections(_scene(), **options)


METRIC_LABELS = dict(zip(
    ("recall", "precision", "AUC", "AP", "F1", "MCC", "AP / prevalence"),
    ("recall", "precision", "auc", "ap", "f1", "mcc", "ap_over_prevalence"), strict=True,
))  # fmt: skip


def _lines(chart):
    """The line of each panel, by the name on its y axis."""
    return {panel.y.label: _of(panel, Curve)[-1] for panel in chart.panels}


def test_thresholds_are_drawn_with_gaps():
    rows = [_row(t) for t in (0.5, 0.1, 1.0, 0.2)]
    rows[2]["test"]["mcc"] = None
    rows[1]["test"]["auc"] = float("nan")
    rows[3]["test"] = None
    before = copy.deepcopy(rows)
    chart = d2min.thresholds(rows)
    assert rows == before
    lines, order = _lines(chart), [1, 3, 0, 2]
    for label, name in METRIC_LABELS.items():
        expected = [(rows[k]["test"] or {}).get(name) for k in order]
        expected = [np.nan if value is None else value for value in expected]
        np.testing.assert_array_equal(lines[label].y, expected)
        np.testing.assert_array_equal(lines[label].x, [0.1, 0.2, 0.5, 1.0])
    np.testing.assert_array_equal(lines["class ratio"].y, [rows[k]["class_ratio"] for k in order])
    assert chart.panels[0].y.log and chart.panels[0].x.log
    assert np.isnan(lines["MCC"].y).sum() == 2
    assert [panel.title[0] for panel in lettered(chart.panels)] == list("ABCDEFGH")


def test_intervals_are_drawn_where_they_are_given():
    rows = [_row(0.1), _row(0.2, interval=None), _row(0.5)]
    rows[2]["test"]["precision"] = None
    panels = d2min.thresholds(rows).panels
    for panel, name, filled in ((1, "recall", (0, 2)), (2, "precision", (0,))):
        (band,), line = _of(panels[panel], Band), _of(panels[panel], Curve)[-1]
        for k in range(3):
            ends = rows[k]["interval"][name].values() if k in filled else [np.nan, np.nan]
            for one in (band, line):
                np.testing.assert_array_equal([one.low[k], one.high[k]], list(ends))
    assert not _of(panels[0], Band), "the class ratio has no interval"


def test_chance_is_drawn_beside_ap():
    rows = [_row(0.1), _row(1.0)]
    panels = {panel.y.label: panel for panel in d2min.thresholds(rows).panels}
    expected = {"AP": [r["test"]["prevalence"] for r in rows], "AUC": [0.5] * 2, "MCC": [0.0] * 2}
    for name, values in expected.items():
        chance, _ = _of(panels[name], Curve)
        assert chance.line == "dash"
        np.testing.assert_array_equal(chance.y, values)
    assert len(_of(panels["recall"], Curve)) == 1


def test_undefined_at_every_threshold_is_said():
    chart = d2min.thresholds([_row(0.1, test=None, interval=None)])
    assert all("undefined" in panel.empty for panel in chart.panels[1:])
    assert not chart.panels[0].empty
    picture.draw(chart).draw_without_rendering()
