"""Every setting of a run, nested by the part of the system that it belongs to, and the presets.

Each setting stands where it is used: in the configuration of its package, with default, help text
and limits. Here they are put together; flags and records are flat and name a setting by its flag.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from stzjax.core import loads, units
from stzjax.core.settings import check, item_type, setting, settings_of
from stzjax.descriptors import registry
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.dynamics.config import MeltConfig, QuenchConfig
from stzjax.learning import models
from stzjax.learning.train_config import TrainConfig
from stzjax.potentials import BUILT_IN
from stzjax.shear.config import ShearConfig


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Settings on which everything depends."""

    potential: str = setting(
        "mendelev2019", f"Built-in potential ({', '.join(BUILT_IN)}) or path of a setfl table."
    )
    seed: int = setting(0, "Seed of everything random.", limits="[0, inf)")


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """Settings of the loads and of what counts as their first event."""

    directions: tuple[str, ...] = setting(loads.DIRECTIONS, "Shear directions.")
    threshold: float = setting(0.1, "D²min above which an atom is labelled [Å²].")
    min_cluster: int = setting(
        1, "Bonded atoms above the threshold that make an event.", limits="[1, inf)"
    )

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense, each by itself or together."""
        check(self)
        if not self.directions:
            raise ValueError("directions is empty; name at least one, such as +xy")
        if len({loads.canonical(d) for d in self.directions}) != len(self.directions):
            raise ValueError(f"directions repeat themselves: {', '.join(self.directions)}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of all stages; the defaults are those of the paper."""

    run: RunConfig = dataclasses.field(default_factory=RunConfig)
    quench: QuenchConfig = dataclasses.field(default_factory=QuenchConfig)
    shear: ShearConfig = dataclasses.field(default_factory=ShearConfig)
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    labels: LabelConfig = dataclasses.field(default_factory=LabelConfig)
    training: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    @classmethod
    def of(cls, flat: Mapping[str, Any]) -> "Settings":
        """The settings of a flat record by flag; a setting that it lacks has its default.

        Names of no setting are passed over: those of another model, or of another thing.

        Raises:
          ValueError: a value makes no sense by itself.
        """
        shape = _config(_model(flat.get("model", "gat")), flat)
        return cls(*(_config(kind, {**flat, "model": shape}) for kind in _KINDS))

    def groups(self) -> dict[str, dict[str, Any]]:
        """The settings by flag, those of each stage or part of it under its name."""
        quench, shape = _values(self.quench), self.training.model
        melt = {name: quench.pop(name) for name in settings_of(MeltConfig)}
        training = {**_values(self.training), "model": models.name_of(shape)}
        return {
            "run": _values(self.run),
            "melt": melt,
            "quench": quench,
            "shear": _values(self.shear),
            "features": _values(self.features),
            "labels": _values(self.labels),
            "model": {"model": training.pop("model"), **_values(shape)},
            "training": training,
        }

    def flat(self) -> dict[str, Any]:
        """All settings by the names of their flags, as `config.json` and records hold them."""
        return {name: value for group in self.groups().values() for name, value in group.items()}

    def changed(self, **changes: Any) -> "Settings":
        """The settings with other values, given by the names of their flags.

        Raises:
          ValueError: a name is of no setting of this model, or a value makes no sense by itself.
        """
        found = Settings.of({**self.flat(), **changes})
        foreign = set(changes) - set(found.flat())
        if foreign:
            name = models.name_of(found.training.model)
            raise ValueError(f"{', '.join(sorted(foreign))}: no setting of model {name}")
        return found

    def of_stage(self, stage: str) -> dict[str, Any]:
        """The settings on which the output of a stage depends, those of earlier ones included."""
        groups = self.groups()
        names = {name for group in STAGES[stage] for name in groups[group]}
        if stage != "melt":
            names.add("force_tolerance")  # Of the shear runs and of the glass that they begin with.
        return {name: value for name, value in self.flat().items() if name in names}

    def train_config(self) -> TrainConfig:
        """Settings of the network and its training, with the seed of the run."""
        return dataclasses.replace(self.training, seed=self.run.seed)

    def validate(self) -> None:
        """Raise ValueError for the first setting that makes no sense, before any work."""
        check(self.run)
        for config in (self.quench, self.shear, self.features, self.labels):
            config.validate()
        registry.chosen(self.features)
        elements, radii = self.quench.elements, self.features.radii
        if self.run.potential in BUILT_IN:
            BUILT_IN[self.run.potential]().places(elements)
        else:
            units.masses(elements)
        if len(radii) not in (0, len(elements)):
            raise ValueError(
                f"radii must be {len(elements)} lengths, of {' and '.join(elements)}, or empty, "
                f"got {radii}"
            )
        threshold, shear = self.labels.threshold, self.shear
        if not threshold >= shear.record_threshold:
            raise ValueError(
                f"threshold {threshold} lies below record_threshold {shear.record_threshold}: "
                "the fields for such labels are not kept"
            )
        if shear.stop_threshold and threshold > shear.stop_threshold:
            raise ValueError(
                f"threshold {threshold} lies above stop_threshold {shear.stop_threshold}: runs "
                "would end before such an event; raise stop_threshold"
            )
        if self.quench.num_specimens < 3:
            raise ValueError(
                f"num_specimens must be at least 3 (training, validation, test), got "
                f"{self.quench.num_specimens}"
            )


