"""Scaling of the shear queue of a run with devices, workers, processes, and XLA's own threads.

    python experiments/scaling.py --glasses=runs/quickstart --repeats=3

Shears copies of a quenched run by `shear.py` in processes of their own, one arrangement after
another, several times over. Every arrangement does the same items with a warm compilation cache.
Times are of the stage, without the start of the process; with the tracing and loading of compiled
code, which each device does for itself. Rates are between a fifth and four fifths of the runs.
"""

import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import app, flags
from timings import row, table

from stzjax.io import archives

_GLASSES = flags.DEFINE_string("glasses", "runs/quickstart", "A run that has been quenched.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Times that each arrangement is run.", lower_bound=1)
_ONLY = flags.DEFINE_string("only", "", "Regular expression of the arrangements; empty: all.")
_SHEAR = flags.DEFINE_string(
    "shear", "", "More flags of shear.py: --shear='--stop_threshold=0 --final_strain=0.02'."
)
_OUT = flags.DEFINE_string("json", "", "JSON file of the figures; empty: none.")


class Arrangement(NamedTuple):
    """A way to share out the work.

    Attributes:
      name: name in the table.
      devices: CPU devices of a process.
      workers: threads of a process.
      processes: number of processes at the same time.
      cores: number of cores for all processes; 0 for all cores.
      apart: whether each process has a core and a copy of the whole queue of its own; its time is
        divided by their number. This measures the machine.
    """

    name: str
    devices: int = 1
    workers: int = 1
    processes: int = 1
    cores: int = 0
    apart: bool = False


ARRANGEMENTS = (
    Arrangement("one device, one core", cores=1),
    Arrangement("one device, one worker, all cores"),
    Arrangement("one device, two workers", workers=2),
    Arrangement("two devices, two workers", devices=2, workers=2),
    Arrangement("two processes", processes=2),
    Arrangement("two queues, a process and a core each", processes=2, apart=True),
)


class Speed(NamedTuple):
    """Measured speed of an arrangement.

    Attributes:
      seconds: time of the shear stage for one queue, of the slowest process [s].
      rate: shear runs in a second between start and end.
    """

    seconds: float
    rate: float


def measure(arrangement: Arrangement, glasses: Path, folder: Path) -> Speed:
    """Shear a queue once."""
    queues = [folder / f"run{number}" for number in range(2 if arrangement.apart else 1)]
    for out in queues:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name in ("config.json", "melt.npz", "specimens"):
            whole = glasses / name
            (shutil.copytree if whole.is_dir() else shutil.copy)(whole, out / name)
    cores = sorted(os.sched_getaffinity(0))[: arrangement.cores or None]
    xla = f"--xla_force_host_platform_device_count={arrangement.devices}"
    started = []
    for number in range(arrangement.processes):
        out = queues[number % len(queues)]
        own = [cores[number % len(cores)]] if arrangement.apart else cores
        command = ["taskset", "-c", ",".join(map(str, own)), sys.executable]
        command += [str(Path(__file__).parent / "shear.py"), f"--out={out}"]
        log = folder / f"log{number}"
        with log.open("w") as said:
            process = subprocess.Popen(
                [*command, f"--workers={arrangement.workers}", *shlex.split(_SHEAR.value)],
                env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla},
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
        started.append((process, log))
    for process, log in started:
        if process.wait():
            raise ValueError(f"{arrangement.name}: {log.read_text()[-300:]}")
    spent = [archives.read_record(out / "usage.json")["shear"]["seconds"] for out in queues]
    return Speed(max(spent) / len(queues), sum(map(_rate, queues)))


def _rate(out: Path) -> float:
    ended = sorted(path.stat().st_mtime for path in (out / "shears").glob("*.npz"))
    first, last = len(ended) // 5, len(ended) - 1 - len(ended) // 5
    if last == first:
        raise ValueError("a queue of one run has no rate; use a run with more glasses")
    return (last - first) / (ended[last] - ended[first])


def main(argv: Sequence[str]) -> None:
    """Measure all arrangements and print the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    glasses = Path(_GLASSES.value)
    if not (glasses / "specimens").is_dir():
        sys.exit(f"error: {glasses} holds no specimens; run experiments/quench.py on it first")
    try:
        chosen = [each for each in ARRANGEMENTS if re.search(_ONLY.value, each.name)]
    except re.error as error:
        sys.exit(f"error: --only={_ONLY.value} is no regular expression: {error}")
    if not chosen:
        sys.exit(f"error: --only={_ONLY.value} matches no arrangement")
    found: dict[str, list[Speed]] = {each.name: [] for each in chosen}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for repeat in range(_REPEATS.value + 1):
                for each in chosen:
                    now = measure(each, glasses, Path(folder))
                    print(
                        f"{each.name}: {now.seconds:.1f} s, {60 * now.rate:.1f} runs a minute",
                        file=sys.stderr,
                        flush=True,
                    )
                    if repeat:  # The first time fills the compilation cache.
                        found[each.name].append(now)
        except ValueError as error:
            sys.exit(f"error: {error}")
    print(f"shear queue: medians of {_REPEATS.value}; the peer is the first row")
    rows = []
    for what, unit, better in (("seconds", "s", "less"), ("rate", "runs/s", "more")):
        medians = {
            n: statistics.median(getattr(speed, what) for speed in f) for n, f in found.items()
        }
        base = medians[chosen[0].name]
        rows += [
            row(f"{name}, {what}", value, base, unit, better) for name, value in medians.items()
        ]
    print(table(rows))
    if _OUT.value:
        archives.write_json(
            _OUT.value, {n: [speed._asdict() for speed in f] for n, f in found.items()}
        )


if __name__ == "__main__":
    app.run(main)
