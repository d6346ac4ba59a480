"""Corruptions against other implementations (a plain convolution, colorsys, Pillow) and laws; each image depends on itself alone."""

import colorsys
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from edgerec.benchmarks.corruptions import (
    CIFAR_C,
    CORRUPTIONS,
    IMAGENET_C,
    SEVERITIES,
    TINY_IMAGENET_C,
    Corruption,
    Corruptions,
    corrupt,
    strengths_for,
)
from edgerec.runtime.errors import ConfigError, DataError


def photos(count: int, size: int, channels: int, seed: int = 0) -> np.ndarray:
    """Return images with edges and texture: a blur and a JPEG cost them something."""
    draws = np.random.default_rng(seed)
    coarse = draws.integers(0, 256, (count, size // 4, size // 4, channels)).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(coarse + draws.integers(-20, 21, coarse.shape), 0, 255).astype(np.uint8)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"test/{number}" for number in range(count))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 64, 128])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_and_dtype_stay_and_the_error_grows_with_the_severity(name: Corruption, size: int, channels: int) -> None:
    pixels = photos(2, size, channels)
    before = pixels.copy()
    errors: list[float] = []
    for severity in SEVERITIES:
        disturbed = corrupt(pixels, name, severity, names(2))
        assert (disturbed.shape, disturbed.dtype) == (pixels.shape, np.uint8)
        errors.append(float(((disturbed.astype(float) - pixels) ** 2).mean()))
    assert errors[0] > 0
    assert errors == sorted(set(errors))
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_disturbed_alike_in_every_batch_and_order(name: Corruption) -> None:
    pixels, ids = photos(7, 28, 3), names(7)
    whole = corrupt(pixels, name, 3, ids)
    order = np.array([4, 1, 6, 0, 5, 2, 3])
    parts = [corrupt(pixels[rows], name, 3, [ids[row] for row in rows]) for rows in (order[:1], order[1:4], order[4:])]
    assert np.array_equal(np.concatenate(parts), whole[order])


def test_noise_has_the_deviation_of_the_table_and_the_same_field_at_each_severity() -> None:
    grey = np.full((4, 40, 40, 3), 128, np.uint8)
    for severity, deviation in zip(SEVERITIES, CIFAR_C["noise"], strict=True):
        noise = (corrupt(grey, "noise", severity, names(4)).astype(float) - 128) / 255
        assert noise.std() == pytest.approx(deviation, rel=0.03)  # 19,200 draws: 0.5 %
        assert abs(noise.mean()) < 4 * deviation / noise.size**0.5
    weak, strong = (corrupt(grey, "noise", severity, names(4)).astype(float) - 128 for severity in (1, 5))
    assert np.abs(strong / CIFAR_C["noise"][4] - weak / CIFAR_C["noise"][0]).max() <= 0.5 / 0.1 + 0.5 / 0.04 + 1e-6
    assert not np.array_equal(weak[0], weak[1])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_is_the_convolution_with_the_whole_kernel(severity: int) -> None:
    pixels, sigma = photos(1, 24, 3), CIFAR_C["blur"][severity - 1]
    radius = round(4 * sigma)
    along = np.arange(-radius, radius + 1)
    kernel = np.exp(-(along[:, np.newaxis] ** 2 + along**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(pixels[0].astype(float), ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(0, 1))  # (H, W, C, k, k)
    expected = np.einsum("hwcij,ij->hwc", windows, kernel)
    assert np.abs(corrupt(pixels, "blur", severity, names(1))[0] - expected).max() <= 0.5 + 1e-3


def test_blur_leaves_one_colour_alone_however_wide() -> None:
    flat = np.full((1, 128, 128, 3), (10, 200, 255), np.uint8)
    assert np.array_equal(corrupt(flat, "blur", 5, names(1)), flat)


def test_jpeg_is_pillows_at_the_quality_of_the_table() -> None:
    for pixels, mode in ((photos(1, 64, 3), "RGB"), (photos(1, 64, 1), "L")):
        buffer = io.BytesIO()
        Image.fromarray(pixels[0].reshape((64, 64, 3) if mode == "RGB" else (64, 64)), mode).save(buffer, "JPEG", quality=50)
        expected = np.asarray(Image.open(buffer)).reshape(pixels[0].shape)
        assert np.array_equal(corrupt(pixels, "jpeg", 3, names(1))[0], expected)  # Tiny-ImageNet-C's third is 50


def test_brightness_is_hsvs_value() -> None:
    pixels = photos(1, 8, 3)
    pixels[0, 0, 0] = 0
    disturbed = corrupt(pixels, "brightness", 4, names(1))
    for before, after in zip(pixels.reshape(-1, 3), disturbed.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255).tolist())
        expected = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(value + CIFAR_C["brightness"][3], 1)))
        assert np.abs(after - expected).max() <= 0.5 + 1e-3
    assert disturbed[0, 0, 0].tolist() == [51, 51, 51]  # black has no hue: 0.2 of 255, grey
    grey = np.array([0, 100, 230, 255], np.uint8).reshape(1, 2, 2, 1)
    assert corrupt(grey, "brightness", 4, names(1)).ravel().tolist() == [51, 151, 255, 255]


def test_the_table_follows_the_size() -> None:
    sizes = {(28, 28): CIFAR_C, (32, 32): CIFAR_C, (64, 64): TINY_IMAGENET_C, (96, 300): TINY_IMAGENET_C, (224, 224): IMAGENET_C}
    assert all(strengths_for(*size) is table for size, table in sizes.items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Corruptions(names=("fog",)), "unknown corruption: fog; choose from noise, blur, jpeg, brightness"),
        (lambda: Corruptions(severities=(0,)), "unknown severity: 0; choose from 1, 2, 3, 4, 5"),
        (lambda: Corruptions(severities=(1, 1)), "each severity counts once"),
        (lambda: Corruptions(names=()), "one is needed"),
        (lambda: Corruptions(images=0), "at least one image: 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(make: Callable[[], Corruptions], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("pixels", [np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 4), np.uint8), np.zeros((2, 8, 8, 1), np.uint8)])
def test_what_is_no_image_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="only images can be disturbed"):
        corrupt(pixels, "noise", 1, names(1))
