"""For each row of the table of known faults: the smallest net that shows it, and what is right."""

from __future__ import annotations

import numpy as np
from faulty_case import Case, Make
from faulty_float_nets import FLOAT_CASES, one
from faulty_int8_nets import INT8_CASES, qlinear_matmul
from int8_graph import Graph

from modelcheck.model import Model
from modelcheck.model.patterns import ALL, NEW

CASES: dict[str, Case] = INT8_CASES | FLOAT_CASES


def _uint8_weights() -> Model:
    g = Graph(1, 8, 8, 8)
    return g.model(g.rounded(g.qdq_conv(g.rounded("x"), 8, 8, 3, 3, dtype=np.uint8)))


def _free_sizes() -> Model:
    g = Graph("n", 3, "h", "w")
    y = g.op("Relu", g.conv("x", 4, 3, 3, 3, pads=[1] * 4))
    return g.model(g.op("Flatten", g.op("GlobalAveragePool", y)), rank=2)


def _conv_of_rank_5() -> Model:
    g = Graph(1, 2, 4, 4, 4)
    return g.model(g.op("Relu", g.conv("x", 3, 2, 3, 3, 3)), rank=5)


# Faults that were told of, and that nets did not show on any engine that runs them.
NOT_FOUND: dict[str, tuple[Make, tuple[str, ...]]] = {
    "QLinearMatMul of two activations": (qlinear_matmul(constant=False), (NEW,)),
    "weights dequantized from uint8": (_uint8_weights, ALL),
    "float16 inputs": (one("Cast", 1, 4, 8, 8, dtype=np.float16, to=1), ALL),
    "rank 5": (_conv_of_rank_5, ALL),
    "free sizes": (_free_sizes, ALL),
}
# Rows without a net here, and why.
UNTESTED = {
    "over-2-gib": "takes more than 2 GiB, and was measured once",
    "qdq-conv-unfused": "is about speed: docs/benchmarks.md shows it",
    "reused-net-add": "modelcheck gives no Net a second shape; fixtures/README.md",
    "reused-net-matmul": "modelcheck gives no Net a second shape; fixtures/README.md",
}
