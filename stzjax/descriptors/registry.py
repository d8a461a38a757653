"""The registry of feature columns: which families there are, and in which order they stand.

How to add a descriptor:

1. Write a file beside this one with a pure function from `family.Inputs` to values of each atom
   that do not depend on the load, in the frame of the structure.
2. Add a function from these values and a direction to the columns, (N,) each: turn tensors by
   `loads.rotate(values, loads.rotation(direction))`, return scalars as they are.
3. Put both into `FAMILY = Family("name", ("column", …), measure, project)` at the end of the file.
4. Add `module.FAMILY` to `FURTHER` here: `FeatureConfig(further=("name",))` now asks for it, on the
   host, under `jit`, `vmap` and derivatives.
5. Test it against an independent reference, turned with the load, and its gradient.
"""

from stzjax.descriptors import (
    energy,
    linear_response,
    participation,
    polyhedra,
    stiffness,
    stress,
)
from stzjax.descriptors.family import Family
from stzjax.descriptors.feature_config import FeatureConfig

PAPER = (
    polyhedra.FAMILY,
    energy.FAMILY,
    participation.FAMILY,
    stiffness.FAMILY,
    stress.FAMILY,
)
"""The families of the paper in its order; the elements stand before them."""

FURTHER = (linear_response.FAMILY,)
"""Families that are computed on request, after those of the paper."""


def chosen(config: FeatureConfig) -> tuple[Family, ...]:
    """The families that settings ask for, in the order of the columns.

    Raises:
      ValueError: a name that is not in the registry.
    """
    known = {family.name: family for family in FURTHER}
    names = dict.fromkeys((*("response",) * config.response, *config.further))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(
            f"no descriptors {', '.join(unknown)}; further ones are {', '.join(known)}"
        )
    return (*PAPER, *(known[name] for name in names))
