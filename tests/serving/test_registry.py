import json
import shutil
from pathlib import Path

import pytest

from keensight.cli.serve import _ready as ready
from keensight.errors import BundleError, GateError
from keensight.serving.limits import Batching, RefusalError
from keensight.serving.registry import Registry, Source, load_model, sources_in, stamp_of


def quiet(event, **fields):
    pass


def test_a_key_is_asked_for(frozen, public_key, make_bundle, tmp_path):
    model = load_model(Source(frozen), public_key, Batching())
    assert (model.is_signed, model.is_verified) == (True, True)
    unsigned = make_bundle(tmp_path / "unsigned", "x")
    model = load_model(Source(unsigned), None, Batching())
    assert (model.is_signed, model.is_verified) == (False, False)
    with pytest.raises(GateError, match="is not signed"):
        load_model(Source(unsigned), public_key, Batching())


def test_weights_do_not_stay_in_memory(frozen):
    model = load_model(Source(frozen), None, Batching())
    assert set(model.texts) == {"MODEL_CARD.md", "report.html"}
    assert not model.bundle.files
    assert not model.predictor.onnx


def test_the_newest_version_answers(make_bundle, tmp_path):
    registry = Registry(quiet)
    for number, created in enumerate(("2026-03-01", "2026-09-01", "2026-06-01")):
        bundle = make_bundle(tmp_path / "digits" / f"v{number}", created)
        info = json.loads((bundle / "bundle.json").read_text())
        (bundle / "bundle.json").write_text(json.dumps(info | {"created": created}))
    for source in sources_in(tmp_path):
        registry.put(source, load_model(source, None, Batching()))
    assert [model.name for model in registry] == ["digits"] * 3
    newest = registry.find("digits")
    assert newest.created == "2026-09-01"
    assert [model["default"] for model in registry.described()] == [False, True, False]
    for model in registry:
        assert registry.named(f"digits@{model.version}") is model


def test_the_first_that_was_given_is_the_default_whatever_is_newer(make_bundle, tmp_path):
    registry = Registry(quiet)
    for number, created in enumerate(("2026-03-01", "2026-09-01")):
        bundle = make_bundle(tmp_path / str(number) / "digits", created)
        info = json.loads((bundle / "bundle.json").read_text())
        (bundle / "bundle.json").write_text(json.dumps(info | {"created": created}))
        registry.put(Source(bundle), load_model(Source(bundle), None, Batching()))
    assert registry.find().created == "2026-03-01"
    assert registry.find("digits").created == "2026-09-01"
    assert [model["default"] for model in registry.described()] == [True, False]


def test_the_log_tells_what_goes_on_beside_or_in_place(make_bundle, tmp_path):
    logged = []
    registry = Registry(lambda event, **fields: logged.append({"event": event, **fields}))
    sources = [Source(make_bundle(tmp_path / f"v{i}", f"{i}"), "digits") for i in range(2)]
    models = [load_model(source, None, Batching()) for source in sources]
    for source, model in zip(sources, models, strict=True):
        registry.put(source, model)
    assert [line["beside"] for line in logged] == [[], [models[0].version]]
    registry.refused(Source(tmp_path / "v3", "digits"), BundleError("damaged"))
    assert logged[-1]["serving"] in {model.version for model in models}
    registry.refused(Source(tmp_path / "v3", "letters"), BundleError("damaged"))
    assert logged[-1]["serving"] is None


def test_a_name_with_an_at_sign(make_bundle, tmp_path):
    registry = Registry(quiet)
    source = Source(make_bundle(tmp_path / "a@b", "x"))
    registry.put(source, load_model(source, None, Batching()))
    (model,) = registry
    assert registry.named("a@b") is model
    assert registry.named(f"a@b@{model.version}") is model
    with pytest.raises(RefusalError):
        registry.named("a")


def test_what_is_gone_is_dropped_but_never_the_last(make_bundle, frozen, tmp_path):
    registry = Registry(quiet)
    one, two = Source(frozen), Source(make_bundle(tmp_path / "two", "x"))
    for source in (one, two):
        registry.put(source, load_model(source, None, Batching()))
    registry.drop_all_but([two])
    assert [model.name for model in registry] == ["two"]
    registry.drop_all_but([])
    assert [model.name for model in registry] == ["two"]


def test_a_watched_folder_has_names_and_versions(make_bundle, tmp_path):
    make_bundle(tmp_path / "plain", "a")
    make_bundle(tmp_path / "run" / "bundle", "b")
    make_bundle(tmp_path / "many" / "1", "c")
    make_bundle(tmp_path / "many" / "2" / "bundle", "d")
    make_bundle(tmp_path / ".hidden", "e")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    found = [(source.name, source.path.relative_to(tmp_path).as_posix()) for source in sources_in(tmp_path)]
    assert found == [("many", "many/1"), ("many", "many/2"), ("plain", "plain"), ("run", "run")]
    with pytest.raises(BundleError, match="cannot be listed"):
        sources_in(tmp_path / "nothing")


def test_a_stamp_changes_with_a_file(make_bundle, tmp_path):
    source = Source(make_bundle(tmp_path / "one"))
    before = stamp_of(source)
    assert stamp_of(source) == before
    (source.path / "report.html").write_text("longer than it was before")
    assert stamp_of(source) != before
    assert stamp_of(Source(tmp_path / "gone")) == ()


@pytest.mark.parametrize(
    "metrics", [None, {}, {"test": None, "val": None}, {"test": {"accuracy": "x"}}, [], {"val": {"accuracy": 0.5}}]
)
def test_metrics_that_are_not_there_or_odd(frozen, metrics):
    from keensight.serving.registry import accuracy_of

    assert accuracy_of(metrics) is None


def test_an_edited_bundle_is_served_with_a_warning(make_service, frozen, tmp_path, capsys):
    bundle = Path(shutil.copytree(frozen, tmp_path / "edited", copy_function=shutil.copyfile))
    (bundle / "signature.json").unlink()
    said = []
    for changes in ({}, {"abstain_below": 0.0}):
        info = json.loads((bundle / "bundle.json").read_text())
        if changes:
            (bundle / "bundle.json").write_text(json.dumps(info | changes))
        ready(["http://127.0.0.1:1"], make_service(bundle).registry)
        said.append(capsys.readouterr().err)
    assert all("served without a signature: edited." in each for each in said)
    assert "changed since" not in said[0] and "changed since edited was made: bundle.json." in said[1]
