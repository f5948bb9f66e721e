"""Shared memory: what is large goes through it, and nobody dies of what the other end does."""

from __future__ import annotations

import fcntl
import io
import json
import os
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_children import MIB, odd_child

from modelcheck.errors import Crashed
from modelcheck.process import frames


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(made, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    yield made
    os.close(made)


def sent(payload: dict[str, np.ndarray], descriptor: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """What went through the pipe, and what arrived."""
    stream = io.BytesIO()
    frames.write_frame(stream, {}, payload, frames.SharedMemory(descriptor))
    piped = stream.getvalue()
    return piped, frames.read_frame(io.BytesIO(piped), frames.SharedMemory(descriptor))[1]


class TestBothWays:
    @given(st.lists(st.integers(0, 200_000), max_size=4), st.integers(0, 99))
    def test_arrays_of_any_size_arrive_whichever_way_they_take(
        self, sizes: list[int], seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        payload = {str(i): random.integers(0, 256, n, np.uint8) for i, n in enumerate(sizes)}
        made = os.memfd_create("test")
        try:
            _, arrived = sent(payload, made)
        finally:
            os.close(made)
        assert list(arrived) == list(payload)
        for name, array in payload.items():
            np.testing.assert_array_equal(arrived[name], array)
            assert arrived[name].flags.owndata

    def test_an_image_does_not_go_through_the_pipe(self, descriptor: int) -> None:
        piped, arrived = sent({"x": np.ones((1, 3, 224, 224), np.float32)}, descriptor)
        assert len(piped) < 1000
        assert arrived["x"].all()

    @pytest.mark.parametrize("n_bytes", [1000, (64 << 20) + 1])
    def test_what_is_small_or_huge_goes_through_the_pipe(
        self, n_bytes: int, descriptor: int
    ) -> None:
        piped, _ = sent({"x": np.ones(n_bytes, np.uint8)}, descriptor)
        assert len(piped) > n_bytes

    def test_the_memory_grows_with_what_is_sent(self, descriptor: int) -> None:
        stream = io.BytesIO()
        writer, reader = (frames.SharedMemory(descriptor) for _ in range(2))
        for n in (100_000, 3_000_000, 200_000):
            stream.seek(0)
            frames.write_frame(stream, {}, {"x": np.full(n, 7, np.uint8)}, writer)
            stream.seek(0)
            arrived = frames.read_frame(stream, reader)[1]["x"]
            assert (arrived.size, arrived.min(), arrived.max()) == (n, 7, 7)


class TestBorrowing:
    @given(st.lists(st.sampled_from("?bfd"), max_size=4), st.integers(0, 20_000))
    def test_views_hold_what_was_sent(self, types: list[str], n: int) -> None:
        """Of any alignment; an array of 32 KiB more makes sure that the memory is used."""
        payload = {str(i): np.arange(i + n).astype(t) for i, t in enumerate(types)}
        payload["ballast"] = np.zeros(32 << 10, np.uint8)
        made = os.memfd_create("test")
        try:
            stream = io.BytesIO()
            frames.write_frame(stream, {}, payload, frames.SharedMemory(made))
            stream.seek(0)
            reader = frames.SharedMemory(made)
            _, arrived = frames.read_frame(stream, reader, borrows=lambda header: True)
            for name, array in payload.items():
                np.testing.assert_array_equal(arrived[name], array)
                assert arrived[name].dtype == array.dtype
                assert arrived[name].flags.aligned
            assert not arrived["ballast"].flags.owndata
            assert not arrived["ballast"].flags.writeable
        finally:
            os.close(made)

    def test_a_view_outlives_the_growth_of_the_memory(self, descriptor: int) -> None:
        writer, reader = (frames.SharedMemory(descriptor) for _ in range(2))
        arrived = []
        for n in (100_000, 3_000_000):
            stream = io.BytesIO()
            frames.write_frame(stream, {}, {"x": np.full(n, 7, np.uint8)}, writer)
            stream.seek(0)
            arrived.append(frames.read_frame(stream, reader, borrows=lambda header: True)[1]["x"])
        assert [x.size for x in arrived] == [100_000, 3_000_000]
        assert arrived[0].min() == 7


class TestLies:
    def frame(self, n: int) -> io.BytesIO:
        text = json.dumps({"arrays": [["x", "|u1", [n]]], "shared": True}).encode()
        return io.BytesIO(struct.pack("<I", len(text)) + text)

    def test_arrays_that_are_not_there_are_refused(self, descriptor: int) -> None:
        with pytest.raises(frames.FrameError, match="not in the shared memory"):
            frames.read_frame(self.frame(MIB), frames.SharedMemory(descriptor))

    def test_shared_arrays_without_shared_memory_are_refused(self) -> None:
        with pytest.raises(frames.FrameError, match="no shared memory"):
            frames.read_frame(self.frame(MIB))

    def test_no_arrays_in_shared_memory_are_no_arrays(self, descriptor: int) -> None:
        assert frames.read_frame(self.frame(0), frames.SharedMemory(descriptor))[1]["x"].size == 0

    def test_a_child_that_answers_so_has_crashed(self) -> None:
        with odd_child() as child, pytest.raises(Crashed, match="no valid answer"):
            child.request("garble", bytes=list(self.frame(MIB).getvalue()))


class TestChildren:
    def test_no_child_can_make_the_memory_smaller(self) -> None:
        """The process that reads what is no longer there would die of SIGBUS."""
        with odd_child() as child:
            x = np.arange(MIB, dtype=np.int32)
            child.request("echo", {"x": x})
            assert child.request("shrink").fields["shrunk"] == 0
            np.testing.assert_array_equal(child.request("echo", {"x": x}).arrays["x"], x)

    def test_a_request_sent_before_the_last_answer_leaves_the_last_request_alone(self) -> None:
        with odd_child() as child:
            first, second = (np.full(MIB, i, np.uint8) for i in (1, 2))
            child.send("echo", {"x": first})
            child.send("echo", {"x": second})
            arrived = [child.receive().arrays["x"] for _ in range(2)]
        for sent_one, arrived_one in zip((first, second), arrived, strict=True):
            np.testing.assert_array_equal(arrived_one, sent_one)
