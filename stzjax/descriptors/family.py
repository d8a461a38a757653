"""Families of feature columns: the inputs they share, and the form that each has."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from stzjax.mechanics.expansion import Expansion


class Inputs(NamedTuple):
    """The parts that features are computed from, made once for all families and directions.

    Attributes:
      expansion: the energy around the structure, with its Hessian.
      kind: (N,) place of the atom's element among the elements of the table.
      volume: (N,) Voronoi volumes [Å³].
      icosahedron: (N,) 1 for ⟨0,0,12,0⟩ around an atom of any species, else 0; between them if
        smooth.
      pairs: (P, 2) atoms that share a Voronoi face, see `voronoi.Tessellation`; in compiled code
        (F N, 2), with N where there is no face.
      participation: (N,) participation fractions of the soft modes.
      stiffness: (N, 3, 3, 3, 3) of Born [eV/Å³].
      response: (6, N, 3) from `linear_response.response` [Å]; None where no family asks for it.
      good: () bool; False where something did not converge or did not fit.
    """

    expansion: Expansion
    kind: Array
    volume: Array
    icosahedron: Array
    pairs: Array | np.ndarray
    participation: Array
    stiffness: Array
    response: Array | None
    good: Array | bool


class Family(NamedTuple):
    """A family of feature columns.

    Attributes:
      name: the family's name.
      columns: names of its columns.
      measure: from the inputs to the values that do not depend on the direction of the load, in
        the frame of the structure; any pytree of arrays. Pure, for derivatives too.
      project: from these values and a direction to the columns, (N,) each, in the frame in which
        the load is +yz.
      response: whether the family needs `Inputs.response`.
    """

    name: str
    columns: tuple[str, ...]
    measure: Callable[[Inputs], Any]
    project: Callable[[Any, str], list[Array]]
    response: bool = False
