"""Thresholds, remedies and baselines on synthetic runs; leakage; the control."""

import dataclasses
import json

import numpy as np
import pytest
import scripts
import synthetic

from stzjax.learning import baselines, splits, training
from stzjax.pipeline import comparisons, studies
from stzjax.pipeline.dataset import Dataset
from stzjax.run_folder.folder import Folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("study") / "run", epochs=12)


def at_threshold(folder, value):
    return Folder(folder.path, folder.settings.changed(threshold=value))


def rows_of(folder, title):
    content = json.loads((folder.path / title / f"{title}.json").read_text())
    return {row["name"]: row for row in content["rows"]}


@pytest.mark.slow
def test_remedies_are_paired_with_the_papers_loss(folder):
    names = ["unweighted", "focal", "undersampled 1:1", "platt"]
    studies.remedies(folder, names, [0, 1], 0, threads=2)
    rows = rows_of(folder, "remedies")
    assert list(rows) == ["weighted", *names]
    assert rows["weighted"]["minus_reference"] is None
    for name in names:
        apart = rows[name]["minus_reference"]["ranks"]["auc"]["estimate"]
        own = rows[name]["average"]["ranks"]["auc"]["estimate"]
        reference = rows["weighted"]["average"]["ranks"]["auc"]["estimate"]
        assert apart == pytest.approx(own - reference, abs=1e-12)
        assert rows[name]["repeats"] == 2
    # Platt's scaling keeps the ranking and makes probabilities.
    assert rows["platt"]["average"]["ranks"] == rows["weighted"]["average"]["ranks"]
    assert rows["platt"]["brier"] < rows["weighted"]["brier"]
    # Without weights nearly nothing rare is called.
    halves = [rows[name]["average"]["at_half"]["recall"]["estimate"] for name in rows]
    assert halves[1] < halves[0]
    files = list((folder.path / "remedies" / "trials").iterdir())
    assert len(files) == 10
    assert (folder.path / "remedies" / "remedies.md").read_text().count("\n") == 7


def test_every_remedy_changes_the_training_and_nothing_else():
    base = training.TrainConfig()
    configs = [dataclasses.replace(base, **change) for change in studies.REMEDIES.values()]
    assert len({repr(config) for config in configs}) == len(configs)
    for config in configs:
        for name in ("model", "epochs", "learning_rate", "graphs_per_batch", "patience"):
            assert getattr(config, name) == getattr(base, name)


def test_finished_trials_are_read_and_not_made_again(folder, monkeypatch):
    studies.remedies(folder, ["focal"], [0], 0, threads=1)

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_many", never)
    studies.remedies(folder, ["focal"], [0], 0, threads=1)
    other = Folder(folder.path, folder.settings.changed(learning_rate=0.5))
    with pytest.raises(ValueError, match=r"learning_rate = 0\.02"):
        studies.remedies(other, ["focal"], [0], 0, threads=1)


@pytest.mark.slow
def test_baselines_beside_the_network_and_its_control(folder):
    chosen = ["prevalence", "feature:C44", "logistic", "logistic+neighbours"]
    studies.compare_baselines(folder, chosen, [0], 5, threads=2)
    rows = rows_of(folder, "baselines")
    assert list(rows) == [studies.NETWORK, studies.CONTROL, *chosen]

    def ratio(name):
        return rows[name]["average"]["ranks"]["ap_over_prevalence"]["estimate"]

    assert ratio("prevalence") == pytest.approx(1.0)
    # The signal is a mean over neighbours, in one column.
    assert ratio("logistic+neighbours") > ratio("feature:C44") > 1.2
    assert ratio(studies.NETWORK) > ratio(studies.CONTROL)
    # Ten specimens of 120 atoms: chance is known to about a third.
    assert 0.6 < ratio(studies.CONTROL) < 1.5
    assert set(rows["logistic"]["directions"]) == set(synthetic.DIRECTIONS)
    with pytest.raises(ValueError, match="unknown baseline 'oracle'; choose from prevalence"):
        studies.compare_baselines(folder, ["oracle"], [0], 0, threads=1)
    with pytest.raises(ValueError, match="unknown remedy 'prayer'; choose from unweighted"):
        studies.remedies(folder, ["prayer"], [0], 0, threads=1)


def test_thresholds_label_anew_and_follow_the_event(folder):
    studies.thresholds(folder, [0.1, 0.03], [0], 0, threads=1)
    content = json.loads((folder.path / "thresholds" / "thresholds.json").read_text())
    low, high = content["rows"]
    assert (low["threshold"], high["threshold"]) == (0.03, 0.1)
    for row in (low, high):
        data = Dataset(at_threshold(folder, row["threshold"]))
        labels = np.concatenate([graph.nodes.label for graph in data.graphs.values()])
        assert row["class_ratio"] == pytest.approx(labels.sum() / (labels == 0).sum())
        assert row["events"] == len(data.graphs) and row["runs"] == 20
        assert set(row["test"]) <= set(row["interval"])
    # The first rearrangement passes the low threshold alone: one atom, a step earlier.
    early = Dataset(at_threshold(folder, 0.03)).events
    assert any(event.size == 1 and event.strain == 1e-4 for event in early.values())
    with pytest.raises(ValueError, match=r"threshold 0\.2 lies above stop_threshold 0\.1"):
        studies.thresholds(folder, [0.2], [0], 0, threads=1)
    with pytest.raises(ValueError, match="lies below record_threshold"):
        studies.thresholds(folder, [0.001], [0], 0, threads=1)


