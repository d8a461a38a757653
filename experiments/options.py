"""Flags shared by the scripts: one for each setting, and what every script does around its work."""

import dataclasses
import functools
import os

# XLA takes tuning hints such as +prefer-no-gather for missing machine features whenever it reads
# its own compilation cache, and says so at error level in lines of kilobytes. Before jax loads.
# "1" is what jax itself sets; whatever a program that uses jax starts (a notebook) inherits it.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from stzjax import report
from stzjax.evaluation.result_table import ResultTable
from stzjax.io import archives
from stzjax.numerics import native
from stzjax.pipeline import runner
from stzjax.pipeline.work_queue import Workers
from stzjax.run_folder.folder import Folder, prepare
from stzjax.run_folder.settings import PRESETS, Settings, composition, setting_flags, upgraded

import flag_help
import logs

OUT = flags.DEFINE_string("out", "runs/quickstart", "Folder of the run.")
PRESET = flags.DEFINE_enum(
    "preset",
    None,
    list(PRESETS),
    "Named settings; without it those of an existing --out, else quickstart.",
)
WORKERS = flags.DEFINE_integer(
    "workers",
    0,
    "Threads, each at specimens, shear runs or trials of its own, dealt out to the devices; 0: one "
    "a core on CPU, one a device on GPU.",
    lower_bound=0,
)
SAVE_EVERY = flags.DEFINE_float(
    "save_every",
    120.0,
    "Time between saves of what is being made [s]; a run that is killed loses no more.",
    lower_bound=0.0,
)
DISTRIBUTED = flags.DEFINE_boolean(
    "distributed",
    False,
    "One of several processes of a job that share the work; SLURM and Open MPI are found by "
    "themselves, else give --coordinator, --num_processes and --process.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Address and port of process 0.")
_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of the job.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", None, "Number of this process.", lower_bound=0)
LANES = flags.DEFINE_integer(
    "lanes",
    0,
    "Quenches or shear runs of each worker, in one compiled loop; 0: one on CPU, 64 on GPU.",
    lower_bound=0,
)
KERNEL = flags.DEFINE_enum(
    "kernel",
    "auto",
    native.CHOICES,
    "Forces on a CPU: kernels that numba compiles, array code, or whichever is there, the faster.",
)
CACHE = flags.DEFINE_string(
    "compilation_cache", "", "Folder of JAX's compilation cache; empty: in the user's cache folder."
)


CU_FRACTION = flags.DEFINE_float(
    "cu_fraction", None, "Share of Cu in Cu-Zr, in place of --elements and --fractions."
)
SETTINGS = setting_flags()


def _define() -> None:
    """A flag for each setting; those that are not given keep the value of the preset."""
    single: dict[type, Callable[..., flags.FlagHolder]] = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for flag in SETTINGS.values():
        if flag.many:
            flag_help.define_list(flag.name, None, flag.text, flag.kind)
        else:
            single[flag.kind](flag.name, None, flag.text)


_define()


def _recorded(out: str) -> tuple[str, Settings] | None:
    path = Path(out) / "config.json"
    if not path.exists():
        return None
    record = archives.read_record(path)
    if not {"preset", "num_atoms", "potential"} <= set(record):
        raise ValueError(f"{path} does not hold the settings of a run; choose another --out")
    return record["preset"], Settings.of(upgraded(record))


def _base() -> tuple[str, Settings]:
    """Name and settings of the preset or of the run that is there, without the flags given."""
    recorded = None if PRESET.value else _recorded(OUT.value)
    preset = PRESET.value or "quickstart"
    return recorded or (preset, PRESETS[preset])


def settings() -> tuple[str, Settings]:
    """Preset name and settings: preset or existing run, then the flags given."""
    preset, base = _base()
    given = {name: flags.FLAGS[name].value for name in SETTINGS}
    given = {name: value for name, value in given.items() if value is not None}
    if CU_FRACTION.value is not None:
        if {"elements", "fractions"} & set(given):
            raise ValueError("--cu_fraction stands for --elements and --fractions: give either")
        given |= composition(CU_FRACTION.value)
    if "elements" in given and "fractions" not in given:
        raise ValueError("--elements needs --fractions, a share for each of them")
    return preset, base.changed(**given)


def prepare_jax() -> None:
    """Float64, and a compilation cache that later runs share."""
    # Backends that are not there are no news.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
    jax.config.update("jax_enable_x64", True)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", CACHE.value or str(Path(home) / "stzjax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def workers() -> Workers:
    """Threads and lanes of this process."""
    cpu, devices = jax.default_backend() == "cpu", len(jax.local_devices())
    threads = WORKERS.value or (max(_cores(), devices) if cpu else devices)
    return Workers(threads, LANES.value or (1 if cpu else 64))


