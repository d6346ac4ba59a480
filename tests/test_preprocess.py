"""Preprocessing against Pillow itself, values by hand, and laws."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from edgerec.runtime.errors import DataError
from edgerec.runtime.preprocess import decode, normalize, prepare, prepare_batch, prepare_feeds, read_pixels, to_pixels
from edgerec.runtime.spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec, ModelSpec

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
RAW = {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), kind, **options)), RGB)


def test_jpeg_is_what_pillow_reads(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(RGB), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg"), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda a: a), (3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, 3)), (8, lambda a: np.rot90(a, 1)), (2, np.fliplr)],
)
def test_exif_rotation_is_applied(orientation: int, undo) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation  # TIFF tag 274, Orientation
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), "PNG", exif=exif)), undo(RGB))


def test_modes_become_grey_or_rgb() -> None:
    rgb = Image.fromarray(RGB)
    assert decode(encoded(rgb.convert("L"), "PNG")).shape == (40, 60, 1)
    assert decode(encoded(rgb.convert("1"), "PNG")).max() == 255
    palette = rgb.convert("P")
    np.testing.assert_array_equal(decode(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    alpha = rgb.copy()
    alpha.putalpha(128)
    np.testing.assert_array_equal(decode(encoded(alpha, "PNG")), RGB)  # transparency is dropped, colours stay


def test_sixteen_bit_grey_keeps_the_upper_byte() -> None:
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(values), "PNG"))[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("cut", [0, 10, 200, 500])
def test_truncated_files_are_data_errors(cut: int) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(encoded(Image.fromarray(RGB), "JPEG")[:cut])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        decode(tmp_path / "no.jpg")


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)  # claims 81 megapixels, holds none
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match="more than 64,000,000 pixels"):
        decode(bomb)


def test_the_right_size_passes_untouched() -> None:
    np.testing.assert_array_equal(to_pixels(RGB, InputSpec(40, 60)), RGB)
    np.testing.assert_array_equal(to_pixels(RGB, InputSpec(40, 60, color="bgr")), RGB[:, :, ::-1])


def test_grey_and_rgb_convert_into_each_other() -> None:
    grey = to_pixels(RGB, InputSpec(40, 60, color="grey", mean=(0.0,), std=(1.0,)))
    luma = RGB @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(grey[:, :, 0] - luma).max() <= 1
    np.testing.assert_array_equal(to_pixels(grey[:, :, 0], InputSpec(40, 60)), np.repeat(grey, 3, axis=2))


def test_crop_fit_is_resize_of_the_short_side_then_centre_crop() -> None:
    spec = InputSpec(16, 16, crop=0.8)  # short side to 16 / 0.8 = 20, so 40x60 becomes 20x30; the crop starts at (2, 7)
    expected = np.asarray(Image.fromarray(RGB).resize((30, 20), Image.Resampling.BILINEAR))[2:18, 7:23]
    np.testing.assert_array_equal(to_pixels(RGB, spec), expected)


def test_stretch_ignores_the_aspect_ratio() -> None:
    expected = np.asarray(Image.fromarray(RGB).resize((8, 8), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(to_pixels(RGB, InputSpec(8, 8, fit="stretch", kernel="bicubic")), expected)


def test_without_antialias_bilinear_samples_two_neighbours_only() -> None:
    image = np.zeros((4, 8), np.uint8)
    image[:, 1], image[:, 2] = 100, 200
    spec = InputSpec(4, 2, color="grey", mean=(0.0,), std=(1.0,), fit="stretch", antialias=False)
    # The sample points lie at columns 1.5 and 5.5: halfway between the two bright columns, and far from both.
    assert to_pixels(image, spec)[0, :, 0].tolist() == [150, 0]
    wide = to_pixels(image, InputSpec(4, 2, color="grey", mean=(0.0,), std=(1.0,), fit="stretch"))[0, :, 0]
    assert 0 < wide[0] < 150, "with antialias the kernel spreads over the dark columns as well"


@given(height=st.integers(1, 80), width=st.integers(1, 80), crop=st.floats(0.3, 1), fit=st.sampled_from(["crop", "stretch"]))
def test_any_image_comes_out_in_the_specs_shape(height: int, width: int, crop: float, fit: str) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    pixels = to_pixels(image, InputSpec(9, 14, crop=crop, fit=fit))  # type: ignore[arg-type]
    assert pixels.shape == (9, 14, 3)
    assert (pixels == 77).all(), "resizing a flat image keeps it flat, and no border is made up"


@given(arrays(np.uint8, (2, 5, 4, 3)))
def test_normalize_is_the_formula_bit_by_bit(pixels: np.ndarray) -> None:
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    expected = ((pixels.astype(np.float32) * np.float32(1 / 255) - mean) / std).transpose(0, 3, 1, 2)
    values = normalize(pixels, InputSpec(5, 4))
    np.testing.assert_array_equal(values, expected)
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(normalize(pixels, InputSpec(5, 4, layout="NHWC")), expected.transpose(0, 2, 3, 1))


def test_raw_pixels_pass_as_floats() -> None:
    np.testing.assert_array_equal(normalize(RGB[np.newaxis], InputSpec(40, 60, **RAW))[0], RGB.transpose(2, 0, 1).astype(np.float32))


def test_one_by_one_equals_batch_equals_feeds() -> None:
    images = [RGB, RGB[:30], RGB[:, :30]]
    spec = InputSpec(24, 24, name="x")
    batch = prepare_batch(images, spec)
    np.testing.assert_array_equal(batch, np.stack([prepare(image, spec) for image in images]))
    pixels = np.stack([to_pixels(image, spec) for image in images])
    fed = prepare_feeds({"x": pixels, "length": np.array([3])}, ModelSpec((spec,)))
    np.testing.assert_array_equal(fed["x"], batch)
    assert fed["length"].tolist() == [3]


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((4, 4), np.float32), "dtype float32"),
        (np.zeros((3, 8, 8), np.uint8), "channels last"),
        (np.zeros((0, 4), np.uint8), "shape"),
    ],
)
def test_wrong_arrays_are_named(image: np.ndarray, word: str) -> None:
    with pytest.raises(DataError, match=word):
        to_pixels(image, InputSpec(4, 4))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(16, 12), (40, 60)])
def test_reading_for_a_model_is_decoding_then_fitting_bit_by_bit(mode: str, fit: str, size: tuple[int, int]) -> None:
    image = Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (encoded(image, "TIFF"), encoded(image.convert("RGB") if mode == "I;16" else image.convert("L"), "PNG", exif=exif)):
        for color in ("rgb", "bgr", "grey"):
            one = {"mean": (0.0,), "std": (1.0,)} if color == "grey" else {}
            spec = InputSpec(*size, color=color, fit=fit, crop=0.875, **one)  # type: ignore[arg-type]
            np.testing.assert_array_equal(read_pixels(data, spec), to_pixels(decode(data), spec))


def test_normalize_writes_into_what_it_is_given() -> None:
    pixels = RGB[np.newaxis]
    for layout in ("NCHW", "NHWC"):
        spec = InputSpec(40, 60, layout=layout)  # type: ignore[arg-type]
        batch = np.zeros((3, *spec.shape), np.float32)
        assert normalize(pixels, spec, batch[1:2]).base is batch
        np.testing.assert_array_equal(batch[1], normalize(pixels, spec)[0])
        assert not batch[0].any()
        assert not batch[2].any()
