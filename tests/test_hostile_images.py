"""Images made to break a decoder: each gives a DataError or the right pixels, soon."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgerec.benchmarks.fuzz.images import samples
from edgerec.benchmarks.fuzz.mutation import mutate
from edgerec.data.folders import open_folder
from edgerec.runtime.errors import DataError
from edgerec.runtime.intake import read_image
from edgerec.runtime.preprocess import MAX_PIXELS, decode, to_pixels
from edgerec.runtime.spec import InputSpec

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def tiff_header(width: int, height: int) -> bytes:
    data = encoded(Image.new("L", (7, 9)), "TIFF")
    for tag, old, new in ((256, 7, width), (257, 9, height)):
        for kind, form in ((3, "<HHIHH"), (4, "<HHII")):
            entry = struct.pack(form, *((tag, kind, 1, old, 0) if kind == 3 else (tag, kind, 1, old)))
            data = data.replace(entry, struct.pack("<HHII", tag, 4, 1, new))
    return data


def webp_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    bits = struct.unpack("<I", data[at : at + 4])[0] & ~((1 << 28) - 1) | (width - 1) | (height - 1) << 14
    data[at : at + 4] = struct.pack("<I", bits)
    return bytes(data)


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("header", [png_header, jpeg_header, gif_header, tiff_header, webp_header])
def test_a_hundred_megapixels_are_refused_from_the_header_alone(header) -> None:
    start = time.monotonic()
    with pytest.raises(DataError, match="more than 64,000,000 pixels"):
        decode(header(10_000, 10_000))
    assert time.monotonic() - start < 1


def test_far_larger_claims_meet_pillows_own_limit() -> None:
    with pytest.raises(DataError, match="more than 64,000,000 pixels"):
        decode(png_header(60_000, 60_000))


def test_the_limit_can_be_moved() -> None:
    small = encoded(Image.fromarray(RGB), "PNG")
    with pytest.raises(DataError, match=r"more than 2,399 pixels: .*60x40"):
        decode(small, 2399)
    np.testing.assert_array_equal(decode(small, 2400), RGB)
    with pytest.raises(DataError, match="more than 2,399"):
        read_image(Image.fromarray(RGB), 2399)


def test_a_long_and_thin_image_is_not_blown_up_to_fill_the_crop() -> None:
    thin = encoded(Image.new("L", (1, 400_000)), "PNG")  # resized to cover 224x224 it would be 224 x 89,600,000
    with pytest.raises(DataError, match="long and thin"):
        to_pixels(decode(thin), InputSpec(224, 224))
    assert to_pixels(decode(thin), InputSpec(224, 224, fit="stretch")).shape == (224, 224, 3)
    assert MAX_PIXELS == 64_000_000


def test_a_name_says_nothing_and_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "really-a-png.jpg").write_bytes(encoded(Image.fromarray(RGB), "PNG"))
    for name, words in (("text.jpg", "cannot be decoded"), ("empty.jpg", "cannot be decoded"), ("", "a folder")):
        with pytest.raises(DataError, match=words):
            decode(tmp_path / name)
    np.testing.assert_array_equal(decode(tmp_path / "really-a-png.jpg"), RGB)


def test_postscript_is_never_started() -> None:
    with pytest.raises(DataError, match="known formats: JPEG, PNG"):
        decode(encoded(Image.fromarray(RGB), "EPS"))


def test_cmyk_palette_and_alpha_become_what_pillow_makes_of_them() -> None:
    rgb = Image.fromarray(RGB)
    cmyk = encoded(rgb.convert("CMYK"), "TIFF")
    np.testing.assert_array_equal(decode(cmyk), np.asarray(Image.open(io.BytesIO(cmyk)).convert("RGB")))
    palette = rgb.convert("P")
    np.testing.assert_array_equal(decode(encoded(palette, "PNG", transparency=3)), np.asarray(palette.convert("RGB")))
    grey_alpha = rgb.convert("LA")
    np.testing.assert_array_equal(decode(encoded(grey_alpha, "PNG"))[:, :, 0], np.asarray(rgb.convert("L")))


def test_float_images_are_clipped_and_not_a_number_is_refused() -> None:
    values = np.array([[-5.0, 0.0, 200.0, 1e9]], np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 0, 200, 255]
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="pixels that are not finite"):
            decode(encoded(Image.fromarray(np.array([[0.0, bad]], np.float32)), "TIFF"))


def test_training_data_and_a_device_decode_alike(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(8):
            Image.fromarray(np.roll(RGB, number, 0)).save(tmp_path / name / f"{number}.jpg", exif=exif)
    train = open_folder(tmp_path).train
    image = train.source.image(int(train.rows[0]))
    assert image is not None
    assert image.shape == (60, 40, 3)
    np.testing.assert_array_equal(image, read_image(tmp_path / train.ids[0]))
    np.testing.assert_array_equal(image, read_image(Image.open(tmp_path / train.ids[0])))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of truncated files and odd tags
@pytest.mark.parametrize("kind", sorted(samples()))
def test_mutated_files_give_an_error_of_ours_or_an_image(kind: str) -> None:
    refused = accepted = 0
    for seed in range(60):
        start = time.monotonic()
        try:
            pixels = to_pixels(decode(mutate(samples()[kind], seed)), InputSpec(24, 24))
            assert pixels.shape == (24, 24, 3)
            accepted += 1
        except DataError:
            refused += 1
        assert time.monotonic() - start < 2
    assert refused > 5
    assert refused + accepted == 60
