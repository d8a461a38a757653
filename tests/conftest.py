"""Shared settings and fixtures of the tests."""

import fcntl
import os
from pathlib import Path

# XLA says lines of kilobytes about machine features when it reads a compiled program. The scripts
# that tests start are not told: they keep it quiet themselves.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import jax
import pytest
from faults import harness

del os.environ["TF_CPP_MIN_LOG_LEVEL"]

jax.config.update("jax_enable_x64", True)


def pytest_collection_modifyitems(items):
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU, JAX sees none"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """Folder of all workers, empty when the tests begin."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(shared) -> Path:
    """Folder of compiled programs that all workers and the scripts they start share.

    Empty when the tests begin: what another test has compiled is read, nothing older. Two calls of
    pytest share the programs of a folder that `STZJAX_TEST_CACHE` names.
    """
    home = Path(os.environ.get("STZJAX_TEST_CACHE") or shared / "cache")
    os.environ["XDG_CACHE_HOME"] = str(home)
    folder = home / "stzjax"
    for name, value in (
        ("jax_compilation_cache_dir", str(folder)),
        ("jax_persistent_cache_min_compile_time_secs", 0.2),
    ):
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
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


@pytest.fixture(scope="session")
def smoke(shared, compilation_cache) -> Path:
    """Folder of a finished run of the harness, and beside it what the script printed.

    The worker that asks first makes it, the others wait. A test that changes it takes a copy.
    """
    out, printed = shared / "smoke" / "run", shared / "smoke" / "printed.txt"
    with open(shared / "smoke.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            process = harness.start(out)
            said, wrong = process.ended(timeout=900)
            assert process.returncode == 0, wrong
            printed.write_text(said)
    return out
