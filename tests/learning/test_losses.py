"""The loss against scikit-learn and finite differences; padding must not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from stzjax.learning import losses
from stzjax.learning.losses import LossConfig, Terms

FLOAT64_ROUNDING = 1e-12


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(40, 2)) * 2,
        rng.integers(0, 2, 40).astype(np.int32),
        rng.random(40) < 0.7,
        Terms(np.array([0.6, 9.0])),
    )


def test_loss_agrees_with_scikit_learn_on_the_masked_subset(batch):
    logits, labels, mask, terms = batch
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = log_loss(
        labels[mask], probability[mask], labels=[0, 1], sample_weight=terms.weights[labels[mask]]
    )
    found = losses.weighted_cross_entropy(logits, labels, mask, terms)
    np.testing.assert_allclose(found, expected, rtol=FLOAT64_ROUNDING)


def test_masked_loss_equals_the_loss_of_the_subset(batch):
    logits, labels, mask, terms = batch
    subset = losses.weighted_cross_entropy(
        logits[mask], labels[mask], np.ones(mask.sum(), bool), terms
    )
    found = losses.weighted_cross_entropy(logits, labels, mask, terms)
    np.testing.assert_allclose(found, subset, rtol=FLOAT64_ROUNDING)


def test_nothing_in_the_padding_reaches_value_or_gradient(batch):
    logits, labels, mask, terms = batch
    clean = jax.value_and_grad(losses.weighted_cross_entropy)(logits, labels, mask, terms)
    logits, labels = np.where(mask[:, None], logits, np.inf), np.where(mask, labels, -1)
    dirty = jax.value_and_grad(losses.weighted_cross_entropy)(logits, labels, mask, terms)
    assert clean[0] == dirty[0]
    np.testing.assert_array_equal(clean[1], dirty[1])
    assert not np.any(np.asarray(dirty[1])[~mask])


def test_gradient_by_finite_differences(batch):
    logits, labels, mask, terms = batch
    loss = jax.jit(lambda x: losses.weighted_cross_entropy(x, labels, mask, terms))
    check_grads(loss, (logits,), order=1)


def test_an_empty_mask_gives_zero_and_no_nan(batch):
    logits, labels, mask, terms = batch
    value, gradient = jax.value_and_grad(losses.weighted_cross_entropy)(
        logits, labels, np.zeros_like(mask), terms
    )
    assert value == 0 and not np.any(gradient)


def test_float32_stays_float32(batch):
    logits, labels, mask, terms = batch
    loss = losses.weighted_cross_entropy(jnp.asarray(logits, jnp.float32), labels, mask, terms)
    assert loss.dtype == jnp.float32


def test_class_weights_agree_with_scikit_learn():
    labels = np.random.default_rng(1).random(500) < 0.03
    expected = compute_class_weight("balanced", classes=np.array([False, True]), y=labels)
    counts = np.bincount(labels)
    np.testing.assert_allclose(losses.class_weights(counts), expected, rtol=FLOAT64_ROUNDING)
    root = losses.class_weights(counts, 0.5)
    np.testing.assert_allclose(root**2, expected, rtol=FLOAT64_ROUNDING)
    np.testing.assert_array_equal(losses.class_weights(counts, 0.0), [1.0, 1.0])


@pytest.mark.parametrize(("counts", "absent"), [([5, 0], 1), ([0, 5], 0)])
def test_an_absent_class_is_refused(counts, absent):
    with pytest.raises(ValueError, match=f"no training atom has label {absent}"):
        losses.terms(counts, LossConfig())


def numpy_loss(kind, logits, labels, counts):
    """Each loss as its paper writes it, atom by atom."""
    total = norm = 0.0
    n = counts.sum()
    for z, y in zip(logits, labels, strict=True):
        if kind == "adjusted":
            z = z + 1.3 * np.log(counts / n)
        p = np.exp(z[y]) / np.exp(z).sum()
        weight = 1.0
        if kind in ("weighted", "focal"):
            weight = n / (2 * counts[y])
        if kind == "event":  # All in one graph.
            weight = 1 / (labels == y).sum()
        if kind == "balanced":
            effective = [(1 - 0.99**c) / (1 - 0.99) for c in counts]
            weight = (1 / effective[y]) * 2 / sum(1 / e for e in effective)
        factor = (1 - p) ** 1.7 if kind == "focal" else 1.0
        total += weight * factor * -np.log(p)
        norm += weight
    return total / norm


@pytest.mark.slow
@pytest.mark.parametrize("kind", losses.LOSSES)
def test_every_loss_against_its_formula_and_its_gradient(batch, kind):
    logits, labels, mask, _ = batch
    counts = np.array([900.0, 60.0])
    chosen = losses.terms(
        counts, LossConfig(kind, focal_gamma=1.7, balance_beta=0.99, adjustment=1.3)
    )
    expected = numpy_loss(kind, logits[mask], labels[mask], counts)
    found = losses.weighted_cross_entropy(logits, labels, mask, chosen)
    # The terms are kept in float32.
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    check_grads(
        lambda x: losses.weighted_cross_entropy(x, labels, mask, chosen), (logits,), order=2
    )


def test_focal_loss_has_a_gradient_where_an_atom_is_certain():
    logits = jnp.array([[60.0, -60.0], [-60.0, 60.0], [500.0, -500.0]])
    for focus in (0.0, 0.5, 2.0):
        value, slope = jax.value_and_grad(losses.weighted_cross_entropy)(
            logits, jnp.array([0, 1, 0]), jnp.ones(3, bool), Terms(jnp.ones(2), focus=focus)
        )
        assert value == 0 and np.isfinite(slope).all()


def test_adjusted_logits_are_bayes_optimal_for_the_balanced_error():
    """A loss that knows the prior leaves logits that do not: both classes at even odds."""
    labels = (np.arange(1000) < 30).astype(np.int32)
    terms = losses.terms([970, 30], LossConfig("adjusted"))

    def loss(z):
        logits = jnp.zeros((1000, 2)).at[:, 1].set(z)
        return losses.weighted_cross_entropy(logits, labels, np.ones(1000, bool), terms)

    assert abs(jax.grad(loss)(0.0)) < 1e-7


@pytest.mark.slow
def test_each_event_counts_once():
    """Two graphs in a batch, and padding: the mean over both classes of each graph."""
    rng = np.random.default_rng(5)
    graph = np.array([0] * 20 + [1] * 30 + [2] * 6)
    labels, mask = np.zeros(56, int), graph < 2
    labels[[3, 21, 22, 23, 24, 40]] = 1
    logits = rng.normal(size=(56, 2))
    surprise = np.log(np.exp(logits).sum(1)) - logits[np.arange(56), labels]
    means = [surprise[(graph == g) & (labels == c)].mean() for g in (0, 1) for c in (0, 1)]
    chosen = losses.terms(np.array([44.0, 6.0]), LossConfig("event"))

    def loss(x):
        return losses.weighted_cross_entropy(
            x, labels, mask, chosen, graph=jnp.asarray(graph), num_graphs=3
        )

    np.testing.assert_allclose(loss(logits), np.mean(means), rtol=1e-6)
    check_grads(loss, (logits,), order=2)
    # A graph without an event: its negatives alone.
    labels[labels == 1] = np.where(graph[labels == 1] == 0, 0, 1)
    surprise = np.log(np.exp(logits).sum(1)) - logits[np.arange(56), labels]
    means = [surprise[(graph == g) & (labels == c)].mean() for g, c in ((0, 0), (1, 0), (1, 1))]
    np.testing.assert_allclose(loss(logits), np.mean(means), rtol=1e-6)
