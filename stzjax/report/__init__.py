"""One self-contained page about a run, which opens offline, and its figures as PNG.

`page` fills the templates; `sections` and `study_sections` find the numbers of each section,
`words` writes them. The page reads a run folder, finished or not, through
`run_folder.contents`, and takes its plots from `figures`. It makes nothing that a later stage would
need.
"""

from stzjax.report.page import write
