"""Networks: one file each."""

from stzjax.learning.models import gat

__all__ = ["gat"]
