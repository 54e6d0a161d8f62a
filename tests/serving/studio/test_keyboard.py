"""The studio by keyboard alone, from two classes to a model, with axe's opinion of every state; and a crash."""

import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.thorough
BRIEF = """
import keensight.pipeline.finish
from keensight.verbs import train as verb
keensight.pipeline.finish.cross_validate = keensight.pipeline.finish.quick_robustness = lambda *_: None
whole = verb.train
def short(budget=None, resume=False, **order):
    more = {} if resume else {"set": ["model=logistic", "epochs=12", "size=16"]}
    return whole(**order, **more, resume=resume)
verb.train = short
"""
AFTER = """
import os
from keensight.verbs.studio_work import Teller
tell = Teller.epoch
def changed(self, epoch, epochs):
    tell(self, epoch, epochs)
    if epoch.number == {epoch}:
        {act}
Teller.epoch = changed
"""
CRASH = AFTER.format(epoch=5, act="os.kill(os.getpid(), 9)")
HOLD = AFTER.format(epoch=3, act="self.enough.wait()")
SEEN = "() => parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2"


def pictures(folder, name, level, count=16):
    """Files of noise, lighter at the left or the right, as a class has them."""
    rng, files = np.random.default_rng(level), []
    folder.mkdir(exist_ok=True)
    for i in range(count):
        pixels = rng.integers(0, 90, (24, 24, 3), np.uint8)
        pixels[:, 12 * level : 12 * level + 12] += 120
        files.append(folder / f"{name}{i}.png")
        Image.fromarray(pixels).save(files[-1])
    return list(map(str, files))


def reach(page, selector):
    """Press Tab until something has the focus, and see that a person sees where it is."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            assert page.evaluate(SEEN), f"the focus on {selector} is not seen"
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def has_focus(page, selector):
    page.locator(f"{selector}:focus").wait_for()


def make_class(page, name, files):
    reach(page, "#class-name")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.locator(f'[data-name="{name}"]').wait_for()
    reach(page, f'[data-key="{name}/add"]')
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(files)
    page.locator(f'[data-name="{name}"] p', has_text=f"{len(files)} pictures").first.wait_for()


def use_dialogs(page, violations):
    """The grid, the camera and the search: each gives the focus back to the button that opened it."""
    reach(page, '[data-key="left/look"]')
    page.keyboard.press("Enter")
    has_focus(page, "#grid")
    page.locator("#grid .tile").first.wait_for()
    assert violations(page) == []
    page.keyboard.press("End")
    page.keyboard.press("Space")
    for _ in range(8):  # nothing behind a dialog gets the focus
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
    reach(page, "#remove")
    page.keyboard.press("Enter")
    page.locator("#chosen", has_text="15 pictures").wait_for()
    page.keyboard.press("Escape")
    page.locator('[data-name="left"] p', has_text="15 pictures").first.wait_for()
    has_focus(page, '[data-key="left/look"]')
    reach(page, "#undo")
    page.keyboard.press("Space")
    page.locator('[data-name="left"] p', has_text="16 pictures").first.wait_for()

    reach(page, '[data-key="right/camera"]')
    page.keyboard.press("Enter")
    has_focus(page, "#shoot")
    assert violations(page) == []
    page.keyboard.press("Escape")
    has_focus(page, '[data-key="right/camera"]')

    reach(page, '[data-key="right/search"]')
    page.keyboard.press("Space")
    has_focus(page, "#gather-words")
    page.keyboard.press("Escape")
    has_focus(page, '[data-key="right/search"]')


def test_all_is_done_by_keyboard_alone(changed_studio, tmp_path, violations):
    page = changed_studio(BRIEF)
    assert violations(page) == []
    for level, name in enumerate(("left", "right")):
        make_class(page, name, pictures(tmp_path / "files", name, level))

    use_dialogs(page, violations)
    reach(page, "#start")
    page.keyboard.press("Enter")
    page.locator("#ended", has_text="The model is ready").wait_for(timeout=300_000)
    reach(page, "#models button")
    page.keyboard.press("Space")
    page.locator("#models li").first.wait_for()
    reach(page, "#choose-try")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(pictures(tmp_path / "new", "new", 1, 1))
    reach(page, "#answer button")
    page.keyboard.press("Space")
    page.locator("#try-look:visible").wait_for()
    reach(page, "#taking a")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "keensight-model-1.zip"
    reach(page, "#taking button")
    page.keyboard.press("Enter")
    page.locator("#trouble", has_text="could not be downloaded (connection refused). Connect to the network").wait_for()
    has_focus(page, "#taking button")
    assert violations(page) == []


def test_a_training_that_was_killed_goes_on_where_it_was(changed_studio, tmp_path, violations):
    page = changed_studio(BRIEF + CRASH)
    for level, name in enumerate(("left", "right")):
        make_class(page, name, pictures(tmp_path / "files", name, level))
    page.click("#start")
    page.locator("#ended", has_text="something ended its process. What it had learnt is kept").wait_for(timeout=300_000)
    assert violations(page) == []
    page.get_by_role("button", name="Go on with the interrupted one").click()
    page.locator("#ended", has_text="The model is ready").wait_for(timeout=300_000)
    state = json.loads(page.evaluate("fetch('api/state').then((answer) => answer.text())"))
    assert [epoch["number"] for epoch in state["job"]["epochs"]] == list(range(6, 13))
    assert [model["name"] for model in state["models"]] == ["1"]
    assert page.locator("#resume").is_hidden()


def test_a_training_that_is_stopped_early_keeps_its_best(changed_studio, tmp_path):
    page = changed_studio(BRIEF + HOLD)
    for level, name in enumerate(("left", "right")):
        make_class(page, name, pictures(tmp_path / "files", name, level))
    page.click("#start")
    page.locator("#curve", has_text="round 3 of 12").wait_for(timeout=300_000)
    page.get_by_role("button", name="Stop here, keep the best").click()
    page.locator("#ended", has_text="The model is ready").wait_for(timeout=300_000)
    state = json.loads(page.evaluate("fetch('api/state').then((answer) => answer.text())"))
    assert len(state["job"]["epochs"]) < 12
    assert page.locator("#models").inner_text().startswith("Model 1:")
