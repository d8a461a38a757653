"""Training learns what is there, finds nothing where nothing is, and repeats to the byte."""

import dataclasses

import flax.serialization
import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from stzjax.core.structure import Structure
from stzjax.io import archives
from stzjax.learning import checkpoints, graphs, losses, sampling, splits, train_step, training
from stzjax.learning.models import gat

NUM_FEATURES = 4
SMALL = training.TrainConfig(
    model=gat.Config(1, 6, 2, dense=(8,)),
    learning_rate=0.01,
    epochs=3,
    patience=0,
    select_by="loss",
)


def ring_graph(rng, num_atoms=40, prevalence=0.25, signal=True, offset=0.0):
    """A ring with chords to second neighbours; the label follows column 0 of the neighbourhood."""
    atoms = np.arange(num_atoms)
    pairs = np.concatenate([np.stack([atoms, (atoms + k) % num_atoms], 1) for k in (-2, -1, 1, 2)])
    features = rng.normal(size=(num_atoms, NUM_FEATURES))
    around = sum(np.roll(features[:, 0], k) for k in (-2, -1, 0, 1, 2))
    labels = around > np.quantile(around, 1 - prevalence)
    glass = Structure.create(np.zeros((num_atoms, 3)), np.eye(3), np.zeros(num_atoms, int), ["Cu"])
    return graphs.build(
        glass, features + offset, labels if signal else rng.permutation(labels), pairs
    )


def ring_graphs(seed, count, **settings):
    rng = np.random.default_rng(seed)
    return [ring_graph(rng, **settings) for _ in range(count)]


def pooled(confidences, members):
    return np.concatenate([g.nodes.label for g in members]), np.concatenate(confidences)


@pytest.mark.slow
def test_overfits_a_tiny_graph_with_random_labels():
    member = ring_graphs(0, 1, num_atoms=24, signal=False)
    config = dataclasses.replace(SMALL, model=gat.Config(1, 16, 2, dense=(32,)), epochs=300)
    result = training.train(member, member, config)
    confidence = training.predict(result.params, config, member)[0]
    np.testing.assert_array_equal(confidence >= 0.5, member[0].nodes.label == 1)
    assert result.history[0]["train_loss"] > 0.5
    assert result.history[-1]["train_loss"] < 0.02


def null_interval(labels, confidence, draws=500):
    """Extremes of AP over permuted labels: chance leaves them once in 250 cases."""
    rng = np.random.default_rng(0)
    drawn = [average_precision_score(rng.permutation(labels), confidence) for _ in range(draws)]
    return min(drawn), max(drawn)


@pytest.mark.slow
@pytest.mark.parametrize("signal", [True, False], ids=["real", "shuffled"])
def test_shuffled_labels_score_at_chance_and_real_ones_do_not(signal):
    config = dataclasses.replace(SMALL, epochs=40, graphs_per_batch=5, select_by="ap")
    members = ring_graphs(1, 30, num_atoms=60, prevalence=0.2, signal=signal)
    result = training.train(members[:10], members[10:15], config, score=average_precision_score)
    labels, confidence = pooled(training.predict(result.params, config, members[15:]), members[15:])
    prevalence = labels.mean()
    low, high = np.array(null_interval(labels, confidence)) / prevalence
    found = average_precision_score(labels, confidence) / prevalence
    # With 180 positives of 900, chance is an AP/prevalence of 1, give or take a third.
    assert 0.7 < low < 1 < high < 1.4
    assert found > 2 * high if signal else low <= found <= high


@pytest.mark.slow
def test_same_seed_same_bytes_and_another_seed_others():
    members = ring_graphs(2, 5)
    config = dataclasses.replace(
        SMALL, model=dataclasses.replace(SMALL.model, dropout=0.2), graphs_per_batch=2
    )
    one, same = (training.train(members[:4], members[4:], config) for _ in range(2))
    other = training.train(members[:4], members[4:], dataclasses.replace(config, seed=1))
    packed = [flax.serialization.to_bytes(r.params.network) for r in (one, same, other)]
    assert packed[0] == packed[1] != packed[2]
    assert one.history == same.history
    assert {leaf.dtype for leaf in jax.tree.leaves(one.params.network)} == {np.dtype(np.float32)}


