import csv
import hashlib
import json

import numpy as np
import pytest
import sqlalchemy

from keensight.cli import main
from keensight.data.sources import open_dataset
from keensight.errors import DataError, KeensightError, UsageError
from keensight.inference.predictor import load
from keensight.serving.keep import Keeper, export_kept


@pytest.fixture
def kept(make_service, make_client, tmp_path):
    """A client whose server keeps, and the folder."""
    service = make_service()
    service.keeper = Keeper(tmp_path / "kept", service.log)
    yield make_client(service=service), tmp_path / "kept"
    service.keeper.close()


def ask(client, content):
    return client.post("/v1/predict", content=content).json()["predictions"][0]


def rows(folder):
    engine = sqlalchemy.create_engine(f"sqlite:///{folder / 'answers.sqlite'}")
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("select * from answers")).mappings().all()
    engine.dispose()
    return found


def test_picture_answer_and_verdict_are_kept(kept, digit):
    client, folder = kept
    assert client.get("/v1/models").json()["keep"] is True
    answer = ask(client, digit)
    (row,) = rows(folder)
    assert (folder / row["file"]).read_bytes() == digit
    assert row["file"].endswith(f"{hashlib.sha256(digit).hexdigest()}.png")
    assert (row["id"], row["label"], row["is_right"]) == (answer["id"], "0", None)
    assert json.loads(row["probabilities"]) == answer["probabilities"]
    assert client.post("/v1/verdict", json={"id": answer["id"], "right": False, "label": "6"}).status_code == 204
    (row,) = rows(folder)
    assert (row["is_right"], row["true_label"]) == (0, "6")


def test_the_same_picture_is_one_file(kept, digit):
    client, folder = kept
    ask(client, digit)
    ask(client, digit)
    assert len(rows(folder)) == 2
    assert len([path for path in (folder / "pictures").rglob("*") if path.is_file()]) == 1


def test_bad_pictures_are_not_kept(kept, digit):
    client, folder = kept
    client.post("/v1/predict", content=b"x")
    client.post("/v1/predict", files=[("f", ("a.png", digit)), ("f", ("b.png", b"x"))])
    assert [row["sent_as"] for row in rows(folder)] == ["a.png"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "0" * 32, "right": True}, 404),
        ({"right": True}, 400),
        ({"id": 1, "right": True}, 400),
        ({"id": "0" * 32, "right": "yes"}, 400),
        ({"id": "0" * 32, "right": False, "label": 7}, 400),
        ({"id": "0" * 32, "right": False, "label": ""}, 400),
        ({"id": "0" * 32, "right": False, "label": "\x1b"}, 400),
        ({"id": "0" * 32, "right": False, "label": "x" * 201}, 400),
        ([], 400),
    ],
)
def test_verdicts_that_are_none(kept, body, status):
    assert kept[0].post("/v1/verdict", json=body).status_code == status


