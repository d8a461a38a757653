"""Reading and writing: ASE for foreign formats, `.npz` archives and JSON of our own.

Every file is written atomically: to a temporary neighbour, synced, then renamed, so that a
reader sees the old file or the new one and never half of it.
"""

import contextlib
import importlib.metadata
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stzjax import structure as structures
from stzjax.structure import Structure

SCHEMA = 1
"""Version of the archive layout; a reader refuses a newer one."""

_META = "meta"
_FIELDS = ("fractional", "cell", "species", "elements")


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
      ValueError: missing, or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and run again") from error


def plain(value: Any) -> Any:
    """The value as strict JSON holds it: lists for tuples and arrays, None for what is not finite."""
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
    """Write arrays and the settings that made them as one compressed `.npz`, atomically.

    Args:
      path: ends in `.npz`.
      arrays: name to array; strings become unicode arrays, nothing is pickled.
      settings: plain JSON values; `load_archive` gives them back.
    """
    meta = {"schema": SCHEMA, "stzjax": version(), "settings": plain(settings)}
    content = {name: np.asarray(value) for name, value in arrays.items()}
    objects = [name for name, value in content.items() if value.dtype == object]
    if objects or _META in content:
        raise ValueError(f"cannot store {objects or _META!r} in {path}: not a plain array")
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, meta=np.array(json.dumps(meta)), **content)


def load_archive(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and settings of an archive written by `save_archive`.

    Raises:
      ValueError: missing, truncated, foreign, or of a newer schema.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop(_META)))
        schema, settings = meta["schema"], meta["settings"]
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a complete stzjax archive ({error}); delete it and run again"
        ) from error
    if schema > SCHEMA:
        raise ValueError(f"{path} has schema {schema}, newer than {SCHEMA}: update stzjax")
    return arrays, settings


def version() -> str:
    """Version of the installed package, or "unknown" for a bare source tree."""
    try:
        return importlib.metadata.version("stzjax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def provenance() -> dict[str, str]:
    """Versions of what computes, for the record beside a result."""
    names = ("stzjax", "jax", "jaxlib", "jax-md", "flax", "optax", "jraph", "numpy", "scipy")
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def structure_arrays(structure: Structure) -> dict[str, np.ndarray]:
    """The fields of a structure as plain arrays, the way our archives hold them."""
    return {
        "fractional": np.asarray(structure.fractional),
        "cell": np.asarray(structure.cell),
        "species": np.asarray(structure.species),
        "elements": np.array(structure.elements),
    }


def structure_from(arrays: Mapping[str, np.ndarray], path: str | os.PathLike = "") -> Structure:
    """The structure that `structure_arrays` took apart.

    Raises:
      ValueError: a field is missing or wrong.
    """
    missing = [name for name in _FIELDS if name not in arrays]
    if missing:
        raise ValueError(f"{path} holds no structure: {', '.join(missing)} missing")
    fractional, cell, species, elements = (arrays[name] for name in _FIELDS)
    return structures.create(fractional, cell, species, tuple(str(e) for e in elements))
