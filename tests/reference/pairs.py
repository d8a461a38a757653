"""The Kob-Andersen structures and numbers of `make_pairs.py`."""

import functools
import pathlib

import numpy as np

import stzjax

ELEMENTS = ("A", "B")


@functools.cache
def lammps() -> dict[str, np.ndarray]:
    """The archive of `make_pairs.py`."""
    with np.load(pathlib.Path(__file__).with_name("pairs.npz")) as file:
        return dict(file)


def glass() -> stzjax.Structure:
    """500 particles at a minimum of the energy."""
    return _structure("glass_fractional", "glass_cell")


def rough(box: str) -> stzjax.Structure:
    """The glass rattled, in a strained cell: "orthogonal" or "tilted"."""
    return _structure("rough_fractional", f"{box}_cell")


def small() -> stzjax.Structure:
    """108 particles on a strongly perturbed fcc lattice in a tilted cell, B before A."""
    rng = np.random.default_rng(3)
    corner = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    lattice = (corner + basis).reshape(-1, 3) / 3
    cell = 5.5 * np.array([[1.0, 0.05, -0.04], [0.0, 0.98, 0.06], [0.0, 0.0, 1.02]])
    kick = rng.normal(scale=0.015, size=lattice.shape)
    species = (rng.random(len(lattice)) < 0.8).astype(int)
    return stzjax.Structure.create(lattice + kick, cell, species, ELEMENTS[::-1])


def _structure(fractional: str, cell: str) -> stzjax.Structure:
    archive = lammps()
    species = archive["glass_species"].astype(int)
    return stzjax.Structure.create(archive[fractional], archive[cell], species, ELEMENTS)
