import re

import numpy as np
import pytest

from keensight.explanation.activations import Activation
from keensight.explanation.occlusion import Evidence
from keensight.explanation.weights import FirstLayer
from keensight.pages.explanation import draw, place, render_html, verdict
from keensight.values import Prediction

NASTY = '<script>alert("x")</script>'
LAYERS = [Activation("network.0", np.ones((3, 2, 2), np.float32))]


def a_prediction(labels=("cat", "dog"), top=0.9, file="in/a.png", abstained=False, notes=()):
    others = (1 - top) / (len(labels) - 1)
    probabilities = {label: top if label == labels[0] else others for label in labels}
    return Prediction(file, labels[0], top, probabilities, abstained, notes)


def a_section(prediction, drop=2.3, layers=LAYERS, against=0.0):
    map_HW = np.zeros((10, 10))
    map_HW[1, 8], map_HW[9, 5] = drop, -against
    return draw(prediction, np.full((10, 10, 1), 99, np.uint8), map_HW, layers)


def a_page(*sections, name="digits", first_layer=None, refused=()):
    return render_html(name, 0.6, sections, first_layer, refused)


def text(html):
    words = re.sub(r"<style>.*?</style>|<[^>]*>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", words.replace("&#8239;", " ").replace("\u202f", " "))


def test_the_page_is_one_file_that_asks_nothing_of_anyone():
    html = a_page(a_section(a_prediction()), first_layer=FirstLayer("convolution", np.ones((2, 1, 3, 3)), ("a", "b")))
    assert html.startswith("<!doctype html>")
    assert not re.search(r"<(script|link|iframe|object|embed|form|base)\b|\son\w+=|https?://|@import", html)
    assert all(src.startswith("data:image/") for src in re.findall(r'src="([^"]*)"', html))
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    again = a_page(a_section(a_prediction()), first_layer=FirstLayer("convolution", np.ones((2, 1, 3, 3)), ("a", "b")))
    assert html == again


def test_everything_known_of_a_picture_is_on_the_page():
    said = text(a_page(a_section(a_prediction(labels=("cat", "dog", "emu"), notes=("was inverted",)))))
    for words in ("in/a.png", "“cat”, 90.0 %.", "cat 90.0 % dog 5.0 % emu 5.0 %", "The picture was inverted.",
                  "Covering the place at the upper right costs “cat” most: 2.3 points, so its odds",
                  "become 10 times smaller",
                  "rises by 2.3 falls by 2.3 points", "Convolution 1 of 1",
                  "1 picture, answered."):  # fmt: skip
        assert words in said, words
    assert "speaks against it" not in said and "abstains" not in said


def test_a_bar_is_as_long_as_its_probability():
    html = a_page(a_section(a_prediction(labels=("cat", "dog"), top=0.8125)))
    rows = re.findall(r'class="row( model)?"><span><bdi>(\w+)</bdi>.*?width:([\d.]+)%', html)
    assert rows == [(" model", "cat", "81.25"), ("", "dog", "18.75")]


def test_abstaining_is_said():
    said = text(a_page(a_section(a_prediction(top=0.55, abstained=True)), a_section(a_prediction())))
    assert "Not sure; perhaps “cat”, 55.0 %." in said
    assert "The model abstains below a probability of 60 %." in said
    assert "2 pictures, 1 answered; of 1 the model is not sure." in said
    blank = text(a_page(a_section(a_prediction(abstained=True, notes=("is blank",)))))
    assert "Not sure; perhaps “cat”, 90.0 %." in blank and "abstains below" not in blank


def test_a_class_activation_map_is_called_one():
    map_HW = np.zeros((10, 10))
    map_HW[1, 8], map_HW[9, 5] = 2.3, -1.0
    drawn = draw(a_prediction(), np.full((10, 10, 1), 99, np.uint8), map_HW, LAYERS, by_covering=False)
    said = text(a_page(drawn))
    for words in ("The place at the upper right speaks for “cat” most: it adds 2.3 points; without them",
                  "The place at the bottom speaks against it: it takes 1 point.",
                  "takes 2.3 adds 2.3 points", "a class activation map (Zhou et al. 2015, arXiv"):  # fmt: skip
        assert words in said, words
    assert "cover" not in said.lower()
    both = text(a_page(drawn, a_section(a_prediction())))
    assert "class activation map" in both and "patches of the picture's mean colour" in both


def test_evidence_against_the_answer_is_said():
    said = text(a_page(a_section(a_prediction(), drop=1.0, against=3.0)))
    assert "The place at the bottom speaks against it: covering it adds 3 points." in said
    assert "rises by 3.0 falls by 3.0 points" in said
    nothing = text(a_page(a_section(a_prediction(), drop=0.3)))
    assert "Covering any one place hardly changes the odds of “cat”" in nothing


def test_many_classes_and_many_pictures_are_folded():
    labels = tuple(f"class {k}" for k in range(40))
    html = a_page(*[a_section(a_prediction(labels=labels))] * 4)
    assert text(html).count("The other 30 classes") == 4
    assert html.count("<details") == 8 and "<h3>What its layers see</h3>" not in html
    assert a_page(*[a_section(a_prediction())] * 3).count("<details") == 0
    assert "What its layers see" not in a_page(a_section(a_prediction(), layers=[]))


def test_hostile_names_are_shown_and_never_obeyed():
    nasty = a_prediction(labels=(NASTY, '" onload="alert(1)'), file=NASTY, notes=(NASTY,))
    html = a_page(a_section(nasty), name=NASTY, first_layer=FirstLayer("linear", np.ones((1, 1, 2, 2)), (NASTY, NASTY)))
    assert "<script" not in html and 'onload="' not in html
    assert html.count("&lt;script&gt;") >= 8
    a_page(a_section(a_prediction(file="caf\udce9.png"))).encode()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (0.1, 0.1, "at the upper left"),
        (0.99, 0.99, "at the lower right"),
        (0.5, 0.9, "at the bottom"),
        (0.1, 0.5, "at the left"),
    ],
)
def test_places_have_names(x, y, words):
    assert place(Evidence(x, y, 0.1)) == words


def test_the_verdict_counts():
    sure, unsure = a_prediction(), a_prediction(abstained=True)
    assert verdict([sure] * 3) == "3 pictures, all answered."
    assert verdict([unsure]) == "1 picture, 0 answered; of 1 the model is not sure."
    assert verdict([sure] * 2, 1) == "3 pictures, 2 answered; 1 cannot be used."
    assert verdict([sure, unsure], 2) == "4 pictures, 1 answered; of 1 the model is not sure, and 2 cannot be used."


def test_what_cannot_be_used_is_named():
    html = a_page(a_section(a_prediction()), refused=[("in/text.png", "it is <no> picture"), (NASTY, "gone")])
    said = text(html)
    assert "3 pictures, 1 answered; 2 cannot be used." in said
    assert "Left out. in/text.png: it is &lt;no&gt; picture" in said and "<script" not in html
    assert "Left out." not in text(a_page(a_section(a_prediction())))
