"""A number type for kernels: `LANES` doubles at once, one per voxel, in vector registers.

A loop over voxels whose steps differ (an iterative fit) does not vectorise by itself. Written in this type it
reads like scalar code, and each operation is done for all lanes; a lane never sees its neighbours, so results
do not depend on which voxels share a vector. Values live inside compiled functions only; in memory a row of a
flat float64 workspace is `LANES` long, read by `load` and written by `store`. Conditions are 1.0 or 0.0.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

LANES = 8
"""Voxels in a vector: one register with AVX-512, two with AVX2, which hides the latency of each other."""

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_FLAGS = ("reassoc", "contract", "arcp", "nsz")
_INT = ir.IntType(32)


def _instruction(function: Callable[..., Any]) -> Any:
    """What Numba compiles to the instructions that `function` generates."""
    return intrinsic(function)


class LanesType(types.Type):
    """Numba's name of the vector."""

    def __init__(self):
        super().__init__(name=f"Lanes{LANES}")


lanes = LanesType()


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    """In LLVM it is a vector of doubles."""

    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _VECTOR)


def _address(context, builder, signature, arguments):
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    place = builder.gep(array.data, [arguments[1]])
    return builder.bitcast(place, _VECTOR.as_pointer())


def _constant(value):
    return ir.Constant(_VECTOR, [value] * LANES)


@_instruction
def load(typing_context, array, index):
    """The vector at array[index : index + LANES]; array is flat float64, and nothing checks its length."""

    def generate(context, builder, signature, arguments):
        value = builder.load(_address(context, builder, signature, arguments))
        value.align = 8
        return value

    return lanes(array, types.intp), generate


@_instruction
def store(typing_context, array, index, value):
    """Write a vector to array[index : index + LANES]."""

    def generate(context, builder, signature, arguments):
        written = builder.store(arguments[2], _address(context, builder, signature, arguments))
        written.align = 8
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@_instruction
def spread(typing_context, number):
    """The same number in all lanes."""

    def generate(context, builder, signature, arguments):
        value = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            value = builder.insert_element(value, arguments[0], ir.Constant(_INT, lane))
        return value

    return lanes(types.float64), generate


def _arithmetic(symbol, instruction):
    @_instruction
    def operation(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(arguments[0], arguments[1], flags=_FLAGS)

        return lanes(lanes, lanes), generate

    @overload(symbol)
    def on_lanes(left, right):
        if left is lanes and right is lanes:
            return lambda left, right: operation(left, right)
        return None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


def _condition(comparison):
    @_instruction
    def operation(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            met = builder.fcmp_ordered(comparison, arguments[0], arguments[1])
            return builder.select(met, _constant(1.0), _constant(0.0))

        return lanes(lanes, lanes), generate

    return operation


less = _condition("<")
"""1.0 where left < right, else 0.0, as for NaN."""

at_most = _condition("<=")
"""1.0 where left <= right, else 0.0, as for NaN."""


def _choice(comparison):
    @_instruction
    def operation(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            met = builder.fcmp_ordered(comparison, arguments[0], arguments[1])
            return builder.select(met, arguments[0], arguments[1])

        return lanes(lanes, lanes), generate

    return operation


smaller = _choice("<")
"""The smaller of two; the right one where either is NaN."""

larger = _choice(">")
"""The larger of two; the right one where either is NaN."""


@_instruction
def where(typing_context, condition, then, otherwise):
    """`then` where the condition is not zero, else `otherwise`."""

    def generate(context, builder, signature, arguments):
        met = builder.fcmp_unordered("!=", arguments[0], _constant(0.0))
        return builder.select(met, arguments[1], arguments[2])

    return lanes(lanes, lanes, lanes), generate


@_instruction
def root(typing_context, value):
    """Square root; NaN below zero."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        function = builder.module.declare_intrinsic(f"llvm.sqrt.v{LANES}f64", fnty=kind)
        return builder.call(function, arguments)

    return lanes(lanes), generate


@_instruction
def any_lane(typing_context, condition):
    """Whether a condition holds in any lane."""

    def generate(context, builder, signature, arguments):
        met = builder.fcmp_unordered("!=", arguments[0], _constant(0.0))
        found = builder.extract_element(met, ir.Constant(_INT, 0))
        for lane in range(1, LANES):
            found = builder.or_(found, builder.extract_element(met, ir.Constant(_INT, lane)))
        return found

    return types.boolean(lanes), generate


@_instruction
def keep_apart(typing_context):
    """In the first line of a long function: its machine code exists once, not again in every caller.

    Vector code is long, and inlined through several levels it would compile for half a minute.
    """

    def generate(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate
