"""The backbone is torchvision's, without its classifier."""

import pytest
import torch
import torchvision

from yoso_cli.errors import UsageError
from yoso_cli.model.backbone import LAYERS, ResNet, load_published


@pytest.mark.parametrize("name", LAYERS)
def test_torchvisions_weights_load_and_give_its_features(name: str) -> None:
    torch.manual_seed(0)
    published = torchvision.models.get_model(name, weights=None).double().eval()
    for module in published.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = {key: tensor for key, tensor in published.state_dict().items() if not key.startswith("fc.")}
    for norm in ("frozen", "batch"):
        backbone = ResNet(name, norm=norm).double().eval()
        load_published(backbone, state)
        images = torch.randn(1, 3, 64, 64, dtype=torch.double)
        with torch.inference_mode():
            maps = backbone(images)
            x = published.maxpool(published.relu(published.bn1(published.conv1(images))))
            for index, ours in enumerate(maps, start=1):
                x = getattr(published, f"layer{index}")(x)
                torch.testing.assert_close(ours, x)
                assert ours.shape[1] == backbone.channels[index - 1]


def test_other_widths_refuse_published_weights() -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    state = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    with pytest.raises(UsageError, match="do not fit"):
        load_published(ResNet("resnet18", base_channels=32), state)
