"""The stages of a run and the studies of it, from settings to a filled run folder.

`runner` calls the stages in order: `stages` from melt to describe, `train_evaluate` the rest, with
the graphs that `dataset` makes. `studies`, `comparisons` and `grid_search` train many networks, one
file each (`trials`). `work_queue` deals work out to threads and devices, `stage_cost` records time
and memory; `draw` and `differentiate` are called by the scripts of these names. Physics, metrics
and plots belong to the packages above, flags to `experiments/`.
"""
