import numpy as np
import pytest
import torch

from keensight.models.zoo import build
from keensight.pipeline.run import keep_best
from keensight.pipeline.watch import Watcher
from keensight.training.checkpoint import load_state
from keensight.training.loop import start
from keensight.values import Preprocessing, Recipe, Split, Splits
from keensight.workspace import RunFolder, read_history

SIZE = Preprocessing(12, 12, 1)
RECIPE = Recipe().having(epochs=2, batch_size=32, pieces=2, rotate=10.0, precision="float32")


@pytest.fixture
def splits():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (160, 12, 12, 1), np.uint8), rng.integers(0, 3, 160)
    part = Split(images, np.arange(160), labels, ("",) * 160)
    return Splits(("a", "b", "c"), SIZE, part, part, None)


class Interrupts(Watcher):
    """Stops after a step."""

    def __init__(self, epoch, step):
        self.at = (epoch, step)

    def step(self, epoch, epochs, done, total):
        if (epoch, done) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("at", "kept"), [((1, 3), (0, 2)), ((2, 4), (1, 3))])
def test_a_checkpoint_in_mid_epoch_leads_to_the_same_bits(splits, tmp_path, at, kept):
    def begin():
        return start(build("cnn", {"dropout": 0.3}, SIZE, 3, 0), splits, RECIPE)

    whole, torn, resumed = begin(), begin(), begin()
    (tmp_path / "whole").mkdir()
    keep_best(RunFolder(tmp_path / "whole"), whole, splits, RECIPE, Watcher())
    files = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        keep_best(files, torn, splits, RECIPE, Interrupts(*at), every_s=1e-9)
    load_state(files.last, resumed)
    assert (len(resumed.history), resumed.partial.steps) == kept
    keep_best(files, resumed, splits, RECIPE, Watcher())
    ends = [torch.cat([each.flatten().double() for each in s.model.state_dict().values()]) for s in (whole, resumed)]
    assert torch.equal(*ends) and resumed.partial is None
    histories = [
        [(e.train_loss, e.val_loss, e.best) for e in read_history(f)] for f in (files, RunFolder(tmp_path / "whole"))
    ]
    assert histories[0] == histories[1]
