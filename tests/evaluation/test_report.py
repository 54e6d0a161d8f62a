import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from keensight.errors import DataError, RunError
from keensight.evaluation.advice import warnings
from keensight.evaluation.metrics import metrics, telling_mistakes
from keensight.evaluation.report import from_dict, to_dict
from keensight.evaluation.words import duration, percent, verdict
from keensight.explanation.weights import FirstLayer
from keensight.pages.pictures import Pictures
from keensight.pages.report import render_html
from keensight.values import AttackResult, Epoch, Floor, Report, Split, Threat

HOSTILE = ('<script>alert("x")</script>', '" onmouseover="alert(1)', "'; --><svg onload=alert(1)>", "{{ 7 * 7 }}")


def a_report(names=("husky", "nothusky"), n=200, skill=0.8, seed=0, **changes):
    rng = np.random.default_rng(seed)
    K = len(names)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, n - K)])
    scores = rng.dirichlet(np.ones(K), n) + skill * np.eye(K)[labels]
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    found = metrics(probabilities, labels, names, 0.6)
    split = Split(
        np.zeros((n, 4, 4, 3), np.uint8), np.arange(n), labels, tuple(f"{names[0]}/{i}.png" for i in range(n))
    )
    surest, nearest = telling_mistakes(probabilities, split, names)
    counts = {key: {name: 30 + 60 * k for k, name in enumerate(names)} for key in ("train", "val", "test")}
    report = Report(
        run="first", created="2026-07-30T14:05:00+00:00", seconds=125.0,
        data={"name": "huskies.zip", "sha256": "ab" * 32, "class_names": list(names), "counts": counts,
              "notes": ["12 pictures are in two splits."],
              "skipped": [{"path": "husky/broken.jpg", "reason": "the JPEG ends early"}]},
        recipe={"name": "default", "seed": 0, "flip": True, "options": {"width": 32}},
        preprocessing={"height": 4, "width": 4, "channels": 3, "fit": "squash"},
        model={"name": "cnn", "parameters": 3304769,
               "layers": [{"name": "conv 3×3", "shape": [32, 126, 126], "parameters": 896}]},
        history=tuple(Epoch(i, 1 / i, 0.5, 1.1 / i, 0.5 + i / 50, 1e-3, 1.0, i == 4, "the budget is spent" * (i == 5))
                      for i in range(1, 6)),
        temperature=1.43, abstain_below=0.6, val=found, test=found, uncalibrated_ece=0.081,
        floors=(Floor("majority class", 0.5, 0.51), Floor("logistic regression", 0.6, 0.62)),
        mistakes=surest, near_misses=nearest,
        attacks=(AttackResult("fgsm", Threat("linf", 0.1), 0.4, 100),),
        versions={"keensight": "0.1.0", "torch": "2.13.0"}, hardware="2 cores",
    )  # fmt: skip
    return dataclasses.replace(report, **changes)


def some(n):
    return [np.full((4, 4, 3), i, np.uint8) for i in range(n)]


def pictures_of(report):
    return Pictures(some(len(report.mistakes)), some(len(report.near_misses)))


def page_of(report, **more):
    return render_html(report, dataclasses.replace(pictures_of(report), **more))


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and text; refuses tags that do not match."""

    void = frozenset({"meta", "img", "br", "link", "input", "path", "use", "image"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", "".join(self.words))


@pytest.fixture
def without_figures(monkeypatch):
    """Leave figures empty, where only words are looked at: drawing takes most of a page's time."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **_: file.write("<svg></svg>"))


def test_json_and_back_loses_nothing():
    report = a_report()
    there = json.dumps(to_dict(report), allow_nan=False)
    assert from_dict(json.loads(there)) == report
    assert to_dict(from_dict(json.loads(there))) == to_dict(report)


def test_json_has_no_nan_no_numpy_and_no_half_characters():
    report = a_report(uncalibrated_ece=np.float64(0.25), test=None)
    broken = dataclasses.replace(report.history[0], val_loss=math.inf)
    report = dataclasses.replace(report, history=(broken,), run="caf\udce9")
    content = to_dict(report)
    json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    assert content["history"][0]["val_loss"] is None and math.isnan(from_dict(content).history[0].val_loss)
    assert type(content["uncalibrated_ece"]) is float and content["run"] == "caf\\udce9"
    page_of(report).encode()


