"""Files of stzjax: `.npz` archives and JSON, written whole or not at all, with digests.

A file is written beside its place, synced, then renamed, so that a reader never sees half of it.
Files on which results depend carry a digest of their content, by which a reader notices damage.
Nothing is ever unpickled.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SCHEMA = 2
"""Version of the archive layout; a reader refuses newer versions. Version 1 has no digest."""

_META, _DIGEST = "meta", "sha256"


class Damaged(ValueError):
    """A file that is not complete, not as it was written, or not of stzjax."""

    def __init__(self, path: str | os.PathLike, reason: str):
        """Name the file and the fault, as the rest of a sentence that begins with the path."""
        super().__init__(f"{path} {reason}; delete it and run again")
        self.path, self.reason = Path(path), reason


class Saved(NamedTuple):
    """State of an interrupted computation: arrays by name, and plain values, for an archive."""

    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, Any]


class Clock:
    """Clock of saves: at intervals of real time, and so that saving takes a fiftieth at most."""

    def __init__(self, interval: float):
        """Start the first interval [s]; 0 saves at every opportunity, at any cost."""
        self._interval = self._wait = interval
        self._last = time.monotonic()

    def struck(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._last >= self._wait

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """A save, and the beginning of the next interval, which is longer if it took long."""
        began = time.monotonic()
        yield
        self._last = time.monotonic()
        self._wait = max(self._interval, 50.0 * (self._last - began) * (self._interval > 0.0))


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def set_aside(path: str | os.PathLike) -> Path:
    """Rename a file to `name.damaged`, with a number if there is such a file; the new path."""
    path = Path(path)
    names = (f"{path.name}.damaged{number}" for number in ("", *range(2, 10**6)))
    place = next(place for name in names if not (place := path.with_name(name)).exists())
    return path.rename(place)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write strict JSON atomically; a value that is not finite becomes null."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises:
      Damaged: not JSON.
      ValueError: it cannot be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(path, f"is not valid JSON ({error})") from error


def write_record(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with a digest of its content."""
    content = json.loads(json.dumps(plain(record), allow_nan=False))
    write_json(path, {**content, _DIGEST: _digest_of(content)})


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """A JSON object written by `write_record`; an object without a digest is taken as it is.

    Raises:
      Damaged: not JSON, not an object, or not what was written.
      ValueError: it cannot be read.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise Damaged(path, f"must hold a JSON object, got {type(record).__name__}")
    digest = record.pop(_DIGEST, None)
    if digest is not None and digest != _digest_of(record):
        raise Damaged(path, "is not what was written: it is damaged or was edited")
    return record


def plain(value: Any) -> Any:
    """The value as strict JSON holds it: lists for arrays, None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def save_archive(
    path: str | os.PathLike, arrays: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Write arrays and the settings that made them, plain JSON values, as a compressed `.npz`."""
    content = {name: np.asarray(value) for name, value in arrays.items()}
    objects = [name for name, value in content.items() if value.dtype == object]
    if objects or _META in content:
        raise ValueError(f"cannot store {objects or _META!r} in {path}: not a plain array")
    settings = json.loads(json.dumps(plain(settings), allow_nan=False))
    meta = {
        "schema": SCHEMA,
        "stzjax": provenance().get("stzjax", "unknown"),
        "settings": settings,
        "settings_sha256": _digest_of(settings),
        _DIGEST: _digest(content),
    }
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, meta=np.array(json.dumps(meta)), **content)


def load_archive(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and settings of an archive written by `save_archive`.

    Raises:
      Damaged: truncated, not what was written, or foreign.
      ValueError: it cannot be read, or is of a newer schema.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop(_META)))
        schema, settings = int(meta["schema"]), dict(meta["settings"])
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # NumPy, zipfile and json meet nearly any of them in a damaged file.
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        # NumPy takes what is no zip file for a pickle, and advises to load it unsafely.
        reason = reason if zipfile.is_zipfile(path) else "no zip file, or cut short"
        raise Damaged(path, f"is not a complete stzjax archive ({reason})") from error
    if schema > SCHEMA:
        raise ValueError(f"{path} has schema {schema}, newer than {SCHEMA}: update stzjax")
    sealed = {"settings_sha256": _digest_of(settings), _DIGEST: _digest(arrays)}
    if schema == SCHEMA and not sealed.items() <= meta.items():
        raise Damaged(path, "is damaged: it does not hold what was written")
    return arrays, settings


def _digest_of(value: Any) -> str:
    """Digest of plain JSON values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Digest of names, types, shapes and values."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {arrays[name].shape};".encode())
        found.update(array.tobytes())
    return found.hexdigest()


@functools.cache
def provenance() -> Mapping[str, str]:
    """Versions of the packages that compute, for the record beside a result."""
    found = {}
    for name in "stzjax jax jaxlib jax-md flax optax jraph numpy scipy".split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def named(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """The leaves of a tree under their names."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {f"{prefix}{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}


def fill(tree: Any, arrays: Mapping[str, np.ndarray], prefix: str) -> Any:
    """A tree like another, with the leaves that `named` gave.

    Raises:
      ValueError: the leaves do not fit such a tree.
    """
    leaves = []
    for name, leaf in named(tree, prefix).items():
        kept = arrays.get(name)
        if kept is None or kept.shape != leaf.shape or kept.dtype != leaf.dtype:
            raise ValueError(
                f"what was saved does not fit this run ({name}); delete the folder unfinished/ "
                "and run again"
            )
        leaves.append(jnp.asarray(kept))
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)
