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

    unknown = [e for e in elements if not is_element(e)]
    if unknown:
        raise ValueError(f"not chemical elements: {unknown}; give symbols such as Cu, Zr")
    return np.array([atomic_masses[atomic_numbers[e]] for e in elements])


def is_element(label: str) -> bool:
    """Whether a label is a chemical symbol."""
    from ase.data import atomic_numbers

    return atomic_numbers.get(label, 0) > 0


def is_mass_of(mass: float, element: str) -> bool:
    """Whether a mass [amu] can stand for an element: rounded, or of one of its isotopes.

    That is within 3 % (or 1.1 amu, for boron and lighter elements), and not another element's
    standard mass, to 0.05 amu or rounded to a whole number.
    """
    from ase.data import atomic_masses

    def close(standard):
        return (np.abs(mass - standard) <= 0.05) | (mass == np.round(standard))

    own = masses((element,))[0]
    near = abs(mass - own) <= max(1.1, 0.03 * own)
    return bool(close(own) or (near and not close(atomic_masses[1:]).any()))


def atomic_numbers(elements: tuple[str, ...]) -> np.ndarray:
    """Atomic numbers of the elements, shape (len(elements),)."""
    from ase.data import atomic_numbers as numbers

    return np.array([numbers[e] for e in elements])
