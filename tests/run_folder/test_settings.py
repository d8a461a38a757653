"""Settings: each stands once, flags and records follow, and records of older versions are read."""

import dataclasses
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from stzjax.core.settings import check, setting, settings_of
from stzjax.dynamics.quench import QuenchConfig
from stzjax.io import archives
from stzjax.learning import checkpoints, models
from stzjax.learning.models import Model
from stzjax.pipeline import train_evaluate
from stzjax.run_folder.folder import Folder, prepare, same
from stzjax.run_folder.settings import PRESETS, STAGES, Settings, setting_flags, upgraded

OLD_CONFIG = Path(__file__).parent / "old_config.json"
"""Settings of a smoke run as they were written before elements and models were settings."""


@dataclasses.dataclass(frozen=True)
class Kettle:
    """A configuration with one setting of each kind."""

    size: float = setting(1.5, "Volume [l].", limits="(0, 2]")
    counts: tuple[int, ...] = setting((1,), "Cups of each guest.", limits="[1, inf)")
    kind: str = setting("steel", "Material.", ("steel", "glass"), flag="kettle_kind")
    inner: int = setting(3, "Layers of limescale.", limits="[0, inf)", flag=None)
    plain: float = 0.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 0.0}, r"size must lie in \(0, 2\], got 0.0"),
        ({"size": 2.5}, r"size must lie in \(0, 2\], got 2.5"),
        ({"size": float("nan")}, "size must be finite, got nan"),
        ({"counts": (2, 0)}, "counts must be 1 or more, got 0"),
        ({"counts": (2**31,)}, "counts must be less than 2147483648"),
        ({"kind": "wood"}, "kettle_kind must be one of steel, glass, got 'wood'"),
        ({"inner": -1}, "inner must not be negative, got -1"),
    ],
)
def test_a_setting_is_checked_by_its_limits_and_choices(change, said):
    with pytest.raises(ValueError, match=said):
        check(Kettle(**change))


def test_a_setting_within_its_limits_passes():
    check(Kettle(size=2.0, counts=(1, 5), inner=0, plain=float("nan")))
    assert list(settings_of(Kettle)) == ["size", "counts", "kettle_kind"]


def test_flat_and_nested_settings_hold_the_same():
    for settings in PRESETS.values():
        assert Settings.of(settings.flat()) == settings
        assert Settings.of(archives.plain(settings.flat())) == settings
        assert list(settings.flat()) == [n for g in settings.groups().values() for n in g]
    assert set(setting_flags()) == set(Settings().flat())
    assert Settings().changed(strain_step=2e-4).shear.step == 2e-4
    assert Settings().changed(seed=7).train_config().seed == 7
    with pytest.raises(ValueError, match="colour: no setting of model gat"):
        Settings().changed(colour="red")


def test_stages_depend_on_what_comes_before_them():
    """The names that a stage's archives record; another set would refuse every older folder."""
    depends = {stage: set(Settings().of_stage(stage)) for stage in STAGES}
    quench = {f for f in settings_of(QuenchConfig)} | {"potential", "seed", "force_tolerance"}
    assert depends["melt"] == quench - {
        "final_temperature", "quench_rate", "relax_cell", "force_tolerance",
    }  # fmt: skip
    assert depends["quench"] == quench
    assert depends["shear"] - quench == set(
        "strain_step final_strain max_iterations d2min_cutoff d2min_reduction record_threshold "
        "stop_threshold extrapolate minimizer".split()
    )
    assert depends["describe"] - quench == set(
        "mode_fraction mass_weighted edge_threshold radii voronoi response further".split()
    )
    assert depends["train"] == depends["evaluate"] == set(Settings().flat())


def test_a_record_of_an_older_version_is_read(tmp_path):
    record = archives.read_record(OLD_CONFIG)
    assert "cu_fraction" in record and "model" not in record
    assert Settings.of(upgraded(record)) == PRESETS["smoke"]
    # What its stages recorded agrees with what they record now, and differs where it differs.
    now = Folder(tmp_path, PRESETS["smoke"]).stage_settings("train")
    old = {name: value for name, value in record.items() if name in now or name == "cu_fraction"}
    same(tmp_path, old, now)
    same(tmp_path, {**old, "patience": None}, now)
    with pytest.raises(ValueError, match=r"fractions = \[0.5, 0.5\] \(now \[0.64, 0.36\]\)"):
        same(tmp_path, {**old, "cu_fraction": 0.5}, now)


def test_an_older_folder_goes_on_under_its_settings(tmp_path):
    (tmp_path / "config.json").write_bytes(OLD_CONFIG.read_bytes())
    folder = prepare(tmp_path, PRESETS["smoke"], "smoke", make=False)
    record = archives.read_record(folder.path / "config.json")
    assert record["fractions"] == [0.64, 0.36] and record["model"] == "gat"


def test_an_older_folder_with_a_setting_that_is_gone_is_refused_in_one_line():
    record = {**archives.read_record(OLD_CONFIG), "minimizer": "anderson"}
    with pytest.raises(ValueError, match=r"^minimizer anderson was removed: .*; use lbfgs$"):
        Settings.of(upgraded(record)).validate()
    with pytest.raises(ValueError, match=r"^model must be one of gat, got 'mlp'$"):
        upgraded({**record, "model": "mlp"})


@dataclasses.dataclass(frozen=True)
class MeanConfig:
    """Shape of a small network with a setting of its own."""

    layers: int = setting(1, "Rounds of averaging.", limits="[1, inf)")
    gain: float = setting(2.0, "Factor of the features.", limits="(0, inf)")

    def __post_init__(self):
        """Refuse values out of their limits."""
        check(self)


class MeanNetwork(nn.Module):
    """Logits linear in the features and in their mean over the neighbours."""

    config: MeanConfig

    @nn.compact
    def __call__(self, graph, *, train=False):
        """Logits (num_nodes, 2)."""
        x = self.config.gain * jnp.asarray(graph.nodes.features)
        for _ in range(self.config.layers):
            total = jnp.zeros_like(x).at[graph.receivers].add(x[graph.senders])
            x = jnp.concatenate([x, total], axis=-1)
        return nn.Dense(2)(x)


def test_another_model_goes_through_settings_training_and_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setitem(models.MODELS, "mean", Model(MeanConfig, MeanNetwork))
    assert setting_flags()["gain"].group == "model"
    folder = synthetic.write(tmp_path / "run", model="mean", gain=0.5, epochs=2)
    recorded = archives.read_record(folder.path / "config.json")
    assert (recorded["model"], recorded["gain"], recorded["layers"]) == ("mean", 0.5, 1)
    assert "heads" not in recorded
    train_evaluate.train_stage(folder)
    result = checkpoints.load(folder.model)
    assert result.config.model == MeanConfig(layers=1, gain=0.5)
    judged = train_evaluate.evaluate_stage(folder)
    assert np.isfinite(judged["test"]["auc"])
    other = Folder(folder.path, folder.settings.changed(gain=3.0))
    with pytest.raises(ValueError, match=r"gain = 0.5 \(now 3.0\)"):
        train_evaluate.train_stage(other)
    other = Folder(folder.path, folder.settings.changed(model="gat"))
    with pytest.raises(ValueError, match=r"model = 'mean' \(now 'gat'\)"):
        train_evaluate.train_stage(other)
    with pytest.raises(ValueError, match="heads: no setting of model mean"):
        folder.settings.changed(heads=3)
