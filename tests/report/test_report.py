"""The report of small synthetic run folders, whole and with parts missing."""

import base64
import dataclasses
import html.parser
import json
import re

import matplotlib.image
import numpy as np
import pytest

from stzjax import io, report
from stzjax.core import geometry, loads
from stzjax.core.structure import Structure
from stzjax.evaluation import metrics
from stzjax.evaluation.verdict import Predictions
from stzjax.figures import atoms
from stzjax.io import archives
from stzjax.run_folder import contents
from stzjax.shear import aqs

NUM = 300
CELL = np.array([[20.0, 2.5, -1.5], [0.0, 19.0, 3.0], [0.0, 0.0, 21.0]])


def write_run(out, specimens=3, events=True, test=(1, 2), num=NUM):
    """A run folder such as the scripts leave, from random numbers."""
    rng = np.random.default_rng(0)
    preset = {"preset": "toy <b>&", "potential": "mendelev2019", "quench_rate": 1e13, "step": 1e-4}
    archives.write_json(
        out / "config.json",
        {**preset, "directions": list(loads.DIRECTIONS), "provenance": {"jax": "0.0"}},
    )
    labels, confidences, strains, sizes = {}, {}, [], []
    for number in range(specimens):
        glass = _specimen(out, number, num, rng)
        for direction in loads.DIRECTIONS:
            label = _moved(glass, rng) if events else np.zeros(num, bool)
            event = _shear(out, number, direction, label, rng, glass)
            if event is not None:
                strains.append(event)
                sizes.append(int(label.sum()))
            labels[number, direction] = label
            logit = rng.normal(-1.0, 1.2, num) + 2.5 * label
            confidences[number, direction] = 1 / (1 + np.exp(-logit))
    scores = {}
    held = {"validation": (0,), "test": test}
    for name, chosen in held.items():
        keys = [(n, d) for n in chosen for d in loads.DIRECTIONS]
        columns = {
            "label": np.concatenate([labels[k] for k in keys]).astype(np.int8),
            "confidence": np.concatenate([confidences[k] for k in keys]),
            "specimen": np.repeat([k[0] for k in keys], num),
            "direction": np.repeat([k[1] for k in keys], num),
        }
        archives.save_archive(out / "predictions" / f"{name}.npz", columns, {})
        scores[name] = metrics.evaluate(columns["label"], columns["confidence"])
        if name == "validation" and events:
            threshold = metrics.best_threshold(columns["label"], columns["confidence"])
    if events:
        scores["test_at_validation_threshold"] = metrics.evaluate(
            columns["label"], columns["confidence"], threshold
        )
    runs = 6 * specimens
    scores["events"] = {
        "triggered": len(strains), "runs": runs, "strains": strains, "sizes": sizes,
    }  # fmt: skip
    spent = {"quench": 61.0, "shear": 130.2, "train": 44.0}
    usage = {name: {"seconds": s, "peak_mib": 20 * s} for name, s in spent.items()}
    archives.write_record(out / "usage.json", usage)
    archives.write_json(out / "metrics.json", scores)
    epochs = [
        {
            "epoch": n + 1,
            "train_loss": 0.4 + np.exp(-n / 9),
            "validation_loss": 0.5 + np.exp(-n / 9) + n / 200,
            "score": 0.2 - np.exp(-n / 7) / 5 if n else None,
        }
        for n in range(40)
    ]
    history = {"best_epoch": 40, "selected_by": "ap", "epochs": epochs}
    archives.write_json(out / "model" / "history.json", history)
    return out


def _specimen(out, number, num, rng):
    species = (np.arange(num) >= 0.64 * num).astype(int)
    glass = Structure.create(rng.random((num, 3)), CELL, species, ("Cu", "Zr"))
    temperature = np.linspace(2000, 300, 120)
    traces = {
        "trace_temperature": temperature + rng.normal(0, 8, 120),
        "trace_energy": -4.75 + 2.3e-4 * temperature + rng.normal(0, 0.002, 120),
        "trace_density": 7.6 - 4e-4 * temperature + rng.normal(0, 0.01, 120),
    }
    arrays = io.structure_arrays(glass) | traces
    archives.save_archive(out / "specimens" / f"{number:04d}.npz", arrays, {})
    return glass


def _moved(glass, rng):
    """A compact group of atoms, or now and then none."""
    if rng.random() < 0.15:
        return np.zeros(glass.num_atoms, bool)
    fractional = np.asarray(glass.fractional)
    away = geometry.minimum_image(fractional - fractional[rng.integers(glass.num_atoms)])
    return np.linalg.norm(np.asarray(away) @ CELL.T, axis=1) < rng.uniform(3, 6)


