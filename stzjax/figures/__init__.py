"""Figures: one definition of each plot, for papers and for the page.

A plot is a function from arrays to a `chart.Chart`, in `run` (stages and test), `d2min`, `studies`
or `gradients`; `picture` draws a chart with Matplotlib, `interactive` with plotly. Atoms in space
are in `atoms`, the paper's figures in `paper`. Results are computed by `evaluation` and read by
`run_folder`, not here. Modules are imported on demand, since Matplotlib is slow to load.

A new figure:

1. Write a function of arrays that returns a `Chart`, in the module of its kind; in `run` for a run.
2. Give its axes a name and a unit, take its colours from `chart`, and let `hover` say what a reader
   sees who points at it.
3. Add one line to a section of the page, in `report/templates/`, which also saves `name.png`:
   `{{ ui.plot("name", charts.name(run.shears)) }}`.
4. Add an example to `tests/figures/test_charts.py`: both drawings are compared with the chart.
5. Check the numbers of the chart against a reference of its own.
"""
