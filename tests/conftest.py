"""Shared settings and fixtures of the tests."""

from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)


def pytest_collection_modifyitems(items):
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a GPU, JAX sees none"))


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the reference numbers."""
    return Path(__file__).parent / "reference"