def _cores() -> int:
    """Cores that this process may use, which in a job are not those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _join_job() -> None:
    """Be one process of a job, if the flags say so.

    Raises:
      ValueError: no job is found.
    """
    given: dict[str, Any] = {
        "coordinator_address": _COORDINATOR.value,
        "num_processes": _PROCESSES.value,
        "process_id": _PROCESS.value,
    }
    if not DISTRIBUTED.value:
        if any(value is not None for value in given.values()):
            raise ValueError("--coordinator, --num_processes and --process need --distributed")
        return
    # Work is shared through the folder: a process that dies takes nobody with it.
    jax.config.update("jax_enable_recoverability", True)
    try:
        jax.distributed.initialize(**given)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"--distributed finds no job ({error}); start it with srun or mpirun, or give "
            "--coordinator=HOST:PORT --num_processes=N --process=I"
        ) from error


flags.FLAGS["log_dir"].help = "Folder of log files; empty: none are kept."

_WORK = "out preset save_every workers lanes kernel compilation_cache log_dir".split()
_JOB = "distributed coordinator num_processes process".split()
_TITLES = {
    "run": "Run",
    "melt": "Melt",
    "quench": "Quench",
    "shear": "Shear",
    "features": "Features",
    "labels": "Loads and labels",
    "model": "Network",
    "training": "Training",
}
_GROUPS = {
    "melt": ("run", "melt"),
    "quench": ("quench",),
    "shear": ("shear", "labels"),
    "describe": ("features",),
    "train": ("labels", "model", "training"),
    "evaluate": (),
}
"""The groups of settings that a user thinks of at each stage."""

STUDY = _GROUPS["train"]
"""The same for scripts that train on a folder that has been described."""


def _help(groups: Sequence[str]) -> str:
    preset, base = _base()
    there = not PRESET.value and (Path(OUT.value) / "config.json").exists()
    shown: dict[str, list[str]] = {"This script": flag_help.own_flags()}
    for group, title in _TITLES.items():
        if group in groups:
            shown[title] = [name for name, flag in SETTINGS.items() if flag.group == group]
    if "melt" in groups:
        shown["Melt"].insert(3, "cu_fraction")
    values = {"preset": preset, "log_dir": "", **base.flat()}
    where = f"the run in {OUT.value}" if there else f"the preset {preset}"
    text = str(sys.modules["__main__"].__doc__)
    found = flag_help.page(
        text, where, {**shown, "Folder and work": _WORK, "Several processes": _JOB}, values
    )
    if len(shown) < len(_TITLES):
        found += "\n\nFlags of the other stages: experiments/reproduce.py --help"
    return found


def _parser(groups: Sequence[str]) -> Callable[[Sequence[str]], Sequence[str]]:
    """Parser of the command line; bad flags and --help end the script."""

    def parse(argv: Sequence[str]) -> Sequence[str]:
        wanted = [argument for argument in argv if argument not in flag_help.HELP]
        try:
            left = flags.FLAGS(wanted)
            if len(left) > 1:
                raise ValueError(f"unexpected arguments: {' '.join(left[1:])}; see --help")
            if len(wanted) < len(argv):
                print(_help(groups))
                sys.exit(0)
        except flags.Error as error:
            sys.exit(f"error: {flag_help.unreadable(error)}")
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")
        return left

    return parse


def main(
    work: Callable[[Folder], None],
    groups: Sequence[str] = (),
    open_folder: Callable[[str, Settings, str], Folder] | None = None,
) -> None:
    """Main of a script on `--out`: one line and exit code 1 on bad input.

    Args:
      work: what the script does.
      groups: settings that `--help` lists.
      open_folder: from path, settings and name of the preset to the folder. By default it has to be
        there, and flags hold for this call alone.
    """

    def do(argv: Sequence[str]) -> None:
        prepare_jax()
        try:
            logs.keep()
            native.choose(KERNEL.value)
            _join_job()
            preset, values = settings()
            if open_folder is None:
                folder = prepare(OUT.value, values, make=False)
            else:
                folder = open_folder(OUT.value, values, preset)
            work(dataclasses.replace(folder, save_every=SAVE_EVERY.value))
        except (ValueError, OSError, MemoryError) as error:
            line = " ".join(str(error).split()) or "out of memory: use fewer atoms or --workers"
            logging.getLogger("stzjax").info("error: %s", line)
            sys.exit(f"error: {line}")

    app.run(do, flags_parser=_parser(groups))


def show(folder: Folder, title: str, table: ResultTable) -> None:
    """Print a table of results and where it lies; write the report anew."""
    print(table.markdown())
    print(f"tables: {folder.path / title}, report: {report.write(folder.path)}")


def run(names: Sequence[str] = runner.ORDER) -> None:
    """Main of a script that does some stages of a run; the first stage makes the folder."""

    def work(folder: Folder) -> None:
        judged = runner.run(folder, names, workers(), judge=jax.process_index() == 0)
        if judged:
            _summarise(judged)
        for stage, spent in runner.spent(folder).items():
            if stage in names:
                print(f"  {stage:20s}{spent['seconds']:8.0f} s{spent['peak_mib']:8.0f} MiB")
        if judged:
            print(f"report: {folder.path / 'report.html'}")

    opened = functools.partial(prepare, make=runner.ORDER[0] in names)
    main(work, [group for name in names for group in _GROUPS[name]], opened)


def _summarise(judged: dict[str, Any]) -> None:
    events, test = judged["events"], judged["test"]
    print(f"\nevents: {events['triggered']} of {events['runs']} runs")
    names = ("recall", "precision", "f1", "mcc", "auc", "ap", "prevalence", "ap_over_prevalence")
    for name in names:
        print(f"  {name:20s}{test[name]:10.4f}")
