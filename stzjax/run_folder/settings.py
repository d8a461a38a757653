"""Every setting of a run in one flat record, and the presets."""

import dataclasses
import math
from typing import Any

from stzjax.core import loads
from stzjax.descriptors import voronoi
from stzjax.dynamics import quench
from stzjax.learning.models import gat
from stzjax.learning.training import TrainConfig
from stzjax.shear import aqs


def _setting(default: Any, text: str):
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of all stages; the defaults are those of the paper. Each field is a flag."""

    potential: str = _setting(
        "mendelev2019", "Built-in potential (mendelev2019) or path of a setfl table."
    )
    seed: int = _setting(0, "Seed of everything random.")

    num_atoms: int = _setting(10_000, "Atoms of a specimen.")
    cu_fraction: float = _setting(0.64, "Share of Cu; the rest is Zr.")
    num_specimens: int = _setting(75, "Glasses to make.")
    melt_temperature: float = _setting(2000.0, "Temperature of the liquid [K].")
    final_temperature: float = _setting(300.0, "Temperature at which the quench ends [K].")
    pressure: float = _setting(0.0, "Pressure of melt and quench [GPa].")
    equilibration_time: float = _setting(10.0, "Time before the first snapshot [ps].")
    melt_time: float = _setting(10_000.0, "Time during which snapshots are taken [ps].")
    snapshot_interval: float = _setting(10.0, "Time between snapshots of the liquid [ps].")
    quench_rate: float = _setting(1e10, "Cooling rate [K/s].")
    timestep: float = _setting(0.002, "Time step of the dynamics [ps].")
    thermostat_time: float = _setting(0.2, "Period of the thermostat [ps].")
    barostat_time: float = _setting(2.0, "Period of the barostat [ps].")
    precision: str = _setting("float64", "Of melt and quench: float32 or float64.")
    relax_cell: bool = _setting(False, "Relax the quenched glass to zero stress, cell included.")

    directions: tuple[str, ...] = _setting(loads.DIRECTIONS, "Shear directions.")
    strain_step: float = _setting(1e-4, "Engineering strain per step.")
    final_strain: float = _setting(4e-2, "Strain at which a run without event ends.")
    force_tolerance: float = _setting(1e-6, "Largest force after each relaxation [eV/Å].")
    max_iterations: int = _setting(20_000, "Force evaluations per relaxation, at most.")
    d2min_cutoff: float = _setting(3.8, "Bonds that count for D²min [Å].")
    d2min_reduction: str = _setting("sum", "D²min over the bonds: sum or mean.")
    record_threshold: float = _setting(0.01, "Keep D²min fields that exceed this [Å²].")
    stop_threshold: float = _setting(
        0.1, "End a run after the first step whose D²min exceeds this [Å²]; 0: never."
    )
    extrapolate: bool = _setting(
        True, "Start relaxations from the extrapolated non-affine displacement."
    )
    minimizer: str = _setting(
        "lbfgs", "Of strain steps: lbfgs, anderson (events by fire all the same), or fire."
    )

    mode_fraction: float = _setting(0.01, "Share of the modes in the participation fraction.")
    mass_weighted: bool = _setting(True, "Modes of the mass-weighted matrix.")
    edge_threshold: float = _setting(0.0, "Voronoi edges shorter than this are merged [Å].")
    radii: tuple[float, ...] = _setting(
        (), "Radii of Cu and Zr for radical Voronoi cells [Å]; empty: plain cells."
    )
    voronoi: str = _setting("auto", "Method of the tessellation: auto, qhull or jax.")
    response: bool = _setting(
        False, "Relaxed stiffness and D²min of the linear response as seven more features."
    )

    threshold: float = _setting(0.1, "D²min above which an atom is labelled [Å²].")
    min_cluster: int = _setting(1, "Bonded atoms above the threshold that make an event.")

    layers: int = _setting(4, "Attention layers L.")
    features_per_head: int = _setting(15, "Features per attention head M.")
    heads: int = _setting(9, "Attention heads N.")
    merge: str = _setting("concat", "How heads join: concat or mean.")
    residual: bool = _setting(False, "Residual connections.")
    normalisation: str = _setting("none", "none or layer.")
    dropout: float = _setting(0.0, "Dropout rate.")
    dense: tuple[int, ...] = _setting((32,), "Widths of the fully connected layers.")
    learning_rate: float = _setting(1e-3, "Learning rate of Adam.")
    epochs: int = _setting(200, "Passes over the training graphs, at most.")
    patience: int = _setting(50, "Stop after so many epochs without a better one; 0: never.")
    graphs_per_batch: int = _setting(1, "Graphs per training step.")
    loss: str = _setting("weighted", "Loss: weighted, focal, balanced, adjusted or event.")
    weight_power: float = _setting(1.0, "Power of the inverse class frequency in the loss.")
    focal_gamma: float = _setting(2.0, "Focusing power of the focal loss.")
    balance_beta: float = _setting(0.9999, "Beta of the class-balanced loss.")
    adjustment: float = _setting(1.0, "Strength of the logit adjustment.")
    undersample: float = _setting(0.0, "Negatives in the loss for each positive; 0: all.")
    oversample: float = _setting(0.0, "Power of its positives in how often a graph is shown.")
    calibration: str = _setting("none", "Of confidences on validation: none, temperature, platt.")
    select_by: str = _setting("ap", "Validation metric that chooses the epoch.")

    def melt_config(self) -> quench.QuenchConfig:
        """Settings of melt and quench."""
        return quench.QuenchConfig(
            num_atoms=self.num_atoms,
            fractions=(self.cu_fraction, round(1.0 - self.cu_fraction, 12)),
            **{
                name: getattr(self, name)
                for name in quench.QuenchConfig._fields
                if name in _NAMES and name != "num_atoms"
            },
        )

    def shear_config(self) -> aqs.ShearConfig:
        """Settings of a shear run."""
        return aqs.ShearConfig(
            step=self.strain_step,
            final=self.final_strain,
            stop_threshold=self.stop_threshold or None,
            **{
                name: getattr(self, name)
                for name in aqs.ShearConfig._fields
                if name in _NAMES and name != "stop_threshold"
            },
        )

    def train_config(self) -> TrainConfig:
        """Settings of the network and its training."""
        shape = gat.Config(
            **{
                f.name: getattr(self, f.name)
                for f in dataclasses.fields(gat.Config)
                if f.name in _NAMES
            }
        )
        return TrainConfig(
            model=shape,
            patience=self.patience or None,
            **{
                f.name: getattr(self, f.name)
                for f in dataclasses.fields(TrainConfig)
                if f.name in _NAMES and f.name != "patience"
            },
        )

    def validate(self) -> None:
        """Raise ValueError for the first setting that makes no sense, before any work."""
        for name, value in dataclasses.asdict(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                raise ValueError(f"{name} must be finite, got {value}")
            if any(isinstance(number, int) and abs(number) >= 2**31 for number in numbers):
                raise ValueError(f"{name} must be less than 2147483648, got {value}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if not 0.0 < self.cu_fraction < 1.0:
            raise ValueError(f"cu_fraction must lie between 0 and 1, got {self.cu_fraction}")
        self.melt_config().validate()
        self.shear_config().validate()
        self.train_config()
        if not self.directions:
            raise ValueError("directions is empty; name at least one, such as +xy")
        for direction in self.directions:
            loads.canonical(direction)
        if len({loads.canonical(d) for d in self.directions}) != len(self.directions):
            raise ValueError(f"directions repeat themselves: {', '.join(self.directions)}")
        if not 0.0 < self.mode_fraction <= 1.0:
            raise ValueError(f"mode_fraction must lie in (0, 1], got {self.mode_fraction}")
        if self.edge_threshold < 0.0:
            raise ValueError(f"edge_threshold is negative: {self.edge_threshold}")
        if len(self.radii) not in (0, 2) or not all(0.0 <= r < math.inf for r in self.radii):
            raise ValueError(f"radii must be two lengths, of Cu and Zr, or empty, got {self.radii}")
        if self.voronoi not in voronoi.METHODS:
            methods = ", ".join(voronoi.METHODS)
            raise ValueError(f"voronoi must be one of {methods}, got {self.voronoi!r}")
        if not self.threshold >= self.record_threshold:
            raise ValueError(
                f"threshold {self.threshold} lies below record_threshold {self.record_threshold}: "
                "the fields for such labels are not kept"
            )
        if self.stop_threshold and self.threshold > self.stop_threshold:
            raise ValueError(
                f"threshold {self.threshold} lies above stop_threshold {self.stop_threshold}: runs "
                "would end before such an event; raise stop_threshold"
            )
        if self.min_cluster < 1:
            raise ValueError(f"min_cluster must be 1 or more, got {self.min_cluster}")
        if self.num_specimens < 3:
            raise ValueError(
                f"num_specimens must be at least 3 (training, validation, test), got "
                f"{self.num_specimens}"
            )


_NAMES = frozenset(field.name for field in dataclasses.fields(Settings))

DEFAULTS = dataclasses.asdict(Settings())
"""What a run did that knows nothing of a setting: a new one's default must be what was done before.
"""

_MELT = (
    "potential seed num_atoms cu_fraction num_specimens melt_temperature pressure "
    "equilibration_time melt_time snapshot_interval timestep thermostat_time barostat_time "
    "precision"
).split()
_QUENCH = [*_MELT, *"final_temperature quench_rate relax_cell force_tolerance".split()]
_SHEAR = [
    *_QUENCH,
    *(
        "strain_step final_strain max_iterations d2min_cutoff d2min_reduction record_threshold "
        "stop_threshold extrapolate minimizer"
    ).split(),
]
_FEATURES = [*_QUENCH, *"mode_fraction mass_weighted edge_threshold radii voronoi response".split()]
_MODEL = [
    *dict.fromkeys([*_SHEAR, *_FEATURES]),
    *(
        "directions threshold min_cluster layers features_per_head heads merge residual "
        "normalisation dropout dense learning_rate epochs patience graphs_per_batch select_by loss "
        "weight_power focal_gamma balance_beta adjustment undersample oversample calibration"
    ).split(),
]
STAGES = {
    "melt": _MELT,
    "quench": _QUENCH,
    "shear": _SHEAR,
    "describe": _FEATURES,
    "train": _MODEL,
    "evaluate": _MODEL,
}
"""The settings on which the output of each stage depends, those of earlier stages included."""

PRESETS: dict[str, Settings] = {
    "paper": Settings(stop_threshold=0.0, extrapolate=False, minimizer="fire"),
    "laptop": Settings(
        num_atoms=2000,
        num_specimens=20,
        equilibration_time=20.0,
        melt_time=100.0,
        snapshot_interval=5.0,
        quench_rate=1e13,
    ),
    "quickstart": Settings(
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
    "smoke": Settings(
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
