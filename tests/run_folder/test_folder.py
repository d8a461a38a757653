"""What a run folder accepts as its own, and what it refuses."""

import dataclasses
import shutil

import numpy as np
import pytest
import synthetic

from stzjax.io import archives
from stzjax.pipeline import stages, train_evaluate, work_queue
from stzjax.pipeline.dataset import Dataset
from stzjax.run_folder.folder import Folder, Purpose, identity, prepare, same
from stzjax.run_folder.settings import PRESETS, Settings, setting_flags


def test_a_setting_that_came_later_had_its_default(tmp_path):
    folder = prepare(tmp_path / "run", PRESETS["smoke"], "smoke")
    recorded = folder.stage_settings("train")
    del recorded["focal_gamma"], recorded["loss"]
    same(tmp_path, recorded, folder.stage_settings("train"))
    other = Folder(folder.path, folder.settings.changed(focal_gamma=5.0))
    with pytest.raises(ValueError, match=r"focal_gamma = 2.0 \(now 5.0\)"):
        same(tmp_path, recorded, other.stage_settings("train"))


def test_the_defaults_train_as_the_paper_does():
    """A folder that knows nothing of the remedies was made without them."""
    plain = {"loss": "weighted", "undersample": 0.0, "oversample": 0.0, "calibration": "none"}
    defaults = Settings().flat()
    assert {name: defaults[name] for name in plain} == plain


def test_an_existing_folder_is_opened_and_left_as_it_is(tmp_path):
    with pytest.raises(ValueError, match=r"no such run folder: --out=.*nowhere"):
        prepare(tmp_path / "nowhere", PRESETS["smoke"], make=False)
    assert not (tmp_path / "nowhere").exists()
    folder = prepare(tmp_path / "run", synthetic.SETTINGS, "smoke")
    before = (folder.path / "config.json").read_bytes()
    changed = synthetic.SETTINGS.changed(epochs=99)
    assert prepare(folder.path, changed, make=False).settings.training.epochs == 99
    assert (folder.path / "config.json").read_bytes() == before
    assert (
        archives.read_json(folder.path / "config.json")["epochs"]
        == synthetic.SETTINGS.training.epochs
    )


def test_settings_that_differ_are_named(tmp_path):
    same(tmp_path, {"a": 1, "b": 2, "more": 3}, {"a": 1, "b": 2})
    with pytest.raises(ValueError, match=r"a = 1 \(now 2\).*choose another --out"):
        same(tmp_path, {"a": 1}, {"a": 2})
    with pytest.raises(ValueError, match=r"b = None \(now 2\)"):
        same(tmp_path, {"a": 1}, {"a": 1, "b": 2})


def test_every_purpose_has_a_key_of_its_own(tmp_path):
    folder = Folder(tmp_path, PRESETS["smoke"])
    keys = {bytes(folder.key(purpose)._base_array) for purpose in Purpose}
    assert len(keys) == len(Purpose)


WILD = (float("nan"), float("inf"), -1.0, 0.0, 1e-320, 1e300, -1, 0, 2**31, 10**40, "", "é", ())


@pytest.mark.parametrize("flag", setting_flags().values(), ids=lambda flag: flag.name)
def test_no_value_of_a_flag_is_a_traceback(flag):
    """Each wild value that the flag would take is refused in one line, or makes sense."""
    kinds = (tuple,) if flag.many else (int, float) if flag.kind is float else (flag.kind,)
    for value in WILD:
        if type(value) not in kinds:
            continue
        try:
            settings = PRESETS["smoke"].changed(**{flag.name: value})
            settings.validate()
            identity(settings.run.potential)
        except ValueError as error:
            assert "\n" not in str(error)
            continue
        number = not isinstance(value, str | tuple)
        assert not number or (np.isfinite(float(value)) and abs(value) < 1e301)


def test_settings_that_are_not_finite_are_named():
    for name in ("pressure", "weight_power", "final_strain", "force_tolerance"):
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            PRESETS["smoke"].changed(**{name: float("nan")}).validate()
    with pytest.raises(ValueError, match="seed must be less than"):
        PRESETS["smoke"].changed(seed=2**63).validate()
    with pytest.raises(ValueError, match="seed must not be negative"):
        PRESETS["smoke"].changed(seed=-1).validate()


