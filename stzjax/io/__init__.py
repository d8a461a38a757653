"""Files: structures in the formats of the field, archives of our own, states of compiled loops.

`structures` reads and writes what LAMMPS, OVITO and ASE understand. Each text format has a reader
of its own (`lammps`, `extxyz`) from `words` to a `frames.Frame`, which refuses what is damaged.
`archives` keeps arrays and records whole and sealed, `loop_state` drives a compiled loop from the
host, and takes it apart for a file. Where files lie in a run folder is the business of
`run_folder`.
"""

from stzjax.io import archives, loop_state, structures
from stzjax.io.structures import read, structure_arrays, structure_from, to_ase, write