def _shear(out, number, direction, label, rng, glass):
    """Elastic up to a drop at a random step; the event strain, or None."""
    flow, gradient, sign = loads.axes(direction)
    event = int(rng.integers(20, 90)) if label.any() else 100
    strain = 1e-4 * np.arange(event + 1)
    shear = 25 / 160.2 * strain + rng.normal(0, 2e-4)
    largest = rng.uniform(1e-5, 4e-3, event + 1)
    history = 10.0 ** rng.uniform(-7, -2, (1, len(label)))
    if label.any():
        shear[-1] -= 1e-3
        history[0, label] = rng.uniform(0.11, 2.0, label.sum())
        largest[-1] = history.max()
    stress = np.zeros((len(strain), 3, 3))
    stress[:, flow, gradient] = stress[:, gradient, flow] = sign * shear
    arrays = {
        "strain": strain,
        "energy": -4.7 * len(label) + strain,
        "stress": stress,
        "max_d2min": largest,
        "iterations": np.full(len(strain), 50),
        "residual": np.zeros(len(strain)),
        "pairs": np.zeros((0, 2), int),
        "history_step": np.array([event]) if label.any() else np.zeros(0, int),
        "history_d2min": history if label.any() else np.zeros((0, len(label))),
    }
    arrays |= {f"final_{name}": values for name, values in io.structure_arrays(glass).items()}
    outcome = "event" if label.any() else "no event"
    config = dataclasses.asdict(aqs.ShearConfig())
    settings = {"direction": direction, "outcome": outcome, "config": config}
    archives.save_archive(out / "shears" / f"{number:04d}_{direction}.npz", arrays, settings)
    return float(strain[event]) if label.any() else None


class Page(html.parser.HTMLParser):
    """What a browser would find: links, JSON blocks, the text outside of scripts, the tables.

    Rows are those of the tables with a header, under the id of their section and in it the title
    of their first column; a cell is its text.
    """

    def __init__(self, path):
        """Read the file."""
        super().__init__()
        self.outside, self.links, self.blocks, self.words, self._inside = [], [], {}, [], None
        self.rows, self.marked, self._cell, self._section = {}, [], False, ""
        self.feed(path.read_text(encoding="utf-8"))
        self.words = re.sub(r"\s+", " ", " ".join(self.words))
        self.rows = {
            section: [[" ".join(cell.split()) for cell in row] for row in rows if row]
            for section, rows in self.rows.items()
        }

    def handle_starttag(self, tag, attrs):
        """Note links, and where text will belong."""
        attrs = dict(attrs)
        if tag in ("script", "style"):
            self._inside = attrs.get("data-plot") or attrs.get("id") or tag
        if tag == "section":
            self._section = attrs["id"]
        elif tag == "tr":
            self.rows.setdefault(self._section, []).append([])
            if "key" in attrs.get("class", "").split():
                self.marked.append((self._section, len(self.rows[self._section]) - 1))
        elif tag in ("th", "td"):
            self._cell = True
            self.rows[self._section][-1].append("")
        for name in ("src", "href", "srcset", "action", "data"):
            if attrs.get(name) and not attrs[name].startswith(("#", "data:")):
                beside = tag == "a" and attrs[name].startswith("figures/")
                (self.links if beside else self.outside).append(attrs[name])

    def handle_endtag(self, tag):
        """Leave a script or a cell."""
        if tag in ("script", "style"):
            self._inside = None
        elif tag in ("th", "td"):
            self._cell = False

    def handle_data(self, data):
        """Keep the text."""
        if self._inside is None:
            self.words.append(data)
            if self._cell:
                self.rows[self._section][-1][-1] += f" {data} "
        else:
            self.blocks[self._inside] = self.blocks.get(self._inside, "") + data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run):
    return Page(report.write(run))


def test_page_needs_nothing_from_outside(page):
    assert page.outside == []
    assert (
        '"sendChartToCloud"' in page.blocks["script"] and 'ServerURL: ""' in page.blocks["script"]
    )
    assert "@import" not in page.blocks["style"] and "url(" not in page.blocks["style"]


