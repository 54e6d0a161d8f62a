import pytest
import torch
from torch import nn

from keensight.models.folding import fold, folded


def with_statistics(norm):
    generator = torch.Generator().manual_seed(3)
    norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
    norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.1)
    if norm.affine:
        norm.weight.data.copy_(torch.randn(norm.num_features, generator=generator))
        norm.bias.data.copy_(torch.randn(norm.num_features, generator=generator))
    return norm.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("affine", [True, False])
def test_the_folded_convolution_answers_as_the_two_do(bias, groups, affine):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 12, 3, stride=2, padding=1, groups=groups, bias=bias)
    norm = with_statistics(nn.BatchNorm2d(12, eps=1e-3, affine=affine))
    images = torch.randn(2, 6, 9, 8)
    weight, shift = fold(conv, norm)
    with torch.no_grad():
        answer = nn.functional.conv2d(images, weight, shift, stride=2, padding=1, groups=groups)
        assert (answer - norm(conv(images))).abs().max() < 1e-5
    assert weight.dtype == shift.dtype == torch.float32


def test_a_network_is_copied_and_only_direct_neighbours_are_folded():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), with_statistics(nn.BatchNorm2d(4)), nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), with_statistics(nn.BatchNorm2d(4))),
    ).eval()  # fmt: skip
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copy = folded(network.train())
    assert network.training and not copy.training
    assert [type(m) for m in copy.modules()].count(nn.BatchNorm2d) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    images = torch.randn(2, 3, 9, 8)
    with torch.no_grad():
        assert (copy(images) - network.eval()(images)).abs().max() < 1e-5
