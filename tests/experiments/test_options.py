"""Flags of the scripts on a run folder: what they refuse, what they mean, and what --help lists."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scripts

from stzjax.run_folder.settings import PRESETS, Settings, setting_flags

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"

OLD_CONFIG = Path(__file__).parent.parent / "run_folder" / "old_config.json"
"""Settings of a smoke run as they were written before elements and models were settings."""

DRIVER = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import options
from absl.testing import flagsaver
found = []
for arguments in json.load(sys.stdin):
    printed = io.StringIO()
    with flagsaver.flagsaver(), contextlib.redirect_stdout(printed):
        try:
            options._parser(("run", "melt", "quench"))(["script.py", *arguments])
            preset, settings = options.settings()
            settings.validate()
            found.append([preset, settings.flat()])
        except ValueError as error:
            found.append(f"error: {error}")
        except SystemExit as stopped:
            found.append(str(stopped.code or printed.getvalue()))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """From a command line to preset and settings, or to what is said instead.

    One process takes them all. It is not that of the tests, where flags of the same name of other
    scripts may be.
    """
    old = tmp_path_factory.mktemp("old")
    shutil.copy(OLD_CONFIG, old / "config.json")
    cases = [*COMMANDS, f"--out={old}", f"--out={old} --epochs=3"]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(EXPERIMENTS)],
        input=json.dumps([case.split() for case in cases]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = dict(zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True))
    return lambda case: found[case.format(old=old)]


REFUSED = {
    "--quench_rate=-1e12": "quench_rate must be positive, got -1000000000000.0",
    "--quench_rate=fast": "--quench_rate takes a number, got 'fast'",
    "--num_atoms=many": "--num_atoms takes an integer, got 'many'",
    "--relax_cell=perhaps": "--relax_cell takes true or false, got 'perhaps'",
    "--preset=paper2": "--preset takes one of paper, laptop, quickstart, smoke, got 'paper2'",
    "--workers=-1": "--workers takes a non-negative integer, got '-1'",
    "--directions=+xy,+yx": "unknown direction '+yx'; choose from +xy",
    "--directions=": "directions is empty; name at least one, such as +xy",
    "--threshold=0.5": "threshold 0.5 lies above stop_threshold 0.1",
    "--threshold=0.001": "threshold 0.001 lies below record_threshold 0.01",
    "--stop_threshold=0.001": "stop_threshold 0.001 must be at least record_threshold 0.01",
    "--final_strain=1e-5": "final_strain 1e-05 is less than one step: strain_step is 0.0001",
    "--layers=0": "layers must be 1 or more, got 0",
    "--dense=a": "--dense takes whole numbers separated by commas, got 'a'",
    "--dense=8,0": "dense must be 1 or more, got 0",
    "--dropout=1": "dropout must lie in [0, 1), got 1.0",
    "--radii=1.3": "radii must be 2 lengths, of Cu and Zr, or empty, got (1.3,)",
    "--radii=a,b": "--radii takes numbers separated by commas, got 'a,b'",
    "--voronoi=fast": "voronoi must be one of auto, qhull, jax, got 'fast'",
    "--mode_fraction=2": "mode_fraction must lie in (0, 1], got 2.0",
    "--minimizer=anderson": "minimizer anderson was removed: one wrong event in 30; use lbfgs",
    "--minimizer=newton": "minimizer must be one of lbfgs, fire, got 'newton'",
    "--model=mlp": "model must be one of gat, got 'mlp'",
    "--loss=hinge": "loss must be one of weighted, focal, balanced, adjusted, event, got 'hinge'",
    "--num_specimens=2": "num_specimens must be at least 3",
    "--cu_fraction=1.5": "cu_fraction must lie between 0 and 1, got 1.5",
    "--cu_fraction=0.5 --fractions=0.5,0.5": "--cu_fraction stands for --elements and --fractions",
    "--elements=Ni,Al": "--elements needs --fractions",
    "--elements=Ni,Ni --fractions=0.5,0.5": "elements must name each element of the alloy once",
    "--elements=Ni,Xx --fractions=0.5,0.5": "the potential knows Cu, Zr, but the elements are Ni",
    "--fractions=0.5,0.4": "fractions must give each of Cu, Zr a share and add up to 1",
    "--no_such_flag=1": "unknown command line flag 'no_such_flag'; see --help",
    "stray": "unexpected arguments: stray; see --help",
}


NUMBERS = [flag for flag in setting_flags().values() if flag.kind in (int, float)]

COMMANDS = [
    *REFUSED,
    *(f"--{flag.name}=1o" for flag in NUMBERS),
    "--out=nowhere",
    "--preset=smoke --dense=8,4 --noextrapolate --stop_threshold=0 --radii=",
    "--elements=Zr,Ni, --fractions=0.7,0.3 --potential=a.fs",
    "--cu_fraction=0.5",
    "--help",
    "-h --preset=paper",
]


@pytest.mark.parametrize(("given", "said"), REFUSED.items())
def test_a_mistyped_flag_is_one_line_that_says_what_to_do(parsed, given, said):
    assert parsed(given).startswith(f"error: {said}")
    assert "\n" not in parsed(given)


@pytest.mark.parametrize("flag", NUMBERS, ids=lambda flag: flag.name)
def test_nonsense_for_a_number_is_refused(parsed, flag):
    takes = "numbers separated by commas" if flag.many else "a number"
    if flag.kind is int:
        takes = "whole numbers separated by commas" if flag.many else "an integer"
    assert parsed(f"--{flag.name}=1o") == f"error: --{flag.name} takes {takes}, got '1o'"


def as_read(settings: Settings) -> dict:
    return json.loads(json.dumps(settings.flat()))


def test_flags_change_the_preset_and_nothing_else(parsed):
    assert parsed("--out=nowhere") == ["quickstart", as_read(PRESETS["quickstart"])]
    changed = parsed("--preset=smoke --dense=8,4 --noextrapolate --stop_threshold=0 --radii=")
    smoke = PRESETS["smoke"].changed(dense=(8, 4), extrapolate=False, stop_threshold=0.0)
    assert changed == ["smoke", as_read(smoke)]
    _, alloy = parsed("--elements=Zr,Ni, --fractions=0.7,0.3 --potential=a.fs")
    assert (alloy["elements"], alloy["fractions"]) == (["Zr", "Ni"], [0.7, 0.3])
    _, copper = parsed("--cu_fraction=0.5")
    assert (copper["elements"], copper["fractions"]) == (["Cu", "Zr"], [0.5, 0.5])


def test_a_folder_of_an_older_version_gives_its_settings(parsed):
    assert parsed("--out={old}") == ["smoke", as_read(PRESETS["smoke"])]
    shorter = parsed("--out={old} --epochs=3")
    assert shorter == ["smoke", as_read(PRESETS["smoke"].changed(epochs=3))]


def entries(page: str) -> dict[str, str]:
    """The flags of a page of help with the values shown; switches without their [no]."""
    lines = [line.split()[0] for line in page.splitlines() if line.startswith("  --")]
    pairs = (line.removeprefix("--").removeprefix("[no]").partition("=") for line in lines)
    return {name: value for name, _, value in pairs}


def test_help_lists_the_flags_of_the_script_by_stage_with_the_values_of_the_preset(parsed):
    page, paper = parsed("--help"), parsed("-h --preset=paper")
    assert all(len(line) <= 100 for line in page.splitlines())
    heads = [line[:-1] for line in page.splitlines() if line.endswith(":") and line[0] != " "]
    assert heads == ["Run", "Melt", "Quench", "Folder and work", "Several processes"]
    found = entries(page)
    own = {f.name for f in setting_flags().values() if f.group in ("run", "melt", "quench")}
    shared = "cu_fraction out preset save_every workers lanes kernel compilation_cache log_dir"
    job = "distributed coordinator num_processes process"
    assert set(found) == own | {*shared.split(), *job.split()}
    assert found["num_atoms"] == "500" and found["quench_rate"] == "5e+13"
    assert entries(paper)["num_atoms"] == "10000" and "the preset paper" in paper


SCRIPTS = {
    "reproduce": "potential quench_rate strain_step response threshold layers epochs out",
    "shear": "strain_step stop_threshold directions out",
    "describe": "mode_fraction radii",
    "train": "model loss epochs",
    "evaluate": "out log_dir",
    "search": "grid grid_layers folds epochs",
    "remedies": "remedies seeds rotations learning_rate",
    "draw": "run export",
    "differentiate": "parts atom radial",
    "check_events": "tight",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_of_every_script(name):
    done = scripts.run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert set(SCRIPTS[name].split()) <= set(entries(done.stdout))
