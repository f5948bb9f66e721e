"""Samples from image folders: the very blobs of cv2.dnn, streamed, labelled, and safe."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from image_files import BLOB_REFERENCE, write_ppm

from modelcheck.data import Preprocessing, open_samples
from modelcheck.data.images import ImageSamples
from modelcheck.errors import ContainedFailure, InvalidInput, Unsupported, UsageError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SIZE = (32, 24)
TINY = Preprocessing(size=(6, 4), rgb=True)

MEANS = [((0.0,) * 3, (1.0,) * 3), ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))]
SETTINGS = [
    Preprocessing(
        size=SIZE, resize=resize, rgb=rgb, mean=mean, std=std, layout=layout,
        pad_value=(10.0, 114.0, 250.0) if resize == "letterbox" else 0.0,
    )
    for resize, rgb, (mean, std), layout in itertools.product(
        ("stretch", "crop", "letterbox"), (False, True), MEANS, ("NCHW", "NHWC")
    )
] + [
    Preprocessing(
        size=SIZE, resize=resize, gray=True, mean=33.3, std=64.5, layout=layout,
        pad_value=114.0 if resize == "letterbox" else 0.0,
    )
    for resize, layout in itertools.product(("stretch", "crop", "letterbox"), ("NCHW", "NHWC"))
]  # fmt: skip


def tiny(signature, **options):
    return signature(x=("float32", (None, 3, 4, 6)), **options)


def blobs_of_cv2(folder: Path, names: list[str], out: Path) -> dict[str, np.ndarray]:
    """What blobFromImageWithParams makes of each image with each of SETTINGS: 'setting/name'."""

    def three(value):
        return list(value) if isinstance(value, tuple) else [value] * 3

    job = {}
    for i, p in enumerate(SETTINGS):
        for name in names:
            pad = three(p.pad_value)
            job[f"{i}/{name}"] = {
                "image": str(folder / name), "gray": p.gray, "size": SIZE, "rgb": p.rgb,
                "mean": [*three(p.mean), 0], "std": [*three(p.std), 1],
                "layout": p.layout, "resize": p.resize,
                "border_bgr": [*(pad[::-1] if p.rgb else pad), 0],
            }  # fmt: skip
    (out / "job.json").write_text(json.dumps(job))
    command = [sys.executable, BLOB_REFERENCE, "blobs", out / "job.json", out / "blobs.npz"]
    subprocess.run(command, check=True)
    with np.load(out / "blobs.npz") as blobs:
        return dict(blobs)


@pytest.fixture(scope="module")
def expected_blobs(encoded_images, tmp_path_factory):
    names = [p.name for p in encoded_images.iterdir()]
    return blobs_of_cv2(encoded_images, names, tmp_path_factory.mktemp("job"))


@pytest.mark.parametrize("i", range(len(SETTINGS)), ids=[s.describe() for s in SETTINGS])
def test_blobs_equal_those_of_blob_from_image_with_params_bit_for_bit(
    i, encoded_images, expected_blobs, signature
):
    setting = SETTINGS[i]
    shape = (None, *setting.blob_shape[1:])
    samples = open_samples(encoded_images, signature(x=("float32", shape)), preprocessing=setting)
    assert samples.count == 9
    for sample in samples:
        expected = expected_blobs[f"{i}/{sample.name}"]
        assert sample.arrays["x"].dtype == expected.dtype == np.float32
        np.testing.assert_array_equal(sample.arrays["x"], expected, strict=True)


@pytest.mark.long
@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_real_photographs_give_the_blobs_of_cv2_bit_for_bit(tmp_path, signature):
    sources = [
        *(SHARED / "imagenet_sample").glob("n01[45]*.JPEG"),
        *(SHARED / "text_rapidocr").glob("*.*"),
    ]
    folder = tmp_path / "photos"
    folder.mkdir()
    for source in sources:
        shutil.copy(source, folder)
    setting = next(i for i, s in enumerate(SETTINGS) if s.resize == "letterbox" and s.rgb)
    expected = blobs_of_cv2(folder, [s.name for s in sources], tmp_path)
    shape = (None, *SETTINGS[setting].blob_shape[1:])
    samples = open_samples(folder, signature(x=("float32", shape)), preprocessing=SETTINGS[setting])
    assert samples.count == len(sources)
    for sample in samples:
        np.testing.assert_array_equal(sample.arrays["x"], expected[f"{setting}/{sample.name}"])


@pytest.mark.parametrize(("source", "expected"), [((20, 40), (6, 12)), ((50, 8), (19, 1))])
def test_shorter_resizes_the_shorter_side_and_crops_the_centre(
    source, expected, tmp_path, signature
):
    """A ramp tells where the crop was taken: its values are its coordinates, doubled."""
    height, width = source
    rows, columns = np.mgrid[:height, :width]
    write_ppm(tmp_path / "ramp.ppm", np.dstack([rows, columns, rows * 0]))
    setting = Preprocessing(size=(6, 8), resize="shorter", shorter_side=min(source), rgb=True)
    (sample,) = open_samples(
        tmp_path, signature(x=("float32", (1, 3, 8, 6))), preprocessing=setting
    )
    top, left = (height - 8) // 2, (width - 6) // 2
    red, green, _ = sample.arrays["x"][0]
    np.testing.assert_array_equal(red, rows[top : top + 8, left : left + 6])
    np.testing.assert_array_equal(green, columns[top : top + 8, left : left + 6])


def test_the_shorter_side_is_scaled_first(tmp_path, signature):
    write_ppm(tmp_path / "flat.ppm", np.full((40, 100, 3), 77))
    setting = Preprocessing(size=(10, 10), resize="shorter", shorter_side=12)
    (sample,) = open_samples(
        tmp_path, signature(x=("float32", (1, 3, 10, 10))), preprocessing=setting
    )
    np.testing.assert_array_equal(sample.arrays["x"], np.full((1, 3, 10, 10), 77, np.float32))


@pytest.mark.parametrize(
    ("model", "setting", "expected"),
    [
        ("float16", {"mean": 10, "std": 3}, "float16"),
        ("float32", {"mean": 10, "std": 3, "dtype": "float16"}, "float32"),
        ("uint8", {}, "uint8"),
        ("float32", {"dtype": "uint8"}, "float32"),
    ],
)
def test_blobs_have_the_dtype_of_the_model(model, setting, expected, ppm_folder, signature):
    wanted = signature(x=(model, (None, 3, 4, 6)))
    samples = open_samples(ppm_folder, wanted, preprocessing=Preprocessing(rgb=True, **setting))
    *_, last = samples
    assert last.arrays["x"].dtype == expected
    red = (np.float32(11) - np.float32(setting.get("mean", 0))) * np.float32(
        1 / setting.get("std", 1)
    )
    rounded = red.astype(setting.get("dtype", model)).astype(expected)
    np.testing.assert_array_equal(last.arrays["x"][0, 0], np.full((4, 6), rounded))


def test_samples_come_in_the_order_of_their_names_in_every_pass_and_selection(
    ppm_folder, signature
):
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    for _ in range(2):
        seen = [(s.name, int(s.arrays["x"][0, 0, 0, 0])) for s in samples]
        assert seen == [(f"{i:02d}.ppm", i) for i in range(12)]
    order = [11, 0, 5, 5, 3, 7]
    assert [int(s.arrays["x"][0, 0, 0, 0]) for s in samples.select(order)] == order
    nested = [
        (int(a.arrays["x"][0, 0, 0, 0]), int(b.arrays["x"][0, 0, 0, 0]))
        for a, b in zip(samples, samples.select(range(6, 12)), strict=False)
    ]
    assert nested == [(i, i + 6) for i in range(6)]


def test_an_abandoned_iteration_leaves_no_process_and_no_folder(ppm_folder, signature):
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    before = set(psutil.Process().children())
    iteration = iter(samples)
    next(iteration)
    (started,) = set(psutil.Process().children()) - before
    iteration.close()
    assert not started.is_running()
    list(samples)
    (resting,) = set(psutil.Process().children()) - before
    del samples, iteration
    assert not resting.is_running()


def test_the_next_images_are_decoded_while_the_caller_computes(tmp_path, signature):
    """While this process sleeps, the child's processor time grows: it works ahead."""
    write_ppm(tmp_path / "0.ppm", np.zeros((2000, 3000, 3)))
    for i in range(1, 8):
        os.link(tmp_path / "0.ppm", tmp_path / f"{i}.ppm")
    samples = open_samples(tmp_path, tiny(signature), preprocessing=TINY)
    before = set(psutil.Process().children())
    iteration = iter(samples)
    next(iteration)
    (child,) = set(psutil.Process().children()) - before
    used = [sum(child.cpu_times()[:2])]
    deadline = time.monotonic() + 20
    while used[-1] == used[0] and time.monotonic() < deadline:
        time.sleep(0.01)
        used.append(sum(child.cpu_times()[:2]))
    assert used[-1] > used[0]
    assert len(list(iteration)) == 7


