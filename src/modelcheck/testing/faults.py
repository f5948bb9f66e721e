"""Planted faults, which a judge of equivalence must reject: one literal table.

Each takes a model and a random generator and gives another model, or None where the model has
nothing of the kind. The input is never changed. A fault need not show: a channel may be dead, a
ReLU's input never negative. Whether it does, `float64` tells.
"""

from __future__ import annotations

from modelcheck.testing import faults_graph as graph
from modelcheck.testing import faults_operators as operators
from modelcheck.testing import faults_weights as weights
from modelcheck.testing.planting import Fault, edited

FAULTS = (
    # Weights.
    Fault("one channel's sign flipped", edited(weights.channel_scaled(-1.0))),
    Fault("one channel scaled by 1.05", edited(weights.channel_scaled(1.05))),
    Fault("one channel scaled by 1.001", edited(weights.channel_scaled(1.001))),
    Fault("one large weight's sign flipped", edited(weights.largest_weight_scaled(-1.0))),
    Fault("one large weight zeroed", edited(weights.largest_weight_scaled(0.0))),
    Fault("NaN in one weight", edited(weights.nan_weight)),
    Fault("two channels swapped", edited(weights.output_channels_swapped)),
    Fault("two input channels swapped", edited(weights.input_channels_swapped)),
    Fault("one layer's weight transposed", edited(weights.weight_transposed)),
    Fault("one kernel mirrored", edited(weights.kernel_mirrored)),
    Fault("one layer's weight rounded to bfloat16", edited(weights.weight_in_bfloat16)),
    Fault("one kernel row cut off", edited(weights.kernel_row_cut_off)),
    Fault("groups doubled", edited(weights.groups_doubled)),
    Fault("gates of an LSTM or GRU swapped", edited(weights.gates_swapped)),
    # Biases and normalization.
    Fault("last bias shifted by 0.05 of its deviation", edited(weights.last_bias_shifted)),
    Fault("one bias removed", edited(weights.bias_removed)),
    Fault("one bias off by one", edited(weights.bias_rolled)),
    Fault("BatchNormalization's epsilon times 100", edited(weights.larger_epsilon)),
    Fault("BatchNormalization's means off by one", edited(weights.statistics_rolled)),
    # What an operator does.
    Fault("padding moved by one", edited(operators.padding_moved)),
    Fault("dilation raised", edited(operators.dilation_raised)),
    Fault("Relu lost", edited(operators.replaced("Relu", "Identity"))),
    Fault("Relu leaks 0.01", edited(operators.replaced("Relu", "LeakyRelu", alpha=0.01))),
    Fault("Sigmoid made HardSigmoid", edited(operators.replaced("Sigmoid", "HardSigmoid"))),
    Fault("HardSigmoid steeper by a fifth", edited(operators.slope_raised)),
    Fault("Clip's bound lowered", edited(operators.bound_lowered)),
    Fault("pooling changed", edited(operators.pooling_changed)),
    Fault("ReduceMean made ReduceMax", edited(operators.mean_made_maximum)),
    Fault("Resize interpolates otherwise", edited(operators.interpolation_changed)),
    Fault("Resize's corners moved", edited(operators.corners_moved)),
    Fault("Pad repeats the border", edited(operators.border_repeated)),
    Fault("Softmax over another axis", edited(operators.softmax_axis_changed)),
    Fault("zero point off by one", edited(operators.zero_point_off_by_one)),
    Fault("quantization scale times 1.01", edited(operators.scale_off)),
    # How the graph is wired.
    Fault("operand of an Add times 0.99", edited(graph.operand_weighed)),
    Fault("residual dropped", edited(graph.residual_dropped)),
    Fault("gate dropped", edited(graph.gate_dropped)),
    Fault("inputs of a Concat exchanged", edited(graph.concat_exchanged)),
    Fault("axes of a Transpose exchanged", edited(graph.axes_exchanged)),
    Fault("Slice shifted by one", edited(graph.slice_shifted)),
    Fault("one constant operand times 1.01", edited(graph.constant_perturbed)),
)
