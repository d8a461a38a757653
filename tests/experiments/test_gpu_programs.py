"""Every compiled program of the pipeline lowers for CUDA, where no GPU is needed."""

import importlib
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from stzjax import io, potentials
from stzjax.numerics import platform

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
LANES = 4


@pytest.fixture(scope="module")
def programs(reference):
    if str(EXPERIMENTS) not in sys.path:
        sys.path.append(str(EXPERIMENTS))
    module = importlib.import_module("gpu_programs")
    glass = io.structure_from(dict(np.load(reference / "glass.npz")))
    return module.programs(glass, potentials.mendelev2019(), LANES)


NAMES = (
    "forces x 1",
    f"forces x {LANES}",
    "Hessian product",
    "neighbour search",
    f"neighbour search x {LANES}",
    f"NPT x {LANES}",
    f"NVE x {LANES}",
    "relaxation",
    f"shear x {LANES}",
    "D²min",
    "soft modes",
    "features of six loads",
    "training step",
    "prediction",
)

WITHOUT_BRANCHES = ("forces x 1", f"forces x {LANES}", "Hessian product", f"NPT x {LANES}")
"""A branch in a GPU's program waits for the host."""

WITH_KERNELS = (f"forces x {LANES}", f"NPT x {LANES}", f"NVE x {LANES}", f"shear x {LANES}")


def test_all_are_named(programs):
    assert set(programs) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_lowers_for_cuda(name, programs):
    function, args = programs[name]
    with platform.compiling_for("gpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = jax.jit(function).trace(*args)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "module @" in text
    assert "callback" not in text, "it would wait for the host"
    if name in WITHOUT_BRANCHES:
        assert "stablehlo.case" not in text
    assert ("triton" in text) == (name in WITH_KERNELS)
