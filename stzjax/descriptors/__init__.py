"""What an atom of an unsheared glass looks like: one file a family of descriptors.

Geometry (`voronoi` on the host, `voronoi_planes`, `voronoi_faces` and `voronoi_cells` as array
code, `symmetry_functions`), `stress`, `stiffness`, `soft_modes`, `linear_response`; `table` puts
the columns together. Whatever needs an event belongs to `shear` or `learning`.
"""

from stzjax.descriptors import (
    linear_response,
    soft_modes,
    stiffness,
    stress,
    symmetry_functions,
    table,
    voronoi,
    voronoi_cells,
    voronoi_faces,
    voronoi_planes,
)

__all__ = [
    "linear_response",
    "soft_modes",
    "stiffness",
    "stress",
    "symmetry_functions",
    "table",
    "voronoi",
    "voronoi_cells",
    "voronoi_faces",
    "voronoi_planes",
]
