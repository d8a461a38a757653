"""The benchmark beside LAMMPS: its reading of logs, which way ratios point, and a small run."""

import importlib
import json
import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import flax
import jax
import numpy as np
import pytest
from reference import small_glass

from stzjax import io, potentials
from stzjax.core import geometry, loads
from stzjax.descriptors import stiffness
from stzjax.learning import training
from stzjax.learning.models import gat
from stzjax.mechanics import allocation, energetics, expansion
from stzjax.neighbors import lists
from stzjax.shear import aqs

pytestmark = pytest.mark.slow

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"

# Of LAMMPS 22 Jul 2025: a warm-up, a timed run and a minimisation on two ranks, shortened.
LOG = """\
LAMMPS (22 Jul 2025 - Update 4)
run 50
Loop time of 0.132561 on 2 procs for 50 steps with 500 atoms

Section |  min time  |  avg time  |  max time  |%varavg| %total
---------------------------------------------------------------
Pair    | 0.12457    | 0.12546    | 0.12635    |   0.3 | 94.64
Neigh   | 0          | 0          | 0          |   0.0 |  0.00

Total # of neighbors = 40737
Neighbor list builds = 0
Dangerous builds = 0
run 100
Loop time of 0.226288 on 2 procs for 100 steps with 500 atoms

Pair    | 0.21174    | 0.21286    | 0.21397    |   0.2 | 94.06
Neigh   | 0.0010252  | 0.0010587  | 0.0010921  |   0.1 |  0.47

Neighbor list builds = 2
minimize 0 1e-6 100000 100000
Loop time of 0.714722 on 2 procs for 243 steps with 500 atoms

Minimization stats:
  Stopping criterion = force tolerance
  Energy initial, next-to-last, final =
     -2247.22426046777  -2265.54618086596  -2265.54618086594
  Iterations, force evaluations = 243 249

Neigh   | 0.0015682  | 0.0015936  | 0.0016189  |   0.1 |  0.22

Neighbor list builds = 1
Total wall time: 0:00:01
"""


def module(name: str):
    """One of the scripts, imported as they import each other."""
    if str(EXPERIMENTS) not in sys.path:
        sys.path.append(str(EXPERIMENTS))
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def lammps():
    return module("lammps_peer")


@pytest.fixture(scope="module")
def benchmark():
    return module("benchmark")


