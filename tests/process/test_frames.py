"""Frames: what one end writes, the other reads; whatever else arrives is refused."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.process import frames

_DTYPES = "? i1 u1 <i2 >i2 <i4 <u4 <i8 <u8 <f2 <f4 >f4 f8"
DTYPES = [np.dtype(text) for text in _DTYPES.split()]
names = st.text(max_size=20)  # any code point but surrogates, which st.text leaves out
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """An array of random bytes: bit patterns such as NaN payloads are part of the promise."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(shapes)
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    if dtype.kind == "b":
        array = random.integers(0, 2, shape).astype(bool)
    else:
        size = int(np.prod(shape)) * dtype.itemsize
        array = np.frombuffer(random.bytes(size), dtype).reshape(shape)
    return array.T if draw(st.booleans()) else array


def written(header: dict, payload: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    frames.write_frame(stream, header, payload)
    return stream.getvalue()


def raw_frame(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + payload


class TestRoundTrip:
    @given(st.dictionaries(names, arrays(), max_size=4))
    def test_arrays_arrive_with_names_order_dtype_shape_and_every_bit(
        self, payload: dict[str, np.ndarray]
    ) -> None:
        _, arrived = frames.read_frame(io.BytesIO(written({}, payload)))
        assert list(arrived) == list(payload)
        for name, array in payload.items():
            assert arrived[name].dtype == array.dtype
            assert arrived[name].shape == array.shape
            assert arrived[name].tobytes() == array.tobytes()

    @given(
        st.dictionaries(
            names.filter(lambda n: n not in ("arrays", "shared")), st.integers() | names
        )
    )
    def test_header_fields_arrive_as_they_were(self, header: dict) -> None:
        arrived, _ = frames.read_frame(io.BytesIO(written(header, {})))
        assert arrived == header

    @pytest.mark.parametrize(
        "name", ["\ud800", "a\x00b", "\x1b[2J", "x" * 1_000_000, "", "ü\U0001f600"]
    )
    def test_names_that_others_made_up_arrive_unchanged(self, name: str) -> None:
        _, arrived = frames.read_frame(io.BytesIO(written({"name": name}, {name: np.zeros(1)})))
        assert list(arrived) == [name]

    def test_what_was_read_may_be_changed(self) -> None:
        _, arrived = frames.read_frame(io.BytesIO(written({}, {"x": np.zeros(3)})))
        arrived["x"][0] = 1
        assert arrived["x"].flags.owndata

    def test_several_frames_follow_each_other_on_one_stream(self) -> None:
        stream = io.BytesIO(b"".join(written({"n": i}, {"x": np.full(i, i)}) for i in range(3)))
        for i in range(3):
            header, arrived = frames.read_frame(stream)
            assert (header["n"], arrived["x"].size) == (i, i)
        with pytest.raises(frames.Closed):
            frames.read_frame(stream)


class TestWhatIsNoFrame:
    @given(st.binary(max_size=200))
    def test_random_bytes_are_refused_and_nothing_else_is_raised(self, data: bytes) -> None:
        with pytest.raises(frames.FrameError):
            frames.read_frame(io.BytesIO(data))

    @given(st.binary(max_size=200))
    def test_a_header_of_random_bytes_is_refused(self, data: bytes) -> None:
        with pytest.raises(frames.FrameError):
            frames.read_frame(io.BytesIO(raw_frame(data, b"\0" * 64)))

    @given(st.integers(0, 10_000), arrays())
    def test_a_frame_cut_short_anywhere_is_refused(self, at: int, array: np.ndarray) -> None:
        whole = written({"op": "x"}, {"x": array})
        with pytest.raises(frames.Closed):
            frames.read_frame(io.BytesIO(whole[: at % len(whole)]))

    @pytest.mark.parametrize(
        "layout",
        [
            ["x", "O", [1]],
            ["x", "U8", [1]],
            ["x", "M8[s]", [1]],
            ["x", "c16", [1]],
            ["x", "f4,f4", [1]],
            ["x", "nonsense", [1]],
            ["x", "f4", [-1]],
            ["x", "f4", [2**62, 2**62]],
            ["x", "f4", [2**70]],
            ["x", "f4", [1.5]],
            ["x", "f4", ["1"]],
            ["x", "f4", [1] * 100],
            ["x", "f4", None],
            ["x", "f4"],
            ["x"],
            "x",
            None,
        ],
    )
    def test_an_array_that_numbers_cannot_fill_is_refused(self, layout: object) -> None:
        with pytest.raises(frames.FrameError):
            frames.read_frame(io.BytesIO(raw_frame({"arrays": [layout]}, b"\0" * 64)))

    @pytest.mark.parametrize(
        "header",
        [{}, [], 1, None, "arrays", {"arrays": 1}, {"arrays": None}, b"{", b"[" * 100_000],
    )
    def test_a_header_without_a_table_of_arrays_is_refused(self, header: object) -> None:
        with pytest.raises(frames.FrameError):
            frames.read_frame(io.BytesIO(raw_frame(header)))

    def test_an_absurd_header_length_is_refused_before_anything_is_allocated(self) -> None:
        with pytest.raises(frames.FrameError, match="header of 4294967295 bytes"):
            frames.read_frame(io.BytesIO(b"\xff\xff\xff\xff"))

    def test_an_array_beyond_all_memory_is_a_memory_error_not_a_crash(self) -> None:
        with pytest.raises(MemoryError):
            frames.read_frame(io.BytesIO(raw_frame({"arrays": [["x", "u1", [1 << 60]]]})))
