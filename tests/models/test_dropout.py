import torch

from keensight.models.dropout import Dropout, seed_dropout


def test_it_silences_the_share_that_it_says_and_keeps_the_mean():
    layer, ones = Dropout(0.3), torch.ones(200_000)
    seed_dropout(layer, 0)
    outputs = layer(ones)
    assert abs((outputs == 0).float().mean() - 0.3) < 0.005 and abs(outputs.mean() - 1) < 0.01
    torch.testing.assert_close(outputs.max(), torch.tensor(1 / 0.7))


def test_once_trained_it_passes_everything():
    ones = torch.ones(100)
    assert torch.equal(Dropout(0.5).eval()(ones), ones) and torch.equal(Dropout(0.0)(ones), ones)


def test_a_seed_draws_the_same_again_whatever_others_draw():
    layer, ones = Dropout(0.5), torch.ones(1000)
    answers = []
    for _ in range(2):
        seed_dropout(layer, 7)
        torch.rand(3)
        answers.append(layer(ones))
    assert torch.equal(*answers) and not torch.equal(layer(ones), answers[0])


def test_every_chance_is_kept_in_every_layout_and_size():
    images = torch.ones(7, 5, 13, 11)
    for p in (0.001, 0.25, 0.999):
        for layout in (torch.contiguous_format, torch.channels_last):
            layer = Dropout(p)
            seed_dropout(layer, 3)
            silent = sum((layer(images.to(memory_format=layout)) == 0).sum().item() for _ in range(40))
            drawn = 40 * images.numel()
            assert abs(silent / drawn - p) < 5 * (p * (1 - p) / drawn) ** 0.5, p


def test_draws_of_neighbours_are_independent():
    layer, ones = Dropout(0.5), torch.ones(400_000)
    seed_dropout(layer, 1)
    kept = (layer(ones) > 0).double()
    for lag in (1, 2, 3, 4, 8):
        assert abs(torch.corrcoef(torch.stack([kept[:-lag], kept[lag:]]))[0, 1]) < 0.01