def test_an_id_that_no_database_takes_is_unknown(kept):
    for odd in ("\\ud800", "\\u0000"):
        body = f'{{"id": "{odd}", "right": true}}'
        answer = kept[0].post("/v1/verdict", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_id")


def test_a_verdict_must_be_json_so_that_other_sites_cannot_send_it(kept):
    assert kept[0].post("/v1/verdict", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_nothing_is_kept_without_keep(client, digit, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    client.post("/v1/predict", files=[("f", ("a.png", digit + bytes(3_000_000)))])
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_fails_does_not_take_the_answer_away(kept, digit, logged, make_png):
    client, folder = kept
    ask(client, digit)
    engine = sqlalchemy.create_engine(f"sqlite:///{folder / 'answers.sqlite'}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("drop table answers"))
    engine.dispose()
    assert ask(client, digit)["label"] == "0"
    assert [line["event"] for line in logged(client.app.state.service) if line["event"] == "not_kept"] == ["not_kept"]
    assert client.post("/v1/verdict", json={"id": "0" * 32, "right": True}).status_code == 503


def test_what_was_judged_becomes_a_manifest_to_train_on(kept, frozen, tmp_path):
    client, folder = kept
    pictures = sorted((frozen.parent / "pictures").iterdir())
    answers = [ask(client, file.read_bytes()) for file in pictures]
    judge = lambda i, **verdict: client.post("/v1/verdict", json={"id": answers[i]["id"], **verdict})  # noqa: E731
    judge(0, right=True)
    judge(1, right=False, label="8")
    judge(2, right=False)
    judge(3, right=False, label="5")
    judge(3, right=False, label="7")
    for out in (folder / "manifest.csv", tmp_path / "elsewhere.csv"):
        assert export_kept(folder, out) == (3, 1)
        with open(out) as file:
            lines = list(csv.DictReader(file))
        labels = {(out.parent / line["file"]).read_bytes(): line["label"] for line in lines}
        assert labels == {
            pictures[0].read_bytes(): answers[0]["label"],
            pictures[1].read_bytes(): "8",
            pictures[3].read_bytes(): "7",
        }
        dataset = open_dataset(out)
        assert sorted(dataset.class_names) == sorted({answers[0]["label"], "7", "8"})
        assert len(dataset.samples) == 3


def test_export_refuses_what_it_cannot_do(tmp_path, make_service):
    with pytest.raises(DataError, match="was not written by"):
        export_kept(tmp_path, tmp_path / "out.csv")
    Keeper(tmp_path / "kept", print).close()
    with pytest.raises(DataError, match="no picture yet that someone judged with a label"):
        export_kept(tmp_path / "kept", tmp_path / "out.csv")
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="names files below itself"):
        export_kept(tmp_path / "kept", tmp_path / "other" / "out.csv")


def test_databases_that_cannot_be_had(tmp_path):
    with pytest.raises(UsageError, match="not given a database URL"):
        Keeper(tmp_path, print, "nonsense")
    with pytest.raises(KeensightError, match="cannot be opened"):
        Keeper(tmp_path, print, f"sqlite:///{tmp_path}/no/where.sqlite")


def test_what_was_kept_can_be_trained_on(kept, make_png):
    client, folder = kept
    rng = np.random.default_rng(0)
    for level, label in ((60, "3"), (180, "8")) * 12:
        answer = ask(client, make_png(rng.integers(level - 40, level + 40, (8, 8), np.uint8)))
        client.post("/v1/verdict", json={"id": answer["id"], "right": False, "label": label})
    quick = ("--recipe", "logistic", "--set", "epochs=1", "--out", str(folder / "run"))
    for words in (("serve", "--export-kept", str(folder)), ("train", str(folder / "manifest.csv"), *quick)):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    assert load(folder / "run").bundle.labels == ("3", "8")


def test_a_label_that_the_model_does_not_have_is_no_verdict(kept, digit):
    client, folder = kept
    asked = {"id": ask(client, digit)["id"], "right": False}
    answer = client.post("/v1/verdict", json=asked | {"label": "sevn"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_label")
    assert rows(folder)[0]["is_right"] is None
    assert client.post("/v1/verdict", json=asked | {"label": None}).status_code == 204


def test_labels_of_several_models_do_not_come_together(make_service, make_client, make_bundle, digit, tmp_path):
    service = make_service(*(make_bundle(tmp_path / name, name) for name in ("ours", "theirs")))
    folder = tmp_path / "kept"
    service.keeper = Keeper(folder, service.log)
    client = make_client(service=service)
    for name in ("ours", "theirs"):
        answer = client.post(f"/v1/predict?model={name}", content=digit).json()["predictions"][0]
        client.post("/v1/verdict", json={"id": answer["id"], "right": name == "ours", "label": None})
    service.keeper.close()
    out = folder / "manifest.csv"
    with pytest.raises(UsageError, match="2 models, ours, theirs.* Choose one with --model"):
        export_kept(folder, out)
    with pytest.raises(UsageError, match="no judged answer of 'our'. Did you mean 'ours'"):
        export_kept(folder, out, model="our")
    assert export_kept(folder, out, model="ours") == (1, 0)
