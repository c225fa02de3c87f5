"""32 float32 lanes as one value in Numba code, so that the loops of the kernels are vector code.

LLVM splits a <32 x float> into the registers of the machine. Its own vectoriser fails on these
loops, because it cannot prove that the arrays are distinct: that was five times slower at N = 256.

The operations are load, store, fold_into, splat, plus, minus, times, over, fma, which, where and
magnitude; each lane is IEEE float32. They are functions: of an operator, such as +, Numba tries
what it can mean for thirty other types first, in half a second a kernel. `compiled` is jit.cached
for functions that use them.
"""

# mypy: disable-error-code="call-arg"

import sys
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from lnp_edge.base.jit import cached

LANES = 32
FOLDED = 8
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def compiled(function: Callable) -> Callable:
    return cached(function, sys.modules[__name__])


class Lanes(types.Type):
    """The Numba type of LANES float32 values."""

    def __init__(self):
        super().__init__("Lanes")


lanes = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR)


def _pointer(context, builder, array_type, array, row):
    """A vector pointer to array[row, 0] of a C-contiguous float32 array [rows, LANES]."""
    data = context.make_array(array_type)(context, builder, array).data
    start = builder.mul(row, ir.Constant(row.type, LANES))
    return builder.bitcast(builder.gep(data, [start]), _VECTOR.as_pointer())


def _llvm(builder, name, args):
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def load(typing, rows, row):
    """rows[row] as Lanes. rows : C-contiguous float32 [n, LANES];  row : an integer in range"""

    def emit(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.int64)
        return builder.load(_pointer(context, builder, sig.args[0], args[0], at), align=4)

    return lanes(rows, row), emit


@intrinsic
def store(typing, rows, row, value):
    """rows[row] = value."""

    def emit(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.int64)
        builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], at), align=4)
        return context.get_dummy_value()

    return types.void(rows, row, lanes), emit


@intrinsic
def fold_into(typing, sums, row, value):
    """sums[row] += value, with its lanes folded into FOLDED sums.

    sums : C-contiguous float32 [n, FOLDED]
    """

    def emit(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        at = builder.mul(context.cast(builder, args[1], sig.args[1], types.int64), ir.Constant(ir.IntType(64), FOLDED))
        where = builder.bitcast(builder.gep(data, [at]), ir.VectorType(ir.FloatType(), FOLDED).as_pointer())
        total, width = args[2], LANES
        while width > FOLDED:
            width //= 2
            half = [
                builder.shuffle_vector(total, total, ir.Constant(ir.VectorType(ir.IntType(32), width), list(part)))
                for part in (range(width), range(width, 2 * width))
            ]
            total = builder.fadd(*half)
        builder.store(builder.fadd(total, builder.load(where, align=4)), where, align=4)
        return context.get_dummy_value()

    return types.void(sums, row, lanes), emit


@intrinsic
def splat(typing, scalar):
    """A float32 in every lane."""

    def emit(context, builder, sig, args):
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        one = builder.insert_element(undefined, args[0], cgutils.int32_t(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, undefined, mask)

    return lanes(types.float32), emit


def _arithmetic(instruction):
    @intrinsic
    def apply(typing, a, b):
        def emit(context, builder, sig, args):
            return getattr(builder, instruction)(*args)

        return lanes(lanes, lanes), emit

    return apply


plus, minus, times, over = (_arithmetic(name) for name in ("fadd", "fsub", "fmul", "fdiv"))


@intrinsic
def fma(typing, a, b, c):
    """a * b + c, rounded once if the machine can."""

    def emit(context, builder, sig, args):
        return _llvm(builder, f"llvm.fmuladd.v{LANES}f32", args)

    return lanes(lanes, lanes, lanes), emit


@intrinsic
def which(typing, a, b):
    """a > b as a uint32, one bit per lane."""

    def emit(context, builder, sig, args):
        return builder.bitcast(builder.fcmp_ordered(">", *args), ir.IntType(32))

    return types.uint32(lanes, lanes), emit


@intrinsic
def where(typing, bits, a, b):
    """a in the lanes whose bit in a uint32 is set, otherwise b."""

    def emit(context, builder, sig, args):
        mask = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), LANES))
        return builder.select(mask, args[1], args[2])

    return lanes(types.uint32, lanes, lanes), emit


@intrinsic
def magnitude(typing, a):
    """|a| in every lane."""

    def emit(context, builder, sig, args):
        return _llvm(builder, f"llvm.fabs.v{LANES}f32", args)

    return lanes(lanes), emit
