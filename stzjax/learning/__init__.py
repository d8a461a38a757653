"""The way from features to confidences: graphs, splits, networks, losses, training, baselines.

`graphs` and `splits` prepare the data, `models` holds the networks, `losses` and `sampling` weigh
the classes, `train_config`, `train_step` and `training` train, `calibration` and `checkpoints` come
after; `baselines` are the simpler predictors, `sensitivity` derives a confidence. Numbers that
judge a prediction belong to `evaluation`, descriptors and labels to the packages that make them.
"""

from stzjax.learning import baselines, graphs, losses, models, splits, training
