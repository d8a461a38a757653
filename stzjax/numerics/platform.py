"""The platform that programs are made for: the switch of every choice between CPU and GPU forms.

Such a choice is made when a function is traced. `jax.lax.platform_dependent` would trace both
forms, and one inside another four times.
"""

import contextlib
from collections.abc import Iterator

import jax

_asked: list[str] = []
"""Platforms asked for by `compiling_for`, the innermost last."""


def target() -> str:
    """Platform of the programs traced now: "cpu", "gpu" or another of JAX's."""
    return _asked[-1] if _asked else jax.default_backend()


@contextlib.contextmanager
def compiling_for(platform: str) -> Iterator[None]:
    """A block in which programs are traced for a platform, which need not be there.

    Traced programs are forgotten at both ends, since JAX does not know of this choice.

    Args:
      platform: "cpu" or "gpu".
    """
    jax.clear_caches()
    _asked.append(platform)
    try:
        yield
    finally:
        _asked.pop()
        jax.clear_caches()
