"""A bundle as one HTML file: what it holds, where its runtime comes from, and what it answers in a real Chromium."""

import base64
import hashlib
import html.parser
import http.server
import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import keensight
from keensight.deploy import web_runtime
from keensight.deploy.web_runtime import WebRuntime
from keensight.errors import KeensightError

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen"
RUNTIME = WebRuntime(b"var a={},b=1;export{a as InferenceSession,b as Tensor,a as env,b as default};\n", b"\0asm")
HOSTILE = "</script><script>alert(1)</script><!--"


class Elements(html.parser.HTMLParser):
    """The text of each script and style, by its id or else its name; and the policy."""

    def __init__(self, text):
        super().__init__()
        self.found, self.inside = {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.inside = named.get("id", tag) if tag in ("script", "style") else None
        if named.get("http-equiv") == "Content-Security-Policy":
            self.found["policy"] = named["content"]

    def handle_data(self, data):
        if self.inside:
            self.found[self.inside] = self.found.get(self.inside, "") + data

    def handle_endtag(self, _):
        self.inside = None


def hashed(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_all_is_in_one_file_that_may_connect_to_nothing(frozen, key, tmp_path, monkeypatch):
    monkeypatch.setattr(web_runtime, "web_runtime", lambda _: RUNTIME)
    done = keensight.deploy_page(frozen, out=tmp_path / "page", key=key, name="digits")
    assert [each.name for each in done.file.parent.iterdir()] == ["index.html"]
    assert (done.name, done.version, done.size_bytes) == ("digits", "0e80d139e671", done.file.stat().st_size)
    text = done.file.read_text()
    found = Elements(text).found
    assert found["policy"].split("; ") == [
        "default-src 'none'", f"script-src {hashed(found['script'])} 'wasm-unsafe-eval'",
        f"style-src {hashed(found['style'])}", "img-src blob:", "form-action 'none'", "base-uri 'none'",
    ]  # fmt: skip
    assert not re.search(r"https?://|\bsrc=|\bhref=|^import |^export ", text, re.MULTILINE)


def test_no_label_ends_the_element_that_it_stands_in(unsigned, tmp_path, monkeypatch):
    monkeypatch.setattr(web_runtime, "web_runtime", lambda _: RUNTIME)
    told = json.loads((unsigned / "bundle.json").read_text())
    told["labels"][0] = told["metrics"]["test"]["per_class"][0]["name"] = HOSTILE
    for split in told["metrics"].values():
        split["per_class"][0]["name"] = HOSTILE
    (unsigned / "bundle.json").write_text(json.dumps(told))
    done = keensight.deploy_page(unsigned, out=tmp_path / "page", unsigned=True)
    text = done.file.read_text()
    assert json.loads(Elements(text).found["facts"])["labels"][0] == HOSTILE
    assert "alert(1)</script" not in text


@pytest.fixture
def registry(monkeypatch):
    """A registry that sends what it is given, whatever it is asked for; returns its paths."""
    paths = []

    def start(content):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                paths.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                """Print nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/npm/")
        return paths

    servers = []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_runtime_with_another_content_is_refused_and_leaves_nothing(registry, frozen, key, tmp_path, own_cache):
    paths = registry(b"something else")
    with pytest.raises(KeensightError, match="another content than the one that was tested.*npm pack onnxruntime-web@"):
        keensight.deploy_page(frozen, out=tmp_path / "page", key=key)
    assert paths == [f"/npm/onnxruntime-web/-/{web_runtime.FILE}"]
    assert not (tmp_path / "page").exists()
    assert list((own_cache / "runtimes").iterdir()) == []


def test_without_a_network_it_says_what_to_do(deploy, frozen, tmp_path, monkeypatch):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    done = deploy("page", frozen, "--unsigned", "--out", tmp_path / "page")
    assert done.returncode == 1
    assert "could not be downloaded (connection refused). Connect to the network" in " ".join(done.stderr.split())
    (tmp_path / "other.tgz").write_bytes(b"x")
    done = deploy("page", frozen, "--unsigned", "--out", tmp_path / "page", "--runtime", tmp_path / "other.tgz")
    assert done.returncode == 2
    assert "with --runtime" in done.stderr


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory):
    """A cache with the real runtime."""
    cache = tmp_path_factory.mktemp("runtimes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEENSIGHT_CACHE", str(cache))
        try:
            web_runtime.web_runtime()
        except KeensightError as error:
            pytest.skip(f"npm's registry does not give ONNX Runtime for browsers: {error}")
    return cache


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Tiles of two photographs, a class each; and pictures of many kinds made from them, by name."""
    root = tmp_path_factory.mktemp("photographs")
    china, flower = (Image.fromarray(each) for each in load_sample_images().images)
    for label, image in (("china", china), ("flower", flower)):
        (root / "data" / label).mkdir(parents=True)
        for i in range(24):
            left, top = i % 6 * 100, i // 6 * 100
            image.crop((left, top, left + 100, top + 100)).save(root / "data" / label / f"{i}.png")
    kinds = root / "kinds"
    kinds.mkdir()
    both = Image.blend(china.resize((300, 200)), flower.resize((300, 200)), 0.5)  # of which no model is sure
    both.save(kinds / "plain.png")
    both.convert("L").save(kinds / "grey.png")
    both.convert("L").save(kinds / "grey.jpg")
    for i, how in enumerate(
        ({}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True, "restart_marker_rows": 2})
    ):
        both.resize((701, 467)).save(kinds / f"large-{i}.jpg", quality=80, **how)
    both.quantize(32).save(kinds / "palette.gif")
    both.save(kinds / "lossy.webp")
    both.resize((90, 400)).save(kinds / "tall.png")
    both.resize((31, 21)).save(kinds / "tiny.png")
    seen = both.convert("RGBA")
    seen.putalpha(Image.radial_gradient("L").resize(both.size))
    seen.save(kinds / "alpha.png")
    for turn in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        both.resize((120, 80)).save(kinds / f"turned-{turn}.jpg", exif=exif, quality=90)
    Image.new("RGB", (40, 40), "teal").save(kinds / "blank.png")
    return root


@pytest.fixture
def opened(visit_file, runtimes, tmp_path, monkeypatch):
    def opened(bundle, **verified):
        monkeypatch.setenv("KEENSIGHT_CACHE", str(runtimes))
        done = keensight.deploy_page(bundle, out=tmp_path / "page", **verified)
        page = visit_file(done.file, "#choose")
        page.locator("#state", has_text="ready").wait_for()
        return page

    return opened


def answers(page, files):
    """What the page says about each file: its title, the probabilities, and the words between."""
    found = []
    for file in files:
        page.set_input_files("#files", str(file))
        card = page.locator("#cards .card:not(.waiting)", has_text=file.name)
        card.wait_for()
        rows = card.locator(".bars li").evaluate_all(
            "all => all.map((each) => [each.firstChild.textContent, Number(each.querySelector('.value').title)])"
        )
        found.append((card.locator("h3").inner_text(), dict(rows), card.inner_text()))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("fit", ["squash", "crop", "letterbox"])
def test_it_answers_as_predict_does(brief, opened, photographs, tmp_path, fit):
    words = ["model=logistic", "epochs=3", "size=32", f"fit={fit}"]
    run = keensight.train(photographs / "data", out=tmp_path / "run", set=words)
    page = opened(run.bundle, unsigned=True)
    files = sorted((photographs / "kinds").iterdir())
    expected = keensight.load(run.bundle)(files)
    for file, answer, (title, shares, text) in zip(files, expected, answers(page, files), strict=True):
        assert shares == pytest.approx(dict(answer.probabilities), abs=1e-3), file
        assert title == (
            "None of these"
            if "none of these" in str(answer.reasons)
            else "Not sure"
            if answer.reasons
            else answer.label
        )
        assert ("It is blank" in text) == ("blank" in str(answer.reasons))
    assert len({answer.label for answer in expected}) == 2


@pytest.mark.thorough
def test_a_drawing_on_paper_is_inverted_as_by_predict(trained, opened, tmp_path):
    dark = np.asarray(Image.open(FROZEN / "pictures" / "3.png").convert("L").resize((60, 60)))
    Image.fromarray(dark).save(tmp_path / "dark.png")
    Image.fromarray(255 - dark // 2).save(tmp_path / "paper.png")
    files = [tmp_path / "dark.png", tmp_path / "paper.png"]
    expected = keensight.load(trained.bundle)(files)
    page = opened(trained.bundle, unsigned=True)
    for answer, (_, shares, text) in zip(expected, answers(page, files), strict=True):
        assert shares == pytest.approx(dict(answer.probabilities), abs=1e-3)
        assert ("It was inverted" in text) == any("inverted" in note for note in answer.notes)
    assert [bool(answer.notes) for answer in expected] == [False, True]


@pytest.mark.thorough
def test_what_it_cannot_read_says_why_and_what_to_do(opened, frozen, key, tmp_path):
    (tmp_path / "a <b>picture.png").write_bytes(b"nothing")
    Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(tmp_path / "deep.png")
    shutil.copy(FROZEN / "pictures" / "3.png", tmp_path / "good.png")
    page = opened(frozen, key=key)
    assert "signed by the key d8bb0bd391c8182a" in page.locator("#made").inner_text()
    broken, deep, good = answers(page, [tmp_path / name for name in ("a <b>picture.png", "deep.png", "good.png")])
    assert broken[0] == deep[0] == "No answer"
    assert "Save it as JPEG or PNG" in broken[2] and "16 bits" in deep[2]
    assert good[0] == "3"


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_phone_and_keys_are_enough(
    watched, runtimes, frozen, key, violations, tmp_path, monkeypatch, scheme
):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(runtimes))
    done = keensight.deploy_page(frozen, out=tmp_path / "page", key=key)
    settings = {"viewport": {"width": 390, "height": 800}, "color_scheme": scheme, "reduced_motion": "reduce"}
    page, _ = watched(bypass_csp=True, **settings)
    page.goto(done.file.as_uri())
    page.locator("#state", has_text="ready").wait_for()
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([str(FROZEN / "pictures" / "3.png")])
    page.locator("#cards .card:not(.waiting)").wait_for()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.id") == "choose"
    assert page.locator("#cards .card").count() == 0
