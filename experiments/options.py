"""Flags shared by the scripts: one for each setting, and what every script does around its work."""

import dataclasses
import os

# XLA takes tuning hints such as +prefer-no-gather for missing machine features whenever it reads
# its own compilation cache, and says so at error level in lines of kilobytes. Before jax loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from stzjax import io
from stzjax.pipeline import folder as folders
from stzjax.pipeline import runner
from stzjax.pipeline.settings import DEFAULTS, PRESETS, Settings

OUT = flags.DEFINE_string("out", "runs/quickstart", "Folder of the run.")
PRESET = flags.DEFINE_enum(
    "preset",
    None,
    list(PRESETS),
    "Named settings; without it those of an existing --out, else quickstart.",
)
WORKERS = flags.DEFINE_integer(
    "workers", os.cpu_count() or 1, "Specimens or shear runs at a time.", lower_bound=1
)
LANES = flags.DEFINE_integer(
    "lanes",
    0,
    "Quenches or shear runs of each worker, in one compiled loop; 0: one on CPU, 64 on GPU.",
    lower_bound=0,
)
CACHE = flags.DEFINE_string(
    "compilation_cache", "", "Folder of JAX's compilation cache; empty: in the user's cache folder."
)


def _define() -> None:
    """One flag a setting; unset ones keep the value of the preset."""
    for field in dataclasses.fields(Settings):
        text = field.metadata["help"]
        if isinstance(field.default, bool):
            flags.DEFINE_boolean(field.name, None, text)
        elif isinstance(field.default, int):
            flags.DEFINE_integer(field.name, None, text)
        elif isinstance(field.default, float):
            flags.DEFINE_float(field.name, None, text)
        elif isinstance(field.default, tuple):
            flags.DEFINE_list(field.name, None, text)
        else:
            flags.DEFINE_string(field.name, None, text)


_define()


def _recorded(out: str) -> tuple[str, dict[str, Any]] | None:
    path = Path(out) / "config.json"
    if not path.exists():
        return None
    record = io.read_json(path)
    if not isinstance(record, dict) or not {"preset", "num_atoms", "potential"} <= set(record):
        raise ValueError(f"{path} does not hold the settings of a run; choose another --out")
    # Settings that came after the run was made had their default.
    return record["preset"], {name: record.get(name, value) for name, value in DEFAULTS.items()}


def settings() -> tuple[str, Settings]:
    """Preset name and settings: preset or existing run, then the flags given."""
    recorded = None if PRESET.value else _recorded(OUT.value)
    if recorded:
        preset, base = recorded
    else:
        preset = PRESET.value or "quickstart"
        base = dataclasses.asdict(PRESETS[preset])
    for field in dataclasses.fields(Settings):
        value = flags.FLAGS[field.name].value
        if value is not None:
            base[field.name] = value
        if isinstance(field.default, tuple):
            base[field.name] = tuple(base[field.name])
    for name, kind, numbers in (("dense", int, "whole numbers"), ("radii", float, "numbers")):
        try:
            base[name] = tuple(kind(value) for value in base[name])
        except ValueError as error:
            raise ValueError(f"--{name} takes {numbers}, got {base[name]}") from error
    return preset, Settings(**base)


def prepare_jax() -> None:
    """Float64, and a compilation cache that later runs share."""
    # Backends that are not there are no news.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
    jax.config.update("jax_enable_x64", True)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", CACHE.value or str(Path(home) / "stzjax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def main(work: Callable[[folders.Folder], None], make: bool = False) -> None:
    """Main of a script on `--out`: one line and exit code 1 on bad input.

    Args:
      work: what the script does.
      make: the folder may be new, and its `config.json` records the flags. Otherwise it has to be
        there, and flags hold for this call alone.
    """

    def do(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {argv[1:]}")
        prepare_jax()
        try:
            preset, values = settings()
            if make:
                work(folders.prepare(OUT.value, values, preset))
            else:
                work(folders.existing(OUT.value, values))
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")

    app.run(do)


def run(names: Sequence[str] = runner.ORDER) -> None:
    """Main of a script that does some stages of a run."""

    def work(folder: folders.Folder) -> None:
        lanes = LANES.value or (1 if jax.default_backend() == "cpu" else 64)
        judged = runner.run(folder, names, WORKERS.value, lanes)
        if judged:
            _summarise(folder, judged)

    main(work, make=True)


def _summarise(folder: folders.Folder, judged: dict[str, Any]) -> None:
    events, test = judged["events"], judged["test"]
    print(f"\nevents: {events['triggered']} of {events['runs']} runs")
    names = ("recall", "precision", "f1", "mcc", "auc", "ap", "prevalence", "ap_over_prevalence")
    for name in names:
        print(f"  {name:20s}{test[name]:10.4f}")
    seconds = judged["timings_s"]
    print("  ".join(f"{stage} {spent:.0f} s" for stage, spent in seconds.items()))
    print(f"report: {folder.path / 'report.html'}")
