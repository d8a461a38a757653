"""The folder of a run: where each file lies, and whether it is there and made by these settings."""

import contextlib
import dataclasses
import enum
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from stzjax.io import archives
from stzjax.io.archives import Saved
from stzjax.potentials import BUILT_IN
from stzjax.run_folder import claims
from stzjax.run_folder.claims import Claims
from stzjax.run_folder.settings import Settings, upgraded

_LOG = logging.getLogger(__name__)

Read = TypeVar("Read")

Archive = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Arrays and settings of an archive."""


class Purpose(enum.IntEnum):
    """Uses of random numbers; each has a key of its own."""

    MELT, DRAW, QUENCH, SPLIT, FOLDS, BOOTSTRAP = range(6)


@dataclasses.dataclass(frozen=True)
class Folder:
    """A run folder and the settings of the run.

    Attributes:
      path: the folder, `--out`.
      settings: settings of all stages.
      save_every: time between saves of what is being made [s].
    """

    path: Path
    settings: Settings
    save_every: float = 120.0

    def key(self, purpose: Purpose) -> jax.Array:
        """Random key of a purpose, from the seed of the run."""
        return jax.random.fold_in(jax.random.key(self.settings.run.seed), int(purpose))

    @property
    def melt(self) -> Path:
        """Snapshots of the liquid that are to be quenched."""
        return self.path / "melt.npz"

    def specimen(self, number: int) -> Path:
        """Relaxed, unsheared glass."""
        return self.path / "specimens" / f"{number:04d}.npz"

    def unfinished(self, path: Path) -> Path:
        """File of an output while it is made; it is removed when the output is done."""
        return self.path / "unfinished" / path.relative_to(self.path).with_suffix(".npz")

    @property
    def claims(self) -> Claims:
        """Claims of this process on the items of the folder."""
        return claims.of(self.path)

    def shear(self, number: int, direction: str) -> Path:
        """Shear run of a specimen."""
        return self.path / "shears" / f"{number:04d}_{direction}.npz"

    def features(self, number: int, direction: str) -> Path:
        """Features of a specimen in the frame of a load."""
        return self.path / "features" / f"{number:04d}_{direction}.npz"

    @property
    def model(self) -> Path:
        """Folder of the trained network."""
        return self.path / "model"

    def predictions(self, part: str) -> Path:
        """Labels and confidences of "validation" or "test"."""
        return self.path / "predictions" / f"{part}.npz"

    def stage_settings(self, stage: str) -> dict[str, Any]:
        """The settings on which the output of a stage depends."""
        named = {"potential": identity(self.settings.run.potential)}
        return archives.plain({**self.settings.of_stage(stage), **named})

    def read(self, path: Path, stage: str) -> Archive:
        """Arrays and settings of an archive of a stage.

        Raises:
          ValueError: it is not there, made with other settings, or damaged.
        """
        if not path.exists():
            raise ValueError(f"{path} is missing; run experiments/{stage}.py on this folder first")
        arrays, settings = archives.load_archive(path)
        same(path, settings.get("stage_settings", {}), self.stage_settings(stage))
        return arrays, settings

    def found(self, path: Path, stage: str) -> Archive | None:
        """The same, or None if it is not there, or is damaged and then set aside."""
        return unless_damaged(path, lambda: self.read(path, stage))

    def missing(self, path: Path, stage: str) -> bool:
        """Whether an archive of a stage has to be made; a damaged one is set aside."""
        return self.found(path, stage) is None

    def saved(self, path: Path, stage: str) -> Saved | None:
        """State of an output that was interrupted while it was made; None if there is none."""
        kept = self.found(self.unfinished(path), stage)
        return None if kept is None else Saved(kept[0], kept[1]["saved"])

    def save(self, path: Path, stage: str, arrays: Mapping[str, Any], **settings: Any) -> None:
        """Write an archive with the settings of its stage; drop what was kept of it."""
        found = {**settings, "stage_settings": self.stage_settings(stage)}
        archives.save_archive(path, arrays, found)
        self.finish(path)

    def suspend(self, path: Path, stage: str, saved: Saved) -> None:
        """Keep what is being made, for `saved`."""
        self.save(self.unfinished(path), stage, saved.arrays, saved=saved.settings)

    def finish(self, path: Path) -> None:
        """Drop what was kept of an output that is done."""
        self.unfinished(path).unlink(missing_ok=True)


def unless_damaged(path: Path, read: Callable[[], Read]) -> Read | None:
    """The value that a function reads from a file or folder, or None.

    None stands for one that is not there, or holds a damaged file, which is then set aside.
    """
    try:
        return read() if path.exists() else None
    except archives.Damaged as error:
        with contextlib.suppress(FileNotFoundError):  # Another process was quicker.
            place = archives.set_aside(error.path)
            _LOG.warning("%s %s: set aside as %s, made again", error.path, error.reason, place.name)
        return None


def same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ValueError naming what differs between recorded settings and those wanted.

    A record from before a setting existed was made with its default.
    """
    found = archives.plain(upgraded(found))
    differ = [name for name in wanted if found.get(name, None) != wanted[name]]
    if differ:
        said = ", ".join(f"{n} = {found.get(n)!r} (now {wanted[n]!r})" for n in differ[:4])
        raise ValueError(f"{path} was made with {said}; choose another --out, or delete it")