def test_page_shows_the_metrics_and_the_papers(page, run):
    scores = archives.read_json(run / "metrics.json")
    for name in ("test", "test_at_validation_threshold", "validation"):
        for key in ("recall", "precision", "f1", "mcc", "auc", "ap", "ap_over_prevalence"):
            digits = ".4f" if scores[name][key] <= 1 else ".3g"
            assert f" {scores[name][key]:{digits}} " in page.words
    assert f"{scores['test']['confusion']['tn']:,}" in page.words
    for value in ("0.7002", "0.0086", "0.0169", "0.0662", "0.8508", "0.0160", "0.0018", "8.89"):
        assert f" {value} " in page.words
    assert f"{scores['events']['triggered']} of 18 runs" in page.words
    assert "2.2 min" in page.words


HOSTILE = "</script><script>window.hacked = 1</script> & 'co' \"x\""


def test_text_from_outside_is_escaped(page, tmp_path):
    """Settings, versions, outcomes, faults, stages: told as they are, and never taken for HTML."""
    assert "toy <b>&" in page.words
    out = write_run(tmp_path, specimens=2, test=(1,))
    config = archives.read_json(out / "config.json")
    config |= {name: HOSTILE for name in ("preset", "quench_rate", "potential", "note", HOSTILE)}
    archives.write_json(out / "config.json", config | {"provenance": {"jax": HOSTILE}})
    archives.write_record(out / "usage.json", {HOSTILE: {"seconds": 1.0}})
    for name in ("specimens/0000.npz", "shears/0000_+xy.npz"):
        arrays, settings = archives.load_archive(out / name)
        hostile = {"outcome": HOSTILE, "faults": [HOSTILE]}
        archives.save_archive(out / name, arrays, {**settings, **hostile})
    path = report.write(out)
    assert "<script>window.hacked" not in path.read_text(encoding="utf-8")
    words, told = Page(path).words, " ".join(HOSTILE.split())
    # The title, preset and rate above; five settings and a name; outcomes of a specimen and a run,
    # a fault, a stage, a version. The potential above begins after its last slash.
    assert words.count(told) == words.count("window.hacked") == 14


def test_every_plot_has_its_place_and_valid_json(page, run):
    text = (run / "report.html").read_text(encoding="utf-8")
    plots = {"quench-plot", "stress_strain-plot", "events-plot", "curves-plot", "training-plot"}
    assert plots <= set(page.blocks)
    for name in plots:
        figure = json.loads(page.blocks[name])
        assert figure["data"]
        assert f'<div class="plot" id="{name}">' in text
    identifiers = re.findall(r' id="([^"]+)"', text[text.index("<body>") :])
    assert len(identifiers) == len(set(identifiers))


def test_view_holds_the_atoms(page, run):
    view = json.loads(page.blocks["view-data"])
    arrays, _ = archives.load_archive(run / "predictions" / "test.npz")
    assert [(r["specimen"], r["direction"]) for r in view["runs"]] == [
        (n, d) for n in (1, 2) for d in loads.DIRECTIONS
    ]
    label = np.frombuffer(base64.b64decode(view["runs"][7]["label"]), np.uint8)
    confidence = np.frombuffer(base64.b64decode(view["runs"][7]["confidence"]), "<f4")
    np.testing.assert_array_equal(label, arrays["label"][7 * NUM : 8 * NUM])
    np.testing.assert_allclose(confidence, arrays["confidence"][7 * NUM : 8 * NUM], rtol=1e-6)
    fractional = np.frombuffer(base64.b64decode(view["specimens"]["2"]["fractional"]), "<u2")
    glass, _ = archives.load_archive(run / "specimens" / "0002.npz")
    away = fractional.reshape(-1, 3) / 2**16 - glass["fractional"]
    assert np.abs(away - np.round(away)).max() < 2.0**-16
    np.testing.assert_allclose(view["specimens"]["2"]["cell"], CELL, atol=1e-4)


def test_view_holds_the_mobility(page, run):
    """Codes are logarithms: D²min comes back to 0.04 %, and above the threshold where moved."""
    view = json.loads(page.blocks["view-data"])
    for place, name in ((0, "0001_+xy"), (7, "0002_+yz")):
        arrays, _ = archives.load_archive(run / "shears" / f"{name}.npz")
        stored = view["runs"][place]["d2min"]
        if not len(arrays["history_d2min"]):
            assert stored is None
            continue
        code = np.frombuffer(base64.b64decode(stored), "<u2")
        d2min = 10.0 ** (view["d2min_low"] + view["d2min_step"] * (code - 1.0))
        np.testing.assert_allclose(d2min, arrays["history_d2min"][-1], rtol=4e-4)
    code = atoms.codes([0.0, 1e-17, 1e-16, 1.0, 1e30])
    assert code[0] == code[1] == 0 and code[2] == 1 and code[4] == 2**16 - 1
    assert code[3] == pytest.approx(1 + 16 / 3e-4, abs=1)


