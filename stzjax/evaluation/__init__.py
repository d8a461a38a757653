"""Judgement of confidences: arrays in, numbers out.

Metrics and their bootstrap (`metrics`), the verdict on one training (`verdict`), averages over
splits (`averages`), results by size of the event and by D²min, tables of them. No training, no
files.
"""

from stzjax.evaluation import (
    averages,
    by_event_size,
    called_by_d2min,
    metrics,
    result_table,
    verdict,
)

__all__ = ["averages", "by_event_size", "called_by_d2min", "metrics", "result_table", "verdict"]
