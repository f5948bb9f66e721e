"""What auto_pad means in numbers (ONNX: Conv, pooling)."""

from __future__ import annotations

from collections.abc import Sequence


def same_total(size: int, reach: int, stride: int) -> int:
    """max(0, (ceil(size / stride) - 1) stride + reach - size): what is padded of one axis in all.

    A window reaches over `reach` = dilation (kernel - 1) + 1, and there are ceil(size / stride).
    """
    return max(0, (-(-size // stride) - 1) * stride + reach - size)


def same_padding(
    size: Sequence[int], reach: Sequence[int], strides: Sequence[int], *, lower: bool
) -> list[tuple[int, int]]:
    """Before and after, along each axis; the odd one lies at the end, with `lower` at the begin."""
    return [
        halves(same_total(n, r, s), lower=lower)
        for n, r, s in zip(size, reach, strides, strict=True)
    ]


def halves(total: int, *, lower: bool) -> tuple[int, int]:
    """Before and after; the odd one lies at the end, with `lower` at the begin."""
    less, more = total // 2, total - total // 2
    return (more, less) if lower else (less, more)
