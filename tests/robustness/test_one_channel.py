import pytest
import torch
from torch import nn

from keensight.robustness.one_channel import towards_pictures


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 5, 4, stride=2, padding=1),
        nn.Conv2d(1, 3, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1), bias=False),
        nn.Conv2d(1, 2, 1),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_pictures_are_those_of_torch(layer, layout):
    draw = torch.Generator().manual_seed(1)
    model = nn.Sequential(layer, nn.Tanh(), nn.Conv2d(layer.out_channels, 2, 2)).to(memory_format=layout)
    images = torch.rand(3, 1, 9, 11, generator=draw).requires_grad_()
    weights = torch.rand(model(images).shape, generator=draw)
    (expected,) = torch.autograd.grad((model(images) * weights).sum(), images)
    with towards_pictures(model), towards_pictures(model):
        answers = model(images)
        (found,) = torch.autograd.grad((answers * weights).sum(), images)
    torch.testing.assert_close(answers, model(images))
    torch.testing.assert_close(found, expected)
    assert "forward" not in vars(layer)
    with torch.autocast("cpu", torch.bfloat16), towards_pictures(model):
        (coarse,) = torch.autograd.grad((model(images).float() * weights).sum(), images)
    torch.testing.assert_close(coarse, expected, atol=0.02, rtol=0.1)


def test_weights_get_their_gradients_again_after_an_error():
    layer = nn.Conv2d(1, 2, 3)
    with pytest.raises(ZeroDivisionError), towards_pictures(layer):
        raise ZeroDivisionError
    layer(torch.rand(1, 1, 4, 4)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0
