"""The grid search: every trial a file, nothing made twice, no test specimen looked at."""

import json
import math

import numpy as np
import pytest
import synthetic

from stzjax.evaluation import metrics
from stzjax.io import archives
from stzjax.learning import training
from stzjax.pipeline import grid_search
from stzjax.pipeline.grid_search import Shape
from stzjax.pipeline.work_queue import Workers

SHAPES = grid_search.grid((1,), (3, 4), (2,))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = synthetic.write(tmp_path_factory.mktemp("search") / "run")
    return folder, grid_search.run(folder, SHAPES, num_folds=2, workers=Workers(2))


def test_every_trial_is_a_file_with_what_made_it(searched):
    folder, _ = searched
    files = sorted(path.name for path in (folder.path / "search" / "trials").iterdir())
    assert files == [f"L1_M{m}_N2_e4_fold{fold}.json" for m in (3, 4) for fold in (0, 1)]
    trial = json.loads((folder.path / "search" / "trials" / files[0]).read_text())
    assert trial["settings"]["features_per_head"] == 3 and trial["settings"]["epochs"] == 4
    assert set(grid_search.METRICS) < set(trial["validation"])
    assert len(trial["record"]["loss"]) == 4


def test_no_specimen_of_the_test_takes_part(searched):
    folder, _ = searched
    found = grid_search.Search(folder, 2)
    held_out = set(found.data.split.test.tolist())
    validated = []
    for path in (folder.path / "search" / "trials").iterdir():
        split = json.loads(path.read_text())["settings"]["split"]
        train, validation = set(split["train"]), set(split["validation"])
        assert not (train | validation) & held_out
        assert not train & validation
        validated += sorted(validation) if "M3" in path.name else []
    assert sorted(validated) == sorted(set(range(synthetic.NUM_SPECIMENS)) - held_out)


def test_winners_have_the_best_mean_and_their_rows_are_those_of_the_test(searched):
    folder, table = searched
    found = grid_search.Search(folder, 2)
    rows = found.rows(SHAPES, 4)
    for row in rows:
        trials = [found.read(row["shape"], 4, fold)["validation"] for fold in (0, 1)]
        assert row["auc"] == pytest.approx(np.mean([trial["auc"] for trial in trials]))
    chosen = grid_search.winners(rows)
    for name in ("auc", "ap"):
        assert chosen[name] == max(rows, key=lambda row: row[name])["shape"]
    best = chosen["ap"]
    arrays, _ = archives.load_archive(folder.path / "search" / "winners" / f"{best.name}.npz")
    assert set(arrays["test_specimen"]) <= set(found.data.split.test)
    expected = metrics.evaluate(arrays["test_label"], arrays["test_confidence"])
    line = next(row for row in table.rows if row[0] == "this run" and "ap" in row[1].split(", "))
    assert list(line[2:5]) == list(best)
    for column, name in zip(line[5:11], grid_search.METRICS, strict=True):
        assert column == pytest.approx(expected[name], nan_ok=True)
    assert [row[0] for row in table.rows[-5:]] == ["paper"] * 5
    for ending in ("md", "csv", "tex"):
        assert (folder.path / "search" / f"table1.{ending}").is_file()


def test_a_wider_grid_trains_only_what_is_new_and_one_missing_trial_only_itself(
    searched, monkeypatch
):
    folder, _ = searched
    trained = []
    original = training.train_many

    def spy(tasks, config, **settings):
        trained.append((config.model.features_per_head, len(tasks)))
        return original(tasks, config, **settings)

    monkeypatch.setattr(training, "train_many", spy)
    lost = grid_search.Search(folder, 2).path(SHAPES[0], 4, 1)
    before = json.loads(lost.read_text())
    lost.unlink()
    with pytest.raises(ValueError, match=f"1 trials are missing, the first is {lost}"):
        grid_search.run(folder, SHAPES, num_folds=2, collect=True)
    grid_search.run(folder, SHAPES, num_folds=2)
    assert trained == [(3, 1)]
    after = json.loads(lost.read_text())
    assert after["validation"] == before["validation"]
    assert after["record"]["loss"] == before["record"]["loss"]