def test_nothing_leaks_from_validation_or_test(folder, monkeypatch):
    """Walk every split and every scaling: fitted on the training graphs of that split, alone."""
    data = Dataset(folder)
    chosen = comparisons.choose_splits(data, 5)
    tested = np.concatenate([split.test for split in chosen])
    assert sorted(tested) == list(range(synthetic.NUM_SPECIMENS))
    fitted = []
    original = splits.fit_scaler

    def spy(features):
        fitted.append(np.concatenate([np.asarray(x) for x in features]))
        return original(features)

    monkeypatch.setattr(splits, "fit_scaler", spy)
    config = dataclasses.replace(folder.settings.train_config(), epochs=1)
    for split in chosen:
        parts = [set(part.tolist()) for part in split]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert parts[0] | parts[1] | parts[2] == set(range(synthetic.NUM_SPECIMENS))
        expected = np.concatenate([graph.nodes.features for graph in data.of(split.train)])
        candidates = [comparisons.network(data, "network", config, [0])]
        candidates += [comparisons.baseline(data, name) for name in ("logistic", "feature:C44")]
        for candidate in candidates:
            fitted.clear()
            candidate.plan(split, 0, folder.path / "trial.npz").work()
            assert len(fitted) == 1
            columns = fitted[0].shape[1]
            if columns == expected.shape[1]:
                np.testing.assert_allclose(fitted[0], expected, rtol=1e-6)
            else:
                np.testing.assert_allclose(
                    fitted[0][:, 0], expected[:, synthetic.SIGNAL], rtol=1e-6
                )


def test_what_is_predicted_for_the_test_does_not_depend_on_its_labels(folder):
    data = Dataset(folder)
    config = folder.settings.train_config()
    candidates = ["network", "logistic+neighbours"]
    found = {}
    for mixed in (False, True):
        if mixed:
            other = data.shuffled(0)
            for run_id in data.run_ids(data.split.test):
                data.graphs[run_id] = other.graphs[run_id]
        made = [
            comparisons.network(data, candidates[0], config, [0]),
            comparisons.baseline(data, candidates[1]),
        ]
        for candidate in made:
            trial = candidate.plan(data.split, 0, folder.path / "trial.npz").work()
            found[candidate.name, mixed] = trial
    for name in candidates:
        before, after = found[name, False], found[name, True]
        assert (before.test.label != after.test.label).any()
        np.testing.assert_array_equal(before.test.confidence, after.test.confidence)


def test_the_control_keeps_the_number_of_positives(folder):
    data = Dataset(folder)
    graphs, mixed = (d.of(range(synthetic.NUM_SPECIMENS)) for d in (data, data.shuffled(0)))
    assert [g.nodes.label.sum() for g in mixed] == [g.nodes.label.sum() for g in graphs]
    assert any((a.nodes.label != b.nodes.label).any() for a, b in zip(mixed, graphs, strict=True))


def test_a_part_without_an_event_is_named(tmp_path):
    probe = synthetic.write(tmp_path / "probe")
    data = Dataset(probe)
    quiet = [(int(n), d) for n in data.split.test for d in synthetic.DIRECTIONS]
    silent = synthetic.write(tmp_path / "silent", quiet=quiet)
    with pytest.raises(ValueError, match="no event in the test part"):
        studies.remedies(silent, ["focal"], [0], 0, threads=1)


def test_names_of_baselines_make_file_names(folder):
    data = Dataset(folder)
    for name in baselines.names(data.columns):
        assert (
            comparisons.file_name(name).replace("_", "").replace("+", "").replace("-", "").isalnum()
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        (
            "search",
            ["--grid_layers=2,x"],
            "--grid_layers takes whole numbers separated by commas, got '2,x'",
        ),
        ("search", ["--collect", "--folds=2"], "16 trials are missing, the first is"),
        (
            "thresholds",
            ["--thresholds=0.1,a"],
            "--thresholds takes numbers separated by commas, got '0.1,a'",
        ),
        ("baselines", ["--rotations=2"], "cannot rotate 10 specimens through 2 parts"),
        ("draw", [], "run experiments/evaluate.py on this folder first"),
        ("differentiate", ["--parts=magic"], "--parts takes confidence, stiffness, descriptor"),
        ("remedies", ["--epochs=0"], "epochs must be 1 or more, got 0"),
    ],
)
def test_scripts_say_in_one_line_what_is_wrong(folder, name, flags, said):
    done = scripts.run(name, f"--out={folder.path}", *flags)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said in lines[0]
    assert "Traceback" not in done.stderr
