"""The script of the page, in a browser: it draws, and its controls do what they say."""

import json
import queue
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_report import CELL, NUM, write_run
from test_report_studies import write_studies

from stzjax import report
from stzjax.io import archives

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 90.0
"""Time that the browser has on a busy machine [s]."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")


def watch(path: Path, width: int) -> dict:
    """The record of `browser.js` on a page in a window of some width [px]."""
    script = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
    listen = 'window.errors = []; addEventListener("error", (e) => errors.push(e.message));'
    page = path.read_text(encoding="utf-8").replace("<head>", f"<head><script>{listen}</script>", 1)
    probed = path.with_name(f"probed{width}.html")
    probed.write_text(page.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--enable-logging=stderr",
        f"--user-data-dir={path.parent / 'profile'}", f"--window-size={width},900",
        probed.as_uri(),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines: queue.Queue = queue.Queue()
    threading.Thread(target=lambda: [lines.put(one) for one in process.stderr], daemon=True).start()
    told, deadline = "", time.monotonic() + PATIENCE
    try:
        while not (found := re.search(r"SEEN (\{.*\}) END", told)):
            told += lines.get(timeout=max(deadline - time.monotonic(), 0.1))
    except queue.Empty:
        pytest.fail(f"the page said nothing within {PATIENCE} s: {told[-2000:]}")
    finally:
        process.kill()
        process.wait()
    return json.loads(found[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = write_run(tmp_path_factory.mktemp("seen"))
    write_studies(out)
    report.write(out)
    return out


@pytest.fixture(scope="module")
def seen(run):
    return watch(run / "report.html", 1200)


@pytest.fixture(scope="module")
def atoms(run, seen):
    """Labels, confidences and positions of the run that the view shows first."""
    arrays, _ = archives.load_archive(run / "predictions" / "test.npz")
    span = slice(seen["chosen"] * NUM, (seen["chosen"] + 1) * NUM)
    number, direction = arrays["specimen"][span][0], arrays["direction"][span][0]
    glass, _ = archives.load_archive(run / "specimens" / f"{number:04d}.npz")
    shear, _ = archives.load_archive(run / "shears" / f"{number:04d}_{direction}.npz")
    label, confidence = arrays["label"][span] == 1, arrays["confidence"][span].astype(np.float32)
    return label, confidence, glass["fractional"], shear["history_d2min"][-1]


def groups(atoms, threshold):
    """Atoms of each group by a threshold, as the page names them."""
    label, confidence, *_ = atoms
    called = confidence >= np.float32(threshold)
    return {
        "all other atoms": int((~label & ~called).sum()),
        "predicted only (false positive)": int((~label & called).sum()),
        "moved, not predicted (false negative)": int((label & ~called).sum()),
        "moved and predicted (true positive)": int((label & called).sum()),
    }


def inside(atoms, height, thickness):
    """Number of atoms in a slab at a height z [Å]; the cell is periodic."""
    away = atoms[2][:, 2] - height / CELL[2, 2]
    return int((np.abs(away - np.round(away)) * CELL[2, 2] <= thickness / 2).sum())


def test_page_runs_without_errors_and_draws_every_plot(seen):
    assert seen["errors"] == [] and seen["hacked"] is None
    names = "quench stress_strain events verdict curves correlation thresholds grid remedies "
    assert list(seen["plots"]) == [f"{n}-plot" for n in (names + "baselines training").split()]
    for name, plot in seen["plots"].items():
        assert plot["traces"] and plot["svg"], name


def test_view_is_drawn_when_it_comes_near(seen, atoms):
    assert not seen["early"] and seen["canvas"] == 1
    assert seen["first"]["clouds"] == groups(atoms, 0.5)
    assert len(seen["runs"]) == 12
    assert seen["runs"][seen["chosen"]].endswith(f"({atoms[0].sum()} moved first)")


def test_threshold_is_that_of_the_button_and_the_slider(seen, atoms, run):
    chosen = archives.read_json(run / "metrics.json")["test_at_validation_threshold"]["threshold"]
    assert seen["buttons"] == ["threshold 0.5", "from validation"]
    assert seen["validation"]["value"] == pytest.approx(chosen)
    assert seen["validation"]["clouds"] == groups(atoms, chosen)
    quarter = groups(atoms, 0.25)
    assert seen["quarter"]["clouds"] == quarter
    hits, missed = (quarter[name] for name in list(quarter)[:1:-1])
    assert f"Recall {100 * hits / (hits + missed):.1f} %" in seen["quarter"]["text"]
    assert f"(true positive): {hits}" in seen["quarter"]["counts"]


def test_boxes_hide_what_they_name(seen, atoms):
    expected = groups(atoms, 0.25)
    del expected["predicted only (false positive)"]
    assert seen["withoutFalse"] == expected
    del expected["all other atoms"]
    assert seen["withoutOthers"] == expected
    assert (
        seen["only"]["clouds"]["stands out"] + seen["only"]["clouds"]["other atom"]
        == (seen["only"]["slice"])
    )


def test_colours_are_the_values(seen, atoms):
    label, confidence, *_ = atoms
    assert len(seen["confidence"]) == inside(atoms, seen["core"][0], 3.0)
    assert set(np.float32(seen["confidence"])) <= set(confidence) and seen["disabled"]
    assert seen["mobility"]["axis"] == "D²min (Å²)"
    moved = int(label.sum())
    assert seen["mobility"]["clouds"] == {"other atom": NUM - moved, "stands out": moved}


def test_cross_section_follows_its_controls(seen, atoms):
    core = atoms[2][np.argmax(atoms[3]), 2] * CELL[2, 2]
    before, again = seen["core"]
    assert before == again == pytest.approx(core, abs=0.051)
    assert seen["low"]["slice"] == inside(atoms, 0.0, 3.0)
    assert seen["low"]["told"].startswith("z = 0.0 Å, 3 Å thick")
    assert seen["thick"]["slice"] == inside(atoms, again, 6.0)


def test_another_run_is_another_cell(seen):
    name = seen["runs"][(seen["chosen"] + 1) % 12].split(", ")[1][:3]
    assert f"Load {name}:" in seen["other"]["text"]
    assert seen["other"]["counts"] != seen["thick"]["counts"]


def test_click_sorts_a_table(seen):
    kind, keys = seen["sorted"]
    assert kind == "descending" and [float(key) for key in keys] == sorted(map(float, keys))[::-1]
    kind, keys = seen["again"]
    assert kind == "ascending" and [float(key) for key in keys] == sorted(map(float, keys))


def test_click_in_the_legend_hides_a_direction(seen):
    assert seen["hidden"] and {tuple(one) for one in seen["hidden"]} == {("+xy", "legendonly")}


@pytest.mark.slow
def test_narrow_page_puts_panels_below_each_other(run):
    seen = watch(run / "report.html", 600)
    assert seen["errors"] == []
    for name, plot in seen["plots"].items():
        assert all(domain in ([0, 1], None) for domain in plot["panels"]), name
