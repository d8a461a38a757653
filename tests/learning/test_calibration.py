"""Calibration against scikit-learn and a brute-force scan."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from stzjax.learning import calibration
from stzjax.learning.calibration import Calibration


@pytest.fixture
def judged():
    """Logits that are three times too sure and shifted, and the labels they were drawn from."""
    rng = np.random.default_rng(0)
    margin = rng.normal(-2.0, 1.5, 4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-margin))).astype(int)
    noise = rng.normal(size=4000)
    return np.stack([noise, noise + 3.0 * margin + 4.0], axis=1), labels


def test_platt_is_the_logistic_regression_of_scikit_learn(judged):
    logits, labels = judged
    margin = logits[:, 1] - logits[:, 0]
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(margin[:, None], labels)
    found = calibration.fit("platt", logits, labels)
    np.testing.assert_allclose(found.slope, peer.coef_[0, 0], rtol=1e-4)
    np.testing.assert_allclose(found.offset, peer.intercept_[0], rtol=1e-4)
    np.testing.assert_allclose(
        calibration.confidence(logits, found), peer.predict_proba(margin[:, None])[:, 1], atol=1e-5
    )


def test_temperature_is_the_best_of_a_scan(judged):
    logits, labels = judged
    found = calibration.fit("temperature", logits, labels)
    assert found.offset == 0.0

    def loss(slope):
        return log_loss(labels, np.asarray(calibration.confidence(logits, Calibration(slope))))

    scan = np.linspace(0.5 * found.slope, 2.0 * found.slope, 301)
    best = scan[np.argmin([loss(s) for s in scan])]
    assert abs(best - found.slope) <= scan[1] - scan[0]
    assert loss(found.slope) < loss(1.0)


def test_a_ranking_worse_than_chance_is_not_turned_round(judged):
    logits, labels = judged
    for kind in ("temperature", "platt"):
        found = calibration.fit(kind, -logits, labels)
        assert found.slope > 0
        spread = np.ptp(np.asarray(calibration.confidence(-logits, found)))
        assert spread < 0.02


def test_without_calibration_it_is_the_softmax(judged):
    logits, labels = judged
    found = calibration.fit("none", logits, np.zeros_like(labels))
    expected = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(calibration.confidence(logits, found), expected, rtol=1e-12)
    logits32 = logits.astype(np.float32)
    assert calibration.confidence(logits32, found).dtype == np.float32
    slope = jax.grad(lambda z: calibration.confidence(z, found)[0])(logits)
    np.testing.assert_allclose(slope[0, 1], expected[0] * (1 - expected[0]), rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "logits", "labels", "message"),
    [
        ("isotonic", np.eye(2), [0, 1], "none, temperature, platt, got 'isotonic'"),
        ("platt", np.eye(2), [0, 0], "needs both classes in validation, all its labels are 0"),
        ("platt", np.ones((2, 2)), [0, 1], "gives every validation atom one confidence"),
    ],
)
def test_bad_input_is_refused(kind, logits, labels, message):
    with pytest.raises(ValueError, match=message):
        calibration.fit(kind, logits, labels)
