"""What a run folder accepts as its own, and what it refuses."""

import dataclasses

import pytest
import synthetic

from stzjax import archives
from stzjax.pipeline.folder import Folder, Purpose, existing, prepare, same
from stzjax.pipeline.settings import DEFAULTS, PRESETS


def test_a_setting_that_came_later_had_its_default(tmp_path):
    folder = prepare(tmp_path / "run", PRESETS["smoke"], "smoke")
    recorded = folder.stage_settings("train")
    del recorded["focal_gamma"], recorded["loss"]
    folder.check(tmp_path, recorded, "train")
    other = Folder(folder.path, dataclasses.replace(folder.settings, focal_gamma=5.0))
    with pytest.raises(ValueError, match=r"focal_gamma = 2.0 \(now 5.0\)"):
        other.check(tmp_path, recorded, "train")


def test_the_defaults_train_as_the_paper_does():
    """A folder that knows nothing of the remedies was made without them."""
    plain = {"loss": "weighted", "undersample": 0.0, "oversample": 0.0, "calibration": "none"}
    assert {name: DEFAULTS[name] for name in plain} == plain


def test_an_existing_folder_is_opened_and_left_as_it_is(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run; run experiments/reproduce.py --out="):
        existing(tmp_path / "nowhere", PRESETS["smoke"])
    assert not (tmp_path / "nowhere").exists()
    folder = prepare(tmp_path / "run", synthetic.SETTINGS, "smoke")
    before = (folder.path / "config.json").read_bytes()
    changed = dataclasses.replace(synthetic.SETTINGS, epochs=99)
    assert existing(folder.path, changed).settings.epochs == 99
    assert (folder.path / "config.json").read_bytes() == before
    assert archives.read_json(folder.path / "config.json")["epochs"] == synthetic.SETTINGS.epochs


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
