"""Arrays of XLA in code that numba compiles: what a foreign function finds in its call frame.

XLA hands a foreign function one address, of the call frame that `xla/ffi/api/c_api.h` describes.
All that is read here is words of 64 bits, at places that later versions of the interface keep.
numba is an optional dependency, so only code that it compiles imports this module; see `native`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

HANDLER = types.int64(types.int64)
"""Signature of a foreign function: address of the call frame to that of an error, 0 for none."""

_FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Liberties of the compiler: sums may change their order, but what is not a number stays so."""

_EXTENSION, _OPERANDS, _RESULTS = 1, 9, 14
"""Words of the frame: address of its extension, of the list of operands, of the list of results."""

_METADATA = 1
"""Type of the extension that asks for the version of the interface."""

_VERSION = 1 << 32
"""Minor version 1 and major version 0 in one word."""


def part(function: Callable) -> Any:
    """A function that is compiled for kernels to call."""
    return njit(fastmath=_FAST, error_model="numpy")(function)


@intrinsic
def _pointer(context, address):
    """An address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@part
def _words(address, count):
    return carray(_pointer(address), count, np.int64)


@part
def introduced(frame):
    """Whether the call only asked for the version of the interface, which is answered here."""
    extension = _words(frame, 2)[_EXTENSION]
    if extension == 0 or _words(extension, 4)[1] & 0xFFFFFFFF != _METADATA:
        return False
    _words(_words(extension, 4)[3], 4)[3] = _VERSION
    return True


@part
def _buffer(frame, part, number, dtype):
    buffer = _words(_words(_words(frame, 15)[part], number + 1)[number], 6)
    count = 1
    for side in _words(buffer[5], buffer[4]):
        count *= side
    return carray(_pointer(buffer[3]), count, dtype)


@part
def operand(frame, number, dtype):
    """Operand of a number as a flat array; its dtype is not checked."""
    return _buffer(frame, _OPERANDS, number, dtype)


@part
def result(frame, number, dtype):
    """Result of a number as a flat array, to be filled."""
    return _buffer(frame, _RESULTS, number, dtype)


def _at(context, builder, type_, array, place, vector):
    """Pointer to a vector in an array."""
    data = context.make_array(type_)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())


def _load(builder, pointer, vector):
    found = builder.load(pointer)
    found.align = _alignment(vector)
    return found


def _store(builder, value, pointer, vector):
    builder.store(value, pointer).align = _alignment(vector)


def _alignment(vector) -> int:
    return 8 if isinstance(vector.element, ir.DoubleType) else 4


def _lane(number: int):
    return ir.Constant(ir.IntType(32), number)


def _cubics(width: int):
    """Function that evaluates some cubics at a time, see `two_cubics`."""

    @intrinsic
    def evaluate(context, table, place, t, out, at):
        def generate(context, builder, signature, arguments):
            table, place, t, out, at = arguments
            vector = ir.VectorType(context.get_data_type(signature.args[2]), width)
            kinds, blank = signature.args, ir.Constant(vector, ir.Undefined)
            t = builder.insert_element(blank, t, _lane(0))
            t = builder.shuffle_vector(
                t, blank, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            )
            total = None
            for power in (3, 2, 1, 0):
                there = builder.add(place, ir.Constant(place.type, power * width))
                pointer = _at(context, builder, kinds[0], table, there, vector)
                factor = _load(builder, pointer, vector)
                if total is not None:
                    rising = builder.fmul(total, t, flags=("contract",))
                    factor = builder.fadd(rising, factor, flags=("contract",))
                total = factor
            pointer = _at(context, builder, kinds[3], out, at, vector)
            _store(builder, total, pointer, vector)
            return context.get_dummy_value()

        return types.void(table, place, t, out, at), generate

    return evaluate


two_cubics = _cubics(2)
"""two_cubics(table, place, t, out, at): out[at:at + 2] = cubics at t, whose coefficients of 1, t,
t², t³ stand in `table` from `place` on, two of each: a vector register at a time, where LLVM would
load each number by itself."""

four_cubics = _cubics(4)
"""The same for four."""


@intrinsic
def push(context, first, at, second, place, x, y, z):
    """first[at:at + 3] += (x, y, z), second[place:place + 3] -= (x, y, z); fourth places stay."""

    def generate(context, builder, signature, arguments):
        first, at, second, place, *parts = arguments
        vector = ir.VectorType(context.get_data_type(signature.args[4]), 4)
        move = ir.Constant(vector, [0.0] * 4)
        for number, part in enumerate(parts):
            move = builder.insert_element(move, part, _lane(number))
        sides = (builder.fadd, first, at, 0), (builder.fsub, second, place, 2)
        for change, array, where, kind in sides:
            pointer = _at(context, builder, signature.args[kind], array, where, vector)
            _store(builder, change(_load(builder, pointer, vector), move), pointer, vector)
        return context.get_dummy_value()

    return types.void(first, at, second, place, x, y, z), generate


def compiled(handler: Callable) -> Any:
    """A handler compiled by numba, kept in numba's cache on disk where that can be written."""
    try:
        return cfunc(HANDLER, cache=True, fastmath=_FAST, error_model="numpy")(handler)
    except (RuntimeError, OSError):  # numba finds no folder that it may write to.
        return cfunc(HANDLER, fastmath=_FAST, error_model="numpy")(handler)
