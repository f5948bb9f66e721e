"""Attribute values that crash native code, and targets of terabytes."""

from __future__ import annotations

import numpy as np
from bad_cases import changed, invalid, one_node, with_attribute
from onnx import helper, numpy_helper
from small_models import ints, model_of, node, tensor


@invalid("'conv'", "strides [0, 1]")
def stride_zero():
    return with_attribute("conv", "strides", [0, 1])


@invalid("'conv'", "strides [-1, 1]")
def stride_negative():
    return with_attribute("conv", "strides", [-1, 1])


@invalid("'conv'", "strides")
def stride_beyond_32_bits():
    return with_attribute("conv", "strides", [2**40, 1])


@invalid("'conv'", "dilations [1, 0]")
def dilation_zero():
    return with_attribute("conv", "dilations", [1, 0])


@invalid("'conv'", "group 0")
def group_zero():
    return with_attribute("conv", "group", 0)


@invalid("'conv'", "group 3", "4 channels")
def group_that_does_not_divide():
    return with_attribute("conv", "group", 3)


@invalid("'conv'", "kernel_shape [0, 3]")
def kernel_zero():
    return with_attribute("conv", "kernel_shape", [0, 3])


@invalid("'conv'", "kernel_shape [5, 5]", "[4, 3, 3, 3]")
def kernel_unlike_the_weight():
    return with_attribute("conv", "kernel_shape", [5, 5])


@invalid("'conv'", "no kernel")
def weight_without_a_kernel():
    def change(m):
        t = tensor(m, "w")
        t.CopyFrom(numpy_helper.from_array(np.ones((4, 3, 0, 3), np.float32), "w"))

    return changed(change)


@invalid("'n'", "kernel_shape [2, 0]")
def pool_kernel_zero():
    return one_node("MaxPool", ["x"], kernel_shape=[2, 0])


@invalid("'n'", "blocksize 0")
def blocksize_zero():
    return one_node("DepthToSpace", ["x"], blocksize=0)


@invalid("'n'", "axis 7", "4 dims")
def softmax_axis_out_of_range():
    return one_node("Softmax", ["x"], axis=7)


@invalid("'n'", "axis -5")
def concat_axis_out_of_range():
    return one_node("Concat", ["x", "x"], axis=-5)


@invalid("'n'", "axis 6")
def squeeze_axes_input_out_of_range():
    return one_node("Squeeze", ["x", "axes"], [ints("axes", 6)])


@invalid("'n'", "axis 5")
def unsqueeze_axis_out_of_range():
    return one_node("Unsqueeze", ["x", "axes"], [ints("axes", 5)])


@invalid("'n'", "axis 4")
def reduce_axes_attribute_out_of_range():
    return one_node("ReduceMean", ["x"], axes=[4])


@invalid("'n'", "perm [0, 0, 1, 2]")
def transpose_perm_that_repeats():
    return one_node("Transpose", ["x"], perm=[0, 0, 1, 2])


@invalid("'n'", "perm [1, 0]", "4 dims")
def transpose_perm_of_another_rank():
    return one_node("Transpose", ["x"], perm=[1, 0])


@invalid("'n'", "elements")
def reshape_bomb():
    return one_node("Reshape", ["x", "s"], [ints("s", 2**20, 2**20)])


@invalid("'n'", "elements")
def reshape_bomb_by_constant_node():
    nodes = [
        helper.make_node("Constant", [], ["s"], value_ints=[2**20, 2**20]),
        helper.make_node("Reshape", ["x", "s"], ["y"], name="n"),
    ]
    return model_of(nodes)


@invalid("'n'", "elements")
def expand_bomb():
    return one_node("Expand", ["x", "s"], [ints("s", 2**16, 2**16, 8, 8)])


@invalid("'n'", "elements")
def tile_bomb():
    return one_node("Tile", ["x", "s"], [ints("s", 1, 1, 2**13, 2**13)])


@invalid("'n'", "elements")
def resize_bomb_by_sizes():
    return one_node("Resize", ["x", "", "", "s"], [ints("s", 1, 3, 2**16, 2**16)])


@invalid("'n'", "elements")
def resize_bomb_by_scales():
    scales = numpy_helper.from_array(np.array([1, 1, 1e5, 1e5], np.float32), "s")
    return one_node("Resize", ["x", "", "s"], [scales])


@invalid("'n'", "elements")
def upsample_bomb():
    return one_node("Upsample", ["x"], scales=[1.0, 1.0, 1e5, 1e5], opset=7)


@invalid("'n'", "elements")
def constant_of_shape_bomb():
    n = helper.make_node("ConstantOfShape", ["s"], ["y"], name="n")
    return model_of([n], initializers=[ints("s", 2**31, 2)])


@invalid("'n'", "elements")
def range_bomb():
    n = helper.make_node("Range", ["a", "b", "c"], ["y"], name="n")
    scalars = [
        numpy_helper.from_array(np.array(v), k) for k, v in zip("abc", (0, 2**40, 1), strict=True)
    ]
    return model_of([n], initializers=scalars)


@invalid("'n'", "elements")
def pad_bomb():
    return one_node("Pad", ["x", "p"], [ints("p", 0, 0, 0, 0, 0, 0, 2**20, 2**20)])


@invalid("'n'", "takes 1 inputs")
def too_few_inputs():
    return one_node("Conv", ["x"])


@invalid("'n'", "takes 3 inputs")
def too_many_inputs():
    return one_node("Relu", ["x", "x", "x"])


@invalid("'n'", "lacks its attribute 'axis'")
def required_attribute_missing():
    return one_node("Concat", ["x", "x"])


@invalid("'conv'", "'strides'", "FLOAT")
def attribute_of_the_wrong_type():
    return with_attribute("conv", "strides", 1.5)


@invalid("'conv'", "'group' twice")
def attribute_given_twice():
    def change(m):
        node(m, "conv").attribute.append(helper.make_attribute("group", 1))

    return changed(change)


@invalid("'constant'", "'value' has no value")
def attribute_without_its_value():
    def change(m):
        node(m, "constant").attribute[0].ClearField("t")

    return changed(change)
