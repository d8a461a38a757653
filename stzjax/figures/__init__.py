"""Figures: one definition of each plot.

Imported on demand, since Matplotlib is slow to load.
"""
