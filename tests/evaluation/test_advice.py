import dataclasses
import json

import numpy as np
import pytest

from keensight.evaluation.advice import enough, is_thin, next_steps, to_decide, warnings
from keensight.evaluation.metrics import metrics
from keensight.evaluation.report import from_dict, to_dict
from keensight.values import CrossValidation, Epoch, Floor, Mistake, Report


def measured(right, n):
    labels = np.arange(n) % 2
    called = np.where(np.arange(n) < right, labels, 1 - labels)
    return metrics(np.eye(2)[called] * 0.8 + 0.1, labels, ("a", "b"), 0.0)


def a_report(right=913, n=1000, val=None, train_accuracy=0.93, model="cnn", channels=3, per_class=400, px=32):
    shown = measured(right, n)
    return Report(
        run="r", created="", seconds=1.0, data={"name": "d", "counts": {"train": {"a": per_class, "b": per_class}}},
        recipe={}, preprocessing={"height": px, "width": px, "channels": channels, "fit": "squash"},
        model={"name": model, "parameters": 1, "layers": []},
        history=(Epoch(1, 1.0, train_accuracy, 1.0, 0.9, 0.1, 1.0, True, "done"),), temperature=1.0, abstain_below=0.6,
        val=val or shown, test=shown, uncalibrated_ece=0.0, floors=(Floor("majority class", 0.5, 0.5),), mistakes=(),
        near_misses=(), attacks=(), versions={}, hardware="",
    )  # fmt: skip


def plain(texts):
    return [text.replace("\u202f", " ") for text in texts]


def test_a_good_model_with_enough_pictures_needs_no_advice():
    assert warnings(a_report()) == [] and next_steps(a_report()) == []


def test_what_a_person_must_decide_about_the_pictures_is_told():
    report = a_report()
    report.data["findings"] = [{"kind": "held-out"}]
    assert to_decide(report) == []
    report.data["findings"].append({"kind": "label"})
    (step,) = to_decide(report, "'my pictures'")
    assert "keensight audit 'my pictures', " in step and "keensight clean" in step


def test_all_of_four_right_is_said_to_rest_on_four():
    report = a_report(4, 4)
    assert plain(warnings(report))[0] == (
        "The accuracy rests on 4 test pictures only: on many more, it may be anything from 51.0 % to 100 %, 49 points "
        "apart."
    )
    (*_, step) = next_steps(report)
    assert step.startswith("gather more test pictures: about ") and "give an interval of 10 points" in step


def test_cross_validation_is_told_beside_and_kept():
    report = dataclasses.replace(a_report(4, 4), crossed=CrossValidation(5, 28, 24 / 28, 0.685, 0.943))
    (said, *_) = plain(warnings(report))
    assert said.endswith(
        "in 5 folds, on the 28 training and validation pictures: 85.7 % (95 % interval 68.5 % to 94.3 %)."
    )
    assert not any("--seed" in step for step in next_steps(report))
    kept = json.loads(json.dumps(to_dict(report)))
    assert from_dict(kept).crossed == report.crossed
    del kept["crossed"]  # as in older runs
    assert from_dict(kept).crossed is None


@pytest.mark.parametrize(("right", "n", "thin"), [(4, 4, True), (49, 49, True), (60, 60, False), (80, 100, True),
                                                  (160, 200, False), (98, 100, False)])  # fmt: skip
def test_few_pictures_and_wide_intervals_are_thin(right, n, thin):
    assert is_thin(measured(right, n)) == thin


def test_enough_pictures_give_the_interval_that_was_said():
    for right, n in ((4, 4), (20, 30), (15, 30)):
        count, share = enough(measured(right, n)), (right + 2) / (n + 4)
        again = measured(round(share * count), count)
        assert again.accuracy_high - again.accuracy_low == pytest.approx(0.1, abs=0.012)


def test_a_model_that_learnt_by_heart_is_told_so_and_what_to_do():
    report = a_report(66, 100, measured(66, 100), train_accuracy=1.0, per_class=30)
    said = plain(warnings(report))
    assert any(
        "right on 100 % of the training pictures and on 66.0 % of the validation pictures" in text for text in said
    )
    assert any("(overfitting). 30 training pictures a class are few" in text for text in said)
    steps = next_steps(report)
    assert "--recipe husky-transfer" in steps[0] and "--set flip=true" in steps[1]
    assert not any("--recipe" in step for step in next_steps(dataclasses.replace(report, model={"name": "transfer"})))
    assert not any("--recipe" in step for step in next_steps(a_report(66, 100, train_accuracy=1.0, channels=1)))
    assert not any("--recipe" in step for step in next_steps(a_report(66, 100, train_accuracy=1.0, px=20)))


