"""LAMMPS *metal* units: Å, eV, ps, K, amu; stress in eV/Å³.

Constants are CODATA 2018.
"""

import numpy as np

BOLTZMANN = 8.617333262e-5
"""Boltzmann constant [eV/K]."""

AMU = 1.0364269656e-4
"""One atomic mass unit [eV ps²/Å²]."""

GPA = 160.2176634
"""One eV/Å³ in GPa; used in output for people, never in a calculation."""

GRAM_PER_CM3 = 1.66053906660
"""One amu/Å³ in g/cm³."""


def masses(elements: tuple[str, ...]) -> np.ndarray:
    """Standard atomic masses of the elements [amu], shape (len(elements),).

    Raises:
      ValueError: a symbol is not a chemical element.
    """
    from ase.data import atomic_masses, atomic_numbers

    unknown = [e for e in elements if e not in atomic_numbers or atomic_numbers[e] == 0]
    if unknown:
        raise ValueError(f"not chemical elements: {unknown}; give symbols such as Cu, Zr")
    return np.array([atomic_masses[atomic_numbers[e]] for e in elements])


def atomic_numbers(elements: tuple[str, ...]) -> np.ndarray:
    """Atomic numbers of the elements, shape (len(elements),)."""
    from ase.data import atomic_numbers as numbers

    return np.array([numbers[e] for e in elements])
