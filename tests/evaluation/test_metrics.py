"""Metrics against scikit-learn, the paper's confusion matrix and brute force."""

import math
import time
import warnings

import jax
import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from stzjax.evaluation import metrics
from stzjax.io import archives

# Sums of up to 1e6 float64 terms in another order.
TOLERANCE = 1e-12


def _sample(num=400, prevalence=0.1, seed=0, decimals=None, signal=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.random(num) < prevalence
    confidence = 1 / (1 + np.exp(-rng.normal(size=num) - signal * labels))
    return labels.astype(int), confidence if decimals is None else confidence.round(decimals)


def _reference(labels, confidence, threshold):
    predicted = np.asarray(confidence) >= threshold
    return {
        "recall": reference.recall_score(labels, predicted),
        "precision": reference.precision_score(labels, predicted),
        "f1": reference.f1_score(labels, predicted),
        "mcc": reference.matthews_corrcoef(labels, predicted),
        "auc": reference.roc_auc_score(labels, confidence),
        "ap": reference.average_precision_score(labels, confidence),
    }


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("prevalence", [0.5, 0.03])
@pytest.mark.parametrize("threshold", [0.4, 0.5])
def test_evaluate_is_scikit_learns(decimals, prevalence, threshold):
    labels, confidence = _sample(2000, prevalence, decimals=decimals)
    found = metrics.evaluate(labels, confidence, threshold)
    for name, value in _reference(labels, confidence, threshold).items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE), name
    tn, fp, fn, tp = reference.confusion_matrix(labels, confidence >= threshold).ravel()
    assert found["confusion"] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    assert found["prevalence"] == labels.mean()
    assert found["ap_over_prevalence"] == pytest.approx(found["ap"] / labels.mean())
    assert all(type(v) is float for k, v in found.items() if k != "confusion")
    assert all(type(v) is int for v in found["confusion"].values())


def test_extreme_imbalance():
    labels = np.zeros(100_000, int)
    labels[[17, 99_000]] = 1
    confidence = np.random.default_rng(1).random(100_000).astype(np.float32)
    found = metrics.evaluate(labels, confidence)
    for name, value in _reference(labels, confidence, 0.5).items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_papers_confusion_matrix():
    """Lee and Ryu 2022: TP 1134, FP 126180, FN 486, TN 772200, and Table 1 beside it."""
    labels = np.repeat([1, 0, 1, 0], [1134, 126_180, 486, 772_200])
    confidence = np.repeat([1.0, 1.0, 0.0, 0.0], [1134, 126_180, 486, 772_200])
    found = metrics.evaluate(labels, confidence)
    assert found["confusion"] == {"tp": 1134, "fp": 126_180, "fn": 486, "tn": 772_200}
    assert found["recall"] == pytest.approx(0.7, abs=1e-12)
    assert found["precision"] == pytest.approx(0.0089, abs=5e-5)
    assert found["f1"] == pytest.approx(0.0176, abs=5e-5)
    assert found["mcc"] == pytest.approx(0.068, abs=5e-4)
    assert found["prevalence"] == pytest.approx(0.0018, abs=1e-12)


def test_threshold_is_inclusive():
    found = metrics.evaluate([1, 0, 1], [0.5, 0.5, 0.49999])
    assert found["confusion"] == {"tp": 1, "fp": 1, "fn": 1, "tn": 0}


@pytest.mark.parametrize(
    ("labels", "confidence", "undefined"),
    [
        ([0, 0, 0], [0.1, 0.6, 0.9], {"recall", "mcc", "auc", "ap", "ap_over_prevalence"}),
        (
            [0, 0, 0],
            [0.1, 0.2, 0.3],
            {"recall", "precision", "f1", "mcc", "auc", "ap", "ap_over_prevalence"},
        ),
        ([1, 1, 1], [0.1, 0.6, 0.9], {"mcc", "auc"}),
        ([0, 1, 0], [0.1, 0.2, 0.3], {"precision", "mcc"}),
        ([0, 1, 0], [0.7, 0.8, 0.9], {"mcc"}),
    ],
)
def test_undefined_is_nan_and_nothing_else_is(labels, confidence, undefined, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.evaluate(labels, confidence)
    assert {k for k, v in found.items() if k != "confusion" and math.isnan(v)} == undefined
    archives.write_json(tmp_path / "m.json", found)
    assert {k for k, v in archives.read_json(tmp_path / "m.json").items() if v is None} == undefined


def test_all_positive_has_ap_one():
    assert metrics.evaluate([1, 1], [0.2, 0.2])["ap"] == 1.0


@pytest.mark.parametrize("decimals", [None, 1])
def test_curves_are_scikit_learns(decimals):
    labels, confidence = _sample(300, 0.2, seed=3, decimals=decimals)
    expected = reference.roc_curve(labels, confidence, drop_intermediate=False)
    for ours, theirs in zip(metrics.roc_curve(labels, confidence), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE)
    expected = reference.precision_recall_curve(labels, confidence)
    found = metrics.precision_recall_curve(labels, confidence)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE)


