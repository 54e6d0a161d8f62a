"""Our kernels against torch's, which are what is used without them."""

import copy

import pytest
import torch
import torch.nn.functional as F

from keensight import kernels
from keensight.models import dropout, pooling
from keensight.models.articles import husky
from keensight.models.dropout import Dropout, seed_dropout
from keensight.models.pooling import MaxPool2d

needs_kernels = pytest.mark.skipif(kernels.library() is None, reason="keensight was installed without a C compiler")
DTYPES = (torch.float32, torch.bfloat16)


def _pictures(n, channels, height, width, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, height, width, channels, generator=generator).to(dtype).permute(0, 3, 1, 2)
    return images.requires_grad_()


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 7, 16, 24, 33])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 12), (7, 5), (3, 3)])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 3), (2, 3), (3, 1)])
def test_it_answers_as_torch_does(dtype, channels, height, width, kernel, stride):
    images = _pictures(3, channels, height, width, dtype)
    ours, torchs = MaxPool2d(kernel, stride)(images), F.max_pool2d(images, kernel, stride)
    assert type(ours.grad_fn).__name__ == "_MaxPoolBackward"
    assert torch.equal(ours, torchs) and ours.stride() == torchs.stride()
    given = torch.randn(torchs.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    (our_gradient,), (torchs_gradient,) = (torch.autograd.grad(y, images, given) for y in (ours, torchs))
    if kernel <= stride or dtype == torch.float32:
        assert torch.equal(our_gradient, torchs_gradient)
    else:  # torch rounds after each addition, we once: the true sum decides
        exact = images.detach().float().requires_grad_()
        (true,) = torch.autograd.grad(F.max_pool2d(exact, kernel, stride), exact, given.float())
        assert torch.equal(our_gradient, true.bfloat16())


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_equals_the_first_is_the_largest_and_what_is_no_number_is_larger(dtype):
    images = _pictures(4, 20, 6, 6, dtype).detach().round()  # full of equals, and of zeros with both signs
    images[0, :, 1, 2], images[1, 3], images[2, :, ::3], images[3] = float("nan"), float("inf"), -float("inf"), -0.0
    images.requires_grad_()
    ours, torchs = MaxPool2d(2)(images), F.max_pool2d(images, 2)
    torch.testing.assert_close(ours, torchs, rtol=0, atol=0, equal_nan=True)
    gradients = [torch.autograd.grad(y, images, torch.ones_like(y))[0] for y in (ours, torchs)]
    assert torch.equal(*gradients)


@needs_kernels
def test_a_gradient_may_come_in_any_layout():
    images = _pictures(2, 16, 8, 8)
    pooled = MaxPool2d(2)(images)
    given = torch.rand(2, 16, 4, 4)
    (ours,) = torch.autograd.grad(pooled, images, given, retain_graph=True)
    (torchs,) = torch.autograd.grad(F.max_pool2d(images, 2), images, given)
    assert torch.equal(ours, torchs)
    (summed,) = torch.autograd.grad(pooled.sum(), images)  # its gradient is one number, expanded
    assert torch.equal(summed, torch.autograd.grad(F.max_pool2d(images, 2).sum(), images)[0])


def test_what_the_kernels_are_not_made_for_is_left_to_torch():
    rows_first = torch.rand(2, 16, 8, 8)
    for layer, images in (
        (MaxPool2d(2), rows_first),
        (MaxPool2d(2), _pictures(2, 4, 8, 8, torch.float64).detach()),
        (MaxPool2d(2, padding=1), _pictures(2, 4, 8, 8).detach()),
        (MaxPool2d(17), _pictures(2, 4, 34, 34).detach()),
        (MaxPool2d((2, 1)), _pictures(2, 4, 8, 8).detach()),
        (MaxPool2d(3, 2, ceil_mode=True), _pictures(2, 4, 8, 8).detach()),
    ):
        assert torch.equal(layer(images), torch.nn.MaxPool2d.forward(layer, images))
    with pytest.raises(RuntimeError, match="too small"):
        MaxPool2d(2)(_pictures(2, 4, 1, 1))


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_learns_the_same_without_kernels(dtype, monkeypatch):
    images = _pictures(4, 3, 30, 30).detach()
    network = husky(30, 30, 3, 2).to(memory_format=torch.channels_last)
    gradients = []
    for compiled in (kernels.library(), None):
        for module in (pooling, dropout):
            monkeypatch.setattr(module, "library", lambda compiled=compiled: compiled)
        copied = copy.deepcopy(network)
        seed_dropout(copied, 5)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = F.cross_entropy(copied(images).float(), torch.tensor([0, 1, 1, 0]))
        gradients.append(torch.autograd.grad(loss, list(copied.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 15, 16, 1000, 4099])
def test_dropout_has_the_same_bits_without_kernels(dtype, count, monkeypatch):
    values = torch.randn(count, generator=torch.Generator().manual_seed(2)).to(dtype)
    values[0] = float("inf")  # times 0 is no number, here and there
    answers = []
    for compiled in (kernels.library(), None):
        monkeypatch.setattr(dropout, "library", lambda compiled=compiled: compiled)
        layer, inputs = Dropout(0.4), values.clone().requires_grad_()
        seed_dropout(layer, 1)
        outputs = layer(inputs)
        answers.append((outputs.detach(), *torch.autograd.grad(outputs, inputs, torch.arange(count).to(dtype))))
    for ours, torchs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=0, atol=0, equal_nan=True)
