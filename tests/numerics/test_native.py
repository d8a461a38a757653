"""Foreign functions that numba compiles: what they find in a call, what is done without them."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stzjax.numerics import native

pytestmark = pytest.mark.skipif(not native.available(), reason="needs numba")


def module(monkeypatch, name: str, handler) -> str:
    """A module with one kernel, "work", in float64."""
    made = types.ModuleType(name)
    made.HANDLERS = {"float64": {"work": handler}}
    monkeypatch.setitem(sys.modules, name, made)
    return name


def test_operands_and_results(monkeypatch):
    """Arrays of any rank, scalars, none at all; in every lane its own."""
    from stzjax.numerics.foreign import introduced, operand, result

    def handler(frame):
        if introduced(frame):
            return 0
        field, number = operand(frame, 0, np.float64), operand(frame, 1, np.int32)
        nothing, doubled = operand(frame, 2, np.float64), result(frame, 0, np.float64)
        for n in range(len(field)):
            doubled[n] = number[0] * field[n]
        result(frame, 1, np.int32)[0] = len(field) + 100 * len(nothing)
        return 0

    name = module(monkeypatch, "kernels_of_a_test", handler)
    assert native.loaded(name, "float64")

    def work(field, number):
        shapes = [
            jax.ShapeDtypeStruct(field.shape, field.dtype),
            jax.ShapeDtypeStruct((), jnp.int32),
        ]
        return native.call(name, "float64", "work", shapes, field, number, jnp.zeros((0, 3)))

    field = jnp.arange(24.0).reshape(2, 3, 4)
    doubled, count = jax.jit(work)(field, jnp.int32(2))
    assert np.array_equal(doubled, 2 * field) and count == 24
    lanes, counts = jax.jit(jax.vmap(work))(field, jnp.arange(2, dtype=jnp.int32))
    assert np.array_equal(lanes, field * np.array([0, 1])[:, None, None])
    assert counts.tolist() == [12, 12]


def test_what_does_not_compile_is_said_once(monkeypatch, caplog):
    def handler(frame):
        return frame.of_no_such_name

    name = module(monkeypatch, "broken_kernels_of_a_test", handler)
    assert not native.loaded(name, "float64") and not native.loaded(name, "float64")
    (record,) = caplog.records
    assert record.message.startswith("no native kernels, forces are evaluated as array code")
    with pytest.raises(ValueError, match="cannot be compiled here: ask for --kernel=xla"):
        native.call(name, "float64", "work", [])


def test_a_cache_that_cannot_be_written(monkeypatch):
    """The kernel is compiled for this process alone."""
    from stzjax.numerics import foreign

    kept = foreign.cfunc

    def refusing(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return kept(*args, **options)

    monkeypatch.setattr(foreign, "cfunc", refusing)

    def handler(frame):
        return frame

    assert foreign.compiled(handler).address


def test_a_mistaken_choice():
    before = native.choice()
    with pytest.raises(ValueError, match="kernel takes auto, native, xla, got fast"):
        native.choose("fast")
    assert native.choice() == before
