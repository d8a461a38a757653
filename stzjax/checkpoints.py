"""A trained network on disk: config, history and parameters, each file written atomically."""

import dataclasses
import os
from pathlib import Path

import flax.serialization
import jax

from stzjax import calibration, io, splits
from stzjax.models import gat
from stzjax.training import Params, TrainConfig, TrainResult

_PARAMS, _CONFIG, _HISTORY = "params.msgpack", "config.json", "history.json"


def save(folder: str | os.PathLike, result: TrainResult) -> None:
    """Write a result into a folder, each file atomically, the parameters last."""
    folder = Path(folder)
    io.write_json(folder / _CONFIG, dataclasses.asdict(result.config))
    chosen = {"best_epoch": result.best_epoch, "selected_by": result.selected_by}
    io.write_json(folder / _HISTORY, {**chosen, "epochs": list(result.history)})
    content = {
        "network": result.params.network,
        "scaler": result.params.scaler._asdict(),
        "calibration": result.params.calibration._asdict(),
    }
    with io.atomic(folder / _PARAMS) as temporary:
        temporary.write_bytes(flax.serialization.msgpack_serialize(jax.device_get(content)))


def load(folder: str | os.PathLike) -> TrainResult:
    """Read what `save` wrote.

    Raises:
      ValueError: a file is missing, truncated, or not of this kind.
    """
    folder = Path(folder)
    settings, past = io.read_json(folder / _CONFIG), io.read_json(folder / _HISTORY)
    try:
        content = flax.serialization.msgpack_restore((folder / _PARAMS).read_bytes())
        params = Params(
            content["network"],
            splits.Scaler(**content["scaler"]),
            calibration.Calibration(**content.get("calibration", {})),
        )
    except OSError as error:
        raise ValueError(f"cannot read {folder / _PARAMS}: {error.strerror}") from error
    except Exception as error:  # msgpack raises a dozen unrelated types on damaged bytes
        raise ValueError(
            f"{folder / _PARAMS} is not a complete model ({error}); delete it and train again"
        ) from error
    try:
        shape = {**settings.pop("model")}
        model = gat.Config(**{**shape, "dense": tuple(shape["dense"])})
        config = TrainConfig(model=model, **settings)
        history, chosen = tuple(past["epochs"]), (past["best_epoch"], past["selected_by"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} holds no training of this version ({error}); train again"
        ) from error
    return TrainResult(params, config, history, *chosen)
