"""The loss against scikit-learn and finite differences; padding must not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from stzjax import losses

FLOAT64_ROUNDING = 1e-12


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(40, 2)) * 2,
        rng.integers(0, 2, 40).astype(np.int32),
        rng.random(40) < 0.7,
        np.array([0.6, 9.0]),
    )


def test_loss_agrees_with_scikit_learn_on_the_masked_subset(batch):
    logits, labels, mask, weights = batch
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = log_loss(
        labels[mask], probability[mask], labels=[0, 1], sample_weight=weights[labels[mask]]
    )
    found = losses.weighted_cross_entropy(logits, labels, mask, weights)
    np.testing.assert_allclose(found, expected, rtol=FLOAT64_ROUNDING)


def test_masked_loss_equals_the_loss_of_the_subset(batch):
    logits, labels, mask, weights = batch
    subset = losses.weighted_cross_entropy(
        logits[mask], labels[mask], np.ones(mask.sum(), bool), weights
    )
    found = losses.weighted_cross_entropy(logits, labels, mask, weights)
    np.testing.assert_allclose(found, subset, rtol=FLOAT64_ROUNDING)


def test_nothing_in_the_padding_reaches_value_or_gradient(batch):
    logits, labels, mask, weights = batch
    clean = jax.value_and_grad(losses.weighted_cross_entropy)(logits, labels, mask, weights)
    logits, labels = np.where(mask[:, None], logits, np.inf), np.where(mask, labels, -1)
    dirty = jax.value_and_grad(losses.weighted_cross_entropy)(logits, labels, mask, weights)
    assert clean[0] == dirty[0]
    np.testing.assert_array_equal(clean[1], dirty[1])
    assert not np.any(np.asarray(dirty[1])[~mask])


def test_gradient_by_finite_differences(batch):
    logits, labels, mask, weights = batch
    loss = jax.jit(lambda x: losses.weighted_cross_entropy(x, labels, mask, weights))
    check_grads(loss, (logits,), order=1)


def test_an_empty_mask_gives_zero_and_no_nan(batch):
    logits, labels, mask, weights = batch
    value, gradient = jax.value_and_grad(losses.weighted_cross_entropy)(
        logits, labels, np.zeros_like(mask), weights
    )
    assert value == 0 and not np.any(gradient)


def test_float32_stays_float32(batch):
    logits, labels, mask, weights = batch
    loss = losses.weighted_cross_entropy(jnp.asarray(logits, jnp.float32), labels, mask, weights)
    assert loss.dtype == jnp.float32


def test_class_weights_agree_with_scikit_learn():
    labels = np.random.default_rng(1).random(500) < 0.03
    expected = compute_class_weight("balanced", classes=np.array([False, True]), y=labels)
    np.testing.assert_allclose(losses.class_weights(labels), expected, rtol=FLOAT64_ROUNDING)
    root = losses.class_weights(labels, 0.5)
    np.testing.assert_allclose(root**2, expected, rtol=FLOAT64_ROUNDING)
    np.testing.assert_array_equal(losses.class_weights(labels, 0.0), [1.0, 1.0])


@pytest.mark.parametrize(
    ("labels", "power", "message"),
    [
        (np.zeros(5, int), 1.0, "no training atom has label 1"),
        (np.ones(5, int), 1.0, "no training atom has label 0"),
        (np.array([0, 1, -1]), 1.0, "must be 0 or 1"),
        (np.array([0, 1]), -1.0, "not negative, got -1.0"),
        (np.array([0, 1]), np.nan, "not negative, got nan"),
    ],
)
def test_bad_input_is_refused(labels, power, message):
    with pytest.raises(ValueError, match=message):
        losses.class_weights(labels, power)