def test_pngs_are_pictures(run, page):
    names = {path.stem for path in (run / "figures").glob("*.png")}
    expected = {"atoms", "curves", "d2min", "events", "quench", "stress_strain", "training"}
    assert names == expected | {"correlation"}, "every plot of the page, and two more"
    for name in names:
        image = matplotlib.image.imread(run / "figures" / f"{name}.png")
        assert min(image.shape[:2]) > 300 and image[..., :3].std() > 0.01, name


def test_same_run_same_bytes(run, page):
    before = {p: p.read_bytes() for p in [run / "report.html", *run.glob("figures/*.png")]}
    report.write(run)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_empty_folder_and_folder_without_learning(tmp_path):
    words = Page(report.write(tmp_path)).words
    for part in ("No settings", "No quench", "No shear run", "No metrics", "No predictions"):
        assert part in words
    write_run(tmp_path / "part")
    for name in ("metrics.json", "predictions/test.npz", "model/history.json"):
        (tmp_path / "part" / name).unlink()
    words = Page(report.write(tmp_path / "part")).words
    assert "No verdict yet" in words and "No training history" in words
    assert re.search(r"1\d of 18 runs reached", words), "events are counted from the shear runs"


def test_no_events_at_all(tmp_path):
    page = Page(report.write(write_run(tmp_path, events=False)))
    assert "None of 18 runs reached a first event" in page.words
    assert "No verdict" in page.words and "undefined" in page.words
    assert "no atom of the test set moves first" in page.words
    assert "None" not in page.words.replace("None of 18", "") and "nan" not in page.words.split()


def test_one_test_specimen_says_so(tmp_path):
    words = Page(report.write(write_run(tmp_path, test=(1,)))).words
    assert "One test specimen cannot tell" in words
    assert "at least two test specimens" in words
    assert "Not established beyond chance" in words


def test_specimens_lost(tmp_path):
    write_run(tmp_path)
    (tmp_path / "specimens" / "0001.npz").unlink()
    page = Page(report.write(tmp_path))
    assert "6 test runs are left out" in page.words
    assert len(json.loads(page.blocks["view-data"])["runs"]) == 6


def test_damage_is_named(tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        report.write(tmp_path / "nowhere")
    write_run(tmp_path)
    path = tmp_path / "shears" / "0000_+xy.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"0000_\+xy.npz"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_stress_is_positive_along_the_load(run):
    for shear in contents.read(run).shears:
        slope = np.polyfit(shear.strain[:-1], shear.stress[:-1], 1)[0]
        assert slope == pytest.approx(25 / 160.2 * 160.2176634, rel=1e-6)
        if shear.event is not None:
            assert shear.event == len(shear.strain) - 1
            assert shear.event_d2min.max() > 0.1


def test_runs_of_pooled_predictions():
    pooled = Predictions(
        np.zeros(7),
        np.zeros(7),
        np.array([0, 0, 0, 0, 1, 1, 1]),
        np.array(["+xy", "+xy", "-xy", "-xy", "-xy", "-xy", "+xz"]),
    )
    assert pooled.runs() == [
        (0, "+xy", slice(0, 2)),
        (0, "-xy", slice(2, 4)),
        (1, "-xy", slice(4, 6)),
        (1, "+xz", slice(6, 7)),
    ]


def test_faults_have_a_row_each(tmp_path):
    """A specimen that was not sheared, a run with a fault; a sentence if there are none."""
    out = write_run(tmp_path / "run", test=(1,))
    assert "No faults" in report.write(out).read_text()
    path = out / "specimens" / "0001.npz"
    arrays, settings = archives.load_archive(path)
    archives.save_archive(path, arrays, {**settings, "outcome": "neighbour overflow"})
    path = sorted((out / "shears").iterdir())[0]
    arrays, settings = archives.load_archive(path)
    found = ["energy rises at strain 0.0011", "the event spans the system"]
    archives.save_archive(path, arrays, {**settings, "faults": found})
    page = report.write(out).read_text()
    assert "<tr><th>specimen 1</th><td>neighbour overflow</td></tr>" in page
    assert "energy rises at strain 0.0011; the event spans the system</td></tr>" in page
    assert "2 faults" in page
