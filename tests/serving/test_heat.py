import io

import numpy as np
import pytest
from PIL import Image

from keensight.data.pixels import decode_picture
from keensight.explanation.occlusion import occlusion
from keensight.serving.heat import heat, overlay
from keensight.serving.limits import Batching, RefusalError
from keensight.serving.registry import Source, load_model


@pytest.fixture
def model(frozen):
    return load_model(Source(frozen), None, Batching())


def test_it_is_the_occlusion_of_what_the_model_sees(model, digit):
    image = decode_picture(digit, model.bundle.preprocessing)
    found = heat(model, image, None, lambda: False)
    expected = occlusion(model.predictor.probabilities_as_seen, image, 0)
    assert found.label == "0"
    np.testing.assert_allclose(found.drop_HW, expected)


def test_it_says_whether_the_model_saw_the_negative(model, digit):
    image = decode_picture(digit, model.bundle.preprocessing)
    drawn, on_paper = (heat(model, each, None, lambda: False) for each in (image, 255 - image))
    assert (drawn.inverted, on_paper.inverted) == (False, True)
    np.testing.assert_allclose(on_paper.drop_HW, drawn.drop_HW)


def test_it_gives_up_when_time_is_up(model, digit):
    image = decode_picture(digit, model.bundle.preprocessing)
    with pytest.raises(RefusalError) as refused:
        heat(model, image, None, lambda: True)
    assert refused.value.status == 504


def test_an_overlay_is_strong_where_covering_costs():
    drops = np.zeros((8, 6))
    drops[2, 3], drops[6, 1] = 0.8, -0.4
    image = Image.open(io.BytesIO(overlay(drops)))
    assert (image.mode, image.size) == ("RGBA", (384, 512))
    pixels = np.asarray(image)
    blue, vermilion = pixels[2 * 64 + 32, 3 * 64 + 32], pixels[6 * 64 + 32, 64 + 32]
    np.testing.assert_allclose(blue[:3], (0, 114, 178), atol=2)
    np.testing.assert_allclose(vermilion[:3], (213, 94, 0), atol=2)
    assert blue[3] > vermilion[3] > 0
    assert pixels[500, 380, 3] == 0


@pytest.mark.parametrize(("shape", "size"), [((600, 300), (256, 512)), ((28, 28), (504, 504)), ((1, 1), (512, 512))])
def test_an_overlay_has_at_most_512_pixels(shape, size):
    assert Image.open(io.BytesIO(overlay(np.ones(shape)))).size == size
