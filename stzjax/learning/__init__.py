"""From features to confidences: graphs, splits, networks, losses, training, baselines.

Networks are in `models`. Numbers that judge a prediction belong to `evaluation`.
"""

from stzjax.learning import (
    baselines,
    calibration,
    checkpoints,
    graphs,
    losses,
    models,
    sampling,
    sensitivity,
    splits,
    train_config,
    train_step,
    training,
)

__all__ = [
    "baselines",
    "calibration",
    "checkpoints",
    "graphs",
    "losses",
    "models",
    "sampling",
    "sensitivity",
    "splits",
    "train_config",
    "train_step",
    "training",
]
