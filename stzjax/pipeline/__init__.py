"""The pipeline as resumable stages on a run folder; `experiments/` drives it."""