def test_memory_does_not_grow_with_the_number_of_images(encoded_images, tmp_path, signature):
    for i in range(400):
        os.link(encoded_images / "photo.JPG", tmp_path / f"{i:03d}.jpg")
    wanted = signature(x=("float32", (None, 3, 240, 320)))  # 0.9 MB each: 369 MB in all
    samples = open_samples(tmp_path, wanted, preprocessing=Preprocessing())
    iteration = iter(samples)
    for _ in range(10):
        next(iteration)
    me = psutil.Process()
    start = peak = me.memory_info().rss
    for i, _ in enumerate(iteration):
        if i % 20 == 0:
            peak = max(peak, me.memory_info().rss)
    assert i == 389
    assert peak - start < 50 << 20


# Labels.


def test_labels_come_from_labels_csv(ppm_folder, signature):
    for text in (
        "file,label,name\n07.ppm,3,cat\n01.ppm,5,dog\n",
        "\ufeffname, label , file\ncat,3,07.ppm\n\ndog,5,01.ppm\n",
        "07.ppm,3\n01.ppm,5",
    ):
        (ppm_folder / "labels.csv").write_text(text, encoding="utf-8")
        samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
        assert [(s.name, s.label) for s in samples] == [("01.ppm", 5), ("07.ppm", 3)]
        assert "10 images" in samples.notes[0]


def test_labels_come_from_one_folder_a_class(ppm_folder, signature):
    for i, name in enumerate(["zebra", "ant", "empty", "zebra", ".hidden"]):
        (ppm_folder / "by" / name).mkdir(parents=True, exist_ok=True)
        if name != "empty":
            (ppm_folder / f"{i:02d}.ppm").rename(ppm_folder / "by" / name / f"{i}.ppm")
    samples = open_samples(ppm_folder / "by", tiny(signature), preprocessing=TINY)
    assert [(s.name, s.label) for s in samples] == [
        ("ant/1.ppm", 0),
        ("zebra/0.ppm", 2),
        ("zebra/3.ppm", 2),
    ]
    assert "3 class folders numbered in sorted order: 0 is 'ant', 2 is 'zebra'" in samples.notes[0]


def test_class_folders_that_are_numbers_are_these_numbers(ppm_folder, signature):
    for i, name in enumerate(["9", "10", "282"]):
        (ppm_folder / "by" / name).mkdir(parents=True)
        (ppm_folder / f"{i:02d}.ppm").rename(ppm_folder / "by" / name / "a.ppm")
    samples = open_samples(ppm_folder / "by", tiny(signature), preprocessing=TINY)
    assert {s.name: s.label for s in samples} == {"9/a.ppm": 9, "10/a.ppm": 10, "282/a.ppm": 282}


def test_without_either_there_are_no_labels(ppm_folder, signature):
    (ppm_folder / "masks").mkdir()
    shutil.copy(ppm_folder / "00.ppm", ppm_folder / "masks")
    shutil.copy(ppm_folder / "00.ppm", ppm_folder / "._00.ppm")
    (ppm_folder / "readme.txt").touch()
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    assert samples.labels is None
    assert samples.count == 12
    assert samples.origin == "images/ (12 images)"
    assert "masks" in samples.notes[0]


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
@pytest.mark.parametrize(
    ("folder", "count", "last"), [("imagenet_sample", 200, 995), ("cifar10_test", 300, 9)]
)
def test_real_label_files_are_read(folder, count, last, signature):
    samples = open_samples(SHARED / folder, tiny(signature), preprocessing=TINY)
    assert samples.count == len(samples.labels) == count
    assert samples.labels.max() == last


