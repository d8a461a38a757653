"""Every compiled program of the pipeline lowers for CUDA, where no GPU is needed."""

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from stzjax import io, potentials

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
LANES = 4


@pytest.fixture(scope="module")
def module():
    if str(EXPERIMENTS) not in sys.path:
        sys.path.append(str(EXPERIMENTS))
    return importlib.import_module("gpu_programs")


@pytest.fixture(scope="module")
def programs(module, reference):
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


DONATED = (f"NPT x {LANES}", f"NVE x {LANES}", f"shear x {LANES}")


def test_all_are_named(programs):
    assert set(programs) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_lowers_for_cuda(name, module, programs):
    program = programs[name]
    text = module.lowered(program).as_text()
    assert program.donated == (name in DONATED)
    # One number for each array whose memory a result takes over.
    reused = text.count("tf.aliasing_output") + text.count("jax.buffer_donor")
    assert reused == (len(jax.tree.leaves(program.args[0])) if program.donated else 0)
    assert "module @" in text
    assert "callback" not in text, "it would wait for the host"
    if name in WITHOUT_BRANCHES:
        assert "stablehlo.case" not in text
    assert ("triton" in text) == (name in WITH_KERNELS)


COMPILED = """\
HloModule jit_run, is_scheduled=true

%fused (p.1: f32[4,8]) -> f32[4,8] {
  %p.1 = f32[4,8]{1,0} parameter(0)
  ROOT %add.1 = f32[4,8]{1,0} add(%p.1, %p.1)
}

%body (s: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %s = (s32[], f32[4,8]{1,0}) parameter(0)
  %x = f32[4,8]{1,0} get-tuple-element(%s), index=1
  %y = f32[4,8]{1,0} fusion(%x), kind=kLoop, calls=%fused
  %z = (f64[4]{0}, pred[6]{0}) custom-call(%y, %x), custom_call_target="kernel"
  %n = s32[] get-tuple-element(%s), index=0
  ROOT %next = (s32[], f32[4,8]{1,0}) tuple(%n, %y)
}

ENTRY %main (a: f32[4,8]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %c = f32[4,8]{1,0} copy(%a)
  %zero = s32[] constant(0)
  %t = (s32[], f32[4,8]{1,0}) tuple(%zero, %c)
  %w = (s32[], f32[4,8]{1,0}) while(%t), condition=%cond, body=%body
  ROOT %out = f32[4,8]{1,0} get-tuple-element(%w), index=1
}
"""


def test_the_cost_of_a_step(module):
    """Two launches in the loop: 128 in and out, and twice 128 in and 4 × 8 + 6 out [bytes]."""
    budget = importlib.import_module("gpu_budget")
    assert budget.cost(COMPILED, 3_000_000)[:3] == (2, (256 + 256 + 38) / 1e9, 3.0)
    assert budget.cost(COMPILED, 0, whole=True)[:3] == (3, (256 + 256 + 256 + 38) / 1e9, 0.0)
    without = COMPILED.replace("while(%t), condition=%cond, body=%body", "tuple(%zero, %c)")
    assert budget.cost(without, 0)[:3] == (1, 256 / 1e9, 0.0)
