"""Columns of the Voronoi cell: icosahedron or not, and the volume."""

from jax import Array

from stzjax.descriptors.family import Family, Inputs


def _measure(inputs: Inputs) -> tuple[Array, Array]:
    """Icosahedra around atoms of the first element, (N,) and volumes (N,) [Å³]."""
    return inputs.icosahedron * (inputs.kind == 0), inputs.volume


def _project(values: tuple[Array, Array], direction: str) -> list[Array]:
    del direction
    icosahedron, volume = values
    return [icosahedron, 1.0 - icosahedron, volume]


FAMILY = Family("cells", ("icosahedron", "not_icosahedron", "voronoi_volume"), _measure, _project)
"""Indicator of ⟨0,0,12,0⟩ around the first element, its complement, and the volume [Å³]."""
