"""Descriptors of the atoms of an unsheared glass: one file for each family.

`registry` lists the families; `table` is the way in: it makes what all of them share (`inputs`) and
puts their columns together. Geometry lives in `voronoi` and `voronoi_fit` (host), in
`voronoi_planes`, `voronoi_faces` and `voronoi_cells` (array code), and in `symmetry_functions` with
`symmetry_places`. Descriptors that need an event belong to `shear` or `learning`.
"""

from stzjax.descriptors import registry, table, voronoi
