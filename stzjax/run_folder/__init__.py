"""The run folder: settings of a run, files of its stages, claims on its work.

The one reader and writer of a run folder: `pipeline` fills it, `report` shows it.
"""
