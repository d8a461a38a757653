"""Structures in files: LAMMPS, extended XYZ, `.npz` archives of our own; ASE for the rest."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stzjax.core import units
from stzjax.core.structure import Structure
from stzjax.io import extxyz, frames, lammps, words
from stzjax.io.archives import atomic, load_archive, save_archive

_DATA, _DUMP, _XYZ = (".data", ".lmp"), (".dump", ".lammpstrj"), (".extxyz", ".xyz")
_COMPRESSED = (".gz", ".bz2", ".xz")
_FIELDS = ("fractional", "cell", "species", "elements")


def structure_arrays(structure: Structure) -> dict[str, np.ndarray]:
    """The fields of a structure as plain arrays, the way our archives hold them."""
    return {name: np.asarray(getattr(structure, name)) for name in _FIELDS}


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
    """A periodic structure: LAMMPS data or dump, extxyz, our `.npz`, or what ASE reads.

    Atoms come in the order of the file; for LAMMPS files in the order of their ids. The last frame
    of a trajectory is taken. The cell is turned so that its vectors are upper triangular columns.
    Files that gzip, bzip2 or xz compressed are read as well.

    Args:
      path: file.
      elements: symbols that species index into. LAMMPS files need them (type 1 is the first);
        for others the default is the alphabetical order of the symbols in the file.

    Raises:
      ValueError: missing, unreadable, damaged, not periodic, two atoms in one place, or at odds
        with `elements`; names the file, the place, what is wrong and what to do.
    """
    path = Path(path)
    arrays = load_archive(path)[0] if path.suffix == ".npz" else None
    try:
        if arrays is not None:
            structure = structure_from(arrays, "it")
            frames.check_apart(structure)
            return structure
        text = words.load(path)
        if not text.strip():
            raise ValueError("it is empty; get it anew")
        elements = None if elements is None else tuple(elements)
        return frames.structure_of(_frame(path, text, elements), elements)
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from error


def _frame(path: Path, text: str, elements: tuple[str, ...] | None) -> frames.Frame:
    ending = path.with_suffix("").suffix if path.suffix in _COMPRESSED else path.suffix
    if lammps.recognised(text) or ending in _DATA + _DUMP:
        if elements is None:
            raise ValueError('it holds LAMMPS types; pass elements=("Cu", "Zr"), type 1 first')
        return lammps.read(text, elements)
    if "Lattice=" in text[:4000] or ending in _XYZ:
        return extxyz.read(text)
    return _by_ase(path, text)


def _by_ase(path: Path, text: str) -> frames.Frame:
    """The last frame of a file of another format."""
    from ase import io as ase_io

    if "\0" not in text:
        words.check_end(text)
    try:
        atoms: Any = ase_io.read(path, index=-1)
        vectors, symbols = atoms.cell.array.T, atoms.get_chemical_symbols()
        periodic = atoms.pbc.all()
    except Exception as error:  # ASE's readers raise whatever their parsing runs into
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(
            "it is neither LAMMPS data or dump, nor extended XYZ, nor a structure that ASE reads "
            f"({said}); write it as one of these"
        ) from error
    if not periodic:
        raise ValueError("it is not periodic in three directions; give a bulk glass")
    fractional = frames.in_cell(vectors, atoms.positions)
    return frames.Frame(vectors, fractional, symbols, range(1, len(symbols) + 1))


def to_ase(structure: Structure, arrays: Mapping[str, Any] | None = None):
    """The structure as `ase.Atoms`, with per-atom columns; rows of the cell are its vectors.

    A label that is no chemical symbol becomes ASE's X.
    """
    from ase import Atoms

    known = [e if units.is_element(e) else "X" for e in structure.elements]
    symbols = np.array(known)[np.asarray(structure.species)]
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
      ValueError: a column does not have one row per atom, the ending is unknown, or the format has
        no room for labels that are no chemical symbols.
    """
    path = Path(path)
    atoms = to_ase(structure, arrays)
    if path.suffix == ".npz":
        save_archive(path, {**structure_arrays(structure), **(arrays or {})}, {})
    elif path.suffix in _DUMP:
        _write_dump(path, structure, atoms, arrays or {})
    elif labels := [e for e in structure.elements if not units.is_element(e)]:
        raise ValueError(
            f"{path.suffix} takes chemical elements, not {', '.join(labels)}; write .npz or .dump"
        )
    else:
        _write_ase(path, atoms, structure.elements)


def _write_ase(path: Path, atoms, elements: tuple[str, ...]) -> None:
    from ase import io as ase_io
    from ase.io.formats import UnknownFileTypeError

    options: dict[str, Any] = {"format": "extxyz"} if path.suffix in _XYZ else {}
    if path.suffix in _DATA:
        options = {"format": "lammps-data", "specorder": list(elements), "masses": True}
    with atomic(path) as temporary:
        try:
            ase_io.write(temporary, atoms, **options)
        except UnknownFileTypeError as error:
            said = f"unknown ending of {path}; use .extxyz, .data, .dump or .npz"
            raise ValueError(said) from error


def _write_dump(path: Path, structure: Structure, atoms, names: Iterable[str]) -> None:
    """One frame of a LAMMPS custom dump, triclinic box bounds included."""
    cell = np.asarray(structure.cell)
    xy, xz, yz = cell[0, 1], cell[0, 2], cell[1, 2]
    bounds = [
        (min(0, xy, xz, xy + xz), cell[0, 0] + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), cell[1, 1] + max(0, yz), xz),
        (0.0, cell[2, 2], yz),
    ]
    heads = ["id", "type", "element", "x", "y", "z"]
    types, positions = np.asarray(structure.species) + 1, atoms.get_positions()
    columns = [
        np.arange(1, len(atoms) + 1),
        types,
        np.array(structure.elements)[types - 1],
        *positions.T,
    ]
    for name in names:
        value = atoms.get_array(name)
        flat = value.reshape(len(atoms), -1).T
        heads += [name] if value.ndim == 1 else [f"{name}[{i + 1}]" for i in range(len(flat))]
        columns += list(flat)
    lines = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", str(len(atoms))]
    lines.append("ITEM: BOX BOUNDS xy xz yz pp pp pp")
    lines += [" ".join(f"{x:.16e}" for x in row) for row in bounds]
    lines.append("ITEM: ATOMS " + " ".join(heads))
    formats = ["%.16g" if np.asarray(column).dtype.kind == "f" else "%s" for column in columns]
    table = np.array(columns, object).T
    with atomic(path) as temporary:
        np.savetxt(
            temporary, table, formats, header="\n".join(lines), comments="", encoding="utf-8"
        )
