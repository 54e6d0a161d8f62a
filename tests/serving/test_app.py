import io
import json
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.data import pixels
from keensight.serving import decoding


def test_a_picture_is_answered_as_predict_answers_it(client, frozen):
    for file in sorted((frozen.parent / "pictures").iterdir()):
        (expected,) = keensight.predict(frozen, file)
        answer = client.post("/v1/predict", content=file.read_bytes()).json()
        (found,) = answer["predictions"]
        assert found["label"] == expected.label
        assert found["abstained"] == expected.abstained
        assert found["notes"] == list(expected.notes)
        assert found["file"] is None
        assert found["probability"] == pytest.approx(expected.probability, abs=1e-6)
        assert found["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-6)
        assert set(answer) == {"model", "version", "predictions", "timing_ms", "request_id"}
        assert set(answer["timing_ms"]) == {"decode", "queue", "model", "total"}


@pytest.mark.parametrize("content_type", ["image/png", "image/whatever", "application/octet-stream", None])
def test_content_types_of_one_picture(client, digit, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    assert client.post("/v1/predict", content=digit, headers=headers).status_code == 200


def test_another_content_type_is_refused(client, digit):
    answer = client.post("/v1/predict", content=digit, headers={"Content-Type": "application/json"})
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"


def test_many_pictures_have_answers_and_errors_of_their_own(client, digit, make_png):
    files = [
        ("file", ("dir/zero.png", digit, "image/png")),
        ("file", ("note.txt", b"no picture", "text/plain")),
        ("other", ("cut.png", digit[:60], "image/png")),
        ("file", ("black.jpg", make_png(size=(30, 20), kind="JPEG"), "image/jpeg")),
    ]
    answer = client.post("/v1/predict", files=files, data={"model": "frozen"})
    assert answer.status_code == 200
    zero, note, cut, black = answer.json()["predictions"]
    assert (zero["file"], zero["label"]) == ("zero.png", "0")
    assert (note["file"], note["error"]["code"]) == ("note.txt", "unsupported_format")
    assert (cut["file"], cut["error"]["code"]) == ("cut.png", "bad_picture")
    assert black["abstained"]
    assert any("blank" in line for line in black["notes"])
    assert len({zero["id"], black["id"]}) == 2


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "no_picture"),
        (b"just text", 415, "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n and then nothing", 400, "bad_picture"),
        (b"GIF89a", 400, "bad_picture"),
        (b"\xff\xd8\xff\xe0" + bytes(50), 400, "bad_picture"),
    ],
)
def test_a_bad_picture_is_refused(client, content, status, code):
    answer = client.post("/v1/predict", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM"])
def test_formats_that_only_files_may_have_are_refused(client, make_png, kind):
    assert client.post("/v1/predict", content=make_png(kind=kind)).status_code == 415


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_formats_that_are_accepted(client, make_png, kind):
    assert client.post("/v1/predict", content=make_png(kind=kind)).status_code == 200


PHONES = Path(__file__).parents[1] / "data" / "phones"


@pytest.mark.parametrize("name", ["plain.heic", "turned.heic", "plain.avif", "turned.avif"])
def test_pictures_of_phones_are_answered_as_predict_does(client, frozen, name):
    content = (PHONES / name).read_bytes()
    answer = client.post("/v1/predict", content=content, headers={"Content-Type": "image/heic"})
    (expected,) = keensight.predict(frozen, PHONES / name)
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


@pytest.mark.parametrize("name", ["plain.heic", "plain.avif"])
def test_pictures_of_phones_have_the_limits_of_others(make_client, name):
    content = (PHONES / name).read_bytes()
    answer = make_client(limits={"max_pixels": 40 * 24 - 1}).post("/v1/predict", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pixels")
    assert make_client().post("/v1/predict", content=content[:-40]).status_code == 400


def test_a_server_that_reads_no_heic_says_so(client, monkeypatch):
    pixels._heif_formats.cache_clear()
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    answer = client.post("/v1/predict", content=(PHONES / "plain.heic").read_bytes())
    pixels._heif_formats.cache_clear()
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_format")
    assert "reads no HEIC pictures" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer and not the picture"),
        (b"<!doctype html><title>Not found</title>", "an HTML page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\0\0\x18ftypcrx ", "a picture in CR3 format"),
    ],
)
def test_what_is_no_picture_is_told_by_its_name(client, content, says):
    message = client.post("/v1/predict", content=content).json()["error"]["message"]
    assert says in message and "JPEG, PNG, GIF, WebP, AVIF and HEIC are accepted" in message


