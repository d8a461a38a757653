"""Which atoms are near one another.

`lists` makes neighbour lists on the host (their sizes) and in compiled code (their content);
`search` is the search over cells beneath it. What is done with neighbours belongs elsewhere.
"""

from stzjax.neighbors import lists, search
from stzjax.neighbors.lists import (
    Neighbors,
    Spec,
    allocate,
    ensure,
    is_stale,
    make,
    rebuild,
    table,
    update,
)

__all__ = [
    "Neighbors",
    "Spec",
    "allocate",
    "ensure",
    "is_stale",
    "lists",
    "make",
    "rebuild",
    "search",
    "table",
    "update",
]
