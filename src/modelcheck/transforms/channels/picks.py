"""Which channels of which tensors a tensor holds that was made by moving elements alone.

Every channel of a source has a number of its own, and every element is followed through Reshape,
Transpose, Gather, Slice, Split and Concat as these move it. What comes out is a *pick* if each of
its channels is one whole channel of a source, with its pixels in their places: a channel shuffle,
every second channel, a part, several tensors one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from modelcheck.model.static import Static, ints
from modelcheck.model.static.arithmetic import ARITHMETIC
from modelcheck.transforms.graph import constant, is_standard

Numbers = npt.NDArray[np.int64]
MOVEMENTS = frozenset((
    "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
))  # fmt: skip
_IN_ORDER = frozenset(("Concat", "Identity", "Slice", "Split"))
_LEAST_RANK, _MOST_ELEMENTS = 3, 1 << 22
# A batch that is not known is taken for each of these: what holds for both comes from no accident.
_BATCHES = (2, 3)


@dataclass(frozen=True, eq=False)
class Pick:
    """A tensor of channels of other tensors."""

    value: ir.Value
    channels: tuple[tuple[ir.Value, int], ...]  # of which tensor, and which of its channels
    through: frozenset[ir.Node]  # what moves them

    @property
    def sources(self) -> list[ir.Value]:
        return list(dict.fromkeys(source for source, _ in self.channels))

    @property
    def repeats(self) -> bool:
        """Whether it holds a channel twice."""
        return len(set(self.channels)) < len(self.channels)

    @property
    def rearranges(self) -> bool:
        """Whether it takes more than picking along the axis of channels, from first to last."""
        return not all(_picks_upwards(node) for node in self.through)

    @property
    def puts_together(self) -> bool:
        """Whether it is a Concat of its sources, each as a whole."""
        (maker, *others) = self.through
        return not others and maker.op_type == "Concat" and list(maker.inputs) == self.sources


@dataclass(frozen=True, eq=False)
class _Form:
    """What a tensor holds: a number for each channel, or one for each element."""

    sources: frozenset[ir.Value]
    through: frozenset[ir.Node]
    channels: Numbers | None  # (C,)
    elements: tuple[Numbers, ...] = ()  # for each batch that is tried


class Picks:
    """The forms of values, as a walk over a graph finds them."""

    def __init__(self, static: Static) -> None:
        self._static = static
        self._forms: dict[ir.Value, _Form] = {}
        self._owners: list[tuple[ir.Value, int]] = []
        self._followed: set[ir.Node] = set()

    def add_source(self, value: ir.Value) -> None:
        """From here on its channels count as its own."""
        dims = self._static.dims(value)
        if dims is None or len(dims) < _LEAST_RANK or dims[1] is None:
            return
        first, n = len(self._owners), dims[1]
        self._owners.extend((value, i) for i in range(n))
        channels = np.arange(first, first + n)
        self._forms[value] = _Form(frozenset((value,)), frozenset(), channels)

    def sources(self, value: ir.Value | None) -> frozenset[ir.Value]:
        """Of which tensors it holds elements, as far as it was followed."""
        form = None if value is None else self._forms.get(value)
        return frozenset() if form is None else form.sources

    def pick(self, value: ir.Value) -> Pick | None:
        form = self._forms.get(value)
        if form is None or form.channels is None:
            return None
        owners = tuple(self._owners[number] for number in form.channels.tolist())
        return Pick(value, owners, form.through)

    def follow(self, node: ir.Node) -> bool:
        """Through one movement; whether that was possible."""
        moved = [v for v in node.inputs if v is not None and v in self._forms]
        given = [v for v in node.inputs if v is not None and v not in self._forms]
        forms = [self._forms[v] for v in moved]
        if not moved or any(self._static.constant(v) is None for v in given):
            return False
        try:
            made = self._by_channels(node, forms) or self._by_elements(node)
        except (IndexError, TypeError, ValueError):
            return False
        if made is None:
            return False
        sources = frozenset[ir.Value]().union(*(form.sources for form in forms))
        through = frozenset((node,)).union(*(form.through for form in forms))
        for value, (channels, elements) in zip(node.outputs, made, strict=True):
            self._forms[value] = _Form(sources, through, channels, elements)
        self._followed.add(node)
        self._forget(moved)
        return True

    def _forget(self, values: Iterable[ir.Value]) -> None:
        """Let go of the elements of what nothing moves on any more: they are many."""
        for value in values:
            form = self._forms[value]
            if form.elements and all(use.node in self._followed for use in value.uses()):
                self._forms[value] = _Form(form.sources, form.through, None)

    def _by_channels(
        self, node: ir.Node, forms: Sequence[_Form]
    ) -> list[tuple[Numbers | None, tuple[Numbers, ...]]] | None:
        """Where the node moves whole channels along their axis."""
        numbers = [form.channels for form in forms]
        rank = len(self._static.dims(node.inputs[0]) or ())
        whole = rank >= _LEAST_RANK and all(n is not None for n in numbers)
        if not whole or not _along_channels(node, rank, self._static):
            return None
        shape = (1, -1, *[1] * (rank - 2))
        arrays = iter([n.reshape(shape) for n in numbers if n is not None])
        moved = _moved(node, self._operands(node, lambda value: next(arrays)))
        return [(m.reshape(-1), ()) for m in moved]

    def _by_elements(
        self, node: ir.Node
    ) -> list[tuple[Numbers | None, tuple[Numbers, ...]]] | None:
        free = any(self._is_free(v) for v in node.inputs if v is not None and v in self._forms)
        batches = []
        for turn in range(len(_BATCHES) if free else 1):
            arrays = {v: self._elements(v, turn) for v in node.inputs if v in self._forms and v}
            if any(a is None for a in arrays.values()):
                return None
            batches.append(_moved(node, self._operands(node, arrays.__getitem__)))
        made: list[tuple[Numbers | None, tuple[Numbers, ...]]] = []
        for index in range(len(node.outputs)):
            elements = tuple(batch[index] for batch in batches)
            whole = [self._whole_channels(e) for e in elements]
            first = whole[0]
            same = all(w is not None and first is not None and np.array_equal(w, first)
                       for w in whole)  # fmt: skip
            made.append((first, ()) if same else (None, elements))
        return made

    def _operands(
        self, node: ir.Node, array: Callable[[ir.Value], np.ndarray | None]
    ) -> list[np.ndarray | None]:
        return [
            None if v is None else array(v) if v in self._forms else self._static.constant(v)
            for v in node.inputs
        ]

    def _is_free(self, value: ir.Value) -> bool:
        """Whether it has a batch of unknown size."""
        form, dims = self._forms[value], self._static.dims(value)
        return len(form.elements) > 1 if form.channels is None else dims is None or dims[0] is None

    def _elements(self, value: ir.Value, turn: int) -> Numbers | None:
        """Numbers that tell of every element which channel it is of, and which pixel."""
        form, dims = self._forms[value], self._static.dims(value)
        if form.channels is None:
            return form.elements[min(turn, len(form.elements) - 1)]
        if dims is None or None in dims[1:]:
            return None
        rest = [d for d in dims[2:] if d is not None]
        n, pixels = dims[0] or _BATCHES[turn], math.prod(rest)
        if n * pixels * len(form.channels) > _MOST_ELEMENTS:
            return None
        places = np.arange(n * pixels).reshape(n, 1, *rest)
        numbers = form.channels.reshape(1, -1, *[1] * len(rest)) * _MOST_ELEMENTS
        return np.asarray(numbers + places)

    def _whole_channels(self, elements: Numbers) -> Numbers | None:
        """The number of each channel, where every pixel is one of it and at its place."""
        if elements.ndim < _LEAST_RANK or elements.size == 0:
            return None
        numbers, places = np.divmod(elements, _MOST_ELEMENTS)
        channels = numbers[0].reshape(elements.shape[1], -1)[:, 0]
        n, _, *rest = elements.shape
        expected = np.arange(n * math.prod(rest)).reshape(n, 1, *rest)
        same = np.all(numbers == channels.reshape(1, -1, *[1] * len(rest)))
        if not same or not np.all(places == expected):
            return None
        for owner in {self._owners[number][0] for number in channels.tolist()}:
            if list((self._static.dims(owner) or ())[2:]) != rest:
                return None
        return np.asarray(channels)


def _along_channels(node: ir.Node, rank: int, static: Static) -> bool:
    """Whether a movement picks along axis 1, and leaves all other axes as they are."""
    axis = node.attributes.get_int("axis", 1 if node.op_type == "Concat" else 0)
    if is_standard(node, "Identity"):
        return True
    if is_standard(node, "Concat", "Split"):
        return axis % rank == 1
    if is_standard(node, "Gather"):
        indices = static.constant(node.inputs[1])
        return axis % rank == 1 and indices is not None and indices.ndim == 1
    if is_standard(node, "Slice"):
        axes = ints(node, "axes", 3, static)
        return axes is not None and {a % rank for a in axes} == {1}
    return False


def _moved(node: ir.Node, operands: Sequence[np.ndarray | None]) -> list[Numbers]:
    x = operands[0]
    if x is None:
        raise ValueError("it moves nothing")
    if node.op_type == "Flatten":
        axis = node.attributes.get_int("axis", 1)
        return [x.reshape(math.prod(x.shape[:axis]), -1)]
    if node.op_type == "Split":
        return list(_parts(node, x, operands[1] if len(operands) > 1 else None))
    if node.op_type == "Concat":  # ARITHMETIC asks for an axis, which old opsets may leave out
        arrays = [a for a in operands if a is not None]
        return [np.concatenate(arrays, node.attributes.get_int("axis", 1))]
    return [np.asarray(ARITHMETIC[node.op_type](node, operands))]


def _parts(node: ir.Node, x: np.ndarray, given: np.ndarray | None) -> Iterator[Numbers]:
    axis, n = node.attributes.get_int("axis", 0), len(node.outputs)
    lengths = node.attributes.get_ints("split", None)
    if lengths is None:
        size = -(-x.shape[axis] // n)
        lengths = [size] * (n - 1) + [x.shape[axis] - size * (n - 1)]
    if given is not None:
        lengths = given.reshape(-1).tolist()
    yield from np.split(x, np.cumsum(lengths)[:-1], axis)


def _picks_upwards(node: ir.Node) -> bool:
    if node.op_type != "Gather":
        return node.op_type in _IN_ORDER
    indices = constant(node.inputs[1])
    numbers = np.zeros(0) if indices is None else indices.numpy()
    upwards = numbers.ndim == 1 and numbers.size > 0 and np.all(np.diff(numbers) > 0)
    return bool(upwards and numbers[0] >= 0 and node.attributes.get_int("axis", 0) == 1)