def identity(potential: str) -> str:
    """Name of a built-in potential, or file name and digest of a table.

    Raises:
      ValueError: the file is missing.
    """
    path = Path(potential)
    if potential in BUILT_IN:
        return potential
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(
            f"cannot read potential {potential}: {error.strerror}; give {' or '.join(BUILT_IN)} or "
            "the path of a setfl table"
        ) from error
    return f"{path.name} sha256:{digest[:16]}"


def prepare(
    path: str | os.PathLike, settings: Settings, preset: str | None = None, make: bool = True
) -> Folder:
    """Open or make a run folder.

    Args:
      path: path of the folder.
      settings: settings of the run.
      preset: name of the preset that they began with; they are then recorded in `config.json`,
        which otherwise stays as it is.
      make: whether the folder may be new.

    Raises:
      ValueError: the settings make no sense, the folder cannot be written, or it has to be there
        and is not.
    """
    settings.validate()
    folder = Folder(Path(path), settings)
    if not make and not (folder.path / "config.json").exists():
        raise ValueError(
            f"no such run folder: --out={path} holds no config.json; correct the name, or "
            "run experiments/reproduce.py or experiments/quench.py on it first"
        )
    record = {"preset": preset, **settings.flat()}
    if preset is not None:
        record["potential_identity"] = identity(settings.run.potential)
        record["provenance"] = archives.provenance()
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if preset is not None:
            _record(folder, record)
        folder.claims.join()
    except OSError as error:
        raise ValueError(
            f"cannot write to --out={path}: {error.strerror or error}; choose another folder"
        ) from error
    return folder


_START = 10.0
"""Time that another process may need to write its settings [s]."""


def _record(folder: Folder, record: Mapping[str, Any]) -> None:
    """Have `config.json` hold these settings, while no other process works with others."""
    config, started = folder.path / "config.json", time.monotonic()

    def agrees(*but: str) -> bool:
        found, wanted = archives.read_record(config), archives.plain(record)
        return all(found.get(n) == wanted.get(n) for n in {*found, *wanted} - set(but))

    while not unless_damaged(config, agrees):
        if folder.claims.alone():
            # Whatever the folder holds must fit the new settings.
            folder.missing(folder.melt, "melt")
            folder.missing(folder.specimen(0), "quench")
            archives.write_record(config, record)
            return
        # Another version of a library on another host is no other setting.
        if unless_damaged(config, lambda: agrees("provenance")):
            return
        if time.monotonic() - started > _START:
            raise ValueError(
                f"another process works in {folder.path} with other settings; choose another --out"
            )
        time.sleep(0.1)