def test_curves_of_one_class():
    fpr, tpr, _ = metrics.roc_curve([0, 0], [0.1, 0.9])
    assert np.isnan(tpr).all() and fpr[-1] == 1
    precision, recall, _ = metrics.precision_recall_curve([0, 0], [0.1, 0.9])
    assert np.isnan(recall).all() and precision[0] == 0


scored = st.lists(st.tuples(st.booleans(), st.integers(-3, 6)), min_size=2, max_size=40).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


@settings(max_examples=150, deadline=None)
@given(scored, st.integers(-4, 7))
def test_any_ties_agree_with_scikit_learn(pairs, threshold):
    labels, confidence = (np.array(column) for column in zip(*pairs, strict=True))
    found = metrics.evaluate(labels, confidence / 7, threshold / 7)
    assert found["auc"] == pytest.approx(reference.roc_auc_score(labels, confidence))
    assert found["ap"] == pytest.approx(reference.average_precision_score(labels, confidence))
    predicted = confidence >= threshold
    mcc = reference.matthews_corrcoef(labels, predicted)
    assert math.isnan(found["mcc"]) if predicted.all() or not predicted.any() else True
    assert math.isnan(found["mcc"]) or found["mcc"] == pytest.approx(mcc, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored, st.randoms(use_true_random=False))
def test_rank_metrics_see_order_only(pairs, random):
    labels, confidence = (np.array(column) for column in zip(*pairs, strict=True))
    found = metrics.evaluate(labels, confidence)
    order = np.array(random.sample(range(len(labels)), len(labels)))
    again = metrics.evaluate(labels[order], np.exp(confidence[order] / 2.0))
    flipped = metrics.evaluate(1 - labels, -confidence)
    assert again["auc"] == pytest.approx(found["auc"], abs=1e-12)
    assert again["ap"] == pytest.approx(found["ap"], abs=1e-12)
    assert flipped["auc"] == pytest.approx(found["auc"], abs=1e-12)
    assert 0 < found["ap"] <= 1


@settings(max_examples=60, deadline=None)
@given(scored, st.sampled_from(metrics.SCORES))
def test_best_threshold_beats_every_other(pairs, metric):
    labels, confidence = (np.array(column) for column in zip(*pairs, strict=True))
    confidence = confidence / 10
    values = {t: metrics.evaluate(labels, confidence, t)[metric] for t in set(confidence.tolist())}
    defined = {t: v for t, v in values.items() if not math.isnan(v)}
    if not defined:
        with pytest.raises(ValueError, match="undefined at each"):
            metrics.best_threshold(labels, confidence, metric)
        return
    chosen = metrics.best_threshold(labels, confidence, metric)
    assert defined[chosen] == pytest.approx(max(defined.values()), abs=1e-12)
    assert not [t for t, v in defined.items() if v > defined[chosen] + 1e-12]


def test_best_threshold_takes_the_highest_of_equals():
    assert metrics.best_threshold([1, 1, 0], [0.9, 0.9, 0.1], "precision") == 0.9
    assert metrics.best_threshold([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], "precision") == 0.9


def test_best_threshold_refuses():
    with pytest.raises(ValueError, match="choose from recall"):
        metrics.best_threshold([0, 1], [0.1, 0.2], "auc")
    with pytest.raises(ValueError, match="0 positive and 2 negative"):
        metrics.best_threshold([0, 0], [0.1, 0.2])


