"""Under- and over-sampling: what is kept, how often, and what the counts say of it."""

import jax
import numpy as np
import pytest

from stzjax.learning import sampling


def test_all_positives_and_a_share_of_the_negatives_are_kept():
    rng = np.random.default_rng(0)
    labels = (rng.random(5000) < 0.02).astype(np.int32)
    mask = rng.random(5000) < 0.9
    keys = jax.random.split(jax.random.key(0), 60)
    kept = np.stack([sampling.kept(key, labels, mask, 3.0) for key in keys])
    positive = mask & (labels == 1)
    assert kept[:, positive].all() and not kept[:, ~mask].any()
    negatives = kept[:, mask & (labels == 0)]
    wanted = 3.0 * positive.sum()
    # A binomial number, 60 times: its mean is known to 1/sqrt(60 wanted).
    assert abs(negatives.sum(axis=1).mean() / wanted - 1) < 4 / np.sqrt(60 * wanted)
    # Every negative has the same chance.
    chance = wanted / negatives.shape[1]
    spread = np.sqrt(chance * (1 - chance) / 60)
    assert abs(negatives.mean(axis=0) - chance).max() < 6 * spread
    assert (kept[0] != kept[1]).any()


@pytest.mark.parametrize(("positives", "ratio"), [(0, 3.0), (5, 0.0), (5, 1e9)])
def test_where_nothing_is_to_drop_all_atoms_are_kept(positives, ratio):
    labels = (np.arange(50) < positives).astype(np.int32)
    mask = np.arange(50) < 40
    kept = sampling.kept(jax.random.key(0), labels, mask, ratio)
    np.testing.assert_array_equal(kept, mask)


def test_without_power_every_graph_is_shown_once():
    order = sampling.order(jax.random.key(0), [3, 0, 9, 1], 0.0)
    assert sorted(order) == [0, 1, 2, 3]


def test_graphs_are_drawn_by_their_positives():
    positives = np.array([1, 0, 4, 15])
    drawn = np.concatenate(
        [sampling.order(jax.random.key(seed), positives, 0.5) for seed in range(500)]
    )
    share = np.bincount(drawn, minlength=4) / len(drawn)
    expected = np.sqrt(positives) / np.sqrt(positives).sum()
    assert share[1] == 0
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / len(drawn)))


def test_counts_are_what_the_samplers_show_on_average():
    rng = np.random.default_rng(1)
    labels = [(rng.random(300) < p).astype(int) for p in (0.01, 0.2, 0.05)]
    positives = [int(one.sum()) for one in labels]
    shown = []
    for seed in range(300):
        key = jax.random.key(seed)
        for place in sampling.order(key, positives, 1.0):
            key = jax.random.fold_in(key, int(place))
            one = labels[place]
            kept = np.asarray(sampling.kept(key, one, np.ones(300, bool), 2.0))
            shown.append([np.sum(kept & (one == 0)), np.sum(kept & (one == 1))])
    found = np.sum(shown, axis=0) / 300
    np.testing.assert_allclose(found, sampling.counts(labels, 2.0, 1.0), rtol=0.03)
    np.testing.assert_array_equal(sampling.counts(labels), [900 - sum(positives), sum(positives)])


@pytest.mark.parametrize(
    ("labels", "power", "message"),
    [
        ([np.array([0, -1])], 0.0, "must be 0 or 1"),
        ([np.array([0, 0])], 1.0, "no training graph holds a positive atom"),
    ],
)
def test_bad_input_is_refused(labels, power, message):
    with pytest.raises(ValueError, match=message):
        sampling.counts(labels, 0.0, power)