@pytest.mark.slow
def test_the_scaler_sees_the_training_graphs_alone():
    members, shifted = ring_graphs(3, 3), ring_graphs(4, 1, offset=1e3)
    result = training.train(members, shifted, SMALL)
    expected = np.concatenate([graph.nodes.features for graph in members])
    np.testing.assert_allclose(result.params.scaler.mean, expected.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(result.params.scaler.scale, expected.std(axis=0), rtol=1e-5)


def test_prediction_scales_raw_features_itself():
    # Units must not matter: the same atoms in other units give the same confidences.
    members = ring_graphs(5, 3)

    def in_other_units(graph):
        features = (graph.nodes.features * np.float32(256.0)).astype(np.float32)
        return graph._replace(nodes=graph.nodes._replace(features=features))

    moved = [in_other_units(graph) for graph in members]
    one = training.train(members[:2], members[2:], SMALL)
    other = training.train(moved[:2], moved[2:], SMALL)
    np.testing.assert_allclose(
        training.predict(other.params, SMALL, moved[2:])[0],
        training.predict(one.params, SMALL, members[2:])[0],
        rtol=1e-4,
    )


@pytest.mark.slow
def test_predictions_do_not_depend_on_how_graphs_are_batched():
    sizes = [30, 37, 30, 37, 30]
    members = [ring_graphs(seed, 1, num_atoms=size)[0] for seed, size in enumerate(sizes)]
    result = training.train(members[:4], members[4:], SMALL)
    alone = [training.predict(result.params, SMALL, [graph])[0] for graph in members]
    paired = dataclasses.replace(SMALL, graphs_per_batch=2)
    together = training.predict(result.params, paired, members)
    assert [len(c) for c in together] == sizes
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert training.predict(result.params, SMALL, []) == []


def test_the_best_epoch_is_kept_and_its_parameters_with_it():
    members = ring_graphs(6, 3)
    scores = iter([0.1, 0.7, 0.3, 0.7, np.nan])
    seen = []
    config = dataclasses.replace(SMALL, epochs=5, select_by="ap")
    result = training.train(
        members[:2],
        members[2:],
        config,
        score=lambda labels, confidence: next(scores),
        on_epoch=lambda epoch, record: seen.append((epoch, record)),
    )
    assert result.best_epoch == 2 and result.selected_by == "ap"
    assert seen == list(enumerate(result.history, start=1))
    short = training.train(
        members[:2], members[2:], dataclasses.replace(config, epochs=2), score=lambda *_: 0.0
    )
    assert short.best_epoch == 1
    two = dataclasses.replace(config, epochs=2, select_by="loss")
    last = training.train(members[:2], members[2:], two)
    assert last.best_epoch == 2
    for one, other in zip(*map(jax.tree.leaves, (result.params, last.params)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_patience_stops_early():
    members = ring_graphs(7, 2)
    config = dataclasses.replace(SMALL, epochs=9, select_by="ap", patience=2)
    scores = iter([0.1, 0.5, 0.4, 0.3])
    result = training.train(members[:1], members[1:], config, score=lambda *_: next(scores))
    assert result.best_epoch == 2 and len(result.history) == 4


@pytest.mark.slow
def test_the_score_gets_every_real_validation_atom_once():
    members = ring_graphs(8, 5)
    truth = np.concatenate([graph.nodes.label for graph in members[2:]])

    def score(labels, confidence):
        np.testing.assert_array_equal(labels, truth)
        assert confidence.shape == truth.shape and ((0 <= confidence) & (confidence <= 1)).all()
        return 1.0

    config = dataclasses.replace(SMALL, epochs=1, select_by="f1", graphs_per_batch=2)
    result = training.train(members[:2], members[2:], config, score=score)
    confidences = training.predict(result.params, config, members[2:])
    chosen = np.where(truth == 1, np.concatenate(confidences), 1 - np.concatenate(confidences))
    weights = np.where(truth == 1, 1 / 0.25, 1 / 0.75)
    expected = np.average(-np.log(chosen), weights=weights)
    np.testing.assert_allclose(result.history[0]["validation_loss"], expected, rtol=1e-5)


def test_validation_of_one_class_falls_back_to_the_loss():
    members = ring_graphs(9, 2)
    quiet = members[1]._replace(nodes=members[1].nodes._replace(label=0 * members[1].nodes.label))
    config = dataclasses.replace(SMALL, select_by="auc")
    result = training.train(members[:1], [quiet], config, score=lambda *_: np.nan)
    assert result.selected_by == "loss" and result.best_epoch >= 1


@pytest.mark.slow
def test_the_padded_shape_does_not_change_the_training(monkeypatch):
    members = ring_graphs(13, 3)
    snug = training.train(members[:2], members[2:], SMALL)
    monkeypatch.setattr(
        graphs, "bucket_shape", lambda *_: graphs.Bucket(70, 400, num_graphs=3, degree=9)
    )
    loose = training.train(members[:2], members[2:], SMALL)
    for one, other in zip(snug.history, loose.history, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.slow
def test_one_program_serves_every_batch():
    members = [ring_graphs(seed, 1, num_atoms=41 + seed)[0] for seed in range(5)]
    config = dataclasses.replace(SMALL, model=gat.Config(1, 3, 2, dense=()), graphs_per_batch=2)
    before = train_step.take._cache_size(), train_step.forward._cache_size()
    training.train(members[:3], members[3:], config)
    after = train_step.take._cache_size(), train_step.forward._cache_size()
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


def test_saving_and_loading_gives_the_same_result(tmp_path):
    members = ring_graphs(10, 3)
    result = training.train(members[:2], members[2:], SMALL)
    checkpoints.save(tmp_path / "model", result)
    again = checkpoints.load(tmp_path / "model")
    assert again.config == result.config and again.history == result.history
    assert (again.best_epoch, again.selected_by) == (result.best_epoch, "loss")
    assert isinstance(again.params.scaler, splits.Scaler)
    for one, other in zip(
        training.predict(result.params, result.config, members),
        training.predict(again.params, again.config, members),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "history.json",
        "network.npz",
    ]


def test_damaged_models_are_refused(tmp_path):
    members = ring_graphs(11, 2)
    checkpoints.save(tmp_path, training.train(members[:1], members[1:], SMALL))
    path = tmp_path / "network.npz"
    whole = path.read_bytes()
    arrays, settings = archives.load_archive(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(archives.Damaged, match=r"network\.npz is not a complete stzjax archive"):
        checkpoints.load(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="cannot read"):
        checkpoints.load(tmp_path)
    settings["config"]["model"]["colour"] = 1
    archives.save_archive(path, arrays, settings)
    with pytest.raises(ValueError, match=r"colour.*train again"):
        checkpoints.load(tmp_path)
    with pytest.raises(ValueError, match="cannot read"):
        checkpoints.load(tmp_path / "nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 2])
def test_an_interrupted_training_goes_on(tmp_path, lanes):
    """From any epoch, through a file: the same bits and history, dropout and patience included."""
    members = ring_graphs(13, 6)
    model = gat.Config(1, 6, 2, dense=(8,), dropout=0.2)
    config = training.TrainConfig(
        model=model, learning_rate=0.05, epochs=12, patience=4, select_by="ap", undersample=2.0
    )
    tasks = [
        training.Task(members[:3], members[4:], 3),
        training.Task(members[1:4], members[4:], 4),
    ]

    def score(labels, confidence):
        return float(np.corrcoef(labels, confidence)[0, 1])

    states = []
    whole = training.train_many(
        tasks[:lanes], config, score=score, save=states.append, save_every=0.0
    )
    assert 4 < len(states) <= 12
    for place in (0, 2, len(states) - 1):
        archives.save_archive(tmp_path / "state.npz", *states[place])
        saved = archives.Saved(*archives.load_archive(tmp_path / "state.npz"))
        seen = []
        again = training.train_many(
            tasks[:lanes], config, score=score, saved=saved,
            on_epoch=lambda task, epoch, record, seen=seen: seen.append(epoch),
        )  # fmt: skip
        assert (not seen and place == len(states) - 1) or min(seen) == place + 2
        for one, other in zip(whole, again, strict=True):
            assert one.history == other.history and one.best_epoch == other.best_epoch
            for a, b in zip(*(jax.tree.leaves(r.params) for r in (one, other)), strict=True):
                np.testing.assert_array_equal(a, b)


def test_what_was_saved_of_another_network_is_refused():
    members, states = ring_graphs(13, 3), []
    task = training.Task(members[:2], members[2:])
    training.train_many([task], SMALL, save=states.append, save_every=0.0)
    wide = dataclasses.replace(SMALL, model=gat.Config(1, 7, 2, dense=(8,)))
    with pytest.raises(ValueError, match="does not fit this run"):
        training.train_many([task], wide, saved=states[0])


def test_what_cannot_be_learned_from_is_refused():
    good = ring_graphs(12, 2)
    nodes = good[0].nodes
    spoilt = nodes.features.copy()
    spoilt[3, 1] = np.nan
    unlabelled = nodes._replace(label=np.full_like(nodes.label, graphs.UNLABELLED))
    cases = [
        ([], good, "no training graphs"),
        (good, [], "no validation graphs"),
        ([good[0]._replace(nodes=nodes._replace(features=spoilt))], good, "not finite"),
        (good, [good[0]._replace(nodes=unlabelled)], "validation graph 0 has no labels"),
        ([graphs.pad(good[0], 64, 512)], good, "is padded"),
        ([good[0]._replace(nodes=nodes._replace(label=0 * nodes.label))], good, "label 1"),
    ]
    for train_graphs, validation_graphs, message in cases:
        with pytest.raises(ValueError, match=message):
            training.train(train_graphs, validation_graphs, SMALL)
    with pytest.raises(ValueError, match="needs score="):
        training.train(good, good, dataclasses.replace(SMALL, select_by="ap"))
    with pytest.raises(ValueError, match="diverged"):
        training.train(good, good, dataclasses.replace(SMALL, learning_rate=1e30))
    narrow = good[1]._replace(nodes=good[1].nodes._replace(features=good[1].nodes.features[:, :2]))
    with pytest.raises(ValueError, match="fitted on 4 feature columns, got 2"):
        training.train(good, [narrow], SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"learning_rate": np.nan}, "learning_rate must be finite, got nan"),
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"graphs_per_batch": 0}, "graphs_per_batch must be 1 or more"),
        ({"patience": -1}, "patience must not be negative"),
        ({"weight_power": np.nan}, "weight_power must be finite, got nan"),
        ({"weight_power": -0.5}, "weight_power must not be negative, got -0.5"),
        ({"focal_gamma": np.inf}, "focal_gamma must be finite, got inf"),
        ({"balance_beta": 1.0}, r"balance_beta must lie in \[0, 1\), got 1.0"),
        ({"adjustment": -1.0}, "adjustment must not be negative, got -1.0"),
        ({"undersample": -2.0}, "undersample must not be negative, got -2.0"),
        ({"oversample": np.inf}, "oversample must be finite, got inf"),
        ({"oversample": np.nan}, "oversample must be finite, got nan"),
        ({"loss": "hinge"}, "weighted, focal, balanced, adjusted, event, got 'hinge'"),
        ({"calibration": "isotonic"}, "none, temperature, platt, got 'isotonic'"),
        ({"select_by": "luck"}, "loss, ap, mcc, f1, auc, got 'luck'"),
    ],
)
def test_a_bad_config_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        training.TrainConfig(**settings)


def tasks_of(members):
    """Three trainings of unlike size, for graphs_per_batch = 2."""
    return [
        training.Task(members[:5], members[5:6], seed=3),
        training.Task(members[1:3], members[3:6], seed=1),
        training.Task(members[2:6], members[:2], seed=3),
    ]


@pytest.mark.slow
def test_trainings_side_by_side_equal_those_one_by_one():
    members = ring_graphs(20, 6)
    config = dataclasses.replace(
        SMALL,
        model=dataclasses.replace(SMALL.model, dropout=0.2),
        graphs_per_batch=2,
        epochs=4,
        select_by="ap",
        undersample=2.0,
    )
    tasks = tasks_of(members)
    together = training.train_many(tasks, config, score=average_precision_score)
    for task, result in zip(tasks, together, strict=True):
        own = dataclasses.replace(config, seed=task.seed)
        alone = training.train(task.train, task.validation, own, score=average_precision_score)
        assert result.config == own
        assert [r["epoch"] for r in result.history] == [1, 2, 3, 4]
        for one, other in zip(result.history, alone.history, strict=True):
            # The random masks are the same, the rounding of the sums is not.
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=2e-4)
            assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=2e-4)
        for one, other in zip(*map(jax.tree.leaves, (result.params, alone.params)), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.slow
def test_side_by_side_at_a_size_that_rounds_to_a_power_of_two():
    """Two thousand atoms are padded to 2048 nodes at which XLA's CPU backend ends the process."""
    members = ring_graphs(25, 2, num_atoms=2000)
    tasks = [training.Task(members[:1], members[1:], seed) for seed in (0, 1)]
    results = training.train_many(tasks, dataclasses.replace(SMALL, epochs=1))
    assert all(np.isfinite(result.history[0]["train_loss"]) for result in results)


@pytest.mark.slow
def test_a_lane_that_has_stopped_keeps_its_best_and_is_heard_no_more():
    members = ring_graphs(21, 6)
    config = dataclasses.replace(SMALL, select_by="ap", patience=2, epochs=6)
    heard = []
    sizes = [len(np.concatenate([g.nodes.label for g in t.validation])) for t in tasks_of(members)]
    plans = {sizes[0]: iter([0.9, 0.1, 0.1]), sizes[1]: iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])}
    results = training.train_many(
        tasks_of(members)[:2],
        config,
        score=lambda labels, _: next(plans[len(labels)]),
        on_epoch=lambda place, epoch, record: heard.append((place, epoch)),
    )
    assert [r.best_epoch for r in results] == [1, 6]
    assert heard == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3), (1, 4), (1, 5), (1, 6)]


@pytest.mark.parametrize("remedy", [{"undersample": 1.0}, {"oversample": 1.0}], ids=str)
def test_samplers_leave_validation_and_prediction_alone(remedy, monkeypatch):
    members = ring_graphs(22, 4)
    before = [g.nodes.label.copy() for g in members]
    seen = []
    kept = sampling.kept

    def spy(key, labels, mask, ratio):
        seen.append(labels.shape)
        return kept(key, labels, mask, ratio)

    monkeypatch.setattr(sampling, "kept", spy)
    config = dataclasses.replace(SMALL, epochs=1, select_by="auc", **remedy)
    judged = []

    def score(labels, confidence):
        judged.append((labels.copy(), confidence.copy()))
        return 1.0

    jax.clear_caches()
    result = training.train(members[:3], members[3:], config, score=score)
    traced = len(seen)
    # Every validation atom was judged once, by the network as it predicts.
    np.testing.assert_array_equal(judged[0][0], members[3].nodes.label)
    again = training.predict(result.params, config, members[3:])[0]
    np.testing.assert_allclose(judged[0][1], again, rtol=1e-5)
    # The validation loss, too, is that of all atoms.
    truth = members[3].nodes.label
    chosen = np.where(truth == 1, again, 1 - again)
    counts = sampling.counts([g.nodes.label for g in members[:3]], config.undersample)
    weights = np.asarray(losses.terms(counts, config).weights)
    expected = np.average(-np.log(chosen), weights=weights[truth])
    assert result.history[0]["validation_loss"] == pytest.approx(expected, rel=1e-5)
    assert len(seen) == traced > 0
    for graph, label in zip(members, before, strict=True):
        np.testing.assert_array_equal(graph.nodes.label, label)


