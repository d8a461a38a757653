"""The run folder: settings of a run, files of its stages, claims on its work.

`settings` has every setting and the presets, `folder` the paths and the check that files fit the
settings, `contents` all that a finished run holds, `claims` the locks of several processes. It is
the one reader and writer of a run folder: `pipeline` fills it, `report` shows it. Nothing is
computed here.
"""
