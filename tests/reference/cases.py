"""Structures, potentials and a brute-force NumPy oracle shared by the mechanics tests."""

import functools
import itertools
import json
import pathlib

import numpy as np
from reference import tables

import stzjax

ELEMENTS = ("Cu", "Zr")
SMALL = tables.Toy(
    elements=ELEMENTS,
    hard=((21000.0, 23000.0), (23000.0, 25000.0)),
    soft=((150.0, 160.0), (160.0, 150.0)),
    weight=((100.0, 30.0), (240.0, 150.0)),
    bend=((0.5, 2.0), (-0.5, 1.0)),
    depth=(0.5, 0.7),
    rise=(0.002, 0.001),
    cutoff=4.1,
    max_density=100.0,
)
"""An asymmetric potential of short range, for cells of a few dozen atoms."""


@functools.cache
def lammps() -> dict[str, np.ndarray]:
    """The archive of `make_lammps.py`; "meta" holds versions and hashes."""
    with np.load(pathlib.Path(__file__).with_name("lammps.npz")) as file:
        arrays = dict(file)
    return arrays | {"meta": json.loads(str(arrays["meta"]))}


def stored(kind: str, box: str | None = None) -> stzjax.Structure:
    """A structure of the archive: "glass" or "crystal" in a box, or "start"."""
    archive = lammps()
    cell = archive[f"{kind}_cell" if box is None else f"{kind}_{box}_cell"]
    species = archive[f"{kind}_species"].astype(int)
    return stzjax.Structure.create(archive[f"{kind}_fractional"], cell, species, ELEMENTS)


def potential(toy: tables.Toy, points: int = tables.POINTS) -> stzjax.potentials.EAM:
    """The splines of a closed form, without a file in between."""
    count = range(len(toy.elements))
    r = np.linspace(0.0, toy.cutoff, points)
    density = np.linspace(0.0, toy.max_density, points)
    samples = stzjax.potentials.Samples(
        r[1],
        [[r * toy.pair(r, a, b) for b in count] for a in count],
        [[toy.density(r, a, b) for b in count] for a in count],
        density[1],
        [toy.embedding(density, a) for a in count],
    )
    return stzjax.potentials.tabulate(samples, toy.elements, toy.cutoff)


def resampled(potential: stzjax.potentials.EAM, points: int = 3000) -> stzjax.potentials.EAM:
    """A potential as splines on uniform grids."""
    samples = stzjax.potentials.sample(potential, points, points)
    return stzjax.potentials.tabulate(samples, potential.elements, potential.cutoff)


def small(seed: int = 0, jitter: float = 0.02) -> stzjax.Structure:
    """32 atoms on a strongly perturbed fcc lattice in a tilted cell, for `SMALL`."""
    rng = np.random.default_rng(seed)
    corner = np.array(list(itertools.product(range(2), repeat=3)))[:, None]
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    fractional = (corner + basis).reshape(-1, 3) / 2
    cell = 8.8 * np.array([[1.0, 0.05, -0.04], [0.0, 0.98, 0.06], [0.0, 0.0, 1.02]])
    species = rng.integers(0, 2, len(fractional))
    kick = rng.normal(scale=jitter, size=fractional.shape)
    return stzjax.Structure.create(fractional + kick, cell, species, ELEMENTS)


def pairs(fractional, cell, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every ordered pair (i, j, vector from i to j) within a cut-off, over 27 images."""
    fractional, cell = np.asarray(fractional), np.asarray(cell)
    first, second, vectors = [], [], []
    for image in itertools.product((-1, 0, 1), repeat=3):
        delta = (fractional[None] + np.array(image) - fractional[:, None]) @ cell.T
        distance = np.linalg.norm(delta, axis=-1)
        i, j = np.nonzero((distance < cutoff) & (distance > 0))
        first.append(i)
        second.append(j)
        vectors.append(delta[i, j])
    return np.concatenate(first), np.concatenate(second), np.concatenate(vectors)


def oracle(structure: stzjax.Structure, toy: tables.Toy) -> np.ndarray:
    """Energy of each atom from the closed form, by loops over species [eV]."""
    species = np.array([toy.elements.index(structure.elements[s]) for s in structure.species])
    i, j, vectors = pairs(structure.fractional, structure.cell, toy.cutoff)
    r = np.linalg.norm(vectors, axis=-1)
    density, energy = np.zeros(len(species)), np.zeros(len(species))
    for a, b in itertools.product(range(len(toy.elements)), repeat=2):
        bond = (species[i] == a) & (species[j] == b)
        np.add.at(density, i[bond], toy.density(r[bond], a, b))
        np.add.at(energy, i[bond], 0.5 * toy.pair(r[bond], a, b))
    for a in range(len(toy.elements)):
        energy[species == a] += toy.embedding(density[species == a], a)
    return energy


def derivative(function, step: float = 1e-3):
    """Five-point derivative of function(x) at zero; errs by step⁴ of the fifth derivative."""
    near = np.asarray(function(step)) - np.asarray(function(-step))
    far = np.asarray(function(2 * step)) - np.asarray(function(-2 * step))
    return (8.0 * near - far) / (12.0 * step)