@pytest.mark.parametrize("content", [{}, {"history": 3}, {**to_dict(a_report()), "surprise": 1}])
def test_from_dict_explains_what_it_cannot_read(content):
    with pytest.raises(RunError, match=r"report\.json"):
        from_dict(content)


def test_the_page_is_one_file_that_asks_nothing_of_anyone():
    html = page_of(a_report())
    page = Page(html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert value.startswith(("data:image/png;base64,", "#"))
    assert re.findall(r"url\((?!#)", html) == [] and "@import" not in html
    assert set(re.findall(r"https?://[^\"' ]+", html)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy and "img-src data:" in policy
    assert html == page_of(a_report())


@pytest.mark.parametrize("many", [False, True])
def test_hostile_text_is_shown_and_never_obeyed(many):
    names = HOSTILE + tuple(f"c{i}" for i in range(36 if many else 0))
    nasty = HOSTILE[0]
    report = a_report(names, run=nasty, hardware=nasty, versions={nasty: nasty}, recipe={nasty: nasty, "about": nasty})
    data = {**report.data, "name": nasty, "notes": [nasty], "skipped": [{"path": nasty, "reason": nasty}]}
    model = {"name": nasty, "parameters": 1, "layers": [{"name": nasty, "shape": nasty, "parameters": 1}]}
    attacks = (AttackResult(nasty, Threat("linf", 0.1), 0.5, 9),)
    floors = (Floor(nasty, 0.99, 0.99),)
    preprocessing = {**report.preprocessing, "fit": nasty}
    mistakes = tuple(dataclasses.replace(each, path='" onerror="alert(1)<') for each in report.mistakes)
    more = {"samples": {nasty: some(1)}, "first_layer": FirstLayer("linear", np.ones((len(names), 1, 2, 2)), names)}
    changes = {"data": data, "model": model, "attacks": attacks, "floors": floors, "preprocessing": preprocessing}
    page = Page(page_of(dataclasses.replace(report, **changes, mistakes=mistakes, created=nasty), **more))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(nasty) > 12 and "{{ 7 * 7 }}" in page.text


@pytest.mark.usefixtures("without_figures")
def test_everything_that_was_measured_is_on_the_page():
    report = a_report()
    text = Page(page_of(report)).text
    for words in ("huskies.zip", "12 pictures are in two splits.", "husky/broken.jpg", "the JPEG ends early", "2 cores",
                  "3,304,769", "32 × 126 × 126", "1.43", "2 min 5 s", "30 July 2026, 14:05 UTC", "torch 2.13.0", "fgsm",
                  "the budget is spent", "The weights of epoch 4 were kept", "8.1 points", "3.0 times as many",
                  "logistic regression", report.mistakes[0].path):  # fmt: skip
        assert words in text, words
    first = report.mistakes[0]
    assert f"called {first.predicted} ({100 * first.probability:.0f}\u202f%),labelled {first.label}" in text
    for each in report.val.per_class:
        assert f"{each.precision:.3f}" in text and f"{each.recall:.3f}" in text and f"{each.f1:.3f}" in text
    near = report.near_misses[0]
    assert (
        f"called {near.predicted} ({100 * near.probability:.0f}\u202f%),labelled {near.label} "
        f"({100 * near.label_probability:.0f}\u202f%)" in text
    )
    assert page_of(report).count("<img") == len(report.mistakes) + len(report.near_misses)


def test_samples_and_the_first_layer_are_shown_where_there_are_any():
    report = a_report()
    assert "What the model was shown" not in page_of(report) and "What it looks for first" not in page_of(report)
    layer = FirstLayer("linear", np.ones((1, 1, 4, 4)), ("husky", "nothusky"))
    html = page_of(report, samples={"husky": some(3), "nothusky": some(2)}, first_layer=layer)
    section = html[html.index("What the model was shown") : html.index("How did training go?")]
    assert re.findall(r"<bdi>(\w+)</bdi></dt><dd>((?:<img[^>]*>)+)", section) != []
    rows = dict(re.findall(r"<bdi>(\w+)</bdi></dt><dd>((?:<img[^>]*>)+)", section))
    assert {name: images.count("<img") for name, images in rows.items()} == {"husky": 3, "nothusky": 2}
    assert "of the 2 classes" not in section
    inside = html[html.index('<section id="model">') :]
    assert "a bright pixel speaks for “nothusky”" in inside and inside.count("<img") == 1
    assert "of 1 of the 2 classes" in page_of(report, samples={"husky": some(3)})


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(("odd", "said"), [(0.0, False), (0.05, True)])
def test_not_sure_is_told_from_none_of_these(odd, said):
    report = a_report()
    shown = dataclasses.replace(report.test, coverage=0.53, none_of_these=odd)
    text = plain(Page(page_of(dataclasses.replace(report, test=shown, abstain_below=0.6))).text)
    assert "It answers 53.0 % of the test pictures" in text
    assert f"It is not sure about {47 - 100 * odd:.1f} % of the pictures" in text
    assert (", and takes 5.0 % for none of these." in text) == said


@pytest.mark.usefixtures("without_figures")
def test_confused_pairs_are_said_in_words():
    report = a_report(("cat", "dog", "emu"), n=300, skill=0.3)
    pairs = [
        (count, a, b, sum(row))
        for a, row in zip(("cat", "dog", "emu"), report.val.confusion, strict=True)
        for b, count in zip(("cat", "dog", "emu"), row, strict=True)
        if a != b
    ]
    count, a, b, total = max(pairs, key=lambda pair: pair[0])
    text = Page(page_of(report)).text
    assert f"Most often “{a}” is called “{b}”: {count} of {total} pictures" in text


def with_accuracy(correct, n, floor, other):
    labels = np.array([0, 1] * (n // 2))
    called = np.where(np.arange(n) < correct, labels, 1 - labels)
    found = metrics(np.eye(2)[called] * 0.8 + 0.1, labels, ("husky", "nothusky"))
    floors = (Floor("majority class", 0.1, floor), Floor("logistic regression", 0.1, other))
    return a_report(test=found, floors=floors)


def plain(text):
    return text.replace("\u202f", " ").replace("\u2060", "")


@pytest.mark.usefixtures("without_figures")
def test_verdict_and_silence_of_a_good_model():
    report = with_accuracy(913, 1000, 0.753, 0.833)
    assert plain(verdict(report)) == (
        "Right on 91.3 % of 1,000 test pictures (95 % interval 89.4–92.9 %), 16 points above always answering "
        "“nothusky” and 8 points above logistic regression."
    )
    assert warnings(report) == []
    assert "Warning" not in page_of(report)


@pytest.mark.usefixtures("without_figures")
def test_where_the_largest_classes_are_as_large_none_is_called_the_majority():
    report = with_accuracy(913, 1000, 0.5, 0.833)
    assert "The majority class is “nothusky”." in Page(page_of(report)).text
    tie = dataclasses.replace(report, data={**report.data, "counts": {"train": {"husky": 9, "nothusky": 9}}})
    assert "41 points above one fixed answer" in verdict(tie)
    assert "majority class is" not in Page(page_of(tie)).text


@pytest.mark.usefixtures("without_figures")
def test_the_recipes_story_is_told_where_there_is_one():
    recipe = {"name": "husky", "about": "A house of cards.", "data": "huskies.zip", "caution": "", "reported": "75 %"}
    text = Page(page_of(a_report(recipe=recipe))).text
    assert "A house of cards." in text and "huskies.zip" in text and "reported" in text and "caution" not in text
    recipe |= {"about": "", "data": "", "reported": ""}
    text = Page(page_of(a_report(recipe=recipe, data={**a_report().data, "name": "mine"}))).text
    assert "husky" in text and "reported" not in text and "House" not in text


@pytest.mark.usefixtures("without_figures")
def test_a_model_below_a_floor_is_told_off():
    report = with_accuracy(620, 1000, 0.75, 0.62)
    assert "13 points below always answering “nothusky” and level with logistic regression" in verdict(report)
    below, touching = map(plain, warnings(report))
    assert below == "The model is below the majority class baseline of 75.0 %: do not use it as it is."
    assert touching == (
        "The model is level with the logistic regression baseline of 62.0 %, within the noise: a simpler model does "
        "as well."
    )
    assert page_of(report).count("<b>Warning.</b>") == 2


def test_a_hair_below_a_strong_floor_is_no_disgrace():
    (hair,) = map(plain, warnings(with_accuracy(2113, 2116, 0.5, 2115 / 2116)))
    assert hair == (
        "The model is below the logistic regression baseline of 99.95 %, within the noise: a simpler model does as "
        "well."
    )
    _, majority = map(plain, warnings(with_accuracy(74, 100, 0.75, 0.5)))
    assert "below the majority class baseline" in majority and "may have learnt nothing of use" in majority


def test_an_interval_that_reaches_the_floor_is_said():
    _, touching = map(plain, warnings(with_accuracy(80, 100, 0.75, 0.5)))
    assert "reaches down to the majority class baseline of 75.0 %" in touching and "100 pictures" in touching
    assert warnings(with_accuracy(800, 1000, 0.75, 0.5)) == []


@pytest.mark.usefixtures("without_figures")
def test_without_a_test_split_the_page_says_that_validation_chose():
    report = a_report(test=None, floors=(Floor("majority class", 0.5, None),))
    text = Page(page_of(report)).text
    assert "validation pictures (95" in verdict(report) and "always answering “nothusky”" in verdict(report)
    assert "There is no test split." in text and "used to choose the best epoch" in text
    assert "took no part in any choice" not in text


@pytest.mark.usefixtures("without_figures")
def test_empty_states():
    report = a_report(skill=50.0, history=(), attacks=(), floors=(), abstain_below=0.0, mistakes=(), near_misses=(),
                      temperature=1.0)  # fmt: skip
    data = {**report.data, "notes": [], "skipped": [], "counts": {"train": {"husky": 9, "nothusky": 8}, "val": {}}}
    text = Page(page_of(dataclasses.replace(report, data=data))).text
    for words in ("No training history was kept", "Nowhere: every one of the 200 test pictures", "It always answers",
                  "No baselines were measured", "Nothing stood out", "no picture was called by another"):  # fmt: skip
        assert words in text, words
    assert "Where was it nearly right?" not in text
    assert "How does it break?" not in text and plain(verdict(report)).startswith("Right on 100 % of 200 test pictures")


@pytest.mark.usefixtures("without_figures")
def test_a_table_of_many_layers_is_folded():
    layers = [{"name": f"Conv{i}", "shape": [8, 4, 4], "parameters": 10} for i in range(21)]
    for count, folded in ((20, False), (21, True)):
        model = {"name": "transfer", "parameters": 1234, "layers": layers[:count]}
        html = page_of(a_report(model=model))
        assert (f"<summary>All {count} layers of transfer, with 1,234 parameters</summary>" in html) == folded
        assert html.count("Conv19") == 1 and Page(html).open == []


@pytest.mark.usefixtures("without_figures")
def test_pictures_may_be_gone_but_not_half_gone():
    report = a_report()
    assert "<img" not in render_html(report, Pictures())
    given = pictures_of(report)
    for half in ({"mistakes": given.mistakes[:-1]}, {"near_misses": given.near_misses[:-1]}):
        with pytest.raises(DataError, match="one for each mistake"):
            render_html(report, dataclasses.replace(given, **half))


def test_figures_of_one_page_do_not_share_ids():
    ids = re.findall(r' id="([^"]+)"', page_of(a_report(tuple(f"c{i}" for i in range(40)), n=400)))
    clashes = {one for one in ids if ids.count(one) > 1}
    # Markers and clip paths are named by their content, so two of a name are the same shape.
    assert all(re.fullmatch(r"[mp][0-9a-f]{10}|image[0-9a-f]+", one) for one in clashes)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.913, "91.3 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
        (0.9997, "99.97 %"),
        (0.999999, "99.99 %"),
        (1e-9, "0.01 %"),
        (None, "–"),
    ],
)
def test_percent_never_rounds_to_all_or_nothing(share, text):
    assert plain(percent(share)) == text


def test_duration_carries():
    assert [duration(s) for s in (0.04, 59.6, 3599.7)] == ["0.0 s", "1 min 0 s", "1 h 0 min"]
