"""What the network is shown is the resized picture itself, however it travelled."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.test_predict import noise

from yoso_cli.inference.input import Carrier, resized
from yoso_cli.loading.transforms import fitted, resize_image
from yoso_cli.model.yoso import PIXEL_MEAN

CPU = torch.device("cpu")
edges = st.integers(1, 90)


@settings(deadline=None, max_examples=30)
@given(st.lists(edges, min_size=1, max_size=3), st.integers(0, 2**31))
def test_pictures_arrive_byte_for_byte_among_the_mean_colour(widths: list[int], seed: int) -> None:
    """Several of one padded size, each alone in its frame."""
    images = [noise(60, 60 + width % 30, seed) for width in widths]
    pictures = [resized(image, short_edge=40, long_edge=64) for image in images]
    carrier = Carrier(CPU)
    found = carrier.carried([carrier.locked(picture) for picture in pictures])
    assert found.dtype == torch.float32
    for one, image, picture in zip(found, images, pictures, strict=True):
        height, width = fitted(image.shape[:2], short_edge=40, long_edge=64)
        assert picture.pixels.dtype == torch.uint8, "a byte for each value"
        assert np.array_equal(one[:, :height, :width].permute(1, 2, 0), resize_image(image, (height, width)))
        assert one[:, height:].eq(torch.tensor(PIXEL_MEAN).view(3, 1, 1)).all()
        assert one[:, :, width:].eq(torch.tensor(PIXEL_MEAN).view(3, 1, 1)).all()


def test_pictures_of_other_padded_sizes_are_never_joined() -> None:
    pictures = [resized(noise(*size), short_edge=40, long_edge=90) for size in ((40, 40), (40, 80))]
    with pytest.raises(ValueError, match="too many values"):
        Carrier(CPU).carried(pictures)


def test_on_a_cpu_nothing_is_copied_to_page_locked_memory() -> None:
    picture = resized(noise(40, 40), short_edge=40, long_edge=90)
    with mock.patch.object(torch.Tensor, "pin_memory", side_effect=AssertionError):
        assert Carrier(CPU).locked(picture) is picture


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_bytes_beside_its_work() -> None:
    pictures = [resized(noise(50, 70, seed), short_edge=48, long_edge=90) for seed in range(20)]
    device = torch.device("cuda")
    carrier = Carrier(device)
    busy = torch.rand(2048, 2048, device=device)
    found = []
    for picture in pictures:
        locked = carrier.locked(picture)
        assert locked.pixels.is_pinned()
        busy = (busy @ busy).clamp(0, 1)
        found.append(carrier.carried([locked]))
    for one, picture in zip(found, pictures, strict=True):
        assert torch.equal(one.cpu(), Carrier(CPU).carried([picture]))
