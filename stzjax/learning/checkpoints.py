"""A trained network on disk: an archive with a digest, and config and history as JSON to read."""

import dataclasses
import os
from pathlib import Path

import jax
from flax import traverse_util

from stzjax.io import archives
from stzjax.learning import calibration, models, splits
from stzjax.learning.training import Params, TrainConfig, TrainResult

_NETWORK = "network.npz"


def save(folder: str | os.PathLike, result: TrainResult) -> None:
    """Write a result to a folder, each file atomically, the network last."""
    folder = Path(folder)
    config, history = dataclasses.asdict(result.config), list(result.history)
    chosen = {"best_epoch": result.best_epoch, "selected_by": result.selected_by}
    archives.write_json(folder / "config.json", config)
    archives.write_json(folder / "history.json", {**chosen, "epochs": history})
    content = {
        "network": jax.device_get(result.params.network),
        "scaler": result.params.scaler._asdict(),
        "calibration": result.params.calibration._asdict(),
    }
    arrays = traverse_util.flatten_dict(content, sep="/")
    settings = {"model": models.name_of(result.config.model), "config": config, **chosen}
    archives.save_archive(folder / _NETWORK, arrays, {**settings, "history": history})


def load(folder: str | os.PathLike) -> TrainResult:
    """The result that `save` wrote; ValueError if it is missing, damaged, or of another version."""
    path = Path(folder) / _NETWORK
    arrays, settings = archives.load_archive(path)
    content = traverse_util.unflatten_dict(arrays, sep="/")
    try:
        calibrated = {name: float(value) for name, value in content["calibration"].items()}
        params = Params(
            content["network"],
            splits.Scaler(**content["scaler"]),
            calibration.Calibration(**calibrated),
        )
        # A network that was written before there were several is a GAT, and has None for "never".
        flat = {**settings["config"], "patience": settings["config"]["patience"] or 0}
        model = models.of_record(settings.get("model", "gat"), flat.pop("model"))
        config = TrainConfig(model=model, **flat)
        chosen = settings["best_epoch"], settings["selected_by"]
        return TrainResult(params, config, tuple(settings["history"]), *chosen)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no training of this version ({error}); train again"
        ) from error
