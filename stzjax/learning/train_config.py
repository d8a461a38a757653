"""The settings of a training: what is trained, and how; checked when they are made."""

import dataclasses

from stzjax.core.settings import check, setting
from stzjax.learning import calibration, models
from stzjax.learning.losses import LossConfig
from stzjax.learning.models import gat

SELECT_BY = ("loss", "ap", "mcc", "f1", "auc")
"""The numbers on the validation graphs by which the epoch may be chosen."""


_PAPER = gat.Config()


@dataclasses.dataclass(frozen=True)
class TrainConfig(LossConfig):
    """Settings of a training; the defaults are the paper's."""

    model: models.Config = setting(_PAPER, "Network; the flags here give its shape.", models.MODELS)
    learning_rate: float = setting(1e-3, "Learning rate of Adam.", limits="(0, inf)")
    epochs: int = setting(200, "Passes over the training graphs, at most.", limits="[1, inf)")
    patience: int = setting(
        50, "Stop after so many epochs without a better one; 0: never.", limits="[0, inf)"
    )
    graphs_per_batch: int = setting(1, "Graphs per training step.", limits="[1, inf)")
    # Every one but "loss" needs `score` in `train`.
    select_by: str = setting("ap", "Validation metric that chooses the epoch.", SELECT_BY)
    undersample: float = setting(
        0.0, "Negatives in the loss for each positive; 0: all.", limits="[0, inf)"
    )
    oversample: float = setting(
        0.0, "Power of its positives in how often a graph is shown.", limits="[0, inf)"
    )
    calibration: str = setting(
        "none", "Calibration of confidences on validation.", calibration.KINDS
    )
    seed: int = 0
    """Seed of parameters, shuffling, sampling and dropout."""

    def __post_init__(self):
        """Refuse values that cannot train."""
        check(self)
