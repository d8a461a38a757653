"""Splits that never part a specimen, and a scaler that sees training atoms alone."""

import jax
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from stzjax.learning import splits

FLOAT64_ROUNDING = 1e-12


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1)), (7, (4, 2, 1)), (75, (45, 15, 15))],
)
def test_sizes_follow_the_ratio_and_nothing_is_lost(count, sizes):
    specimens = np.repeat(np.arange(count) * 3, 6)
    split = splits.by_specimen(specimens, key=jax.random.key(1))
    assert tuple(map(len, split)) == sizes
    assert sorted(np.concatenate(split).tolist()) == list(range(0, 3 * count, 3))


def test_no_specimen_is_parted():
    specimens = np.repeat(np.arange(11), 6)
    split = splits.by_specimen(specimens, key=jax.random.key(0))
    runs = [set(np.flatnonzero(np.isin(specimens, part))) for part in split]
    assert not (runs[0] & runs[1] or runs[0] & runs[2] or runs[1] & runs[2])
    assert len(set.union(*runs)) == len(specimens)
    for part in split:
        for specimen in part:
            assert (specimens == specimen).sum() == 6


def test_the_key_decides():
    one, same, other = (
        splits.by_specimen(range(40), key=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert (one.test != other.test).any()


def test_too_few_specimens_are_refused():
    with pytest.raises(ValueError, match="cannot split 2 specimens"):
        splits.by_specimen([0, 0, 0, 1, 1], key=jax.random.key(0))
    with pytest.raises(ValueError, match="cannot make 4 folds of 3 specimens"):
        splits.folds(range(3), 4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="cannot make 1 folds"):
        splits.folds(range(3), 1, key=jax.random.key(0))


@pytest.mark.parametrize(("count", "num_folds"), [(60, 4), (10, 4), (4, 4)])
def test_folds_validate_each_specimen_once(count, num_folds):
    rounds = splits.folds(np.repeat(np.arange(count), 6), num_folds, key=jax.random.key(2))
    held = np.concatenate([fold.validation for fold in rounds])
    assert sorted(held.tolist()) == list(range(count))
    sizes = [len(fold.validation) for fold in rounds]
    assert len(rounds) == num_folds and max(sizes) - min(sizes) <= 1
    for fold in rounds:
        assert sorted([*fold.train, *fold.validation]) == list(range(count))


def test_scaler_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    # A wide offset over a narrow spread is where a one-pass variance cancels.
    parts = [rng.normal(size=(n, 4)) * [1, 1e-3, 5, 1] + [0, 1e3, -4, 7] for n in (30, 50)]
    scaler = splits.fit_scaler(parts)
    reference = StandardScaler().fit(np.concatenate(parts))
    np.testing.assert_allclose(scaler.mean, reference.mean_, rtol=FLOAT64_ROUNDING)
    np.testing.assert_allclose(scaler.scale, reference.scale_, rtol=1e-9)
    fresh = rng.normal(size=(9, 4))
    np.testing.assert_allclose(scaler.apply(fresh), reference.transform(fresh), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_columns_get_scale_one(dtype):
    features = np.full((1000, 2), 0.1, dtype)
    features[:, 1] = np.arange(1000) % 2
    scaler = splits.fit_scaler([features])
    assert scaler.scale[0] == 1 and scaler.scale[1] == 0.5
    scaled = scaler.apply(features)
    assert scaled.dtype == dtype
    assert abs(scaled[:, 0]).max() < 1e-7
    assert set(scaled[:, 1].tolist()) == {-1, 1}


def test_bad_features_are_refused():
    with pytest.raises(ValueError, match="no training features"):
        splits.fit_scaler([])
    with pytest.raises(ValueError, match="differ in their columns"):
        splits.fit_scaler([np.ones((3, 2)), np.ones((3, 4))])
    with pytest.raises(ValueError, match="column 1 holds a value that is not finite"):
        splits.fit_scaler([np.array([[1.0, np.nan], [2.0, 3.0]])])
    scaler = splits.fit_scaler([np.random.default_rng(0).random((5, 3))])
    with pytest.raises(ValueError, match="fitted on 3 feature columns, got 2"):
        scaler.apply(np.ones((4, 2)))


@pytest.mark.parametrize(("count", "num"), [(30, 5), (11, 4), (3, 3)])
def test_rotations_test_and_validate_every_specimen_once(count, num):
    found = splits.rotations(np.arange(count), num, key=jax.random.key(1))
    assert len(found) == num
    for part in ("test", "validation"):
        pooled = np.concatenate([getattr(split, part) for split in found])
        assert sorted(pooled) == list(range(count))
    for split in found:
        parts = [set(part.tolist()) for part in split]
        assert set.union(*parts) == set(range(count))
        assert sum(map(len, parts)) == count and all(parts)


@pytest.mark.parametrize("num", [2, 6])
def test_rotations_that_cannot_be_are_refused(num):
    with pytest.raises(ValueError, match=f"cannot rotate 5 specimens through {num} parts"):
        splits.rotations(np.arange(5), num, key=jax.random.key(0))
