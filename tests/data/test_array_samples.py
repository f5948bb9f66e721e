"""Samples from arrays: what is accepted, how it is cut, and what each bad file gets."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from modelcheck.data import batched, from_arrays, open_samples
from modelcheck.errors import InvalidInput, UsageError

X = np.arange(5 * 3 * 2 * 2, dtype=np.float32).reshape(5, 3, 2, 2)
IMAGE = {"x": ("float32", (None, 3, 2, 2))}


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("array", [X, X[:, None]], ids=["samples,...", "samples,batch,..."])
def test_samples_are_cut_along_axis_0_and_keep_a_batch_axis_of_one(
    batch, array, tmp_path, signature
):
    path = write(tmp_path / "d.npz", x=array, labels=np.array([4, 3, 2, 1, 0]))
    samples = open_samples(path, signature(x=("float32", (batch, 3, 2, 2))))
    assert samples.count == 5
    for i, sample in enumerate(samples):
        assert sample.index == i
        assert sample.label == 4 - i
        np.testing.assert_array_equal(sample.arrays["x"], X[i : i + 1])
        assert sample.arrays["x"].dtype == np.float32


def test_an_input_with_a_fixed_batch_takes_one_more_axis(tmp_path, signature):
    array = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    samples = open_samples(write(tmp_path / "d.npz", h=array), signature(h=("float32", (4, 2))))
    np.testing.assert_array_equal([s.arrays["h"] for s in samples], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_stored_compressed_and_fortran_ordered_members_read_alike(save, order, tmp_path, signature):
    path = tmp_path / "d.npz"
    save(path, x=np.asarray(X, order=order))
    samples = open_samples(path, signature(**IMAGE))
    for _ in range(2):  # re-iterable
        np.testing.assert_array_equal([s.arrays["x"][0] for s in samples], X)


def test_a_bare_npy_feeds_a_model_with_one_input_and_no_other(tmp_path, signature):
    path = tmp_path / "d.npy"
    np.save(path, X.astype(">f4"))  # the other byte order is no obstacle
    samples = open_samples(path, signature(**IMAGE))
    np.testing.assert_array_equal([s.arrays["x"][0] for s in samples], X)
    with pytest.raises(UsageError, match=r"inputs x, y"):
        open_samples(path, signature(**IMAGE, y=("float32", (1,))))


@pytest.mark.parametrize(
    ("given", "takes", "rounds"),
    [
        ("uint8", "float32", False),
        ("float16", "float32", False),
        ("int64", "int32", False),
        ("int64", "float32", False),
        ("bool", "float32", False),
        ("float64", "float32", True),
        ("float32", "float16", True),
    ],
)
def test_values_are_converted_where_nothing_is_lost_and_rounding_is_said(
    given, takes, rounds, tmp_path, signature
):
    array = np.array([[0, 1], [1, 0]]).astype(given)
    path = write(tmp_path / "d.npz", x=array)
    samples = open_samples(path, signature(x=(takes, (None, 2))))
    arrays = [s.arrays["x"] for s in samples]
    assert all(a.dtype == takes for a in arrays)
    np.testing.assert_array_equal(np.concatenate(arrays), array.astype(takes))
    assert any("rounded" in note for note in samples.notes) == rounds


@pytest.mark.parametrize(
    ("array", "takes"),
    [
        (np.array([[300]]), "uint8"),
        (np.array([[-1]]), "uint8"),
        (np.array([[-1]], "int8"), "uint8"),
        (np.array([[2**24 + 1]]), "float32"),
        (np.array([[2**63]], "uint64"), "int64"),
        (np.array([[2]]), "bool"),
        (np.array([[1e39]]), "float32"),
        (np.array([[70000.0]], "float32"), "float16"),
        (np.array([[np.nan]], "float32"), "float32"),
        (np.array([[np.inf]], "float32"), "float32"),
    ],
)
def test_a_value_that_would_change_or_is_not_finite_is_refused_with_its_sample(
    array, takes, signature
):
    samples = from_arrays({"x": array}, signature(x=(takes, (None, 1))))
    with pytest.raises(InvalidInput, match=r"array 'x', sample 0: .*(fit|NaN|infinite)"):
        list(samples)
    with pytest.raises(InvalidInput):
        samples.digests()


def test_several_inputs_are_fed_together(tmp_path, signature):
    ids, mask = np.arange(12).reshape(3, 4), np.ones((3, 4), np.int64)
    path = write(tmp_path / "d.npz", ids=ids, mask=mask)
    samples = open_samples(
        path, signature(ids=("int64", (None, None)), mask=("int64", (None, None)))
    )
    first = next(iter(samples))
    assert {n: a.shape for n, a in first.arrays.items()} == {"ids": (1, 4), "mask": (1, 4)}


def test_an_array_that_is_no_input_is_ignored_and_named(tmp_path, signature):
    path = write(tmp_path / "d.npz", x=X, label=np.arange(5))
    (note,) = open_samples(path, signature(**IMAGE)).notes
    assert "'label'" in note
    assert "Did you mean 'labels'?" in note


def test_selections_keep_names_and_labels_and_reset_positions(signature):
    samples = from_arrays({"x": X}, signature(**IMAGE), labels=np.arange(5))
    chosen = samples.select([4, 1]).select([1, 0])
    assert [(s.index, s.name, s.label) for s in chosen] == [(0, "sample 1", 1), (1, "sample 4", 4)]
    assert samples.count == 5
    with pytest.raises(IndexError):
        samples.select([5])


def test_equal_content_has_equal_digests_whatever_it_is_stored_in(tmp_path, signature):
    wanted = signature(**IMAGE)
    memory = from_arrays({"x": X}, wanted)
    packed = tmp_path / "p.npz"
    np.savez_compressed(packed, x=X.astype(np.float64))
    assert open_samples(packed, wanted).digests() == memory.digests()
    assert len(set(memory.digests())) == 5
    assert open_samples(packed, wanted).digest == memory.digest


def test_the_digest_of_all_covers_order_and_labels(signature):
    samples = from_arrays({"x": X}, signature(**IMAGE), labels=np.arange(5))
    others = [
        samples.select([1, 0, 2, 3, 4]),
        samples.select([0, 1, 2, 3]),
        from_arrays({"x": X}, signature(**IMAGE), labels=np.array([0, 1, 2, 3, 3])),
        from_arrays({"x": X}, signature(**IMAGE)),
        from_arrays({"x": X + 1}, signature(**IMAGE), labels=np.arange(5)),
    ]
    digests = {samples.digest, *(other.digest for other in others)}
    assert len(digests) == 6
    assert samples.select(range(5)).digest == samples.digest


def test_changing_what_an_iteration_gave_changes_nothing_later(signature):
    samples = from_arrays({"x": X.copy()}, signature(**IMAGE))
    for sample in samples:
        sample.arrays["x"][:] = -1
    np.testing.assert_array_equal([s.arrays["x"][0] for s in samples], X)


def test_batches_are_full_and_in_order(signature):
    samples = from_arrays({"x": X}, signature(**IMAGE))
    batches = list(batched(samples, 2))
    assert [b["x"].shape for b in batches] == [(2, 3, 2, 2)] * 2
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in batches]), X[:4])
    with pytest.raises(UsageError):
        list(batched(samples, 0))


def test_a_count_draws_with_the_seed_and_says_so(signature, tmp_path):
    path = write(tmp_path / "d.npz", x=np.arange(100, dtype=np.float32)[:, None])
    wanted = signature(x=("float32", (None, 1)))
    first = open_samples(path, wanted, count=10, seed=1)
    again = open_samples(path, wanted, count=10, seed=1)
    other = open_samples(path, wanted, count=10, seed=2)
    assert first.digests() == again.digests() != other.digests()
    assert "10 of 100 samples were drawn with seed 1" in first.notes[0]
    assert first.origin == f"{path} (10 of 100 samples)"
    with pytest.raises(UsageError, match="101 samples are asked for"):
        open_samples(path, wanted, count=101)


def test_a_file_that_changes_during_the_run_is_noticed(tmp_path, signature):
    path = tmp_path / "d.npy"
    np.save(path, X)
    samples = open_samples(path, signature(**IMAGE))
    list(samples)
    with path.open("r+b") as file:
        file.truncate(200)
    with pytest.raises(InvalidInput, match="changed during the run"):
        list(samples)


@pytest.mark.parametrize("kind", ["npy", "stored", "compressed"])
def test_memory_does_not_grow_with_the_number_of_samples(kind, tmp_path, signature):
    path = tmp_path / "d.npz"
    header = _claiming((400, 131_072), b"")
    zeros = b"\0" * (131_072 * 4)  # half a MiB a sample, 200 MiB in all
    if kind == "npy":
        with path.open("wb") as file:
            file.write(header)
            file.truncate(len(header) + 400 * len(zeros))
    else:
        method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        with (
            zipfile.ZipFile(path, "w", method, compresslevel=1) as archive,
            archive.open("x.npy", "w") as member,
        ):
            member.write(header)
            for _ in range(400):
                member.write(zeros)
    me = psutil.Process()
    start = peak = me.memory_info().rss
    samples = open_samples(path, signature(x=("float32", (None, 131_072))))
    for sample in samples:
        if sample.index % 20 == 0:
            peak = max(peak, me.memory_info().rss)
    assert sample.index == 399
    assert peak - start < 20 << 20


# Bad files, by what writes them: (write, fragments of the message).


def _npy(array: np.ndarray, **options: bool) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def _zip(members: dict[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _claiming(shape: tuple[int, ...], payload: bytes = b"\0" * 80) -> bytes:
    head = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + payload


def _bomb() -> bytes:
    zeros = np.lib.format.header_data_from_array_1_0(np.zeros((1, 3, 2, 2), np.float32))
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {**zeros, "shape": (6_000_000, 3, 2, 2)})
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(head.getvalue())
        for _ in range(288):
            member.write(b"\0" * 1_000_000)
    return out.getvalue()


def _encrypted() -> bytes:
    content = bytearray(_zip({"x.npy": _npy(X)}))
    directory = content.rfind(b"PK\x01\x02")
    content[directory + 8] |= 1
    return bytes(content)


def _damaged(content: bytes) -> bytes:
    return content[:60] + b"\xff" * 40 + content[100:]


class Evil:
    """Unpickling this would be seen: the tests would end."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (66,)