_KINDS = (RunConfig, QuenchConfig, ShearConfig, FeatureConfig, LabelConfig, TrainConfig)
"""Classes of the configurations in the order of `Settings`."""


def _model(name: str) -> type:
    if name not in models.MODELS:
        raise ValueError(f"model must be one of {', '.join(models.MODELS)}, got {name!r}")
    return models.MODELS[name].config


def _config(kind: type, flat: Mapping[str, Any]) -> Any:
    """The configuration of a class from a flat record."""
    values = {f.name: flat[flag] for flag, f in settings_of(kind).items() if flag in flat}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _values(config: Any) -> dict[str, Any]:
    return {flag: getattr(config, f.name) for flag, f in settings_of(config).items()}


STAGES = {
    "melt": ("run", "melt"),
    "quench": ("run", "melt", "quench"),
    "shear": ("run", "melt", "quench", "shear"),
    "describe": ("run", "melt", "quench", "features"),
    "train": tuple(Settings().groups()),
    "evaluate": tuple(Settings().groups()),
}
"""The groups of settings on which the output of each stage depends."""


class Flag(NamedTuple):
    """A flag that follows from a setting.

    Attributes:
      name: name of the flag, and of the setting in records.
      group: its group in `Settings.groups`.
      text: help text with the choices.
      kind: type of the value, or of the items of a list.
      many: whether it is a list.
    """

    name: str
    group: str
    text: str
    kind: type
    many: bool


def setting_flags() -> dict[str, Flag]:
    """The flags of all settings, those of every model in the registry included."""
    groups = Settings().groups()
    owner = {name: group for group, names in groups.items() for name in names}
    shapes = [model.config for model in models.MODELS.values()]
    found: dict[str, Flag] = {}
    for config in (*_KINDS, *shapes):
        for name, field in settings_of(config).items():
            item = item_type(config, field.name)
            # A setting that is a configuration is chosen by its name.
            kind = str if dataclasses.is_dataclass(field.default) else type(field.default)
            text, choices = field.metadata["help"].rstrip("."), ", ".join(field.metadata["choices"])
            text += f" ({choices})." if choices else "."
            group = owner.get(name, "model")
            found.setdefault(name, Flag(name, group, text, item or kind, item is not None))
    return found


def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """A flat record of settings as this version writes it; older ones said some things otherwise.

    A setting that the record lacks came later, and what was made had its default.
    """
    found = dict(record)
    if "cu_fraction" in found:
        found |= composition(found.pop("cu_fraction"))
    for name in ("patience", "stop_threshold"):
        if name in found:
            found[name] = found[name] or 0
    known = Settings.of({"model": found.get("model", "gat")}).flat()
    return {**known, **found}


def composition(cu_fraction: float) -> dict[str, Any]:
    """Elements and fractions of a Cu-Zr alloy from the share of Cu.

    Raises:
      ValueError: the share makes no alloy.
    """
    if not 0.0 < cu_fraction < 1.0:
        raise ValueError(f"cu_fraction must lie between 0 and 1, got {cu_fraction}")
    shares = cu_fraction, round(1.0 - cu_fraction, 12)
    return {"elements": ("Cu", "Zr"), "fractions": shares}


PRESETS: dict[str, Settings] = {
    "paper": Settings().changed(stop_threshold=0.0, extrapolate=False, minimizer="fire"),
    "laptop": Settings().changed(
        num_atoms=2000,
        num_specimens=20,
        equilibration_time=20.0,
        melt_time=100.0,
        snapshot_interval=5.0,
        quench_rate=1e13,
    ),
    "quickstart": Settings().changed(
        num_atoms=500,
        num_specimens=5,
        equilibration_time=4.0,
        melt_time=10.0,
        snapshot_interval=1.0,
        quench_rate=5e13,
        layers=2,
        features_per_head=8,
        heads=4,
        dense=(16,),
        residual=True,
        normalisation="layer",
        epochs=40,
        patience=0,
        graphs_per_batch=3,
    ),
    "smoke": Settings().changed(
        num_atoms=400,
        num_specimens=3,
        equilibration_time=0.5,
        melt_time=0.6,
        snapshot_interval=0.2,
        quench_rate=1e15,
        directions=("+xy", "-yz"),
        layers=2,
        features_per_head=6,
        heads=3,
        learning_rate=3e-3,
        epochs=10,
        patience=0,
        graphs_per_batch=2,
    ),
}
"""Named settings; every value can be overridden by its flag."""
