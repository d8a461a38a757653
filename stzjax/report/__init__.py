"""One self-contained page about a run, which opens offline, and its figures as PNG.

The page reads a finished run folder and makes nothing that a later stage would need.
"""

from stzjax.report.page import write

__all__ = ["write"]