def test_a_label_file_of_words_gives_no_labels_and_says_so(ppm_folder, signature):
    (ppm_folder / "labels.csv").write_text("file,label\n01.ppm,cat\n", encoding="utf-8")
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    assert samples.labels is None
    assert any("holds text" in note for note in samples.notes)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("file,label\n99.ppm,1\n", ["line 2", "'99.ppm' is not in the folder"]),
        ("file,label\n0l.ppm,1\n", ["'0l.ppm'", "Did you mean"]),
        ("file,label\n01.ppm,1\n02.ppm,cat\n", ["line 3", "'cat' is not a class number"]),
        ("file,label\n01.ppm,-1\n", ["'-1' is not a class number"]),
        ("file,label\n01.ppm,1\n01.ppm,2\n", ["line 3", "listed twice"]),
        ("file,label\n../images/01.ppm,1\n", ["outside the folder"]),
        ("file,label\n/etc/passwd,1\n", ["outside the folder"]),
        ("file,label\n01.ppm\n", ["line 2", "1 column"]),
        ("file,class\n01.ppm,1\n", ["no column 'label'"]),
        ("01.ppm;1\n", ["line 1", "1 column"]),
        ("file,label\n", ["lists no images"]),
        ("", ["lists no images"]),
        ('"01.ppm,1\n', ["no table"]),
        ("file,label\n01.ppm,1\0\n", ["labels.csv"]),
        (b"\xff\xfe\x00\x01", ["no table in UTF-8"]),
    ],
)  # fmt: skip
def test_a_bad_label_file_is_refused_with_its_line(text, fragments, ppm_folder, signature):
    content = text if isinstance(text, bytes) else text.encode()
    (ppm_folder / "labels.csv").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"labels\.csv") as caught:
        open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_two_spellings_of_one_class_number_are_refused(ppm_folder, signature):
    for i, name in enumerate(["1", "01"]):
        (ppm_folder / "by" / name).mkdir(parents=True)
        (ppm_folder / f"{i:02d}.ppm").rename(ppm_folder / "by" / name / "a.ppm")
    with pytest.raises(InvalidInput, match="two class folders"):
        open_samples(ppm_folder / "by", tiny(signature), preprocessing=TINY)


# Bad images.


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        head = struct.pack(">I", len(content)) + kind + content
        return head + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0" * 999)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def truncated(name: str):
    return lambda folder: (folder / name).read_bytes()[:-20]


BAD_IMAGES = {
    "empty": (lambda folder: b"", "is an empty file"),
    "random bytes": (lambda folder: bytes(range(256)) * 4, "cannot decode"),
    "html": (lambda folder: b"<!DOCTYPE html>" * 20, "cannot decode"),
    "lfs pointer": (lambda folder: b"version https://git-lfs.example\n", "cannot decode"),
    "truncated jpeg": (truncated("photo.JPG"), "truncated"),
    "truncated png": (truncated("portrait.png"), "truncated"),
    "truncated webp": (truncated("small.webp"), "truncated"),
    "truncated bmp": (truncated("exact.bmp"), "truncated"),
    "truncated tiff": (lambda folder: (folder / "deep.tiff").read_bytes()[:300], "truncated"),
    "huge": (lambda folder: _png(20_000, 20_000), "larger than 100 megapixels"),
    "one line": (lambda folder: b"P6 60000 1 255\n" + b"\1" * 180_000, "cannot be preprocessed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_refused_by_name_after_the_good_ones_before_it(
    case, ppm_folder, encoded_images, signature
):
    make, fragment = BAD_IMAGES[case]
    (ppm_folder / "05.png").write_bytes(make(encoded_images))
    setting = Preprocessing(rgb=True, resize="letterbox") if case == "one line" else TINY
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=setting)
    seen = []
    with pytest.raises(InvalidInput) as caught:
        seen.extend(sample.name for sample in samples)
    assert caught.value.exit_code == 3
    assert fragment in str(caught.value)
    assert str(ppm_folder / "05.png") in str(caught.value)
    assert seen == [f"0{i}.ppm" for i in range(5)]
    survivors = samples.select([0, 1, 2, 3, 4, *range(7, 13)])
    assert len(list(survivors)) == 11


