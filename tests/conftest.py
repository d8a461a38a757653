"""Shared settings and fixtures of the tests."""

import jax
import pytest

jax.config.update("jax_enable_x64", True)


def pytest_collection_modifyitems(items):
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a GPU, JAX sees none"))
