"""The registry of feature columns: which families there are, and in which order they stand.

A new descriptor is a file with a `FAMILY` and its name in `FURTHER` here; BUILD_NOTES.md says how.
"""

from stzjax.descriptors import energy, linear_response, participation, polyhedra, stiffness, stress
from stzjax.descriptors.family import Family
from stzjax.descriptors.feature_config import FeatureConfig

PAPER = (polyhedra.FAMILY, energy.FAMILY, participation.FAMILY, stiffness.FAMILY, stress.FAMILY)
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


def responds(config: FeatureConfig) -> bool:
    """Whether a family that settings ask for needs `Inputs.response`."""
    return any(family.response for family in chosen(config))
