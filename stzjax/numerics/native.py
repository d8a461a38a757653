"""Kernels of a CPU that numba compiles and XLA calls: which are wanted, and how to call them.

A module of such kernels imports numba and has `HANDLERS`: by precision and name, the functions that
take the address of a call frame (see `foreign`). It is imported here and nowhere else, since numba
is an optional dependency.
"""

import ctypes
import functools
import importlib
import logging
import threading
from collections.abc import Sequence

import jax
from jax import Array

from stzjax.numerics import platform

CHOICES = ("auto", "native", "xla")
"""Kernels to be asked for: native ones where they can be had, native ones, array code."""

_log = logging.getLogger(__name__)
_choice = "auto"
_lock = threading.Lock()


def choose(kernel: str) -> None:
    """Take native kernels or array code from now on, in what is traced anew.

    Args:
      kernel: one of `CHOICES`.

    Raises:
      ValueError: an unknown choice, or native kernels without numba.
    """
    global _choice
    if kernel not in CHOICES:
        raise ValueError(f"kernel takes {', '.join(CHOICES)}, got {kernel}")
    if kernel == "native" and not available():
        raise ValueError("native kernels need numba: pip install 'stzjax[native]'")
    if kernel != _choice:
        # JAX does not know of this choice.
        jax.clear_caches()
    _choice = kernel


def choice() -> str:
    """The kernels asked for, one of `CHOICES`."""
    return _choice


@functools.cache
def available() -> bool:
    """Whether numba and the interface to it are there; says so once where they are not."""
    try:
        importlib.import_module("stzjax.numerics.foreign")
        _ = jax.ffi.ffi_call, jax.ffi.register_ffi_target, jax.ffi.pycapsule
    except (ImportError, AttributeError) as error:
        _log.warning("no native kernels, forces are evaluated as array code: %s", error)
        return False
    return True


def wanted() -> bool:
    """Whether what is traced now is to use native kernels."""
    return _choice != "xla" and platform.target() == "cpu" and available()


def loaded(module: str, precision: str) -> bool:
    """Whether the kernels of a module are at hand in a precision; compiles them at first."""
    with _lock:
        return _load(module, precision)


@functools.cache
def _load(module: str, precision: str) -> bool:
    from stzjax.numerics import foreign

    handlers = importlib.import_module(module).HANDLERS[precision]
    try:
        for name, handler in handlers.items():
            address = ctypes.c_void_p(foreign.compiled(handler).address)
            target = _target(module, precision, name)
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(address), "cpu", api_version=1)
    except Exception as error:  # Of numba, LLVM or XLA; none is a reason to stop.
        line = str(error).split("\n")[0]
        _log.warning("no native kernels, forces are evaluated as array code: %s", line)
        return False
    _log.info("%s: native kernels in %s", module, precision)
    return True


def call(
    module: str, precision: str, name: str, results: Sequence[jax.ShapeDtypeStruct], *operands
) -> list[Array]:
    """Results of a kernel; batches one after another.

    Raises:
      ValueError: the kernels are not at hand.
    """
    if not loaded(module, precision):
        raise ValueError(f"{module} cannot be compiled here: ask for --kernel=xla")
    target = _target(module, precision, name)
    return list(jax.ffi.ffi_call(target, results, vmap_method="sequential")(*operands))


def _target(module: str, precision: str, name: str) -> str:
    return f"{module}.{name}.{precision}"