@pytest.mark.parametrize(
    ("labels", "confidence", "message"),
    [
        ([], [], "empty"),
        ([0, 1], [0.1, 0.2, 0.3], "shape"),
        ([0, 1], [0.1, np.nan], "entry 1 is nan"),
        ([0, 1], [0.1, np.inf], "entry 1 is inf"),
        ([0, 2], [0.1, 0.2], "entry 1 is"),
        ([0.0, np.nan], [0.1, 0.2], "0 or 1"),
        ([0.0, 0.5], [0.1, 0.2], "0 or 1"),
    ],
)
def test_bad_input(labels, confidence, message):
    for function in (metrics.evaluate, metrics.roc_curve, metrics.best_threshold):
        with pytest.raises(ValueError, match=message):
            function(labels, confidence)


def test_nan_threshold_is_refused():
    with pytest.raises(ValueError, match="one number"):
        metrics.evaluate([0, 1], [0.1, 0.2], math.nan)


def test_boolean_float_two_dimensional_and_jax_input():
    labels, confidence = _sample(60)
    expected = metrics.evaluate(labels, confidence)
    assert metrics.evaluate(labels.astype(bool), confidence) == expected
    assert metrics.evaluate(labels.reshape(6, 10).astype(float), confidence.reshape(6, 10)) == (
        expected
    )
    assert metrics.evaluate(jax.numpy.asarray(labels), jax.numpy.asarray(confidence)) == expected


def test_paper_sized_set_is_fast():
    labels, confidence = _sample(900_000, 0.0018)
    start = time.perf_counter()
    metrics.evaluate(labels, confidence)
    assert time.perf_counter() - start < 2.0


def test_bootstrap_is_the_resampling_by_hand():
    """Concatenating the drawn specimens and asking scikit-learn gives the same quantiles."""
    labels, confidence = _sample(600, 0.15, seed=5, decimals=2)
    groups = np.repeat([4, 7, 11, 30, 31], 120)
    key = jax.random.key(3)
    found = metrics.bootstrap(labels, confidence, groups, 40, key=key)
    draws = np.asarray(jax.random.randint(key, (40, 5), 0, 5, jax.numpy.int32))
    rows = []
    for draw in draws:
        atoms = np.concatenate([np.flatnonzero(groups == np.unique(groups)[g]) for g in draw])
        rows.append(_reference(labels[atoms], confidence[atoms], 0.5))
    for name in ("recall", "precision", "f1", "mcc", "auc", "ap"):
        values = np.array([row[name] for row in rows])
        assert found[name]["low"] == pytest.approx(np.quantile(values, 0.025), rel=1e-9)
        assert found[name]["high"] == pytest.approx(np.quantile(values, 0.975), rel=1e-9)
        assert found[name]["standard_error"] == pytest.approx(values.std(ddof=1), rel=1e-9)
        assert found[name]["estimate"] == metrics.evaluate(labels, confidence)[name]
        assert found[name]["undefined"] == 0


def test_bootstrap_repeats_and_reports_undefined():
    labels, confidence = np.array([1, 0, 0, 0]), np.array([0.9, 0.2, 0.3, 0.1])
    groups = np.array([0, 0, 1, 1])
    one = metrics.bootstrap(labels, confidence, groups, 200, key=jax.random.key(0))
    two = metrics.bootstrap(labels, confidence, groups, 200, key=jax.random.key(0))
    assert repr(one) == repr(two)
    # Both draws fall on the specimen without a positive in a quarter of the resamples.
    assert one["recall"]["undefined"] == pytest.approx(0.25, abs=0.1)
    assert one["recall"]["low"] == one["recall"]["high"] == 1.0


def test_bootstrap_refuses():
    with pytest.raises(ValueError, match="at least two"):
        metrics.bootstrap([0, 1], [0.1, 0.2], [0, 0], key=jax.random.key(0))
    with pytest.raises(ValueError, match="groups have shape"):
        metrics.bootstrap([0, 1], [0.1, 0.2], [0], key=jax.random.key(0))


def test_brier_agrees_with_scikit_learn():
    rng = np.random.default_rng(3)
    labels, confidence = rng.random(500) < 0.1, rng.random(500)
    assert metrics.brier(labels, confidence) == pytest.approx(
        reference.brier_score_loss(labels, confidence)
    )
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\] to be probabilities, got -1.0"):
        metrics.brier([0, 1], [-1.0, 0.5])
