"""Settings of the features: which columns, and how they are computed."""

import dataclasses

from stzjax.core.settings import check, setting


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """Settings of the features of a specimen; hashable, so that a change recompiles."""

    mode_fraction: float = setting(
        0.01, "Share of the modes in the participation fraction.", limits="(0, 1]"
    )
    mass_weighted: bool = setting(True, "Modes of the mass-weighted matrix.")
    edge_threshold: float = setting(
        0.0, "Voronoi edges shorter than this are merged [Å].", limits="[0, inf)"
    )
    radii: tuple[float, ...] = setting(
        (),
        "Radii of the elements for radical Voronoi cells [Å]; empty: plain cells.",
        limits="[0, inf)",
    )
    voronoi: str = setting(
        "auto", "Method of the tessellation on the host.", ("auto", "qhull", "jax")
    )
    response: bool = setting(
        False, "Relaxed stiffness and D²min of the linear response as seven more features."
    )
    further: tuple[str, ...] = setting(
        (), "Further families of features, by their names in the registry of descriptors."
    )
    smooth: bool = False
    """The differentiable twin of the icosahedron's indicator; no flag, since networks learn the
    hard one."""
    elements: tuple[str, ...] = ()
    """Elements of the columns and of the radii, the centre of icosahedra first; empty: those of the
    structure in alphabetical order. No flag, since the alloy is a setting of its own."""

    def validate(self) -> None:
        """Raise ValueError for the first setting that makes no sense."""
        check(self)
