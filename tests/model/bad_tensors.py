"""Broken weights: dims, element types, data; and weights that are not finite."""

from __future__ import annotations

import numpy as np
import onnx
from bad_cases import changed, invalid, one_node, unsupported, with_tensor
from onnx import TensorProto, helper, numpy_helper
from small_models import info, ints, model_of, node, set_attribute, tensor


def _set_dims(name: str, *dims: int) -> onnx.ModelProto:
    def change(t):
        del t.dims[:]
        t.dims.extend(dims)

    return with_tensor(name, change)


@invalid("initializer 'w'", "negative dim -4")
def negative_dim():
    return _set_dims("w", -4, 3, 3, 3)


@invalid("initializer 'w'", "too large to count")
def dims_that_overflow():
    return _set_dims("w", 2**40, 2**40)


@invalid("initializer 'w'", "too large to count")
def dims_that_overflow_beside_a_zero():
    return _set_dims("w", 0, 2**40, 2**40)


@unsupported("initializer 'w'", "40 dims")
def too_many_dims():
    return _set_dims("w", *([1] * 40))


@unsupported("100000 dims")
def very_many_dims():
    return _set_dims("w", *([2**62] * 100_000))


@invalid("initializer 'w'", "takes 4,000,000,000,000")
def dims_far_beyond_the_payload():
    return _set_dims("w", 10**12)


@invalid("initializer 'gw'", "2,880")
def large_raw_data_short():
    return with_tensor("gw", lambda t: setattr(t, "raw_data", t.raw_data[:-4]))


@invalid("initializer 'gw'", "2,884 bytes")
def large_raw_data_long():
    return with_tensor("gw", lambda t: setattr(t, "raw_data", t.raw_data + b"0000"))


@invalid("initializer 'gb'", "19 bytes")
def small_raw_data_short():
    return with_tensor("gb", lambda t: setattr(t, "raw_data", t.raw_data[:-1]))


@invalid("initializer 'gw'", "no data")
def initializer_without_data():
    return with_tensor("gw", lambda t: t.ClearField("raw_data"))


@invalid("initializer 'gb'", "float_data and raw_data")
def raw_and_typed_data():
    return with_tensor("gb", lambda t: t.float_data.extend([0.0] * 5))


@invalid("initializer 'gw'", "float_data and raw_data")
def large_raw_and_typed_data():
    return with_tensor("gw", lambda t: t.float_data.extend([0.0] * 720))


@invalid("initializer 'gb'", "int64_data", "float")
def typed_data_of_another_type():
    def change(t):
        t.ClearField("raw_data")
        t.int64_data.extend([0] * 5)

    return with_tensor("gb", change)


@invalid("initializer 'gb'", "16 bytes")
def typed_data_short():
    def change(t):
        t.ClearField("raw_data")
        t.float_data.extend([0] * 4)

    return with_tensor("gb", change)


@invalid("initializer 'w'", "unknown element type 77")
def unknown_element_type():
    return with_tensor("w", lambda t: setattr(t, "data_type", 77))


@invalid("initializer 'w'", "no element type")
def undefined_element_type():
    return with_tensor("w", lambda t: setattr(t, "data_type", 0))


@invalid("initializer 's'", "strings")
def string_weights():
    return changed(
        lambda m: m.graph.initializer.append(
            helper.make_tensor("s", TensorProto.STRING, [1], [b"text"])
        )
    )


@unsupported("'w'", "bfloat16")
def bfloat16_weights():
    return changed(
        lambda m: (
            m.graph.initializer.remove(tensor(m, "w")),
            m.graph.initializer.append(
                helper.make_tensor("w", TensorProto.BFLOAT16, [4, 3, 3, 3], np.ones(108))
            ),
        )
    )


@unsupported("'q'", "int4")
def int4_weights():
    t = helper.make_tensor("q", TensorProto.INT4, [4], [1, 2, 3, 4])
    return changed(lambda m: m.graph.initializer.append(t))


@unsupported("'q'", "float8e4m3fn")
def float8_weights():
    t = helper.make_tensor("q", TensorProto.FLOAT8E4M3FN, [2], [1.0, 2.0])
    return changed(lambda m: m.graph.initializer.append(t))


@unsupported("'q'", "complex64")
def complex_weights():
    t = helper.make_tensor("q", TensorProto.COMPLEX64, [1], [1 + 2j])
    return changed(lambda m: m.graph.initializer.append(t))


@unsupported("'n'", "bfloat16")
def cast_to_bfloat16():
    return one_node("Cast", ["x"], to=TensorProto.BFLOAT16)


def _sparse(indices: list[int]) -> onnx.ModelProto:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(2, np.float32), "sparse"), ints("sparse_i", *indices), [10]
    )
    n = helper.make_node("Mul", ["x", "sparse"], ["y"])
    model = model_of([n])
    model.graph.sparse_initializer.append(sparse)
    return model


@invalid("sparse initializer 'sparse'", "outside")
def sparse_index_out_of_bounds():
    return _sparse([1, 10])


@invalid("sparse initializer 'sparse'", "outside")
def sparse_index_negative():
    return _sparse([-1, 3])


@invalid("sparse initializer 'sparse'", "indices of shape [3]")
def sparse_indices_of_the_wrong_number():
    return _sparse([1, 2, 3])


@unsupported("sparse initializer 'sparse'", "dense")
def sparse_initializer():
    return _sparse([1, 3])


@invalid("'constant'", "value", "4 bytes")
def constant_with_short_data():
    def change(m):
        node(m, "constant").attribute[0].t.dims[0] = 2

    return changed(change)


@invalid("initializer 'gw'", "no location")
def external_data_without_a_place():
    def change(t):
        t.ClearField("raw_data")
        t.data_location = TensorProto.EXTERNAL

    return with_tensor("gw", change)


# --- not finite -------------------------------------------------------------------------------


def _poisoned(name: str, value: float) -> onnx.ModelProto:
    def change(t):
        array = numpy_helper.to_array(t).copy()
        array.reshape(-1)[-1] = value
        t.CopyFrom(numpy_helper.from_array(array, name))

    return with_tensor(name, change)


@invalid("initializer 'gw'", "NaN at [143, 4]")
def nan_in_a_large_weight():
    return _poisoned("gw", np.nan)


@invalid("initializer 'gb'", "NaN at [4]")
def nan_in_a_small_weight():
    return _poisoned("gb", np.nan)


@invalid("initializer 'w'", "infinity at [3, 2, 2, 2]")
def infinity_in_a_convolution():
    return _poisoned("w", -np.inf)


@invalid("'constant'", "NaN")
def nan_in_a_constant():
    def change(m):
        value = numpy_helper.from_array(np.array([np.nan], np.float32))
        set_attribute(m, "constant", "value", value)

    return changed(change)


@invalid("initializer 'w'", "infinity")
def infinity_in_a_float16_weight_behind_a_cast():
    half = np.ones((4, 3, 3, 3), np.float16)
    half[0, 0, 0, 0] = np.inf
    nodes = [
        helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w32"], ["y"]),
    ]
    return model_of(nodes, initializers=[numpy_helper.from_array(half, "w")])


@invalid("value of 'k'", "infinity")
def infinity_in_a_constant_that_is_multiplied():
    value = numpy_helper.from_array(np.array([[np.inf, 1]], np.float32))
    nodes = [
        helper.make_node("Constant", [], ["k"], value=value),
        helper.make_node("MatMul", ["k", "x"], ["y"]),
    ]
    return model_of(nodes, [info("x", [2, 2])])
