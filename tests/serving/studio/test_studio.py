"""The studio in a real Chromium, as a person uses it: from an empty folder to a downloaded model."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

import keensight

pytestmark = pytest.mark.thorough

DROP = """([files, name]) => {
  const transfer = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector(name ? `[data-name="${name}"]` : "body").dispatchEvent(event);
}"""
NARROW = {"width": 390, "height": 844}


def drawn(kind, seed):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(90, 140, (48, 48, 3), np.uint8))
    x, y, side = (int(n) for n in (*rng.integers(4, 18, 2), rng.integers(16, 26)))
    pen = ImageDraw.Draw(image)
    (pen.ellipse if kind == "round" else pen.rectangle)([x, y, x + side, y + side], fill=(230, 230, 40 + seed % 200))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def dropped(kind, count, first=0):
    return [[f"{kind}{i}.png", base64.b64encode(drawn(kind, i)).decode()] for i in range(first, first + count)]


class Running:
    """The studio as a process of its own."""

    def __init__(self, folder, cache):
        words = [sys.executable, "-m", "keensight", "studio", str(folder), "--no-browser"]
        environment = os.environ | {"KEENSIGHT_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.url = self.process.stdout.readline().split()[1]

    def end(self):
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=60)
        return said


@pytest.fixture
def studio(tmp_path, own_cache):
    running = Running(tmp_path / "mine", own_cache)
    yield running
    assert running.end() == ""


@pytest.fixture
def page(chromium, studio):
    context = chromium.new_context(viewport={"width": 1000, "height": 800}, bypass_csp=True, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((studio.url[:21], "blob:", "data:")) else wrong.append(asked.url),
    )
    page.goto(studio.url)
    page.locator("#budgets input").first.wait_for()
    yield page
    context.close()
    assert not wrong


def says(page, selector, text, seconds=60):
    page.locator(selector, has_text=text).first.wait_for(timeout=1000 * seconds)


def collect(page, **counts):
    for name, count in counts.items():
        page.fill("#class-name", name)
        page.click("text=Add class")
        page.locator(f'[data-name="{name}"]').wait_for()
        page.evaluate(DROP, [dropped(name, count), name])
        says(page, f'[data-name="{name}"] p', f"{count} picture")


@pytest.mark.slow
def test_from_an_empty_folder_to_a_downloaded_model(page, studio, tmp_path, violations):
    """With a second tab, a reload in the middle, a phone, the dark, and axe."""
    other = page.context.new_page()
    other.goto(page.url)
    collect(page, round=40, square=40)
    says(other, '[data-name="square"] p', "40 picture")
    page.evaluate(DROP, [[["notes.txt", base64.b64encode(b"hello").decode()]], "round"])
    says(page, "#refused", "not a picture")
    page.click('[data-key="round/look"]')
    page.locator("#grid:focus .tile").first.wait_for()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Delete")
    says(page, "#chosen", "38 pictures")
    page.keyboard.press("Escape")
    says(page, '[data-name="round"] p', "38 picture")  # so that the 40 below are new
    page.click("#undo")
    says(page, '[data-name="round"] p', "40 picture")
    page.click("#start")
    says(page, "#stage", "Training:", 120)
    page.reload()
    says(page, "#ended", "The model is ready", 500)
    says(other, "#ended", "The model is ready")
    page.set_input_files("#try-file", {"name": "new.png", "mimeType": "image/png", "buffer": drawn("round", 999)})
    page.locator("#answer .bars").wait_for()
    assert page.locator("#answer .bars li").count() == 2
    page.click("text=Where did it look?")
    assert page.locator("#try-look").get_attribute("src").startswith("data:image/png;base64,")
    with page.expect_download() as download:
        page.click("text=Download the model")
    download.value.save_as(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as packed:
        packed.extractall(tmp_path / "model")
    (place,) = (tmp_path / "model").iterdir()
    predictor = keensight.load(place / "bundle", key=place / "signing-key.pem.pub")
    (tmp_path / "new.png").write_bytes(drawn("round", 999))
    answer = predictor.predict(tmp_path / "new.png")[0]
    says(page, "#answer .best", answer.label)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.click("#camera-live")
    page.locator("#rate:not(:empty)").wait_for()
    page.click("#camera-live")


def test_a_chosen_folder_becomes_classes_and_what_is_wrong_stays_in_sight(page, tmp_path):
    for kind, i in (("round", 1), ("round", 2), ("square", 1)):
        file = tmp_path / "mixed" / kind / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(drawn(kind, i))
    (tmp_path / "mixed" / "round" / ".DS_Store").write_bytes(b"x")
    page.set_input_files("#folder-files", tmp_path / "mixed")
    says(page, '[data-name="round"] p', "2 picture")
    says(page, '[data-name="square"] p', "1 picture")
    assert page.locator("#progress").inner_text() == "3 pictures added."
    page.set_viewport_size(NARROW)
    page.fill("#class-name", "a/b")
    page.click("text=Add class")
    says(page, "#trouble", "a sign that folders cannot have")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("document.getElementById('trouble').getBoundingClientRect().top") >= 0
    last = page.locator("nav a").last.bounding_box()
    assert last["x"] + last["width"] <= NARROW["width"]  # all steps are to be seen


def test_a_killed_training_says_so(page, studio, tmp_path):
    collect(page, round=12, square=12)
    page.click("#start")
    says(page, "#stage", "Training:")
    children = subprocess.run(
        ["pgrep", "-P", str(studio.process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    says(page, "#ended", "ended its process")
    assert "Begin again" in page.locator("#ended").inner_text()  # nothing was kept yet
    assert page.is_enabled("#start")


def test_findings_are_decided_about_and_the_camera_collects(page, tmp_path, until):
    collect(page, round=12, square=12)
    page.evaluate(DROP, [[["copy.png", dropped("round", 1)[0][1]]], "square"])
    says(page, '[data-name="square"] p', "13 picture")
    page.click("#audit")
    page.locator("#check #job").wait_for()  # beside what was pressed
    page.locator(".finding li button").first.wait_for(timeout=300_000)
    assert "copy.png" not in page.locator(".finding > p").first.inner_text()  # the picture itself stands below
    page.get_by_label("Remove square/copy.png").first.click()
    says(page, '[data-name="square"] p', "12 picture")
    says(page, ".finding .decided", "removed")
    page.click("#undo")
    says(page, '[data-name="square"] p', "13 picture")
    page.get_by_label("Remove square/copy.png").first.click()
    says(page, '[data-name="square"] p', "12 picture")
    record = tmp_path / "mine" / "pictures.decisions.jsonl"
    assert json.loads(record.read_text().splitlines()[-1])["action"] == "drop"
    page.click('[data-key="round/camera"]')
    page.locator("#shoot:enabled").click()
    says(page, "#shots", "1 picture")
    page.click("#series")
    page.wait_for_function("parseInt(document.getElementById('shots').textContent) >= 3")
    page.click("#camera-dialog [data-close]")
    until(page, lambda: len(list((tmp_path / "mine" / "pictures" / "round").glob("camera-*.jpg"))) >= 3)