def test_confidence_that_few_pictures_checked_is_said_to_be_so():
    (said,) = [text for text in plain(warnings(a_report(val=measured(2, 2)))) if "confidence" in text]
    assert said == (
        "Its confidence was checked on 2 validation pictures only: where it is sure, it may still be wrong."
    )
    assert not any("confidence" in text for text in warnings(a_report(val=measured(19, 20))))


def test_a_model_that_seldom_answers_is_said_to():
    for coverage, none_of_these, expected in (
        (0.8, 0.1, None),
        (0.3, 0.1, "for 70.0 % of the test pictures, most of which it is not sure enough of"),
        (0.3, 0.6, "for 70.0 % of the test pictures, most of which it takes for none of these"),
    ):
        shown = dataclasses.replace(measured(90, 100), coverage=coverage, none_of_these=none_of_these)
        said = [
            text
            for text in plain(warnings(dataclasses.replace(a_report(), test=shown)))
            if "It gives no answer" in text
        ]
        assert said == [] if expected is None else expected in said[0]


def test_mistakes_are_to_be_looked_at_only_where_there_are_any():
    floors = (Floor("majority class", 0.5, 0.5), Floor("logistic regression", 0.97, 0.975))
    report = dataclasses.replace(a_report(265, 269), floors=floors)
    mistake = Mistake("a.png", "a", "b", 0.9, 0.1, 0)
    for mistakes, looks in (((), False), ((mistake,), True)):
        (*_, step) = next_steps(dataclasses.replace(report, mistakes=mistakes))
        assert ("look at the mistakes" in step) == looks and step.endswith("search for settings: keensight tune DATA")


def test_no_answer_that_is_right_is_not_called_noise_and_needs_no_more_pictures_to_measure_it():
    floors = (Floor("majority class", 0.5, 0.5), Floor("logistic regression", 0.0, 0.0))
    report = dataclasses.replace(a_report(0, 20, model="transfer"), floors=floors)
    said = warnings(report)
    assert "Neither the model nor the logistic regression baseline is right on a single test picture." in said
    assert not any("noise" in each for each in said)
    (step,) = next_steps(report)
    assert step.startswith("check that the test pictures show the same things under the same labels")
    assert next_steps(dataclasses.replace(a_report(1, 20, model="transfer"), floors=floors))[-1].startswith(
        "gather more test"
    )


def test_what_may_be_luck_is_not_followed_by_predicting():
    floors = (Floor("majority class", 0.5, 0.5), Floor("logistic regression", 0.97, 0.975))
    report = dataclasses.replace(a_report(265, 269), floors=floors)
    assert "may be luck" in warnings(report)[0] and "keensight tune DATA" in next_steps(report)[-1]
    assert next_steps(report, "pictures.zip")[-1].endswith("keensight tune pictures.zip")


def test_more_of_a_rare_class_is_asked_for_before_settings_are_searched():
    floors = (Floor("majority class", 0.96, 0.96),)
    report = dataclasses.replace(a_report(96, 100), floors=floors)
    rare = dataclasses.replace(report, data={"name": "d", "counts": {"train": {"husky": 6, "other": 140}}})
    (_, step, *_) = next_steps(rare)
    assert step.startswith("gather more pictures of 'husky': 6 in training, of 146, are too few")
    assert not any("tune" in step for step in next_steps(rare))
    assert not any("gather more pictures of" in step for step in next_steps(report))


def test_a_frozen_backbone_is_given_time_not_tuning():
    floors = (Floor("majority class", 0.96, 0.96),)
    steps = next_steps(dataclasses.replace(a_report(96, 100, model="transfer"), floors=floors))
    assert "give it more time: keensight train DATA --budget 10m" in steps and not any("tune" in step for step in steps)
    (step, *_) = next_steps(dataclasses.replace(a_report(96, 100, model="transfer", per_class=4), floors=floors))
    assert step == "gather more labelled pictures"


def test_pictures_of_few_pixels_are_said_to_show_little():
    floors = (Floor("majority class", 0.96, 0.96),)
    (step, *_) = next_steps(dataclasses.replace(a_report(96, 100, px=8), floors=floors))
    assert step == "use larger pictures if you have them: 8 x 8 pixels show little"
    assert not any("larger" in step for step in next_steps(a_report(px=8)))  # digits are read in so few


def test_one_mistake_of_eight_is_not_called_learnt_by_heart():
    report = a_report(8, 8, measured(7, 8), train_accuracy=1.0)
    assert not any("heart" in text for text in warnings(report))
    for right, said in ((24, False), (20, True)):
        crossed = CrossValidation(5, 25, right / 25, 0.5, 0.99)
        texts = plain(warnings(dataclasses.replace(report, crossed=crossed)))
        assert any("on 80.0 % of pictures held out in cross-validation" in text for text in texts) == said