def program(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_every_run_of_a_log(lammps):
    warm_up, run, minimisation = lammps.loops(LOG)
    assert warm_up == (0.132561, 50, 0.0, 0, 0, "")
    assert run == (0.226288, 100, 0.0010587, 2, 0, "")
    assert minimisation == (0.714722, 243, 0.0015936, 1, 249, "force tolerance")
    assert lammps.loops("LAMMPS (22 Jul 2025)\nrun 0\n") == []


@pytest.mark.parametrize(
    "elements, columns, style",
    [("Cu Zr", 1, "eam/alloy"), ("Cu Zr", 2, "eam/fs"), ("Cu", 1, "eam/alloy")],
)
def test_style_of_a_table(lammps, tmp_path, elements, columns, style):
    count = len(elements.split())
    block = ["29 63.5 0.0 none"] + ["0.0"] * (6 + columns * 7)
    pairs = ["0.0 # r*phi"] * (7 * count * (count + 1) // 2)
    lines = ["#", "#", "#", f"{count} {elements}", "6 0.1 7 0.1 0.6", *block * count, *pairs]
    (tmp_path / "table").write_text("\n".join(lines))
    assert lammps.pair_style(tmp_path / "table") == style


def test_style_of_our_own_table(lammps, tmp_path):
    potentials.write_setfl(tmp_path / "table", potentials.mendelev2019(), 50, 60)
    assert lammps.pair_style(tmp_path / "table") == "eam/fs"


def test_where_lammps_is_looked_for(lammps, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    here, there = tmp_path / "here", tmp_path / "path"
    assert lammps.find(str(here), 2) is None
    program(there / "lmp", "")
    assert lammps.find(str(here), 2) is None, "two ranks need a launcher"
    assert lammps.find(str(here), 1).lmp == str(there / "lmp")
    for name in ("lmp", "mpiexec"):
        program(here / "bin" / name, "")
    found = lammps.find(str(here), 2)
    assert found == (str(here / "bin/lmp"), str(here / "bin/mpiexec"), str(here / "lib"), 2)


def test_an_error_of_lammps_is_told(lammps, tmp_path):
    lmp = program(tmp_path / "lmp", "echo 'ERROR: Unknown pair style eam/xx' > log.lammps; exit 1")
    with pytest.raises(ValueError, match="Unknown pair style eam/xx"):
        lammps.run(lammps.Peer(str(lmp), "", "", 1), "", tmp_path)


def test_ranks_of_a_foreign_mpi_are_noticed(lammps, tmp_path):
    mpiexec = program(tmp_path / "mpiexec", "echo 'Loop time of 1 on 1 procs for' > log.lammps")
    with pytest.raises(ValueError, match="ran on 1 ranks, not 2"):
        lammps.run(lammps.Peer("lmp", str(mpiexec), "", 2), "", tmp_path)


def test_strain_steps_of_the_script(lammps):
    cell = np.array([[20.0, 1.0, 0.0], [0.0, 30.0, 0.0], [0.0, 0.0, 40.0]])
    config = aqs.ShearConfig(step=1e-3, force_tolerance=1e-5, max_iterations=77)
    lines = lammps.quasistatic("", cell, "-yz", 2, config, lammps.Fire()).splitlines()
    changes = [line.split() for line in lines if "delta" in line]
    assert [change[2] for change in changes] == ["yz", "yz"]
    assert [float(change[4]) for change in changes] == pytest.approx([-0.04, -0.04])
    assert lines.count("minimize 0 1e-05 77 77") == 3
    assert [line.split()[3] for line in lines if "dump" in line] == [
        f"step.{n}.dump" for n in range(3)
    ]


def test_event_of_the_peer(lammps, reference, tmp_path):
    """A LAMMPS that hands over stored frames: the glass shifts, one atom jumps, all stay."""
    glass = io.read(reference / "glass.npz")
    shift = np.full((glass.num_atoms, 3), 0.01)
    jump = shift.copy()
    jump[7] += 0.03
    for step, move in enumerate((0.0 * shift, shift, jump, jump)):
        moved = glass.replace(fractional=(glass.fractional + move) % 1.0)
        io.write(tmp_path / f"step.{step}.dump", moved)
    end = LOG[LOG.index("minimize") :].replace("on 2 procs", "on 1 procs")
    (tmp_path / "stored").write_text(3 * end + end.replace("force tol", "linesearch tol"))
    lmp = program(tmp_path / "lmp", "cp stored log.lammps")
    peer = lammps.Peer(str(lmp), "", "", 1)
    found = lammps.shear(peer, "", tmp_path, glass.elements, aqs.ShearConfig())
    assert found.event_step == 2 and found.labels[7] and not found.labels.all()
    assert found.max_d2min[[0, 1, 3]] == pytest.approx(0.0, abs=1e-12)
    assert found.seconds.tolist() == [0.714722] * 4
    assert found.force_evaluations.tolist() == [249] * 4
    assert found.stalled == 1


def test_a_ratio_above_one_means_ours_is_better(benchmark):
    assert benchmark.row("time", 2.0, 6.0, "s", "less")["ratio"] == 3.0
    assert benchmark.row("rate", 6.0, 2.0, "1/s", "more")["ratio"] == 3.0
    assert benchmark.row("event", 55, 54, "step")["ratio"] is None
    alone = {"name": "time", "ours": 2.0, "peer": None, "ratio": None, "unit": "s"}
    assert benchmark.row("time", 2.0, None, "s", "less") == alone


def test_table(benchmark):
    rows = [
        benchmark.row("a long name", 1234.5678, 0.5, "M atom-step/s", "more"),
        benchmark.row("b", 2, None, "s"),
    ]
    assert benchmark.table(rows).splitlines() == [
        "name         ours  peer  ratio  unit",
        "a long name  1235   0.5   2469  M atom-step/s",
        "b               2     -      -  s",
    ]


def test_ours_and_the_peer_take_turns(benchmark):
    order = []
    mine, other = benchmark.alternate(
        lambda: order.append("ours") or 1.0, lambda: order.append("peer") or len(order), 3
    )
    assert order == ["ours", "peer"] * 3
    assert (mine, other) == ([1.0] * 3, [2, 4, 6])
    assert benchmark.alternate(lambda: 1.0, None, 2) == ([1.0, 1.0], [])


def test_rows_against_the_batch_size(benchmark, reference):
    """The rows of a GPU, measured on whatever device is here."""
    glass = io.structure_from(dict(np.load(reference / "glass.npz")))
    potential = potentials.compact(potentials.mendelev2019(), glass.elements)
    # A GPU's lists are tables, whatever form suits the device here.
    bonds = lists.allocate(glass, potential.cutoff, 0.5, 1.1, potential.inner_cutoff)
    run = benchmark._ensemble("npt", glass, potential, bonds)
    plan = types.SimpleNamespace(batch=(1, 3), steps=4, repeats=1)
    rows = benchmark.in_batches("npt", run, plan)
    names = [f"npt batch {size}{what}" for size in (1, 3) for what in ("", " share of bandwidth")]
    assert [entry["name"] for entry in rows] == names
    assert all(entry["ours"] > 0.0 for entry in rows)
    assert all(entry["ours"] < 100.0 for entry in rows if entry["unit"] == "%")


def sheared(glass, event: int) -> aqs.Run:
    """A run of ten evaluations a step whose event labels the first three atoms."""
    field = np.zeros(glass.num_atoms)
    field[:3] = 0.5
    steps = np.arange(event + 1)
    return aqs.Run(
        direction="+xy",
        strain=1e-4 * steps,
        energy=0.0 * steps,
        stress=np.zeros((event + 1, 3, 3)),
        max_d2min=np.where(steps == event, 0.5, 0.0),
        iterations=np.full(event + 1, 10),
        residual=0.0 * steps,
        history_step=np.array([event]),
        history_d2min=field[None],
        pairs=np.zeros((0, 2), int),
        final=glass,
        outcome="event",
        config=aqs.ShearConfig(),
    )


def test_rows_of_a_shear_run(benchmark, lammps, reference, capsys):
    glass = io.read(reference / "glass.npz")
    labels = np.zeros(glass.num_atoms, bool)
    labels[1:5] = True
    # The step beyond its event, and the first state, do not count.
    peer = lammps.Sheared(
        np.zeros(5), np.array([9.0, 1.0, 1.0, 4.0, 9.0]), np.full(5, 20), 3, labels, 0
    )
    run = sheared(glass, 4)
    rows = {r["name"]: r for r in benchmark.compare("x", run, 4, 3.0, peer)}

    def numbers(name):
        return tuple(rows[f"x {name}"][key] for key in ("ours", "peer", "ratio"))

    assert numbers("time to the event") == (3.0, 6.0, 2.0)
    assert numbers("force evaluations") == (40, 60, 1.5)
    assert numbers("time per evaluation") == pytest.approx((75.0, 100.0, 4 / 3))
    assert numbers("event") == (4, 3, None)
    assert numbers("labelled") == (3, 4, None)
    assert numbers("labelled by both") == (2, 2, None)
    late = peer._replace(event_step=None, labels=None)
    alone = benchmark.compare("x", run, 4, 3.0, late)
    assert all(entry["peer"] is None and entry["ratio"] is None for entry in alone)
    assert "no event" in capsys.readouterr().out


def script(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the benchmark as a user does who has no LAMMPS."""
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, str(EXPERIMENTS / "benchmark.py"), f"--lammps_env={nowhere}", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PATH": str(nowhere)},
    )


def test_alone_where_lammps_is_missing(tmp_path, reference):
    done = script(
        tmp_path,
        f"--glass={reference / 'glass.npz'}",
        "--steps=4",
        "--repeats=2",
        "--precision=float32",
        "--threads=1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LAMMPS not found")
    record = json.loads((tmp_path / "runs/benchmark/md.json").read_text())
    assert record["suite"] == "md" and record["repeats"] == 2
    (entry,) = record["rows"]
    assert list(entry) == ["name", "ours", "peer", "ratio", "unit"]
    assert entry["name"] == "md 500 atoms float32" and entry["unit"] == "M atom-step/s"
    assert entry["ours"] > 0 and entry["peer"] is None and entry["ratio"] is None


@pytest.mark.parametrize(
    "flags, said",
    [
        (
            ["--suite=md,speed"],
            "--suite takes md, npt, aqs, neighbors, descriptors, learning, got speed",
        ),
        (["--suite=md,npt", "--out=x.json"], "--out names one file"),
        (["--precision=float16"], "error: --precision takes float64, float32, got float16"),
        (["--potential=nothing"], "error: cannot read potential nothing"),
    ],
)
def test_bad_flags(tmp_path, flags, said):
    stopped = script(tmp_path, *flags)
    assert stopped.returncode == 1
    assert said in stopped.stdout + stopped.stderr


def test_descriptor_rows():
    """Every row of the suite on a small glass: times, and errors within what was asked."""
    suite = module("descriptor_suite")
    glass = small_glass.relaxed(small_glass.TILTED, tolerance=1e-8)
    rows = suite.rows(glass, small_glass.potential(), 1)
    found = {entry["name"].replace("54 atoms", "").strip(): entry for entry in rows}
    for name in ("soft modes , against ARPACK", "soft modes , against dense"):
        assert found[name]["ours"] > 0.0 and found[name]["peer"] > 0.0
    assert found["soft modes , off ARPACK's"]["ours"] < 1e-6
    assert found["eigenvalues , error"]["ours"] < 1e-6
    assert found["participation , error"]["ours"] < 1e-4
    for name in ("voronoi", "stiffness", "linear response", "features , all directions"):
        assert found[name]["ours"] > 0.0


def test_rows_of_gradients_and_of_an_impatient_peer():
    suite = module("descriptor_suite")
    glass, potential = (
        small_glass.relaxed(small_glass.TILTED, tolerance=1e-8),
        small_glass.potential(),
    )
    # The others compile Voronoi cells, which takes minutes.
    names = suite.GRADIENTS[-2:]
    for found, name in zip(suite.gradients(glass, potential, 1, names), names, strict=True):
        assert found["name"] == f"gradient of {name} 54 atoms, beside its value"
        assert found["ours"] > 0.0 and found["peer"] > 0.0 and found["ratio"] is None
    around = allocation.expand(glass, potential)
    said = [one["name"] for one in suite.modes(around, "", patience=0.0)]
    assert "soft modes , against ARPACK, stopped unfinished" in said
    assert "soft modes , off ARPACK's" not in said


def curvature(glass) -> np.ndarray:
    """Second derivatives of the energy of all atoms by the strain, (6, 6) [eV]."""
    around = expansion.expand(glass, small_glass.potential())
    tensors = stiffness.atomic_stiffness(around, np.ones(glass.num_atoms))
    total = np.asarray(tensors).sum(axis=0)
    return np.array([[total[(*a, *b)] for b in loads.VOIGT] for a in loads.VOIGT])


def test_order_of_the_born_matrix():
    """As in LAMMPS' manual, whose matrix shows the place of each of its 21 elements."""
    expected = [
        [1, 7, 8, 9, 10, 11],
        [7, 2, 12, 13, 14, 15],
        [8, 12, 3, 16, 17, 18],
        [9, 13, 16, 4, 19, 20],
        [10, 14, 17, 19, 5, 21],
        [11, 15, 18, 20, 21, 6],
    ]
    assert module("born_peer").matrix(range(1, 22)).tolist() == expected
    with pytest.raises(ValueError):
        module("born_peer").matrix(range(20))


def test_born_matrix_of_a_log():
    """The last step counts, and two timed evaluations share the time of the output."""
    steps = [" ".join(map(str, (n, *(n + 0.5 * np.arange(21))))) for n in range(3)]
    log = "\n".join(
        [
            "thermo_modify line one format float %.17g",
            "run 2",
            *steps,
            "Loop time of 0.7 on 2 procs for 2 steps with 500 atoms",
            "Pair    | 0.1  | 0.1  | 0.1  |   0.0 |  6.20",
            "Output  | 0.5  | 0.6  | 0.7  |   0.0 | 93.68",
        ]
    )
    spent, found = module("born_peer").read(log)
    assert spent == pytest.approx(0.3)
    assert found[0, 0] == 2.0 and found[4, 5] == found[5, 4] == 12.0
    with pytest.raises(ValueError, match="no Born matrix"):
        module("born_peer").read(LOG)


def test_rows_of_the_born_stiffness():
    """A LAMMPS whose C12 is off by a hundredth of the largest modulus."""
    glass, potential = small_glass.rough(small_glass.TILTED), small_glass.potential()
    theirs = curvature(glass)
    largest = np.abs(theirs).max()
    theirs[0, 1] = theirs[1, 0] = theirs[0, 1] + 0.01 * largest
    around = expansion.expand(glass, potential)
    args = module("descriptor_suite").born, (around, "54 atoms", 2)
    times = iter([3.0, 4.0])
    time, error = args[0](*args[1], lambda: (next(times), theirs))
    assert time["peer"] == 3.5 and time["ratio"] == pytest.approx(3.5 / time["ours"])
    assert error["ours"] == pytest.approx(0.01, rel=1e-9)
    (alone,) = args[0](*args[1], None)
    assert alone["name"] == time["name"] and alone["peer"] is None


def test_born_matrix_under_stress(lammps):
    """LAMMPS takes the stress terms off: its numbers are second derivatives by Green's strain."""
    peer = lammps.find("", 1)
    if peer is None:
        pytest.skip("LAMMPS is not installed")
    glass, potential = small_glass.rough(0.97 * small_glass.TILTED), small_glass.potential()
    ours = curvature(glass)
    stress = np.asarray(energetics.stress(glass, potential)) * geometry.volume(glass.cell)
    assert np.abs(stress).max() > 0.02 * np.abs(ours).max(), "the terms would not be seen"
    _, theirs = module("born_peer").born(peer, glass, potential, 10_000)()
    # Central differences at a strain of 1e-7 leave nine digits, the table of the functions eight.
    assert np.abs(theirs - ours).max() < 1e-8 * np.abs(ours).max()


def test_what_is_compared_with_ovito():
    """A hundredth of shear, and displacements of a twentieth of an Ångström on top."""
    suite, glass = module("descriptor_suite"), small_glass.rough(small_glass.TILTED)
    after = suite.sheared(glass)
    shear = np.array([[1.0, 0.01, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert np.asarray(after.cell) == pytest.approx(shear @ np.asarray(glass.cell))
    change = np.asarray(geometry.minimum_image(after.fractional - glass.fractional))
    assert np.std(change @ np.asarray(after.cell).T) == pytest.approx(0.05, rel=0.2)


def test_rows_beside_ovito():
    pytest.importorskip("ovito")
    glass = small_glass.rough(small_glass.TILTED)
    rows = module("descriptor_suite").beside_ovito(glass, "54 atoms", 2)
    found = {entry["name"].replace(" 54 atoms", ""): entry for entry in rows}
    for name in ("voronoi", "d2min"):
        assert found[f"{name}, against OVITO"]["peer"] > 0.0
        # Both sum in double precision; nothing is interpolated.
        assert found[f"{name}, off OVITO's"]["ours"] < 1e-10


def test_without_ovito(monkeypatch, capsys):
    for name in ("ovito", "ovito.data"):
        monkeypatch.setitem(sys.modules, name, None)
    glass = small_glass.rough(small_glass.TILTED)
    assert module("descriptor_suite").beside_ovito(glass, "54 atoms", 1) == []
    assert capsys.readouterr().out.startswith("OVITO is not installed")


def test_learning_rows():
    """Every row of the suite without the peer; graphs of other sizes are not compiled again."""
    suite = module("learning_suite")
    glass = small_glass.rough(small_glass.TILTED)
    rows = suite.rows(glass, 2, shapes=[(2, 3, 2)])
    found = {entry["name"].removesuffix(" L2 M3 N2 54 atoms"): entry for entry in rows}
    names = ("epoch", "memory", "epoch of 4 graphs", "compilations after the first epoch")
    assert tuple(found) == names
    assert all(found[name]["ours"] > 0.0 for name in names[:3])
    assert found["compilations after the first epoch"]["ours"] == 0
    assert all(entry["peer"] is None for entry in rows)


def test_two_loss_curves():
    suite = module("learning_suite")
    ours = [suite.Turn([[1.0, 2.0]], [0.1]), suite.Turn([[0.5, 1.0], [0.25, 0.5]], [0.1, 0.1])]
    theirs = [suite.Turn([[1.0, 2.0], [0.5, 1.0], [0.25, 0.4]], [0.1, 0.1, 0.1])]
    assert suite.loss_difference(ours, ours) == 0.0
    assert suite.loss_difference(ours, theirs) == pytest.approx(0.25)


def test_where_pytorch_geometric_is_looked_for(tmp_path):
    suite = module("learning_suite")
    assert suite.find(str(tmp_path)) is None
    program(tmp_path / "bin" / "python", "exit 1")
    assert suite.find(str(tmp_path)) is None
    versions = '{"torch": "2.13.0", "torch_geometric": "2.8.1"}'
    program(tmp_path / "bin" / "python", f"echo '{versions}'")
    assert suite.find(str(tmp_path)).versions == json.loads(versions)


def test_a_training_that_dies_is_noticed(tmp_path):
    suite = module("learning_suite")
    command = [str(program(tmp_path / "python", "exit 1"))]
    with suite.started(command) as side, pytest.raises(ValueError, match="has stopped"):
        side.take(1)
    with pytest.raises(ValueError, match="has failed"):
        suite.trial(command)


@pytest.fixture(scope="module")
def torch_peer():
    pytest.importorskip("torch_geometric")
    return module("pyg_peer")


@pytest.mark.parametrize("shape", [(1, 4, 1), (3, 5, 2)])
def test_the_peer_holds_our_network(torch_peer, shape):
    """With the parameters of a training of ours its logits are ours."""
    torch = importlib.import_module("torch")
    suite, glass = module("learning_suite"), small_glass.rough(small_glass.TILTED)
    given = suite.problem(glass, shape)
    rng = np.random.default_rng(0)  # Biases start at zero: a forgotten one is to be seen.
    names = [name for name in given if name.startswith("network/")]
    moved = {
        n: (given[n] + 0.1 * rng.normal(size=given[n].shape)).astype(np.float32) for n in names
    }
    edges = torch.tensor(given["edges"]).long()
    theirs = torch_peer.Network(given | moved)(torch.tensor(given["features"][0]), edges)
    network = flax.traverse_util.unflatten_dict(moved, sep="/")["network"]
    graph = suite.labelled(glass)
    graph = graph._replace(nodes=graph.nodes._replace(features=given["features"][0]))
    ours = jax.jit(gat.GAT(gat.Config(*shape)).apply)({"params": network}, graph)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_the_peer_learns_as_ours(torch_peer):
    suite, glass = module("learning_suite"), small_glass.rough(small_glass.TILTED)
    graphs = [suite.labelled(glass)], [suite.labelled(glass, seed=1)]
    history = training.train(*graphs, suite.settings((2, 3, 2), 5)).history
    ours = [[record["train_loss"], record["validation_loss"]] for record in history]
    epoch = torch_peer.trainer(suite.problem(glass, (2, 3, 2)))
    np.testing.assert_allclose(ours, [epoch() for _ in range(5)], rtol=suite.LOSS_TOLERANCE)
