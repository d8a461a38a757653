"""Events by size, against loops, scikit-learn and closed forms."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn

from stzjax.evaluation import by_event_size
from stzjax.evaluation.verdict import Predictions


def pooled(runs, num_atoms=200, seed=0):
    """Predictions of runs given as (specimen, direction, size of the event)."""
    rng = np.random.default_rng(seed)
    label = np.zeros((len(runs), num_atoms), int)
    for row, (_, _, size) in zip(label, runs, strict=True):
        row[rng.permutation(num_atoms)[:size]] = 1
    confidence = np.clip(rng.random(label.shape) + 0.2 * label, 0, 1)
    specimen = np.repeat([run[0] for run in runs], num_atoms)
    direction = np.repeat([run[1] for run in runs], num_atoms)
    return Predictions(label.ravel(), confidence.ravel(), specimen, direction)


RUNS = [(0, "+xy", 2), (0, "-xy", 30), (1, "+xy", 3), (1, "-xy", 0), (2, "+xy", 10), (2, "-xz", 1)]


def test_each_event_is_ranked_in_its_own_glass():
    test = pooled(RUNS)
    found = by_event_size.each(test)
    assert [one.size for one in found] == [2, 30, 3, 10, 1]
    assert [one.specimen for one in found] == [0, 0, 1, 2, 2]
    for one, (_, _, span) in zip(
        found, [r for r in test.runs() if test.label[r[2]].any()], strict=True
    ):
        label, confidence = test.label[span], test.confidence[span]
        assert one.auc == pytest.approx(sklearn.roc_auc_score(label, confidence), abs=1e-12)
        ap = sklearn.average_precision_score(label, confidence)
        assert one.ap_over_prevalence == pytest.approx(ap / label.mean(), rel=1e-12)
        # 1 % of 200 atoms are two.
        assert one.hit == label[np.argsort(-confidence)[:2]].any()


def test_classes_hold_every_event_once():
    tests = [pooled(RUNS), pooled([(3, "+yz", 4), (4, "+yz", 200), (5, "+xy", 51)], seed=1)]
    rows = by_event_size.by_size(tests)
    assert [(row["least"], row["most"]) for row in rows] == [
        (1, 3),
        (4, 10),
        (11, 50),
        (51, 200),
        (201, None),
    ]
    assert [row["events"] for row in rows] == [3, 2, 1, 2, 0]
    small = [one for test in tests for one in by_event_size.each(test) if one.size <= 3]
    assert rows[0]["auc"] == pytest.approx(np.mean([one.auc for one in small]))
    assert rows[0]["hit"] == pytest.approx(np.mean([one.hit for one in small]))
    ratios = [one.ap_over_prevalence for one in small]
    assert rows[0]["ap_over_prevalence"] == pytest.approx(np.median(ratios))
    # All atoms labelled: no ranking. No event: nothing at all.
    assert math.isnan(rows[3]["auc"])
    assert math.isnan(rows[4]["auc"])
    assert math.isnan(rows[4]["hit"])


def test_error_is_by_specimens():
    """Each specimen repeated: the error stays, where that of independent events would shrink."""
    value, specimen = np.array([0.5, 0.7, 0.9]), np.array([0, 1, 2])
    error = value.std(ddof=1) / math.sqrt(3)
    assert by_event_size._clustered_error(value, specimen) == pytest.approx(error)
    twice = by_event_size._clustered_error(np.repeat(value, 4), np.repeat(specimen, 4))
    assert twice == pytest.approx(error)
    assert math.isnan(by_event_size._clustered_error(value, np.zeros(3, int)))
