"""Judgement of confidences: arrays in, numbers out.

`metrics` has the six metrics and their bootstrap, `verdict` the judgement of one training,
`averages` those over seeds and splits, `by_event_size` and `called_by_d2min` the results by size of
the event and by D²min, `result_table` their rows for files. Training, plots and run folders may not
come here.
"""

from stzjax.evaluation import averages, metrics, verdict
