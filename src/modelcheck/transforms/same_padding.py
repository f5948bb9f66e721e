"""What auto_pad means in numbers (ONNX: Conv, pooling)."""

from __future__ import annotations

from collections.abc import Sequence


def same_padding(
    size: Sequence[int], reach: Sequence[int], strides: Sequence[int], *, lower: bool
) -> list[tuple[int, int]]:
    """Before and after, along each axis, for ceil(size / stride) results.

    max(0, (ceil(size / stride) - 1) stride + reach - size) in all, where a window reaches over
    `reach` = dilation (kernel - 1) + 1; the odd one lies at the end, or with `lower` at the begin.
    """
    found = []
    for n, r, s in zip(size, reach, strides, strict=True):
        total = max(0, (-(-n // s) - 1) * s + r - n)
        less, more = total // 2, total - total // 2
        found.append((more, less) if lower else (less, more))
    return found
