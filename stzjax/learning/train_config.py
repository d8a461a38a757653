"""What is trained, and how: the settings of a training, checked when they are made."""

import dataclasses

import numpy as np

from stzjax.learning import calibration, losses, sampling
from stzjax.learning.models import gat

SELECT_BY = ("loss", "ap", "mcc", "f1", "auc")
"""What the epoch may be chosen by, on the validation graphs."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What is trained, and how.

    Attributes:
      model: shape of the network.
      learning_rate: of Adam.
      epochs: passes over the training graphs, at most.
      graphs_per_batch: graphs per step.
      select_by: one of `SELECT_BY`; every one but "loss" needs `score` in `train`.
      seed: of parameters, shuffling, sampling and dropout.
      patience: stop after so many epochs without a better one; None never stops early.
      loss: one of `losses.KINDS`.
      weight_power: power of the inverse class frequency in the loss; 0 weighs atoms alike.
      focal_gamma: of the focal loss.
      balance_beta: of the class-balanced loss.
      adjustment: of the logit-adjusted loss.
      undersample: negatives in the loss for each positive, see `sampling.kept`; 0 takes all.
      oversample: how much more often graphs with many positives are shown, see `sampling.order`.
      calibration: one of `calibration.KINDS`, fitted on the validation graphs at the end.
    """

    model: gat.Config = dataclasses.field(default_factory=gat.Config)
    learning_rate: float = 1e-3
    epochs: int = 100
    graphs_per_batch: int = 1
    select_by: str = "ap"
    seed: int = 0
    patience: int | None = None
    loss: str = "weighted"
    weight_power: float = 1.0
    focal_gamma: float = 2.0
    balance_beta: float = 0.9999
    adjustment: float = 1.0
    undersample: float = 0.0
    oversample: float = 0.0
    calibration: str = "none"

    def __post_init__(self):
        """Refuse values that cannot train."""
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        counts = {"epochs": self.epochs, "graphs_per_batch": self.graphs_per_batch}
        if self.patience is not None:
            counts["patience"] = self.patience
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if self.select_by not in SELECT_BY:
            raise ValueError(
                f"select_by must be one of {', '.join(SELECT_BY)}, got {self.select_by!r}"
            )
        if self.calibration not in calibration.KINDS:
            raise ValueError(
                f"calibration must be one of {', '.join(calibration.KINDS)}, "
                f"got {self.calibration!r}"
            )
        self.loss_terms(np.ones(2))
        sampling.counts([], self.undersample, 0.0)
        sampling.counts([np.array([0, 1])], 0.0, self.oversample)

    def loss_terms(self, counts) -> losses.Terms:
        """Terms of the loss for class counts (2,)."""
        return losses.terms(
            self.loss,
            counts,
            weight_power=self.weight_power,
            focal_gamma=self.focal_gamma,
            balance_beta=self.balance_beta,
            adjustment=self.adjustment,
        )
