"""Averages over seeds and splits against plain loops; a seed is no new specimen."""

import math

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from stzjax.evaluation import averages, metrics, verdict
from stzjax.evaluation.averages import Trial
from stzjax.evaluation.verdict import Predictions

KEY = jax.random.key(0)


def predictions(specimens, seed, strength=1.0, prevalence=0.1, num=40, labels_seed=7):
    """Labels that depend on the specimen alone, confidences on the seed too."""
    rng, truth = np.random.default_rng(seed), []
    for number in specimens:
        truth.append(np.random.default_rng([labels_seed, number]).random(num) < prevalence)
    label = np.concatenate(truth).astype(int)
    confidence = 1 / (1 + np.exp(-rng.normal(size=len(label)) - strength * label))
    return Predictions(
        label, confidence, np.repeat(specimens, num), np.repeat(["+xy"] * len(specimens), num)
    )


def repeat(test, validation, seed, **settings):
    return Trial(
        predictions(validation, seed + 1000, **settings), predictions(test, seed, **settings), {}
    )


def two_splits(strength=1.0, seeds=(0, 1)):
    return [
        repeat(test, validation, 10 * seed + test[0], strength=strength)
        for test, validation in (([0, 1, 2], [6, 7]), ([3, 4, 5], [0, 1]))
        for seed in seeds
    ]


def test_estimates_are_means_of_what_each_training_reaches():
    side = two_splits()
    found = averages.average(side, KEY, 20)
    auc = [roc_auc_score(r.test.label, r.test.confidence) for r in side]
    ap = [average_precision_score(r.test.label, r.test.confidence) for r in side]
    assert found["ranks"]["auc"]["estimate"] == pytest.approx(np.mean(auc))
    assert found["ranks"]["ap"]["estimate"] == pytest.approx(np.mean(ap))
    chosen = [
        metrics.best_threshold(r.validation.label, r.validation.confidence, "mcc") for r in side
    ]
    mcc = [
        matthews_corrcoef(r.test.label, r.test.confidence >= threshold)
        for r, threshold in zip(side, chosen, strict=True)
    ]
    assert found["at_best_mcc"]["mcc"]["estimate"] == pytest.approx(np.mean(mcc))
    for share in verdict.SHARES:
        rates = [verdict.hits(r.test).rates()[str(share)]["rate"] for r in side]
        assert found["hits"][str(share)]["estimate"] == pytest.approx(np.mean(rates))


def test_one_training_is_judged_as_by_the_verdict():
    alone = repeat(list(range(12)), [12, 13], 3)
    found = averages.average([alone], KEY, 800)
    judged = verdict.judge(alone.validation, alone.test, KEY, 800)["pooled"]
    for name in ("auc", "ap", "ap_over_prevalence"):
        assert found["ranks"][name]["estimate"] == pytest.approx(judged["at_half"][name])
    for point in ("at_half", "at_best_mcc", "at_best_f1"):
        assert found[point]["f1"]["estimate"] == pytest.approx(judged[point]["f1"])
    # Other draws of the same distribution: each standard error is known to 3 % or so.
    ours, theirs = found["ranks"]["auc"], judged["interval"]["auc"]
    assert ours["standard_error"] == pytest.approx(theirs["standard_error"], rel=0.15)


def test_more_seeds_do_not_shrink_what_specimens_spread():
    """Trainings that agree are one training: the interval must not narrow with their number."""
    alone = repeat([0, 1, 2, 3, 4], [5, 6], 0)
    one = averages.average([alone], KEY, 400)["ranks"]["auc"]
    ten = averages.average([alone] * 10, KEY, 400)["ranks"]["auc"]
    for name in ("estimate", "low", "high", "standard_error"):
        assert one[name] == pytest.approx(ten[name])


def test_an_average_over_disjoint_splits_narrows_as_independent_means_do():
    prevalence = averages.average(two_splits(seeds=(0,)), KEY, 4000)["ranks"]["prevalence"]
    spread = 0.0
    for specimens in ([0, 1, 2], [3, 4, 5]):
        means = [predictions([n], 0).label.mean() for n in specimens]
        spread += np.var(means) / len(means)
    # The mean of two independent means; the bootstrap knows only the spread of its own sample.
    assert prevalence["standard_error"] == pytest.approx(math.sqrt(spread) / 2, rel=0.05)


def test_contrast_is_paired_and_antisymmetric():
    weak, strong = two_splits(0.5), two_splits(2.0)
    itself = averages.contrast(strong, strong, KEY, 50)
    for group in itself.values():
        for value in group.values():
            assert value["estimate"] == value["low"] == value["high"] == 0 or math.isnan(
                value["estimate"]
            )
    forth, back = (averages.contrast(*p, KEY, 200) for p in ((strong, weak), (weak, strong)))
    auc = forth["ranks"]["auc"]
    assert auc["low"] > 0
    assert auc["estimate"] == pytest.approx(-back["ranks"]["auc"]["estimate"])
    assert auc["low"] == pytest.approx(-back["ranks"]["auc"]["high"])


def test_one_specimen_has_no_interval_and_no_positive_no_rank():
    alone = averages.average([repeat([0], [1, 2], 0)], KEY, 10)["ranks"]["auc"]
    assert math.isfinite(alone["estimate"]) and math.isnan(alone["low"])
    quiet = averages.average([repeat([0, 1], [2, 3], 0, prevalence=0.0)], KEY, 10)
    assert math.isnan(quiet["ranks"]["auc"]["estimate"])
    assert math.isnan(quiet["at_best_mcc"]["recall"]["estimate"])
    assert math.isnan(quiet["hits"]["0.01"]["estimate"])


def test_other_test_sets_are_not_compared():
    with pytest.raises(ValueError, match="compare trainings on the same splits"):
        averages.contrast([repeat([0, 1], [2], 0)], [repeat([0, 3], [2], 0)], KEY)
    with pytest.raises(ValueError, match="no training to average over"):
        averages.average([], KEY)