@pytest.mark.slow
def test_undersampled_loss_counts_the_atoms_that_were_kept():
    member = ring_graphs(23, 1, num_atoms=400, prevalence=0.05)
    config = dataclasses.replace(
        SMALL, undersample=1.0, weight_power=0.0, epochs=40, learning_rate=1e-30
    )
    result = training.train(member, member, config)
    confidence = training.predict(result.params, config, member)[0]
    truth = member[0].nodes.label == 1
    # At rate zero every epoch has the first network: positives, and as many random negatives.
    losses = -np.log(np.where(truth, confidence, 1 - confidence))
    expected = 0.5 * (losses[truth].mean() + losses[~truth].mean())
    everyone = losses.mean()
    found = np.mean([record["train_loss"] for record in result.history])
    assert abs(found - expected) < 0.2 * abs(everyone - expected)


def test_calibration_is_fitted_on_validation_and_applied_in_prediction():
    members = ring_graphs(24, 12, prevalence=0.1)
    config = dataclasses.replace(SMALL, epochs=15, calibration="platt")
    result = training.train(members[:6], members[6:9], config)
    bare = training.train(
        members[:6], members[6:9], dataclasses.replace(config, calibration="none")
    )
    labels, calibrated = pooled(training.predict(result.params, config, members[6:9]), members[6:9])
    _, plain = pooled(training.predict(bare.params, config, members[6:9]), members[6:9])
    # Maximum likelihood with a free offset: the mean confidence is the prevalence.
    assert calibrated.mean() == pytest.approx(labels.mean(), rel=1e-3)
    assert plain.mean() > 2 * labels.mean()
    np.testing.assert_array_equal(np.argsort(calibrated), np.argsort(plain))


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["event", "weighted"])
def test_event_loss_is_each_graphs_own_also_in_a_batch(loss):
    """Nothing moves: two graphs in one step give the mean of the two; class weights do not."""
    shapes = ((40, 0.1), (60, 0.5))
    members = [ring_graphs(7, 1, num_atoms=n, prevalence=p)[0] for n, p in shapes]
    config = dataclasses.replace(SMALL, epochs=1, learning_rate=1e-30, loss=loss, select_by="loss")
    alone, together = (
        training.train(members, members, dataclasses.replace(config, graphs_per_batch=size))
        for size in (1, 2)
    )
    apart = abs(together.history[0]["train_loss"] / alone.history[0]["train_loss"] - 1.0)
    assert apart < 1e-5 if loss == "event" else apart > 1e-3