NOISE = np.random.default_rng(0).random((5, 3, 2, 2))
OBJECTS = np.array([Evil()] * 5, dtype=object)

BAD_FILES = {
    "empty": (b"", ["is empty"]),
    "random bytes": (bytes(range(7, 250)), ["neither an .npz nor an .npy"]),
    "html": (b"<!DOCTYPE html><html>", ["neither an .npz nor an .npy"]),
    "pickle": (pickle.dumps(OBJECTS), ["neither an .npz nor an .npy"]),
    "pickled npy": (_npy(OBJECTS, allow_pickle=True), ["Python objects", "never unpickled"]),
    "pickled member": (
        _zip({"x.npy": _npy(OBJECTS, allow_pickle=True)}),
        ["'x'", "Python objects"],
    ),
    "pickle as member": (_zip({"x.npy": pickle.dumps(OBJECTS)}), ["'x'", "is no .npy array"]),
    "claims 32 GiB": (_claiming((2**31, 2, 2)), ["promises 32.0 GiB", "holds 80 B"]),
    "member claims 32 GiB": (
        _zip({"x.npy": _claiming((2**31, 2, 2))}),
        ["'x'", "promises 32.0 GiB"],
    ),
    "negative dimension": (_claiming((-1, 3, 2, 2)), ["impossible shape"]),
    "header is code": (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 20) + b"__import__('os')   \n",
        ["damaged .npy header"],
    ),
    "header too long": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31), ["damaged .npy header"]),
    "future version": (b"\x93NUMPY\x09\x00" + b"\0" * 100, ["damaged .npy header"]),
    "truncated npy": (_npy(X)[:-5], ["promises 240 B", "holds 235 B"]),
    "truncated npz": (_zip({"x.npy": _npy(X)})[:-40], ["damaged or truncated"]),
    "damaged compressed member": (
        _damaged(_zip({"x.npy": _npy(NOISE)}, zipfile.ZIP_DEFLATED)),
        ["'x'", "damaged"],
    ),
    "zip bomb": (_bomb(), ["'x'", "275 MiB", "zip bomb", "numpy.savez"]),
    "encrypted": (_encrypted(), ["'x'", "damaged"]),
    "member ../x": (_zip({"../x.npy": _npy(X)}), ["'../x.npy'", "outside the archive"]),
    "member a/../../x": (_zip({"a/../../x.npy": _npy(X)}), ["outside the archive"]),
    "absolute member": (_zip({"/x.npy": _npy(X)}), ["outside the archive"]),
    "no members": (_zip({}), ["holds no arrays"]),
    "no samples": (_npy(X[:0]), ["no samples"]),
    "scalar": (_npy(np.float32(3)), ["of a scalar", "samples×3×2×2"]),
    "wrong name": (_zip({"xx.npy": _npy(X)}), ["input 'x'", "it has 'xx'", "Name the array 'x'"]),
    "labels only": (_zip({"labels.npy": _npy(np.arange(5))}), ["input 'x'", "no other array"]),
    "strings": (_npy(np.array(["a"] * 5)), ["<U1", "no number that can be used"]),
    "complex": (_npy(X.astype(np.complex64)), ["complex64"]),
    "structured": (_npy(np.zeros(5, [("a", "f4")])), ["no number that can be used"]),
    "wrong rank": (_npy(X[0, 0]), ["shape 2×2", "samples×3×2×2"]),
    "wrong shape": (_npy(X[:, :2]), ["shape 5×2×2×2", "samples×3×2×2"]),
    "channels last": (_npy(np.zeros((5, 2, 2, 3), "f4")), ["shape 5×2×2×3", "numpy.moveaxis"]),
    "labels too few": (
        _zip({"x.npy": _npy(X), "labels.npy": _npy(np.arange(4))}),
        ["'labels'", "4 for 5 samples"],
    ),
    "labels negative": (
        _zip({"x.npy": _npy(X), "labels.npy": _npy(-np.arange(5))}),
        ["class numbers from 0"],
    ),
    "labels one-hot": (
        _zip({"x.npy": _npy(X), "labels.npy": _npy(np.eye(5))}),
        ["'labels'", "argmax"],
    ),
    "labels pickled": (
        _zip({"x.npy": _npy(X), "labels.npy": _npy(OBJECTS, allow_pickle=True)}),
        ["'labels'", "Python objects"],
    ),
    "NaN": (_npy(np.where(np.arange(5) == 3, np.nan, X.T).T.astype("f4")), ["sample 3", "NaN"]),
    "infinite": (
        _npy(np.where(np.arange(5) == 1, np.inf, X.T).T.astype("f4")),
        ["sample 1", "infinite"],
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_what_where_and_remedy(case, tmp_path, signature):
    content, fragments = BAD_FILES[case]
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        list(open_samples(path, signature(**IMAGE)))
    error = caught.value
    assert error.exit_code == 3
    assert str(error).startswith(str(path))
    for fragment in fragments:
        assert fragment in str(error)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["data.npz"]


def test_two_inputs_must_have_as_many_samples_and_one_size_of_a_named_dimension(
    tmp_path, signature
):
    wanted = signature(a=("float32", (None, 2)), b=("float32", (None, 2)))
    path = write(tmp_path / "d.npz", a=np.zeros((3, 2), "f4"), b=np.zeros((4, 2), "f4"))
    with pytest.raises(InvalidInput, match=r"3 of 'a', 4 of 'b'"):
        open_samples(path, wanted)


def test_floats_for_an_integer_input_are_refused_before_they_are_read(tmp_path, signature):
    path = write(tmp_path / "d.npz", ids=np.zeros((3, 2), "f4"))
    with pytest.raises(InvalidInput, match=r"holds float32, but the input takes int64"):
        open_samples(path, signature(ids=("int64", (None, 2))))


@pytest.mark.parametrize("missing", ["digits.npz", "nothing/at/all"])
def test_a_path_that_is_not_there_is_a_usage_error(missing, tmp_path, signature):
    (tmp_path / "digit.npz").touch()
    with pytest.raises(UsageError) as caught:
        open_samples(tmp_path / missing, signature(**IMAGE))
    assert ("Did you mean 'digit.npz'?" in str(caught.value)) == (missing == "digits.npz")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path, signature):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        open_samples(tmp_path / "pipe.npz", signature(**IMAGE))


def test_every_refusal_is_one_of_ours(tmp_path, signature):
    """Each prefix and each single-byte change of a small file is read rightly or refused."""
    good = _zip({"x.npy": _npy(X), "labels.npy": _npy(np.arange(5))}, zipfile.ZIP_DEFLATED)
    path = tmp_path / "d.npz"
    random = np.random.default_rng(0)
    variants = [good[:n] for n in range(0, len(good), 7)]
    for at in random.integers(0, len(good), 150):
        variants.append(good[:at] + bytes([random.integers(256)]) + good[at + 1 :])
    for variant in variants:
        path.write_bytes(variant)
        with contextlib.suppress(InvalidInput, UsageError):  # and nothing else
            list(open_samples(path, signature(**IMAGE)))
