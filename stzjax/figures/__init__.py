"""Figures: one definition of each plot, for papers and for the page.

A plot is a function from arrays to a `chart.Chart`, in `run` (stages and test), `d2min`, `studies`
or `gradients`; `picture` draws a chart with Matplotlib, `interactive` with plotly. Atoms in space
are in `atoms`, the paper's figures in `paper`. Results are computed by `evaluation` and read by
`run_folder`, not here. Modules are imported on demand, since Matplotlib is slow to load.
"""
