"""Placement: what counts as proof of where a model ran, by recorded logs and layers."""

from __future__ import annotations

import pytest

from modelcheck.targets import FallbackLayer, FellBack, NotProven, Placement, Target, check_share
from modelcheck.targets.placement import (
    OpenCLDevice,
    TracedLayer,
    dumped_layers,
    listed_layers,
    net_fallback,
    place_on_cpu,
    place_on_cuda,
    place_on_opencl,
)

OPENCL, CUDA = Target.parse("opencl:classic"), Target.parse("cuda:classic")
GPU = OpenCLDevice("a GPU", "OpenCL 3.0", on_cpu=False, fp16=True)
CONV = TracedLayer("onnx_node!conv", "Convolution", executed=True, launches=3)
ADD_ON_CPU = TracedLayer("onnx_node!add", "NaryEltwise", executed=True, launches=0)
FUSED = TracedLayer("onnx_node!relu", "ReLU", executed=False, launches=0)
RESHAPE = TracedLayer("onnx_node!flat", "Reshape", executed=True, launches=0)

# As OpenCV 5.0.0 and 4.14.0 print them.
NEW_ENGINE = (
    "[ WARN:0@0.031] global net_impl.cpp:1217 setPreferableBackend Back-ends / Targets are not "
    "supported by the new graph engine for now"
)
NO_GPU = (
    "[ WARN:0@0.040] global net_impl.cpp:190 setUpNet DNN: OpenCL target is not supported with "
    "current OpenCL device (tested with GPUs only), switching to CPU."
)
NO_HALF = (
    "[ WARN:0@0.030] global net_impl_backend.cpp:262 setPreferableTarget DNN: fall back to "
    "DNN_TARGET_CPU. Only ARM v8 CPUs support DNN_TARGET_CPU_FP16."
)


def leaves_cuda(layer: str, kind: str = "Mish") -> str:
    """OpenCV's INFO line for a layer without CUDA code."""
    return (
        "[ INFO:0@0.412] global op_cuda.cpp:45 initCUDABackend CUDA backend will fallback to the "
        f'CPU implementation for the layer "{layer}" of type {kind}\n'
    )


class TestWholeNet:
    @pytest.mark.parametrize("line", [NEW_ENGINE, NO_GPU, NO_HALF])
    def test_a_line_of_opencv_that_says_so_is_a_fallback_with_a_remedy(self, line: str) -> None:
        found = net_fallback(f"[ INFO:0@0.1] something else\n{line}\n")
        assert found is not None
        what, remedy = found
        assert what.startswith("fell back to")
        assert remedy

    @pytest.mark.parametrize(
        "log", ["", "[ WARN:0@0.1] loadTunedConfig OpenCV(ocl4dnn): consider to specify kernel"]
    )
    def test_other_lines_are_none(self, log: str) -> None:
        assert net_fallback(log) is None

    def test_half_floats_that_a_cpu_does_not_have_are_a_fallback(self) -> None:
        target = Target.parse("cpu-fp16:classic")
        with pytest.raises(FellBack, match="fell back to float32"):
            place_on_cpu(target, "classic", NO_HALF)
        assert place_on_cpu(target, "classic", "").proven

    def test_the_line_wins_over_launches(self) -> None:
        with pytest.raises(FellBack, match="new engine"):
            place_on_opencl(OPENCL, "new", GPU, 5, [CONV], NEW_ENGINE)


class TestOpenCL:
    def test_launches_are_the_proof(self) -> None:
        placement = place_on_opencl(OPENCL, "classic", GPU, 3, [CONV, FUSED, RESHAPE], "")
        assert placement.proven
        assert not placement.partial
        assert placement.fallback_share == 0
        assert "3 kernel launches a forward on a GPU" in placement.proof[0]

    def test_no_launch_is_a_fallback_of_the_whole_net(self) -> None:
        with pytest.raises(FellBack, match="ran no kernel"):
            place_on_opencl(OPENCL, "classic", GPU, 0, [], "")

    def test_no_device_is_a_fallback_with_the_way_to_a_driver(self) -> None:
        with pytest.raises(FellBack, match="no OpenCL device") as caught:
            place_on_opencl(OPENCL, "classic", None, 0, [], "")
        assert "ICD" in str(caught.value.remedy)

    def test_layers_that_computed_without_a_launch_fell_back_and_their_share_is_open(self) -> None:
        placement = place_on_opencl(OPENCL, "classic", GPU, 3, [CONV, ADD_ON_CPU, FUSED], "")
        assert placement.fallback_layers == (FallbackLayer("onnx_node!add", "NaryEltwise"),)
        assert placement.fallback_share is None

    def test_half_floats_that_a_device_does_not_have_are_a_fallback(self) -> None:
        single = OpenCLDevice("a GPU", "OpenCL 1.2", on_cpu=False, fp16=False)
        half = Target.parse("opencl-fp16:classic")
        with pytest.raises(FellBack, match="fell back to float32"):
            place_on_opencl(half, "classic", single, 3, [CONV], "")
        assert place_on_opencl(half, "classic", GPU, 3, [CONV], "").proven

    @pytest.mark.parametrize("on_cpu", [True, False])
    def test_a_device_that_is_a_cpu_is_marked(self, on_cpu: bool) -> None:
        device = OpenCLDevice("it", "OpenCL 3.0", on_cpu=on_cpu, fp16=False)
        placement = place_on_opencl(OPENCL, "classic", device, 3, [CONV], "")
        assert placement.simulated is on_cpu


