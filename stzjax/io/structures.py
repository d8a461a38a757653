"""Structures in files: ASE for foreign formats, `.npz` archives of our own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stzjax.core import units
from stzjax.core.structure import Structure
from stzjax.io import lammps
from stzjax.io.archives import atomic, load_archive, save_archive, write_text

_FIELDS = ("fractional", "cell", "species", "elements")


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
    return Structure.create(fractional, cell, species, tuple(str(e) for e in elements))


def read(path: str | os.PathLike, elements: tuple[str, ...] | None = None) -> Structure:
    """Read a periodic structure: LAMMPS data or dump, extxyz, our `.npz`, or what ASE reads.

    Atoms come in the order of the file; for LAMMPS files in the order of their ids. The last frame
    of a trajectory is taken. The cell is turned so that its vectors are upper triangular columns.

    Args:
      path: file.
      elements: symbols that species index into. LAMMPS files need them (type 1 is the first);
        for others the default is the alphabetical order of the symbols in the file.

    Raises:
      ValueError: missing, unreadable, not periodic, or an element that `elements` does not name.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return structure_from(load_archive(path)[0], path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    options = _lammps_options(path, text[:4000], elements)
    from ase import io as ase_io

    try:
        if options:
            lammps.check(text, len(elements or ()))
        atoms = ase_io.read(path, index=-1, **options)
        return _from_ase(path, atoms, elements)
    except Exception as error:  # ASE's readers raise whatever their parsing runs into
        line = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"cannot read {path} as a structure: {line}; mend it, or write it anew"
        ) from error


def _lammps_options(path: Path, head: str, elements: tuple[str, ...] | None) -> dict[str, Any]:
    """How ASE is to read a LAMMPS file; nothing for other formats."""
    dump, data = head.lstrip().startswith("ITEM:"), "xlo xhi" in head and " atoms" in head
    if not (dump or data):
        return {}
    if elements is None:
        raise ValueError(
            f'{path} is a LAMMPS file, which holds types: pass elements=("Cu", "Zr"), type 1 first'
        )
    if dump:
        return {"format": "lammps-dump-text", "specorder": list(elements), "order": True}
    numbers = units.atomic_numbers(elements)
    types = {i + 1: int(number) for i, number in enumerate(numbers)}
    style = "atomic"
    for line in head.splitlines():
        if line.startswith("Atoms") and "#" in line:
            style = line.split("#")[1].strip()
    return {"format": "lammps-data", "atom_style": style, "sort_by_id": True, "Z_of_type": types}


def _from_ase(path: Path, atoms, elements: tuple[str, ...] | None) -> Structure:
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(f"{path} is not periodic in three directions; stzjax needs a bulk glass")
    symbols = atoms.get_chemical_symbols()
    elements = tuple(sorted(set(symbols))) if elements is None else tuple(elements)
    unknown = sorted(set(symbols) - set(elements))
    if unknown:
        raise ValueError(
            f"{path} holds {', '.join(unknown)}, but elements names {', '.join(elements)}"
        )
    rows, _ = atoms.cell.standard_form()
    species = np.array([elements.index(symbol) for symbol in symbols])
    cell = np.triu(np.asarray(rows).T)
    return Structure.create(atoms.get_scaled_positions(), cell, species, elements)


def to_ase(structure: Structure, arrays: Mapping[str, Any] | None = None):
    """The structure as `ase.Atoms`, with per-atom columns; rows of the cell are its vectors."""
    from ase import Atoms

    symbols = np.array(structure.elements)[np.asarray(structure.species)]
    cell = np.asarray(structure.cell).T
    positions = np.asarray(structure.positions())
    atoms = Atoms(list(symbols), positions=positions, cell=cell, pbc=True)
    for name, value in (arrays or {}).items():
        value = np.asarray(value)
        if value.shape[:1] != (len(symbols),):
            raise ValueError(f"column {name!r} has shape {value.shape}, not one row per atom")
        atoms.set_array(name, value.astype(np.int64) if value.dtype == bool else value)
    return atoms


def write(
    path: str | os.PathLike, structure: Structure, arrays: Mapping[str, Any] | None = None
) -> None:
    """Write a structure, in the format of the file's ending.

    Args:
      path: `.npz`, `.extxyz` or `.xyz`, `.data` or `.lmp` (LAMMPS data), `.dump` or `.lammpstrj`
        (LAMMPS dump), or an ending that ASE writes.
      structure: N atoms; LAMMPS types follow the order of its elements.
      arrays: per-atom columns (N,) or (N, n); kept by `.npz`, extxyz and dump.

    Raises:
      ValueError: a column does not have one row per atom, or the ending is unknown.
    """
    path = Path(path)
    atoms = to_ase(structure, arrays)
    if path.suffix == ".npz":
        save_archive(path, {**structure_arrays(structure), **(arrays or {})}, {})
    elif path.suffix in (".dump", ".lammpstrj"):
        write_text(path, _dump(structure, atoms, arrays or {}))
    else:
        _write_ase(path, atoms, structure.elements)


def _write_ase(path: Path, atoms, elements: tuple[str, ...]) -> None:
    from ase import io as ase_io
    from ase.io.formats import UnknownFileTypeError

    options: dict[str, Any] = {}
    if path.suffix in (".data", ".lmp"):
        options = {"format": "lammps-data", "specorder": list(elements), "masses": True}
    elif path.suffix in (".extxyz", ".xyz"):
        options = {"format": "extxyz"}
    with atomic(path) as temporary:
        try:
            ase_io.write(temporary, atoms, **options)
        except UnknownFileTypeError as error:
            raise ValueError(
                f"unknown ending of {path}; use .extxyz, .data, .dump or .npz"
            ) from error


def _dump(structure: Structure, atoms, arrays: Mapping[str, Any]) -> str:
    """One frame of a LAMMPS custom dump, triclinic box bounds included."""
    cell = np.asarray(structure.cell)
    xy, xz, yz = cell[0, 1], cell[0, 2], cell[1, 2]
    bounds = [
        (min(0, xy, xz, xy + xz), cell[0, 0] + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), cell[1, 1] + max(0, yz), xz),
        (0.0, cell[2, 2], yz),
    ]
    names = ["id", "type", "element", "x", "y", "z"]
    types, positions = np.asarray(structure.species) + 1, atoms.get_positions()
    columns = [np.arange(1, len(atoms) + 1), types, atoms.get_chemical_symbols(), *positions.T]
    for name in arrays:
        value = atoms.get_array(name)
        flat = value.reshape(len(atoms), -1).T
        names += [name] if value.ndim == 1 else [f"{name}[{i + 1}]" for i in range(len(flat))]
        columns += list(flat)
    lines = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", str(len(atoms))]
    lines.append("ITEM: BOX BOUNDS xy xz yz pp pp pp")
    lines += [" ".join(f"{x:.16e}" for x in row) for row in bounds]
    lines.append("ITEM: ATOMS " + " ".join(names))
    cells = [[_text(x) for x in column] for column in columns]
    lines += [" ".join(row) for row in zip(*cells, strict=True)]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    return f"{value:.16g}" if isinstance(value, float | np.floating) else str(value)