def test_damaged_settings_are_set_aside_if_the_flags_say_them(tmp_path):
    folder = prepare(tmp_path / "run", PRESETS["smoke"], "smoke")
    config = folder.path / "config.json"
    whole = archives.read_record(config)
    config.write_text(config.read_text()[:100])
    prepare(tmp_path / "run", PRESETS["smoke"], "smoke")
    assert archives.read_record(config) == whole
    assert (folder.path / "config.json.damaged").exists()


def test_what_was_saved_comes_back_and_goes_when_it_is_done(tmp_path):
    folder = prepare(tmp_path / "run", PRESETS["smoke"], "smoke")
    path, saved = folder.specimen(3), archives.Saved({"x": np.arange(3)}, {"n": 1})
    assert folder.saved(path, "quench") is None
    folder.suspend(path, "quench", saved)
    found = folder.saved(path, "quench")
    assert found.arrays["x"].tolist() == [0, 1, 2] and found.settings == {"n": 1}
    other = Folder(folder.path, folder.settings.changed(quench_rate=2e15))
    with pytest.raises(ValueError, match=r"quench_rate = 1000000000000000.0 \(now 2"):
        other.saved(path, "quench")
    folder.unfinished(path).write_text("half")
    assert folder.saved(path, "quench") is None
    folder.finish(path)


def test_a_specimen_that_failed_is_left_out_everywhere(tmp_path):
    folder = synthetic.write(tmp_path / "run")
    everyone = stages.specimens(folder)
    assert everyone == list(range(synthetic.NUM_SPECIMENS))
    path = folder.specimen(3)
    arrays, settings = archives.load_archive(path)
    archives.save_archive(path, arrays, {**settings, "outcome": "out of iterations"})
    left = [number for number in everyone if number != 3]
    assert stages.specimens(folder) == left
    assert sorted({number for number, _ in stages.run_ids(folder)}) == left
    data = Dataset(folder)
    assert sorted(np.concatenate(data.split).tolist()) == left
    assert data.graphs and set(data.graphs) <= set(stages.run_ids(folder))
    for number in left[2:]:
        path = folder.specimen(number)
        archives.save_archive(path, arrays, {**settings, "outcome": "not finite"})
    with pytest.raises(ValueError, match=r"only 2 of 10 specimens .* shorter timestep"):
        stages.specimens(folder)


def test_an_interrupted_training_goes_on_in_its_folder(tmp_path, monkeypatch):
    """Stopped after two epochs: the same network; with other settings it stops and says so."""
    folder = dataclasses.replace(synthetic.write(tmp_path / "run"), save_every=0.0)
    train_evaluate.train_stage(folder)
    path = folder.model / "network.npz"
    whole, _ = archives.load_archive(path)
    shutil.rmtree(folder.model)
    seen = []

    def stop(self, place):
        seen.append(place)
        if place == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(work_queue.Bar, "to", stop)
        with pytest.raises(KeyboardInterrupt):
            train_evaluate.train_stage(folder)
    assert folder.unfinished(path).exists()
    other = folder.settings.changed(learning_rate=0.5)
    with pytest.raises(ValueError, match=r"learning_rate = 0.02 \(now 0.5\)"):
        train_evaluate.train_stage(Folder(folder.path, other))
    with monkeypatch.context() as patch:
        patch.setattr(work_queue.Bar, "to", lambda self, place: seen.append(place))
        train_evaluate.train_stage(folder)
    assert seen == [1, 2, 2, 3, 4]
    again, _ = archives.load_archive(path)
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values)
    assert not folder.unfinished(path).exists()


def test_the_file_that_is_damaged_is_the_one_set_aside(tmp_path):
    folder = synthetic.write(tmp_path / "run")
    train_evaluate.train_stage(folder)
    (folder.model / "stage.json").write_text("{")
    train_evaluate.train_stage(folder)
    names = sorted(path.name for path in folder.model.iterdir())
    assert "stage.json.damaged" in names and "network.npz.damaged" not in names
    assert archives.read_record(folder.model / "stage.json")["layers"] == 1