# As Net.dump of OpenCV 4.14.0 prints a net, the places put in.
DUMP = (
    'digraph G {\n\t"cluster_0" [label="{onnx_node!conv\\nConvolution\\nkernel_size (HxW): 3 x 3'
    '\\lpad (HxW): (1, 1) x (1, 1)\\l | onnx_node!relu\\nReLU\\noutput: 1 x 16 x 8 x 8\\l%s\\n }" '
    'fillcolor="#ffffb3" style=filled shape=record]\n'
    '\t"onnx_node!mish" [label="onnx_node!mish\\nMish\\noutput: 1 x 16 x 8 x 8\\l%s\\n" '
    'fillcolor="#ffffb3" style=filled shape=box]\n'
    '\t"onnx_node!flat" [label="onnx_node!flat\\nFlatten\\noutput: 1 x 1024\\lOCV/CUDA\\n" '
    'fillcolor="#ffffb3" style=filled shape=box]\n'
    '\t"_input" [label="_input\\n__NetInputLayer__\\noutput: 1 x 3\\lOCV/CUDA\\n" shape=box]\n}\n'
)
USE = ("the process has an active CUDA context",)


class TestCUDA:
    def placed(
        self, *where: str, use: tuple[str, ...] = USE, log: str = "", target: Target = CUDA
    ) -> Placement:
        return place_on_cuda(target, "classic", dumped_layers(DUMP % where), use, log)

    def test_the_net_itself_says_where_each_layer_runs_fused_ones_too(self) -> None:
        layers = dumped_layers(DUMP % ("CUDA/CUDA_FP16", "OCV/CUDA"))
        assert [(y.name.split("!")[1], y.kind, y.where) for y in layers] == [
            ("conv", "Convolution", "CUDA/CUDA_FP16"),
            ("relu", "ReLU", "CUDA/CUDA_FP16"),
            ("mish", "Mish", "OCV/CUDA"),
            ("flat", "Flatten", "OCV/CUDA"),
        ]

    def test_use_of_the_device_is_the_proof(self) -> None:
        placement = self.placed("CUDA/CUDA", "CUDA/CUDA")
        assert placement.proven
        assert not placement.partial
        assert "3 of 3 layers on CUDA/CUDA" in placement.proof[-1]

    def test_without_it_nothing_is_proven(self) -> None:
        with pytest.raises(NotProven, match="placement not proven"):
            self.placed("CUDA/CUDA", "CUDA/CUDA", use=())

    def test_layers_that_the_dump_or_the_log_leaves_to_the_cpu_fell_back(self) -> None:
        mish = (FallbackLayer("onnx_node!mish", "Mish"),)
        assert self.placed("CUDA/CUDA", "OCV/CUDA").fallback_layers == mish
        logged = self.placed("CUDA/CUDA", "CUDA/CUDA", log=leaves_cuda("onnx_node!mish"))
        assert logged.fallback_layers == mish
        assert logged.fallback_share is None

    def test_a_net_without_a_layer_on_the_device_fell_back(self) -> None:
        with pytest.raises(FellBack, match="none of 3 layers ran on CUDA"):
            self.placed("OCV/CUDA", "OCV/CUDA")

    def test_half_floats_that_a_device_does_not_have_are_a_fallback(self) -> None:
        half = Target.parse("cuda-fp16:classic")
        with pytest.raises(FellBack, match="fell back to float32"):
            self.placed("CUDA/CUDA", "CUDA/CUDA", target=half)
        assert self.placed("CUDA/CUDA_FP16", "CUDA/CUDA_FP16", target=half).proven

    def test_a_quantized_net_leaves_cuda_as_a_whole(self) -> None:
        log = (
            "[ WARN:0@0.2] global net_impl_backend.cpp:225 setPreferableTarget DNN: Only CPU, "
            "OpenCL/OpenCL FP16 and NPU targets are supported by quantized networks"
        )
        with pytest.raises(FellBack, match="quantized"):
            self.placed("CUDA/CUDA", "CUDA/CUDA", log=log)


class TestShare:
    def partial(self, share: float | None) -> Placement:
        layers = (FallbackLayer("onnx_node!a", "Mish"), FallbackLayer("b", "Mish"))
        return Placement("cuda classic", "cuda classic", ("proof",), layers, share)

    @pytest.mark.parametrize("share", [0.0, 0.19, 0.2])
    def test_up_to_the_limit_is_allowed(self, share: float) -> None:
        check_share(self.partial(share), 0.2)

    @pytest.mark.parametrize("share", [0.21, 1.0, None])
    def test_above_it_or_unknown_is_a_fallback(self, share: float | None) -> None:
        with pytest.raises(FellBack, match="fell back in part") as caught:
            check_share(self.partial(share), 0.2)
        assert "--max-fallback" in str(caught.value.remedy)

    def test_where_all_may_fall_back_an_unknown_share_is_allowed(self) -> None:
        check_share(self.partial(None), 1.0)

    def test_layers_are_counted_and_named_as_in_the_model(self) -> None:
        assert listed_layers(self.partial(0.1)) == "2 layers (a, b)"
