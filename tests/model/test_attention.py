"""Cross-attention: each variant does what its formula says, one picture at a time or many."""

import pytest
import torch
from torch.nn import functional as F

from yoso_cli.model.attention import ATTENTIONS

N, D = 7, 12


def made(name: str, kernel_size: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return ATTENTIONS[name](D, num_proposals=N, kernel_size=kernel_size, num_heads=3)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_batch_answers_as_its_pictures_alone(name: str) -> None:
    attention = made(name)
    query, value = torch.randn(3, N, D), torch.randn(3, N, D)
    together = attention(query, value)
    assert together.shape == (3, N, D)
    for index in range(3):
        alone = attention(query[index : index + 1], value[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_sdca_is_a_depthwise_then_a_pointwise_convolution(kernel_size: int) -> None:
    """Eq. 9, with the released model's ReLU between the two."""
    attention = made("sdca", kernel_size)
    query, value = torch.randn(N, D), torch.randn(N, D)
    weights = attention.weights(query)
    depthwise = weights[:, :kernel_size].reshape(N, 1, kernel_size)
    pointwise = weights[:, kernel_size:].reshape(N, N, 1)
    out = F.conv1d(value[None], depthwise, groups=N, padding="same").relu()
    out = F.conv1d(out, pointwise)
    torch.testing.assert_close(attention(query[None], value[None]), attention.norm(out), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_dca_is_a_full_convolution(kernel_size: int) -> None:
    """Eq. 8."""
    attention = made("dca", kernel_size)
    query, value = torch.randn(N, D), torch.randn(N, D)
    kernels = attention.weights(query).reshape(N, N, kernel_size)
    out = F.conv1d(value[None], kernels, padding="same")
    torch.testing.assert_close(attention(query[None], value[None]), attention.norm(out), rtol=1e-4, atol=1e-5)


def test_pdca_mixes_tokens_only_and_ddca_channels_only() -> None:
    query, value = torch.randn(1, N, D), torch.randn(1, N, D)
    other = value.clone()
    other[0, 0] += 1
    changed = made("ddca")(query, other) - made("ddca")(query, value)
    assert changed[0, 0].abs().max() > 0
    assert torch.equal(changed[0, 1:], torch.zeros(N - 1, D))
    tokens = made("pdca")(query, other) - made("pdca")(query, value)
    assert (tokens[0].abs().amax(1) > 0).all()
