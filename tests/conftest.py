"""Shared settings and fixtures of the tests."""

import os
from pathlib import Path

# XLA says lines of kilobytes about machine features when it reads a compiled program. The scripts
# that tests start are not told: they keep it quiet themselves.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import jax
import pytest

del os.environ["TF_CPP_MIN_LOG_LEVEL"]

jax.config.update("jax_enable_x64", True)


def pytest_collection_modifyitems(items):
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a GPU, JAX sees none"))


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory) -> Path:
    """Folder of compiled programs that all workers and the scripts they start share.

    Empty when the tests begin: what another test has compiled is read, nothing older.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    os.environ["XDG_CACHE_HOME"] = str(base / "cache")
    folder = base / "cache" / "stzjax"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder


_MOST_MAPS = 15_000


@pytest.fixture(scope="module", autouse=True)
def _few_maps():
    """Drop compiled code between modules before the kernel's limit of memory maps ends the process.

    Every compiled function keeps several maps; Linux allows 65,530 by default, and XLA dies of it.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_text().splitlines()) > _MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the reference numbers."""
    return Path(__file__).parent / "reference"
