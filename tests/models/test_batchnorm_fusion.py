import pytest
import torch
from torch import nn

from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.net import build, freeze_batchnorm
from comp.recipe import ModelConfig

NETS = [
    ("test_resnet", {}),
    ("mobilenetv2_050", {"pad_type": "same"}),
    ("test_efficientnet", {}),
    ("cifar_resnet18", {}),
    ("resnet9", {}),
]


def unlike_fresh(net: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net


def gradients(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    net.zero_grad()
    nn.functional.cross_entropy(net(x), torch.arange(len(x)) % 3).backward()
    return [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize(("name", "kwargs"), NETS)
def test_the_same_function_with_the_same_gradients(name, kwargs):
    net = unlike_fresh(build(ModelConfig(name=name, kwargs=kwargs), 3)).double()
    net.train()
    freeze_batchnorm(net)
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    before, slopes, keys = net(x), gradients(net, x), list(net.state_dict())
    assert fuse_frozen_batchnorm(net.float(), 64) > 3
    net.double()
    assert net.training
    assert list(net.state_dict()) == keys
    assert torch.allclose(net(x), before, atol=1e-9)
    for own, folded in zip(slopes, gradients(net, x), strict=True):
        assert torch.allclose(own, folded, atol=1e-9)


def test_a_second_time_changes_nothing():
    net = unlike_fresh(build(ModelConfig(name="test_resnet"), 3)).eval()
    x = torch.randn(2, 3, 64, 64)
    count = fuse_frozen_batchnorm(net, 64)
    before = net(x)
    assert fuse_frozen_batchnorm(net, 64) == count
    assert torch.equal(net(x), before)


def test_a_norm_that_learns_its_statistics_works_as_it_did():
    torch.manual_seed(0)
    nets = [build(ModelConfig(name="test_resnet"), 3) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    assert fuse_frozen_batchnorm(nets[1], 64) > 3
    x = torch.randn(4, 3, 64, 64)
    assert torch.equal(nets[0].train()(x), nets[1].train()(x))
    for own, folded in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(own, folded)


class PreActivation(nn.Module):
    """The convolution's output is read by the norm and, past it, by a shortcut."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return (x + self.norm(x)).mean((2, 3))


class ChangedBetween(PreActivation):
    def forward(self, x):
        return self.norm(self.conv(x).relu_()).mean((2, 3))


class SharedConvolution(PreActivation):
    def forward(self, x):
        return (self.norm(self.conv(x)) + self.conv(x).abs()).mean((2, 3))


@pytest.mark.parametrize("kind", [PreActivation, ChangedBetween, SharedConvolution])
def test_a_pair_that_does_not_belong_together_is_left_alone(kind):
    net = kind().eval()  # a fresh norm hardly changes anything: the difference must be provoked
    statistics = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.randn(2, 3, 16, 16)
    before = net(x)
    assert fuse_frozen_batchnorm(net, 16) == 0
    assert torch.equal(net(x), before)
    assert all(torch.equal(v, statistics[k]) for k, v in net.state_dict().items())


def test_a_network_without_parameters_is_left_as_it_is():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
    assert fuse_frozen_batchnorm(net, 16) == 0
    assert net.training


def test_a_network_whose_numbers_overflow_is_left_as_it_is():
    net = unlike_fresh(build(ModelConfig(name="test_resnet"), 3)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3e38)
    assert fuse_frozen_batchnorm(net, 64) == 0
    assert not any("forward" in vars(module) for module in net.modules())