@pytest.mark.parametrize(("model", "std"), [("float16", 1e-4), ("float32", 1e-40)])
def test_settings_that_leave_the_range_of_the_dtype_are_refused(model, std, ppm_folder, signature):
    samples = open_samples(
        ppm_folder, signature(x=(model, (1, 3, 4, 6))), preprocessing=Preprocessing(std=std)
    )
    with pytest.raises(InvalidInput, match=f"mean and std take it out of the range of {model}"):
        list(samples)


def test_an_image_that_changes_or_vanishes_during_the_run_is_noticed(ppm_folder, signature):
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    list(samples)
    write_ppm(ppm_folder / "05.ppm", np.zeros((4, 6, 3)))
    with pytest.raises(InvalidInput, match=r"05\.ppm: changed during the run"):
        list(samples)
    (ppm_folder / "05.ppm").unlink()
    with pytest.raises(InvalidInput, match=r"05\.ppm: cannot be read: No such file"):
        list(samples)


def test_a_folder_without_images_is_refused(tmp_path, signature):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InvalidInput, match="holds no images"):
        open_samples(tmp_path, tiny(signature), preprocessing=TINY)


def test_a_child_that_dies_is_contained_and_the_images_are_named(ppm_folder, signature):
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    before = set(psutil.Process().children())
    iteration = iter(samples)
    next(iteration)
    (child,) = set(psutil.Process().children()) - before
    child.send_signal(11)
    with pytest.raises(ContainedFailure, match=r"images, 0\d\.ppm to \d\d\.ppm") as caught:
        list(iteration)
    assert caught.value.exit_code == 6
    assert len(list(samples)) == 12


def test_a_cv2_that_cannot_be_imported_is_unsupported_with_the_remedy(
    ppm_folder, signature, tmp_path, monkeypatch
):
    """The real worker in a real environment that has numpy, but no cv2."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    (site,) = bare.glob("lib/python*/site-packages")
    numpy_home = Path(np.__file__).parents[1]
    for part in numpy_home.glob("numpy*"):
        (site / part.name).symlink_to(part)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    with pytest.raises(Unsupported, match="opencv-python-headless") as caught:
        list(samples)
    assert caught.value.exit_code == 4
    assert "No module named 'cv2'" in str(caught.value)


# Images and models that do not go together.


def test_images_feed_models_with_one_image_input_only(ppm_folder, signature):
    two = signature(x=("float32", (1, 3, 4, 6)), y=("float32", (1, 2)))
    with pytest.raises(UsageError, match=r"has 2: x, y") as caught:
        open_samples(ppm_folder, two, preprocessing=TINY)
    assert "npz" in str(caught.value)
    with pytest.raises(UsageError, match="four axes"):
        open_samples(ppm_folder, signature(x=("float32", (None, 64))), preprocessing=TINY)


def test_without_preprocessing_plain_pixels_are_fed_and_said(ppm_folder, signature):
    samples = open_samples(ppm_folder, signature(x=("float32", (1, 4, 6, 1))))
    assert isinstance(samples, ImageSamples)
    assert "assumed: 6x4 stretch, gray, mean 0, std 1, NHWC" in samples.notes[-1]


def test_equal_files_have_equal_digests_and_settings_count(ppm_folder, signature):
    shutil.copy(ppm_folder / "03.ppm", ppm_folder / "copy.ppm")
    samples = open_samples(ppm_folder, tiny(signature), preprocessing=TINY)
    digests = samples.digests()
    assert digests[3] == digests[-1]
    assert len(set(digests)) == 12
    other = open_samples(ppm_folder, tiny(signature), preprocessing=Preprocessing())
    assert other.digests() == digests
    assert other.digest != samples.digest
