"""Figures: one definition of each plot, for papers and for the report.

Arrays in, figures out; nothing here computes a result. Imported on demand, since Matplotlib is slow
to load.
"""