def test_a_single_bad_picture_in_a_form_is_an_error_of_the_request(client):
    answer = client.post("/v1/predict", files={"file": ("note.txt", b"no picture")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_format")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(make_client, make_png):
    client = make_client(limits={"max_pixels": 100})
    answer = client.post("/v1/predict", content=make_png(size=(11, 10)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pixels")
    assert client.post("/v1/predict", content=make_png(size=(10, 10))).status_code == 200


def test_a_bomb_is_refused_by_its_header(client, make_png):
    bomb = bytearray(make_png())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # its height and width
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    answer = client.post("/v1/predict", content=bytes(bomb))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pixels")
    assert "up to 25,000,000 are accepted" in answer.json()["error"]["message"]


def scans(size, more):
    """A progressive JPEG in grey, with so many scans more than its size needs."""
    file = io.BytesIO()
    Image.new("L", size, 128).save(file, "JPEG", progressive=True)
    plain = file.getvalue()
    return plain[:-2] + more * plain[plain.rindex(b"\xff\xda") : -2] + b"\xff\xd9"


def test_a_bomb_of_scans_is_refused_by_its_structure(client):
    answer = client.post("/v1/predict", content=scans((2000, 2000), 3000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_much_work")
    assert answer.json()["error"]["message"] == (
        "Decoding it takes 3,006 passes over 4.0 megapixels. Save it again, as a plain JPEG or PNG."
    )


def test_a_picture_that_takes_a_while_is_decoded_apart_with_the_same_answer(client, frozen, make_png, tmp_path):
    file = tmp_path / "large.png"
    file.write_bytes(make_png(size=(1500, 1400)))
    (expected,) = keensight.predict(frozen, file)
    (found,) = client.post("/v1/predict", content=file.read_bytes()).json()["predictions"]
    assert (found["label"], found["probability"]) == (expected.label, pytest.approx(expected.probability, abs=1e-6))
    cut = client.post("/v1/predict", content=file.read_bytes()[:-2000])
    assert (cut.status_code, cut.json()["error"]["code"]) == (400, "bad_picture")


def test_decoding_ends_with_its_request(make_client, make_png):
    client = make_client(limits={"request_s": 0.2})
    service = client.app.state.service
    answer = client.post("/v1/predict", content=scans((5000, 5000), 15))
    # in the end it is the request's time or the process's that is over: both are set to the same moment
    assert (answer.status_code, answer.json()["error"]["code"]) in ((504, "timeout"), (413, "too_much_work"))
    while service.apart._running:
        time.sleep(0.01)
    assert service.places.taken == 0


def test_a_cut_picture_is_told_without_words_of_pillow(client, make_png):
    cut = make_png(size=(200, 200), kind="JPEG")[:-200]
    message = client.post("/v1/predict", content=cut).json()["error"]["message"]
    assert message == "It is damaged or cut short. JPEG, PNG, GIF, WebP, AVIF and HEIC are accepted."


@pytest.mark.parametrize(
    ("path", "query", "form", "code"),
    [
        ("/v1/predict", {"model": "frozen"}, {"model": "other"}, "parameter_twice"),
        ("/v1/predict", {}, {"modle": "frozen"}, "unknown_parameter"),
        ("/v1/predict", {}, {"file": "picture"}, "unknown_parameter"),
        ("/v1/predict", {}, {"label": "3"}, "unknown_parameter"),
        ("/v1/predict", {}, {"model": "other"}, "unknown_model"),
        ("/v1/explain", {}, {"model": "other"}, "unknown_model"),
        ("/v1/explain", {}, {"label": "other"}, "unknown_label"),
        ("/v1/explain", {}, {"format": "gif"}, "unknown_format"),
        ("/v1/explain", {"x": ""}, {}, "unknown_parameter"),
        ("/v1/verdict", {"id": "x"}, {}, "unknown_parameter"),
        ("/v2/models/frozen/infer", {"binary_data_output": "true"}, {}, None),
    ],
)
def test_what_a_form_or_an_address_asks_for_is_known_or_refused(client, digit, path, query, form, code):
    answer = client.post(path, params=query, data=form, files={"file": ("a.png", digit)})
    assert answer.status_code in (400, 404)
    assert ("no parameter" in answer.json()["error"]) if code is None else answer.json()["error"]["code"] == code


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/frozen/card", "/v1/models/frozen/report", "/v2/models/frozen", "/metrics"]
)
def test_what_takes_no_parameter_says_so(client, path):
    answer = client.get(path, params={"model": "x"})
    assert answer.status_code == 400
    assert "It takes none in its address" in answer.text


def test_a_parameter_twice(client, digit):
    answer = client.post("/v1/predict?model=frozen&model=frozen", content=digit)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter_twice")


def test_the_model_that_a_form_names_answers(make_client, make_bundle, frozen, tmp_path, digit):
    client = make_client(frozen, make_bundle(tmp_path / "second"))
    for options in ({"data": {"model": "second"}}, {"params": {"model": "second"}}):
        answer = client.post("/v1/predict", files={"picture": ("a.png", digit)}, **options)
        assert answer.json()["model"] == "second"


def test_an_explanation_is_asked_for_by_a_form_or_by_accept(client, digit):
    asked = {"label": "3", "format": "json"}
    by_form = client.post("/v1/explain", data=asked, files={"file": ("a.png", digit)}).json()
    assert by_form["label"] == "3"
    assert client.post("/v1/explain", params=asked, content=digit).json() == by_form
    for accept, kind in (
        ("application/json", "application/json"),
        ("*/*", "image/png"),
        ("image/png, application/json", "image/png"),
    ):
        answer = client.post("/v1/explain", content=digit, headers={"Accept": accept})
        assert answer.headers["Content-Type"] == kind


def test_a_part_of_a_file_is_refused(client, digit):
    answer = client.post("/v1/predict", content=digit, headers={"Content-Range": f"bytes 0-9/{len(digit)}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "partial")


def test_a_misspelt_parameter_is_not_ignored(client, digit):
    answer = client.post("/v1/predict?modle=frozen", content=digit)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")
    assert "Did you mean 'model'?" in answer.json()["error"]["message"]


def test_models_tells_what_the_page_needs(client):
    answer = client.get("/v1/models").json()
    assert (answer["keep"], answer["max_bytes"], answer["max_pictures"]) == (False, 10_000_000, 32)
    (model,) = answer["models"]
    accuracy = model.pop("accuracy")
    version = model.pop("version")
    assert len(version) == 12
    assert set(version) <= set("0123456789abcdef")
    assert accuracy["split"] == "test"
    assert 0 < accuracy["low"] < accuracy["value"] < accuracy["high"] < 1
    assert accuracy["n"] == 269
    assert model == {
        "name": "frozen", "labels": list("0123456789"), "height": 8, "width": 8, "channels": 1, "fit": "squash",
        "abstain_below": 0.6, "signed": True, "verified": False, "signed_by": None, "default": True,
        "drawing": True, "parameters": 650,
        "warnings": [],
    }  # fmt: skip


def test_a_model_can_be_named_with_or_without_its_version(make_client, make_bundle, frozen, digit, tmp_path):
    other = make_bundle(tmp_path / "other", "changed")
    client = make_client(frozen, other)
    first, second = client.get("/v1/models").json()["models"]
    assert [first["default"], second["default"]] == [True, False]
    assert client.post("/v1/predict", content=digit).json()["model"] == "frozen"
    for name in ("other", f"other@{second['version']}"):
        answer = client.post("/v1/predict", params={"model": name}, content=digit).json()
        assert (answer["model"], answer["version"]) == ("other", second["version"])
    for name in ("othr", f"other@{first['version']}", "other@"):
        answer = client.post("/v1/predict", params={"model": name}, content=digit)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")
    assert "Did you mean 'other'" in client.post("/v1/predict?model=othr", content=digit).text


def test_card_and_report(client, frozen):
    card = client.get("/v1/models/frozen/card")
    assert card.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert card.content == (frozen / "MODEL_CARD.md").read_bytes()
    report = client.get("/v1/models/frozen/report")
    assert report.content == (frozen / "report.html").read_bytes()
    assert report.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert client.get("/v1/models/nix/card").status_code == 404


def test_explain_as_numbers_and_as_a_picture(client, digit):
    answer = client.post("/v1/explain?format=json", content=digit).json()
    assert (answer["label"], answer["height"], answer["width"]) == ("0", 8, 8)
    assert np.array(answer["heat"]).shape == (8, 8)
    assert np.array(answer["heat"]).max() > 0
    picture = client.post("/v1/explain", content=digit)
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    assert float(picture.headers["X-Largest-Drop"]) == pytest.approx(np.abs(answer["heat"]).max(), abs=1e-4)
    other = client.post("/v1/explain?format=json&label=8", content=digit).json()
    assert other["label"] == "8"
    assert other["probability"] < answer["probability"]


@pytest.mark.parametrize(
    ("query", "code"), [("label=nine", "unknown_label"), ("format=gif", "unknown_format"), ("model=x", "unknown_model")]
)
def test_explain_refuses_what_it_does_not_know(client, digit, query, code):
    assert client.post(f"/v1/explain?{query}", content=digit).json()["error"]["code"] == code


def test_one_explanation_at_a_time(make_service, make_client, digit):
    service = make_service()
    client = make_client(service=service)
    with service.explaining.take():
        answer = client.post("/v1/explain", content=digit)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert client.post("/v1/explain", content=digit).status_code == 200


def test_a_server_that_explains_nothing_says_so(make_service, make_client, digit):
    client = make_client(service=make_service(explains=False))
    answer = client.post("/v1/explain", content=digit)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_explained")
    assert "--no-explain" in answer.json()["error"]["message"]
    assert client.get("/v1/models").json()["explain"] is False
    assert client.post("/v1/predict", content=digit).status_code == 200


def test_a_verdict_without_keep_is_not_found(client):
    assert client.post("/v1/verdict", json={"id": "0" * 32, "right": True}).status_code == 404


def test_nothing_there_and_wrong_methods_are_json_too(client):
    assert client.get("/nothing").json()["error"]["code"] == "not_found"
    answer = client.get("/v1/predict")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_no_model_yet_is_not_ready(make_service, make_client, digit):
    from keensight.serving.registry import Registry
    from keensight.serving.service import Service

    client = make_client(service=Service(Registry(lambda *_, **__: None), log=lambda *_, **__: None))
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.post("/v1/predict", content=digit).json()["error"]["code"] == "no_model"
    assert client.get("/v1/models").json()["models"] == []


def test_no_torch_in_the_server():
    heavy = "{'torch', 'sqlalchemy', 'sklearn', 'matplotlib', 'onnx', 'pydantic'}"
    code = f"import sys, keensight.verbs.serve, keensight.cli.serve; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_answers_are_json_without_nan(client, digit):
    text = client.post("/v1/predict", content=digit).text
    json.loads(text, parse_constant=pytest.fail)


def test_a_large_picture_does_not_keep_small_ones_waiting(make_service, make_client, make_png, monkeypatch):
    service = make_service()
    client, waiting = make_client(service=service), threading.Event()
    finish = decoding._finish

    def slow(*job):  # large pictures are decoded in processes, each waited for by a thread
        waiting.wait(60)
        finish(*job)

    monkeypatch.setattr(decoding, "_finish", slow)
    large, answers = make_png(size=(5000, 4000)), []
    ask = lambda: answers.append(client.post("/v1/predict", content=large))  # noqa: E731
    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    assert client.post("/v1/predict", content=make_png()).status_code == 200
    assert answers == []
    waiting.set()
    for thread in asking:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 8
