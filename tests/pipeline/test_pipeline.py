"""The whole path on the smoke preset, and what the scripts say to bad input."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scripts

from stzjax.descriptors import table
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.dynamics import npt_batch
from stzjax.io import archives
from stzjax.pipeline import differentiate, stages
from stzjax.pipeline.work_queue import Workers
from stzjax.run_folder.folder import Folder, identity, prepare
from stzjax.run_folder.settings import PRESETS, STAGES, Settings, setting_flags

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


SETTINGS = PRESETS["smoke"].changed(seed=3)
"""Those of the run that tests share."""


@pytest.fixture(scope="module")
def run(smoke, tmp_path_factory):
    """A copy of the finished smoke run, with all times, and what it printed."""
    out = tmp_path_factory.mktemp("run") / "smoke"
    shutil.copytree(smoke, out)
    return out, (smoke.parent / "printed.txt").read_text()


@pytest.mark.slow
def test_layout_of_out(run):
    out, _ = run
    for name in ("config.json", "metrics.json", "report.html", "predictions/test.npz"):
        assert (out / name).is_file(), name
    lanes = [f"{n:04d}_{d}.npz" for n in range(3) for d in ("+xy", "-yz")]
    assert sorted(p.name for p in (out / "shears").iterdir()) == lanes
    assert sorted(p.name for p in (out / "features").iterdir()) == lanes
    assert len(list((out / "specimens").iterdir())) == 3
    assert list((out / "figures").glob("*.png"))
    config = json.loads((out / "config.json").read_text())
    assert config["preset"] == "smoke"
    assert config["provenance"]["jax"]


@pytest.mark.slow
def test_metrics_are_those_of_the_predictions(run):
    """The six metrics again, by scikit-learn, from the stored predictions."""
    from sklearn import metrics as sklearn_metrics

    out, printed = run
    judged = json.loads((out / "metrics.json").read_text())
    arrays, _ = archives.load_archive(out / "predictions" / "test.npz")
    label, confidence = arrays["label"], arrays["confidence"]
    called = confidence >= 0.5
    test = judged["test"]
    expected = {
        "recall": sklearn_metrics.recall_score(label, called),
        "mcc": sklearn_metrics.matthews_corrcoef(label, called),
        "auc": sklearn_metrics.roc_auc_score(label, confidence),
        "ap": sklearn_metrics.average_precision_score(label, confidence),
        "prevalence": label.mean(),
    }
    for name, value in expected.items():
        assert test[name] == pytest.approx(value, abs=1e-9), name
    assert sum(test["confusion"].values()) == len(label)
    assert judged["events"]["runs"] == 6
    spent = archives.read_record(out / "usage.json")
    assert set(spent) == set(STAGES)
    assert all(one["seconds"] > 0 and one["peak_mib"] > 50 for one in spent.values())
    assert f"{test['auc']:.4f}" in printed


@pytest.mark.slow
def test_labels_are_those_of_the_shear_runs(run):
    out, _ = run
    arrays, _ = archives.load_archive(out / "predictions" / "test.npz")
    number, direction = int(arrays["specimen"][0]), str(arrays["direction"][0])
    shear, _ = archives.load_archive(out / "shears" / f"{number:04d}_{direction}.npz")
    first = np.flatnonzero(shear["max_d2min"] > 0.1)[0]
    field = shear["history_d2min"][list(shear["history_step"]).index(first)]
    assert np.array_equal(arrays["label"][: len(field)], field > 0.1)


@pytest.mark.slow
def test_finished_stages_are_skipped(run):
    out, _ = run
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz") if "pred" not in str(path)}
    again = scripts.run("reproduce", "--preset=smoke", "--seed=3", f"--out={out}")
    assert again.returncode == 0, again.stderr
    assert "shear" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in made} == made
    evaluated = scripts.run("evaluate", f"--out={out}")
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.slow
def test_other_settings_in_the_same_folder_stop(run):
    out, _ = run
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for change in ("--quench_rate=3e14", "--seed=1"):
        stopped = scripts.run("reproduce", "--preset=smoke", "--seed=3", f"--out={out}", change)
        assert stopped.returncode == 1
        assert change[2:].split("=")[0] in stopped.stderr
        assert "choose another --out" in stopped.stderr
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_an_interrupted_quench_goes_on(run, tmp_path, monkeypatch):
    """Stopped in the middle and started again: the same glasses as those never stopped."""
    out, _ = run
    settings = SETTINGS
    folder = prepare(tmp_path / "again", settings, "smoke")
    folder.melt.write_bytes((out / "melt.npz").read_bytes())
    saved = []
    save = stages._suspend_quench

    def stop(folder, numbers, place, state):
        save(folder, numbers, place, state)
        saved.append(npt_batch.steps_of(state))
        if len(saved) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "_suspend_quench", stop)
        with pytest.raises(KeyboardInterrupt):
            stages.quench_stage(dataclasses.replace(folder, save_every=0.0), Workers())
    kept = [folder.unfinished(folder.specimen(n)) for n in range(settings.quench.num_specimens)]
    assert any(path.exists() for path in kept)
    stages.quench_stage(folder, Workers())
    assert not any(path.exists() for path in kept)
    for number in range(settings.quench.num_specimens):
        there, _ = archives.load_archive(Folder(out, settings).specimen(number))
        here, _ = archives.load_archive(folder.specimen(number))
        for name, values in there.items():
            np.testing.assert_array_equal(here[name], values)


@pytest.mark.slow
def test_a_damaged_file_is_named(run, tmp_path):
    out, _ = run
    path = sorted((out / "features").iterdir())[0]
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:200])
        stopped = scripts.run("evaluate", f"--out={out}")
    finally:
        path.write_bytes(whole)
    assert stopped.returncode == 1
    assert path.name in stopped.stderr
    assert "Traceback" not in stopped.stderr


@pytest.mark.slow
def test_further_features(run, tmp_path):
    """The response and radical cells, on the glasses of a run without them."""
    out, _ = run
    more = {"response": True, "radii": (1.28, 1.6), "directions": ("+xy",)}
    settings = SETTINGS.changed(**more)
    folder = prepare(tmp_path / "more", settings, "smoke")
    shutil.copytree(out / "specimens", folder.path / "specimens", dirs_exist_ok=True)
    stages.describe_stage(folder, Workers())
    found, _ = archives.load_archive(folder.features(1, "+xy"))
    plain, _ = archives.load_archive(Folder(out, SETTINGS).features(1, "+xy"))
    assert tuple(found["columns"]) == table.columns(FeatureConfig(response=True))
    assert found["features"].shape == (400, 26) and np.isfinite(found["features"]).all()
    same = [table.COLUMNS.index(name) for name in ("Cu", "potential_energy")]
    np.testing.assert_array_equal(found["features"][:, same], plain["features"][:, same])
    volume = table.COLUMNS.index("voronoi_volume")
    copper = found["features"][:, 0] == 1.0
    change = found["features"][:, volume] - plain["features"][:, volume]
    assert change[copper].mean() < -0.3 and abs(change.sum()) < 1e-6


@pytest.mark.slow
def test_worked_examples(run):
    """Stiffness and descriptor on a finished run; the confidence has a test of its own."""
    out, _ = run
    done = scripts.run(
        "differentiate", f"--out={out}", "--parts=stiffness,descriptor", "--seeds=1",
        "--radial=3", "--angular=2", "--epochs=3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "differentiate" / "stiffness.json").read_text())
    # The issue of relaxed differences: their own tolerance, and the square of the change.
    assert found["worst_relative_to_largest"] < 1e-4
    assert 20.0 < found["c44_gpa"] < 80.0
    assert len({row["coefficients"] for row in found["rows"]}) == len(found["rows"]) > 6
    trials = json.loads((out / "differentiate" / "descriptor.json").read_text())
    held = {(row["test"], row["variant"]) for row in trials["rows"]}
    assert len(held) == len(trials["rows"]) == 3 * len(differentiate.VARIANTS)
    assert all(row["test"] != row["validation"] for row in trials["rows"])
    mean = np.mean([r["ap_over_prevalence"] for r in trials["rows"] if r["variant"] == "learned"])
    assert trials["summary"]["learned"]["mean"] == pytest.approx(mean)
    assert trials["summary"]["frozen"]["minus_frozen"] == 0.0
    for name in ("stiffness", "descriptor"):
        assert (out / "differentiate" / f"{name}.png").stat().st_size > 10_000


def test_errors_are_over_specimens_and_not_over_networks():
    """Two specimens, many networks each: closed form of two differences, 0.1 and 0.3."""
    rows = [
        {"test": test, "variant": variant, "ap_over_prevalence": 2.0 + more + noise}
        for test, gain in ((3, 0.1), (5, 0.3))
        for variant, more in (("frozen", 0.0), ("learned", gain), ("features", -gain))
        for noise in (-0.5, 0.5) * 50
    ]
    found = differentiate._summary(rows)["learned"]
    assert found["minus_frozen"] == pytest.approx(0.2)
    assert found["standard_error"] == pytest.approx(0.1)
    assert found["mean"] == pytest.approx(2.2)


@pytest.mark.slow
def test_bad_flags_are_one_line(tmp_path):
    """All the way through a script; `tests/experiments/test_options.py` tries every flag."""
    out = tmp_path / "out"
    stopped = scripts.run("reproduce", "--preset=smoke", f"--out={out}", "--num_atoms=60")
    assert stopped.returncode == 1
    lines = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "twice the cut-off" in lines[0]
    assert "Traceback" not in stopped.stderr
    assert not list(out.rglob("*.npz"))


@pytest.mark.parametrize("script", ["options", "benchmark"])
@pytest.mark.parametrize(("given", "found"), [(None, "3"), ("1", "3"), ("0", "0"), ("2", "2")])
def test_chatter_of_xla_is_off_unless_asked_for(script, given, found):
    """A program that uses jax hands down its "1", as these tests do."""
    variables = {n: v for n, v in os.environ.items() if n != "TF_CPP_MIN_LOG_LEVEL"}
    said = subprocess.run(
        [sys.executable, "-c", f"import os, {script}; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=EXPERIMENTS,
        env=variables if given is None else {**variables, "TF_CPP_MIN_LOG_LEVEL": given},
    )
    assert said.stdout == f"{found}\n", said.stderr


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    stopped = scripts.run("reproduce", "--preset=smoke", f"--out={tmp_path / 'out'}")
    assert stopped.returncode == 1
    assert "error: cannot write to --out" in stopped.stderr
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", ["shear", "evaluate"])
def test_a_later_stage_makes_no_folder(tmp_path, name):
    stopped = scripts.run(name, f"--out={tmp_path / 'mistyped'}")
    assert stopped.returncode == 1
    assert stopped.stderr.startswith("error: no such run folder: --out=")
    assert stopped.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_presets_are_valid():
    for settings in PRESETS.values():
        settings.validate()


def test_paper_preset_is_the_paper():
    paper = PRESETS["paper"]
    recipe = paper.quench
    assert (recipe.num_atoms, recipe.num_specimens, recipe.quench_rate) == (10_000, 75, 1e10)
    assert (recipe.elements, recipe.fractions) == (("Cu", "Zr"), (0.64, 0.36))
    assert recipe.num_snapshots == 1000
    assert paper.shear.num_steps == 400
    assert paper.shear.stop == np.inf
    assert len(paper.labels.directions) == 6


def test_every_setting_belongs_to_a_stage():
    settings = Settings()
    named = {name for stage in STAGES for name in settings.of_stage(stage)}
    assert named == set(settings.flat()) == set(setting_flags())


def test_potential_identity_follows_the_content(tmp_path):
    path = tmp_path / "a.eam"
    path.write_text("one")
    first = identity(str(path))
    path.write_text("two")
    assert identity(str(path)) != first
    with pytest.raises(ValueError, match=r"no\.eam"):
        identity(str(tmp_path / "no.eam"))


def test_an_archive_of_other_settings_is_not_taken(tmp_path):
    folder = prepare(tmp_path, PRESETS["smoke"], "smoke")
    archives.save_archive(
        folder.specimen(0), {}, {"stage_settings": folder.stage_settings("quench")}
    )
    assert not folder.missing(folder.specimen(0), "quench")
    other = Folder(tmp_path, PRESETS["smoke"].changed(relax_cell=True))
    with pytest.raises(ValueError, match="relax_cell = False"):
        other.missing(other.specimen(0), "quench")
