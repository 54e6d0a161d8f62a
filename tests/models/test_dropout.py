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
