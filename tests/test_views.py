"""Mirror, crop and erase by indexing, against slices written out image by image."""

import numpy as np
import torch

from edgerec.train.views import ERASED_AREA, draw_views, erased, moved


def drawn(count: int = 64, *, flip: bool = True, erasing: float = 0.5, seed: int = 3) -> torch.Tensor:
    return draw_views(count, (9, 12), flip=flip, padding=(2, 3), erasing=erasing, seed=seed)


def test_moved_equals_slices_of_a_padded_image() -> None:
    images, views = torch.rand(64, 3, 9, 12), drawn()
    for image, result, (mirrored, down, right) in zip(images, moved(images, views), views[:3, :, 0].T.tolist(), strict=True):
        source = image.flip(2) if mirrored else image
        padded = torch.nn.functional.pad(source, (3, 3, 2, 2))
        assert torch.equal(result, padded[:, 2 + down : 11 + down, 3 + right : 15 + right])
    assert {-3, 3} <= set(views[2, :, 0].tolist())
    assert {-2, 2} <= set(views[1, :, 0].tolist())


def test_erased_equals_zeros_written_into_a_rectangle() -> None:
    images, views = torch.rand(64, 3, 9, 12) + 1, drawn()
    holes = 0
    for image, result, (top, left, tall, wide) in zip(images, erased(images, views), views[3:, :, 0].T.tolist(), strict=True):
        expected = image.clone()
        expected[:, top : top + tall, left : left + wide] = 0
        assert torch.equal(result, expected)
        assert top + tall <= 9
        assert left + wide <= 12
        holes += tall > 0
    assert 16 < holes < 48


def test_rectangles_have_the_papers_area() -> None:
    views = draw_views(4000, (32, 32), flip=False, padding=(0, 0), erasing=1.0, seed=0)
    share = (views[5] * views[6]).float().numpy() / 1024
    assert np.mean(share) == np.clip(np.mean(share), *ERASED_AREA)
    assert abs(np.mean(share) - np.mean(ERASED_AREA)) < 0.02  # the clip at the border takes a little
    assert views[:3].abs().sum() == 0


def test_the_seed_decides() -> None:
    assert torch.equal(drawn(seed=1), drawn(seed=1))
    assert not torch.equal(drawn(seed=1), drawn(seed=2))
    assert drawn(flip=False)[0].sum() == 0
    assert drawn(erasing=0.0)[3:].sum() == 0
