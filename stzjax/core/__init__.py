"""The vocabulary of physics: units, the periodic cell, `Structure`, the six loads.

`units` has the constants of LAMMPS' metal units, `geometry` the arithmetic of periodic cells,
`structure` the atoms in a cell, `loads` the six simple shears and the rotations between them,
`settings` the field of a configuration from which a flag is made. Energies, neighbours and files
may not come here: this package imports nothing of stzjax.
"""

from stzjax.core import geometry, loads, structure, units
from stzjax.core.structure import Structure
