"""One self-contained page about a run, which opens offline, and its figures as PNG."""

from stzjax.report.page import write

__all__ = ["write"]
