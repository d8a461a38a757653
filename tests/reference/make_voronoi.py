"""Make `voronoi.npz`: what Voro++ and OVITO say about the structures of the Voronoi tests.

Needs neither stzjax nor JAX; `pip install pyvoro2 ovito`, then

    python tests/reference/make_voronoi.py

takes the structures out of the archive and replaces the numbers. `--glass FILE.npz` makes them
anew from a relaxed Cu-Zr glass of some hundred atoms, an archive of `stzjax.io`.

Cases: `glass`, the relaxed glass in a tilted cell, and `few`, five atoms in a flat and strongly
tilted cell, where an atom meets several images of its neighbours and of itself. For each:
`volume` (N,) [Å³], `faces` (N, 20) number of faces by number of edges, `pairs` (P, 2) distinct
ordered neighbours without self-pairs and their shared `areas` (P,) [Å²] in single precision, for
the plain tessellation (`plain_`) and the radical one (`radical_`) with `radii`, all by Voro++; for
the glass also OVITO's counts at the edge thresholds 0 and 0.5 Å, and its volumes.
"""

import argparse
import importlib.metadata
import json
import pathlib
from collections import Counter

import numpy as np
import ovito
import pyvoro2
from ovito.data import DataCollection
from ovito.modifiers import VoronoiAnalysisModifier

ARCHIVE = pathlib.Path(__file__).with_name("voronoi.npz")
CASES = ("glass", "few")
RADII = (1.28, 1.60)
WIDTH = 20
EDGE_THRESHOLD = 0.5
FEW_CELL = ((7.0, 3.0, -2.0), (0.0, 4.0, 1.9), (0.0, 0.0, 3.1))


def structures(glass: str) -> dict[str, np.ndarray]:
    """The relaxed glass, and five random atoms."""
    with np.load(glass) as file:
        found = {f"glass_{name}": file[name] for name in ("fractional", "cell", "species")}
    rng = np.random.default_rng(7)
    found["glass_species"] = found["glass_species"].astype(np.int8)
    found["few_fractional"] = rng.random((5, 3))
    found["few_cell"] = np.array(FEW_CELL)
    found["few_species"] = np.array([0, 1, 0, 1, 0], np.int8)
    return found


def voro(fractional, cell, radii=None) -> dict[str, np.ndarray]:
    """Voro++ through pyvoro2."""
    cells = pyvoro2.compute(
        fractional @ cell.T,
        domain=pyvoro2.PeriodicCell(vectors=tuple(map(tuple, cell.T))),
        mode="standard" if radii is None else "power",
        radii=radii,
        output="cells",
        return_faces=True,
        return_vertices=True,
    )
    faces = np.zeros((len(fractional), WIDTH), np.int8)
    volume = np.zeros(len(fractional))
    shared: Counter = Counter()
    for entry in cells:
        atom, vertices = entry["id"], np.asarray(entry["vertices"])
        volume[atom] = entry["volume"]
        for face in entry["faces"]:
            faces[atom, len(face["vertices"])] += 1
            if face["adjacent_cell"] != atom:
                shared[atom, face["adjacent_cell"]] += area(vertices[face["vertices"]])
    pairs = np.array(sorted(shared), np.int16)
    areas = np.array([shared[tuple(pair)] for pair in pairs.tolist()], np.float32)
    return {"volume": volume, "faces": faces, "pairs": pairs, "areas": areas}


def area(corners: np.ndarray) -> float:
    """Area of a plane polygon, (M, 3) corners in order."""
    return 0.5 * float(np.linalg.norm(np.cross(corners, np.roll(corners, -1, axis=0)).sum(axis=0)))


def by_ovito(fractional, cell, edge_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Volumes and face counts of OVITO's modifier, whose column k - 1 counts faces of k edges."""
    data = DataCollection()
    data.create_particles(count=len(fractional)).create_property(
        "Position", data=fractional @ cell.T
    )
    data.create_cell(np.column_stack([cell, np.zeros(3)]), pbc=(True, True, True))
    data.apply(VoronoiAnalysisModifier(compute_indices=True, edge_threshold=edge_threshold))
    counts = np.asarray(data.particles["Voronoi Index"])
    faces = np.zeros((len(fractional), WIDTH), np.int8)
    faces[:, 1 : counts.shape[1] + 1] = counts
    return np.array(data.particles["Atomic Volume"]), faces


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glass", help="make the structures anew from this archive")
    glass = parser.parse_args().glass
    if glass:
        arrays = structures(glass)
    else:
        names = [f"{case}_{name}" for case in CASES for name in ("fractional", "cell", "species")]
        with np.load(ARCHIVE) as file:
            arrays = {name: file[name] for name in names}
    for case in CASES:
        fractional, cell = arrays[f"{case}_fractional"], arrays[f"{case}_cell"]
        radii = np.array(RADII)[arrays[f"{case}_species"]]
        for kind, given in (("plain", None), ("radical", radii)):
            found = voro(fractional, cell, given)
            arrays |= {f"{case}_{kind}_{name}": value for name, value in found.items()}
    for label, threshold in (("zero", 0.0), ("cut", EDGE_THRESHOLD)):
        arrays["ovito_volume"], arrays[f"ovito_{label}_faces"] = by_ovito(
            arrays["glass_fractional"], arrays["glass_cell"], threshold
        )
    meta = {
        "radii": RADII,
        "edge_threshold": EDGE_THRESHOLD,
        "pyvoro2": importlib.metadata.version("pyvoro2"),
        "ovito": ".".join(map(str, ovito.version)),
        "numpy": np.__version__,
    }
    np.savez_compressed(ARCHIVE, meta=np.array(json.dumps(meta)), **arrays)


if __name__ == "__main__":
    main()
