"""The vocabulary of physics: units, `Structure` and its cell, the six loads.

No energies, no neighbours, no files: this package imports nothing of stzjax.
"""

from stzjax.core import geometry, loads, structure, units
from stzjax.core.structure import Structure

__all__ = ["Structure", "geometry", "loads", "structure", "units"]
