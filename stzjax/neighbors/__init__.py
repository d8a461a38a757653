"""Which atoms are near one another.

`lists` finds on the host how long neighbour lists have to be, and makes them longer; `tables` fills
them in compiled code; `search` is the search over cells beneath it. Energies of neighbours belong
to `potentials` and `mechanics`, their files to `io`.
"""

from stzjax.neighbors import lists, search, tables
from stzjax.neighbors.lists import Neighbors, allocate, is_stale, make, rebuild, table, update
