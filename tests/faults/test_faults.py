"""Kills, a full disk, damaged files, company: every run ends as one that nothing happened to.

The shortened form of `harness.py`, which has the long one.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import harness
import pytest

from stzjax.io import archives

pytestmark = pytest.mark.slow
KILLS = 3


@pytest.fixture(scope="module")
def reference(smoke):
    """A run that nothing happened to."""
    return smoke


def copy(reference: Path, out: Path, *without: str) -> Path:
    """The run as it was before some of its outputs were there."""
    shutil.copytree(reference, out)
    (out / "metrics.json").unlink()
    for pattern in without:
        for path in out.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return out


def test_kills_at_random_moments(reference, tmp_path):
    """In all stages, but of one specimen of the three."""
    out = copy(reference, tmp_path / "out", "melt.npz", "*/0001*", "model", "predictions")
    found = harness.campaign(out, reference, KILLS, longest=15.0, seed=7)
    assert sum(found.values()) == KILLS


def test_a_kill_in_every_write_of_a_file(reference, tmp_path):
    """The process dies between the temporary file and its name: nothing half-written is there."""
    out = copy(reference, tmp_path / "out", "features/0000_*")
    killer = (
        "import os, signal, sys; from stzjax.io import archives\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "archives.os.replace = die\n"
        "sys.argv = sys.argv[1:]\n"
        "import runpy; sys.path.insert(0, os.path.dirname(sys.argv[0]))\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    python, *rest = harness.command(out, name="describe")
    died = subprocess.run(
        [python, "-c", killer, *rest], env=harness.environment(), capture_output=True, timeout=600
    )
    assert died.returncode == -signal.SIGKILL
    assert not list((out / "features").glob("0000_*.npz"))
    harness.finish(out)
    harness.assert_same(out, reference)


def test_a_full_disk_is_one_line_and_leaves_no_ruins(reference, compilation_cache, tmp_path):
    """Compiled programs cannot be kept either: two are not yet there."""
    out = copy(reference, tmp_path / "out", "features/0000_*", "model", "predictions")
    new, cache = shutil.ignore_patterns("jit_atomic_*"), tmp_path / "cache"
    shutil.copytree(compilation_cache, cache, copy_function=os.link, ignore=new)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    stopped = subprocess.run(
        harness.command(out, f"--compilation_cache={cache}", name="describe"),
        env=harness.environment(),
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=600,
    )
    lines = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
    assert stopped.returncode == 1 and len(lines) == 1, stopped.stderr
    assert "File too large" in lines[0] and "Traceback" not in stopped.stderr
    assert not [path for path in out.rglob("*") if path.name.startswith(".0")]
    assert not list((out / "features").glob("0000_*.npz"))
    harness.finish(out)
    harness.assert_same(out, reference)


def test_a_folder_that_cannot_be_written(tmp_path):
    out = Path("/proc/stzjax")  # Root may write wherever a mode forbids it, but not here.
    if os.geteuid():
        tmp_path.chmod(0o500)
        out = tmp_path / "out"
    stopped = subprocess.run(
        harness.command(out), env=harness.environment(), capture_output=True, text=True, timeout=600
    )
    assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
    assert f"error: cannot write to --out={out}" in stopped.stderr


def test_damaged_files_are_set_aside_and_made_again(reference, tmp_path):
    out = copy(reference, tmp_path / "out")
    rng, whole = random.Random(1), {}
    for name in ("specimens/0001.npz", "shears/0002_-yz.npz", "features/0000_+xy.npz"):
        path = out / name
        whole[name] = path.read_bytes()
        content = bytearray(whole[name])
        content[rng.randrange(len(content) // 2)] ^= 0x10
        path.write_bytes(content if "shears" in name else content[: len(content) // 2])
    (out / "model" / "network.npz").write_text("not ours")
    (out / "usage.json").write_text("{")
    said = harness.finish(out)
    aside = sorted(str(path.relative_to(out)) for path in out.rglob("*.damaged"))
    assert aside == sorted([*(f"{name}.damaged" for name in whole), "model/network.npz.damaged",
                            "usage.json.damaged"])  # fmt: skip
    for name in aside:
        assert f"set aside as {Path(name).name}, made again" in said
        (out / name).unlink()
    harness.assert_same(out, reference)


def test_a_talkative_process_is_not_held_up():
    """Whatever it says: a full pipe would stop it in mid-sentence."""
    line = "import sys; print('said' * 100_000); print('gone' * 100_000, file=sys.stderr)"
    process = harness.Process([sys.executable, "-c", line], harness.environment())
    process.wait(timeout=60)
    assert [len(said) for said in process.ended()] == [400_001, 400_001]


def test_two_processes_share_one_folder(reference, tmp_path):
    """Each takes what the other does not hold; one killed midway, the other does the rest."""
    out = copy(reference, tmp_path / "out", "shears/000[12]_*")
    logs = [tmp_path / "logs" / name for name in ("a", "b")]
    first = harness.start(out, f"--log_dir={logs[0]}")
    wait_for(lambda: _sheared(logs[0]), first)
    first.send_signal(signal.SIGSTOP)  # It holds what it was at, like a host that stands still.
    try:
        second = harness.start(out, f"--log_dir={logs[1]}")
        wait_for(lambda: "waiting for" in _text(logs[1]), second)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    _, said = second.ended(timeout=600)
    assert second.returncode == 0, said
    harness.assert_same(out, reference)
    done = [_sheared(log) for log in logs]
    assert all(done) and not set(done[0]) & set(done[1]), done
    assert "sharing its work" in said


def wait_for(seen: Callable[[], object], process: harness.Process, longest: float = 300) -> None:
    """Wait until something is to be seen of a process that goes on."""
    deadline = time.monotonic() + longest
    while not seen():
        assert process.poll() is None, process.ended()
        assert time.monotonic() < deadline, "nothing to be seen"
        time.sleep(0.02)


def _text(log: Path) -> str:
    return "".join(path.read_text() for path in log.glob("*"))


def _sheared(log: Path) -> list[str]:
    """Runs that the log says were done."""
    lines = _text(log).splitlines()
    return [line.split("specimen ")[1].split(":")[0] for line in lines if " at strain " in line]


def test_other_settings_while_another_process_works(tmp_path):
    out = tmp_path / "out"
    first = harness.start(out)
    try:
        wait_for((out / "config.json").exists, first)
        stopped = subprocess.run(
            harness.command(out, "--quench_rate=2e15"),
            env=harness.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert stopped.returncode == 1
    assert "another process works in" in stopped.stderr and "other settings" in stopped.stderr
    assert archives.read_record(out / "config.json")["quench_rate"] == 1e15


def test_several_devices_do_what_one_does(reference, tmp_path):
    """Two CPU devices in one process, a run for each."""
    out = copy(reference, tmp_path / "out", "shears/0001_*")
    flag = "--xla_force_host_platform_device_count=2"
    harness.finish(out, XLA_FLAGS=flag)
    harness.assert_same(out, reference)


def test_two_processes_of_a_job(reference, tmp_path):
    """`--distributed` by hand; the second of the two leaves judging to the first."""
    out = copy(reference, tmp_path / "out", "shears/0001_*")
    port = 20_000 + os.getpid() % 20_000
    job = [f"--coordinator=localhost:{port}", "--distributed", "--num_processes=2"]
    both = [harness.start(out, *job, f"--process={n}") for n in (0, 1)]
    said = [process.ended(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "ap_over_prevalence" in said[0][0] and "ap_over_prevalence" not in said[1][0]
    harness.assert_same(out, reference)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--distributed"], "finds no job"),
        (["--process=1"], "need --distributed"),
    ],
)
def test_a_job_that_is_none(tmp_path, flags, said):
    stopped = subprocess.run(
        harness.command(tmp_path / "out", *flags),
        env=harness.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
    assert said in stopped.stderr
