"""The paper's figures and the tables for OVITO from small synthetic run folders."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scripts
from ase import io as ase_io

from stzjax import io
from stzjax.core.structure import Structure
from stzjax.descriptors import table
from stzjax.evaluation import metrics
from stzjax.io import archives
from stzjax.pipeline import draw, stages
from stzjax.run_folder import contents
from stzjax.run_folder.folder import Folder, prepare
from stzjax.run_folder.settings import PRESETS
from stzjax.shear import aqs
from stzjax.shear.run import ENDINGS

NUM = 80
CELL = np.array([[12.0, 1.5, -0.5], [0.0, 11.0, 2.0], [0.0, 0.0, 13.0]])
LANES = [(1, "+xy"), (1, "-yz"), (2, "+xy"), (2, "-yz")]
EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


def write_run(out, events=True):
    """A folder such as a finished run leaves, from random numbers; D²min by lane."""
    rng = np.random.default_rng(0)
    folder = prepare(out, PRESETS["smoke"].changed(num_atoms=NUM), "smoke")
    fields, confidences = {}, {}
    for number in (1, 2):
        glass = Structure.create(rng.random((NUM, 3)), CELL, np.arange(NUM) % 2, ("Cu", "Zr"))
        save(folder, folder.specimen(number), "quench", io.structure_arrays(glass))
        for lane in (lane for lane in LANES if lane[0] == number):
            fields[lane] = 10.0 ** rng.uniform(-6, 0.5 if events else -2, NUM)
            stages.write_run(folder, lane, run_of(glass, lane[1], fields[lane]))
            confidences[lane] = rng.random(NUM).astype(np.float32)
            arrays = {
                "features": rng.normal(size=(NUM, len(table.COLUMNS))),
                "pairs": np.zeros((0, 2), int),
                "columns": np.array(table.COLUMNS),
            }
            save(folder, folder.features(*lane), "describe", arrays)
    arrays = {
        "label": np.concatenate([fields[lane] > 0.1 for lane in LANES]).astype(np.int32),
        "confidence": np.concatenate([confidences[lane] for lane in LANES]),
        "specimen": np.repeat([number for number, _ in LANES], NUM),
        "direction": np.repeat([direction for _, direction in LANES], NUM),
    }
    save(folder, folder.predictions("test"), "evaluate", arrays)
    return folder, fields, confidences


def save(folder, path, stage, arrays):
    archives.save_archive(path, arrays, {"stage_settings": folder.stage_settings(stage)})


def run_of(glass, direction, field):
    """Three states, the last of which is the event if the field passes the threshold."""
    event = field.max() > 0.1
    return aqs.Run(
        direction=direction, strain=1e-4 * np.arange(3), energy=np.zeros(3),
        stress=np.zeros((3, 3, 3)), max_d2min=np.array([0.0, 0.02, field.max()]),
        iterations=np.ones(3, int), residual=np.zeros(3), history_step=np.array([1, 2]),
        history_d2min=np.stack([np.full(NUM, 0.02), field]), pairs=np.zeros((0, 2), int),
        final=glass, outcome=ENDINGS[int(event)], config=aqs.ShearConfig(),
    )  # fmt: skip


def thresholds(folder, rows):
    archives.write_json(folder.path / "thresholds" / "thresholds.json", {"rows": rows})


ROW = {
    "threshold": 0.1, "events": 4, "runs": 6, "class_ratio": 0.1, "interval": None,
    "test": {"recall": 0.5, "precision": 0.1, "f1": 0.2, "mcc": None, "auc": 0.6, "ap": 0.1,
             "prevalence": 0.05, "ap_over_prevalence": 2.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def test_runs_are_those_judged(finished):
    folder, fields, confidences = finished
    runs = draw.judged(folder)
    assert [run.name for run in runs] == ["0001_+xy", "0001_-yz", "0002_+xy", "0002_-yz"]
    for run, lane in zip(runs, LANES, strict=True):
        np.testing.assert_array_equal(run.d2min, fields[lane])
        np.testing.assert_array_equal(run.confidence, confidences[lane])
        np.testing.assert_array_equal(run.label, fields[lane] > 0.1)


def test_figures_tell_the_numbers_of_the_run(finished):
    folder, fields, confidences = finished
    runs = draw.judged(folder)
    drawn = draw.figures(folder, runs, draw.pick(runs, "0002_+xy"))
    assert list(drawn) == ["figure2", "figure3"]
    field = np.concatenate([fields[lane] for lane in LANES])
    confidence = np.concatenate([confidences[lane] for lane in LANES])
    numbers = drawn["figure2"].numbers
    assert numbers == {"run": "0002_+xy", "test": metrics.evaluate(field > 0.1, confidence)}
    numbers = drawn["figure3"].numbers
    edges = numbers["edges"]
    for k in range(len(edges) - 1):
        inside = (field >= edges[k]) & (field < edges[k + 1])
        assert numbers["atoms"][k] == inside.sum()
        if inside.any():
            assert numbers["share"][k] == pytest.approx((confidence[inside] >= 0.5).mean())
    assert numbers["specimens"] == 2 and numbers["atoms_outside"] == 0
    moved = (fields[2, "+xy"] > 0.1).sum()
    assert any(f"{moved} atoms of 0002_+xy" in a.get_title() for a in drawn["figure3"].figure.axes)


def test_default_run_is_the_first_with_an_event(finished):
    runs = draw.judged(finished[0])
    quiet = runs[0]._replace(label=np.zeros(NUM, int))
    assert draw.pick(runs).name == "0001_+xy"
    assert draw.pick([quiet, *runs[1:]]).name == "0001_-yz"
    assert draw.pick([quiet]).name == "0001_+xy"
    with pytest.raises(ValueError, match=r"no test run 0003_\+xy; choose from 0001_\+xy, 0001_-yz"):
        draw.pick(runs, "0003_+xy")


def test_thresholds_are_drawn_if_they_are_there(tmp_path):
    folder, _, _ = write_run(tmp_path)
    runs = draw.judged(folder)
    assert contents.thresholds(folder) is None
    thresholds(folder, [ROW, {**ROW, "threshold": 0.2}])
    drawn = draw.figures(folder, runs, runs[0])
    assert drawn["figure4"].numbers["rows"][0] == ROW
    for damaged in ([], [{"test": None}], "rows"):
        thresholds(folder, damaged)
        with pytest.raises(ValueError, match=r"thresholds.json holds no rows"):
            draw.figures(folder, runs, runs[0])


def test_no_event_in_the_test_set(tmp_path):
    folder, _, _ = write_run(tmp_path, events=False)
    runs = draw.judged(folder)
    assert all(np.isnan(run.d2min).all() for run in runs)
    drawn = draw.figures(folder, runs, draw.pick(runs))
    assert "ROC undefined" in drawn["figure2"].figure.axes[0].texts[0].get_text()
    assert np.isnan(drawn["figure2"].numbers["test"]["auc"])
    assert drawn["figure3"].numbers["atoms"].sum() == 0
    glass, columns = draw.table(folder, runs[0])
    io.write(tmp_path / "a.extxyz", glass, columns)
    assert np.isnan(ase_io.read(tmp_path / "a.extxyz").get_array("d2min")).all()


def test_what_is_missing_is_named(tmp_path):
    folder, _, _ = write_run(tmp_path)
    run = draw.judged(folder)[0]
    folder.features(1, "+xy").unlink()
    with pytest.raises(ValueError, match=r"run experiments/describe.py"):
        draw.table(folder, run)
    path = folder.predictions("test")
    arrays, recorded = archives.load_archive(path)
    archives.save_archive(path, {**arrays, "label": 1 - arrays["label"]}, recorded)
    with pytest.raises(ValueError, match=r"run experiments/evaluate.py on this folder again"):
        draw.judged(folder)
    archives.save_archive(path, {name: column[:0] for name, column in arrays.items()}, recorded)
    with pytest.raises(ValueError, match="holds no test run"):
        draw.judged(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"run experiments/evaluate.py on this folder first"):
        draw.judged(folder)
    other = Folder(folder.path, folder.settings.changed(threshold=0.05))
    save(folder, path, "evaluate", arrays)
    with pytest.raises(ValueError, match=r"threshold = 0.1 \(now 0.05\)"):
        draw.judged(other)


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """Both files of a run, and what should be in them."""
    folder, fields, confidences = finished
    out, lane = tmp_path_factory.mktemp("export"), (2, "-yz")
    glass, columns = draw.table(folder, draw.pick(draw.judged(folder), "0002_-yz"))
    for ending in ("extxyz", "dump"):
        io.write(out / f"a.{ending}", glass, columns)
    features, _ = archives.load_archive(folder.features(*lane))
    expected = {
        "label": fields[lane] > 0.1,
        "confidence": confidences[lane],
        "d2min": fields[lane],
        "log10_d2min": np.log10(fields[lane]),
        **dict(zip(table.COLUMNS, features["features"].T, strict=True)),
    }
    return out, glass, expected


def test_ase_reads_the_columns_back(exported):
    out, _, expected = exported
    atoms = ase_io.read(out / "a.extxyz")
    assert set(expected) == set(atoms.arrays) - {"numbers", "positions"}
    for name, values in expected.items():
        np.testing.assert_allclose(atoms.get_array(name), values, atol=6e-9, err_msg=name)
    np.testing.assert_allclose(atoms.cell.array, CELL.T)
    assert atoms.get_chemical_symbols() == ["Cu", "Zr"] * (NUM // 2)


def test_dump_is_read_back(exported):
    out, glass, expected = exported
    again = io.read(out / "a.dump", elements=("Cu", "Zr"))
    np.testing.assert_allclose(again.fractional, glass.fractional, atol=1e-13)
    np.testing.assert_allclose(again.cell, glass.cell, atol=1e-13)
    np.testing.assert_array_equal(again.species, glass.species)
    lines = (out / "a.dump").read_text().splitlines()
    header = lines[8].removeprefix("ITEM: ATOMS ").split()
    assert header[:6] == ["id", "type", "element", "x", "y", "z"]
    assert header[6:] == list(expected)
    rows = np.array([line.split()[6:] for line in lines[9:]], float)
    for column, (name, values) in zip(rows.T, expected.items(), strict=True):
        np.testing.assert_allclose(column, values, rtol=1e-14, err_msg=name)


@pytest.mark.skipif(importlib.util.find_spec("ovito") is None, reason="needs ovito (bench extra)")
def test_ovito_reads_the_columns_back(exported):
    """In a process of its own, away from the libraries that OVITO brings; it lowers dump names."""
    out, _, expected = exported
    code = (
        "import sys, numpy as np; from ovito.io import import_file\n"
        "names = sys.argv[3:]\n"
        "particles = import_file(sys.argv[1]).compute().particles\n"
        "found = {name.lower(): particles[name] for name in particles.keys()}\n"
        "np.save(sys.argv[2], np.array([found[name.lower()] for name in names]))\n"
    )
    for ending, tolerance in (("extxyz", 6e-9), ("dump", 1e-14)):
        found = out / f"{ending}.npy"
        command = [sys.executable, "-W", "ignore", "-c", code, str(out / f"a.{ending}"), str(found)]
        subprocess.run([*command, *expected], check=True, capture_output=True, timeout=300)
        for values, (name, wanted) in zip(np.load(found), expected.items(), strict=True):
            np.testing.assert_allclose(values, wanted, atol=tolerance, rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_script_writes_and_says_so(tmp_path):
    write_run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = scripts.run(
        "draw", f"--out={tmp_path}", "--run=0001_-yz", "--export=0002_+xy", "--thickness=4"
    )
    assert done.returncode == 0, done.stderr
    assert "figure4: not drawn" in done.stdout and "thresholds.json is missing" in done.stdout
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    names -= {str(path.relative_to(tmp_path)) for path in before}
    figures = {f"figures/figure{n}.{e}" for n in (2, 3) for e in ("png", "pdf", "json")}
    written = figures | {"export/0002_+xy.extxyz", "export/0002_+xy.dump", "report.html"}
    assert names >= written
    # The rest are the pictures of the report.
    assert all(name.startswith("figures/") for name in names - written)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert archives.read_json(tmp_path / "figures" / "figure3.json")["run"] == "0001_-yz"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--run=0009_+xy"], "no test run 0009_+xy; choose from 0001_+xy, 0001_-yz, 0002_+xy"),
        (["--threshold=0.05"], "threshold = 0.1 (now 0.05)"),
    ],
)
def test_script_refuses_in_one_line(finished, arguments, said):
    folder, _, _ = finished
    stopped = scripts.run("draw", f"--out={folder.path}", *arguments)
    assert stopped.returncode == 1 and said in stopped.stderr
    assert stopped.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in stopped.stderr


def test_script_makes_no_folder(tmp_path):
    stopped = scripts.run("draw", f"--out={tmp_path / 'nowhere'}")
    assert stopped.returncode == 1 and "experiments/reproduce.py" in stopped.stderr
    assert not list(tmp_path.iterdir())