@pytest.mark.slow
def test_folds_side_by_side_find_what_they_find_alone(searched):
    folder, _ = searched
    found = grid_search.Search(folder, 2)
    shape = SHAPES[1]
    alone = [found.read(shape, 4, fold) for fold in (0, 1)]
    for fold in (0, 1):
        found.path(shape, 4, fold).unlink()
    found.make([shape], 4, Workers(1, 2))
    for fold in (0, 1):
        again = found.read(shape, 4, fold)
        np.testing.assert_allclose(
            again["record"]["loss"], alone[fold]["record"]["loss"], rtol=1e-3
        )


def test_other_settings_and_damaged_trials_are_refused(searched):
    folder, _ = searched
    found = grid_search.Search(folder, 2)
    path = found.path(SHAPES[0], 4, 0)
    text = path.read_text()
    content = archives.read_record(path)
    content["settings"]["learning_rate"] = 1.0
    try:
        archives.write_record(path, content)
        with pytest.raises(ValueError, match=r"learning_rate = 1.0 \(now 0.02\)"):
            found.rows(SHAPES, 4)
        edited = text.replace('"best_epoch": ', '"best_epoch": 1')
        for number, damage in enumerate((text[: len(text) // 2], "[]", "{}", edited), 1):
            path.write_text(damage)
            with pytest.raises(ValueError, match=r"1 trials are missing.*run experiments/search"):
                found.rows(SHAPES, 4)
            aside = path.with_name(f"{path.name}.damaged{number if number > 1 else ''}")
            assert aside.read_text() == damage
    finally:
        path.write_text(text)


def test_halving_ends_with_all_epochs_and_few_shapes():
    assert grid_search.halving(168, 90, 3) == [(168, 1), (56, 3), (19, 10), (7, 30), (3, 90)]
    assert grid_search.halving(8, 40, 2) == [(8, 10), (4, 20), (2, 40)]
    assert grid_search.halving(2, 40, 3) == [(2, 40)]


@pytest.mark.slow
def test_halving_keeps_the_better_shapes(searched):
    folder, _ = searched
    shapes = grid_search.grid((1,), (3, 4, 5), (2,))
    grid_search.run(folder, shapes, num_folds=2, factor=2)
    found = grid_search.Search(folder, 2)
    short = {row["shape"]: row["ap"] for row in found.rows(shapes, 2)}
    kept = sorted(short, key=short.get, reverse=True)[:2]
    assert all(found.read(shape, 4, fold) for shape in kept for fold in (0, 1))


def test_an_undefined_metric_has_no_winner():
    row = {name: math.nan for name in grid_search.METRICS} | {"shape": Shape(1, 2, 3), "auc": 0.6}
    assert grid_search.winners([row])["auc"] == Shape(1, 2, 3)
    assert grid_search.winners([row])["precision"] is None


def test_too_few_specimens_or_events_are_named(tmp_path):
    folder = synthetic.write(tmp_path / "run")
    with pytest.raises(ValueError, match="cannot make 9 folds of 8 specimens"):
        grid_search.Search(folder, 9)
    data = grid_search.Search(folder, 8).data
    silent = int(data.split.train[0])
    quiet = [(silent, d) for d in synthetic.DIRECTIONS]
    other = synthetic.write(tmp_path / "quiet", quiet=quiet)
    with pytest.raises(ValueError, match=rf"no event in the validation part of fold \d .*{silent}"):
        grid_search.Search(other, 8)


def test_the_named_grids():
    assert len(grid_search.grid(*grid_search.GRIDS["paper"])) == 168
    small = set(grid_search.grid(*grid_search.GRIDS["small"]))
    assert small < set(grid_search.grid(*grid_search.GRIDS["paper"]))
    assert Shape(4, 15, 9).name == "L4_M15_N9"
