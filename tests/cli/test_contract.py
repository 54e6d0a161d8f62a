"""The command line as a contract: verbs, JSON keys, exit statuses, and what is loaded for what."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keensight
from keensight.cli import VERBS
from keensight.evaluation.words import duration

METRICS = {"accuracy", "accuracy_low", "accuracy_high", "loss", "n"}  # what DESIGN.md promises of every one
LIMITS = (
    "max_bytes",
    "max_pixels",
    "max_pictures",
    "timeout",
    "keep_alive",
    "connections",
    "queue",
    "rate",
    "batch_size",
    "batch_wait",
)
CLUSTER = ("image", "namespace", "replicas", "max_replicas", "hostname", "gateway")
QUICK = ("--set", "epochs=2", "--set", "model=logistic")


# --- help and usage --------------------------------------------------------------------------------------------------


def test_help_lists_the_verbs_in_groups(cold):
    done = cold("--help")
    assert done.status == 0
    assert done.err == ""
    groups = [re.search(rf"\b{group}\b", done.out) for group in ("Data", "Train", "Trust", "Serve")]
    assert all(groups)
    starts = [group.start() for group in groups if group]
    assert starts == sorted(starts)
    homes = {"info": 0, "train": 1, "recipes": 1, "demo": 1, "evaluate": 2, "explain": 2, "predict": 3}
    for verb, group in homes.items():
        line = re.search(rf"^\W*{verb}  +\w", done.out, re.MULTILINE)
        assert line, verb
        end = starts[group + 1] if group < 3 else len(done.out)
        assert starts[group] < line.start() < end, f"{verb} is not under {group}"


def test_help_loads_nothing_heavy(lean):  # how fast it is, `make bench ROWS=help` measures
    heavy = {"torch", "onnxruntime", "openvino", "sklearn", "scipy", "matplotlib", "numpy", "PIL", "jinja2", "onnx"}
    done = lean("--help", without=heavy)
    assert done.status == 0, done.err
    assert "evaluate" in done.out


OPTIONS = {  # of every verb, by name: scripts use them, so one that goes or is renamed breaks somebody's work
    "info": "layers engines plot label-pattern cache clear-cache json",
    "gather": "out source count licence urls contact patience json",
    "explore": "out label-pattern json",
    "shard": "out size fit label-pattern json",
    "audit": "out against twins budget label-pattern json",
    "clean": "auto undo who label-pattern json",
    "train": "recipe budget checkpoint-every workers cluster reduce from out set seed resume label-pattern "
    "weights-only log json",
    "tune": "recipe trials budget set search lr-range out resume seed label-pattern workers cluster seeds json",
    "recipes": "json",
    "demo": "",
    "evaluate": "split label-pattern key json",
    "attack": "norm eps attacks steps most split label-pattern key seed out json",
    "certify": "eps split most branch smooth draws seed label-pattern key json",
    "compare": "split label-pattern attack eps out key json",
    "explain": "out key json",
    "sign": "key new-key json",
    "verify": "key json",
    "predict": "out sort-into least-sure-first workers cluster key json",
    "scan": "out find least scales step overlap alone key json",
    "serve": "host port key watch batch-size batch-wait queue max-bytes max-pixels max-pictures timeout keep-alive "
    "connections rate trusted-proxy allow-origin api-keys new-api-key grace keep keep-db no-explain export-kept model "
    "out",
    "deploy docker": "out key unsigned name no-explain image json",
    "deploy page": "out key unsigned name runtime json",
    "deploy kubernetes": "out key unsigned name no-explain image namespace replicas max-replicas cpu cpu-limit memory "
    "memory-limit hostname gateway label serve train workers storage credentials json",
    "import-keras": "out labels labels-file pixels size exclusive json",
    "studio": "port no-browser",
    "export": "to out weights-only max-drop even-if-slower label-pattern key json",
}
ARGUMENTS = {
    "info": "[ARGS]", "gather": "[ARGS...]", "clean": "DATA [ARGS]", "attack": "BUNDLE DATA...",
    "shard": "DATA...", "explore": "DATA", "audit": "DATA", "train": "DATA...", "tune": "DATA",
    "evaluate": "BUNDLE DATA...",
    "certify": "BUNDLE DATA...", "compare": "BUNDLE BUNDLE... DATA...", "explain": "BUNDLE PICTURES...",
    "sign": "[ARGS]", "verify": "BUNDLE", "predict": "BUNDLE PICTURES...",
    "scan": "BUNDLE SCENE", "studio": "[ARGS]", "serve": "[ARGS...]",
    "deploy docker": "BUNDLE", "deploy kubernetes": "BUNDLE", "deploy page": "BUNDLE", "import-keras": "FILE",
    "export": "BUNDLE [ARGS]",
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_its_arguments_and_options(warm, verb):
    done = warm(*verb.split(), "--help", COLUMNS="100")
    assert done.status == 0
    assert done.err == ""
    assert "\x1b" not in done.out
    (usage,) = re.findall(
        rf"^Usage: keensight {verb}(?: --[a-z-]+ [A-Z]+)*(?: \[OPTIONS\])?(.*)$", done.out, re.MULTILINE
    )
    assert usage.strip() == ARGUMENTS.get(verb, "")
    options = re.findall(r"^│ (?:[* ]  )?--([a-z0-9-]+)", done.out, re.MULTILINE)
    assert sorted(options) == sorted(OPTIONS[verb].split())
    explained = re.findall(r"^│ (?:[* ]  )?--([a-z0-9-]+)(?: [A-Z]+(?:\.\.\.)?)?  +\w", done.out, re.MULTILINE)
    assert explained == options
    assert "`" not in done.out.split("Examples:")[0]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_loads_nothing_heavy(lean, verb):
    """What is to be typed is known at once, and where the packages for training are missing, too."""
    heavy = {
        "torch",
        "onnxruntime",
        "openvino",
        "sklearn",
        "scipy",
        "matplotlib",
        "jinja2",
        "onnx",
        "starlette",
        "uvicorn",
        "ray",
    }
    done = lean(*verb.split(), "--help", without=heavy)
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("words", "keyword"),
    [
        (["trian", "digits"], "train"),
        (["train", "digits", "--recip", "dense"], "--recipe"),
        (["train"], "DATA"),
        (["predict", "bundle"], "PICTURES"),
        (["explain", "bundle"], "PICTURES"),
        (["train", "digits", "--seed", "seven"], "seed"),
        (["recipes", "--json", "extra"], "extra"),
        (["evaluate", "BUNDLE", "digits", "--split", "tset"], "train, val, test"),
        (["train", "digits", "--label-pattern", "{label}__*"], "label pattern"),
    ],
)
def test_wrong_usage_is_2(warm, digits, tmp_path, words, keyword):
    done = warm(*[digits if word == "BUNDLE" else word for word in words], cwd=tmp_path)
    assert done.status == 2
    assert done.out == ""
    assert keyword in done.paragraph()
    assert list(tmp_path.iterdir()) == []


DIFFERENT = {  # what a command has and its verb's function has not, or by another name, as README.md says
    "train": {"from"},  # a word of Python: from_
    "tune": {"lr_range"},
    "predict": {"workers", "cluster"},
    "sign": {"new_key"},
    "import-keras": {"labels_file"},
    "serve": {*LIMITS, "grace", "trusted_proxy", "allow_origin", "new_api_key", "export_kept", "model", "out"},
    "deploy kubernetes": {
        *CLUSTER,
        "cpu",
        "cpu_limit",
        "memory",
        "memory_limit",
        "label",
        "serve",
        "train",
        "workers",
        "storage",
        "credentials",
    },
}


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"demo", "recipes"}))
def test_the_verbs_functions_have_the_same_options(verb):
    options = {option.replace("-", "_") for option in OPTIONS[verb].split()} - {"json"}
    function = getattr(keensight, verb.replace("-", "_").replace(" ", "_"))
    assert options - DIFFERENT.get(verb, set()) <= set(inspect.signature(function).parameters)


def test_version(cold):
    from keensight import __version__

    assert cold("--version").out.strip() == __version__


# --- what is loaded --------------------------------------------------------------------------------------------------


def test_predict_loads_no_torch(lean, digits, tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "p.png")
    training = {"torch", "sklearn", "scipy", "matplotlib", "onnx", "safetensors", "jinja2", "tomli_w"}
    done = lean("predict", digits, tmp_path / "p.png", "--json", without=training)
    assert done.json()["label"] in "0123456789"


def test_a_signed_bundle_without_a_key_loads_no_cryptography(lean, tmp_path):
    from PIL import Image

    bundle = shutil.copytree(Path(__file__).parents[1] / "bundle" / "frozen" / "bundle", tmp_path / "bundle")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "p.png")
    done = lean("predict", bundle, tmp_path / "p.png", without={"cryptography"})
    assert done.status == 0 and "signed, but not checked" in done.err, done.err
    (bundle / "bundle.json").write_bytes((bundle / "bundle.json").read_bytes() + b" ")
    done = lean("predict", bundle, tmp_path / "p.png", without={"cryptography"})
    assert done.status == 3 and "bundle.json was changed" in done.err, done.err


def test_export_of_one_file_loads_no_torch(lean, digits, tmp_path):
    training = {"torch", "sklearn", "scipy", "matplotlib", "onnx", "safetensors", "jinja2", "tomli_w", "cryptography"}
    for words in (("--out", tmp_path / "m.onnx"), ("--weights-only", "--out", tmp_path / "m.safetensors")):
        done = lean("export", digits, *words, without=training)
        assert done.status == 0, done.err


def test_evaluate_and_info_load_no_torch(lean, digits, tmp_path):
    for words in (("evaluate", digits, "digits", "--json"), ("info", digits, "--json")):
        done = lean(*words, without={"torch", "matplotlib", "onnx", "jinja2"})
        assert done.status == 0, done.err


def test_the_probe_probes(lean, tmp_path):
    done = lean("train", "digits", "--out", tmp_path / "run", without={"torch"})
    assert done.status == 1
    assert "torch is imported" in done.err


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_audit(warm, tmp_path):
    said = warm("audit", "digits", "--out", tmp_path / "out", "--json").json()
    assert said["data"] == "digits" and said["pictures"] == 1797
    assert Path(said["page"]).read_bytes() and Path(said["out"]) == tmp_path / "out"
    for finding in said["findings"]:
        assert set(finding) == {"kind", "samples", "score", "evidence"}
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["findings"] == said["findings"]


def check_metrics(metrics: dict) -> None:
    assert set(metrics) >= METRICS
    assert 0 <= metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"] <= 1
    assert metrics["loss"] > 0
    assert isinstance(metrics["n"], int)


@pytest.mark.thorough
def test_train_json(cold, pictures, tmp_path):
    """The real thing: a process of its own, and pipes in place of a terminal."""
    done = cold("train", pictures, "--json", *QUICK, cwd=tmp_path)
    said = done.json()
    assert done.err == "note: 2 classes: lying 60, standing 60.\n", "what was found is all there is to say"
    assert set(said) >= {"run", "bundle", "seconds", "epochs", "metrics"}
    assert said["run"] == "runs/bars"
    assert said["bundle"] == "runs/bars/bundle"
    assert said["epochs"] == 2
    assert said["seconds"] > 0
    check_metrics(said["metrics"]["val"])
    check_metrics(said["metrics"]["test"])
    assert said["metrics"]["test"]["n"] == 18
    run = tmp_path / "runs" / "bars"
    report = json.loads((run / "report.json").read_text())
    assert said["metrics"] == {"val": report["val"], "test": report["test"]}
    assert {path.name for path in run.iterdir()} == {
        "recipe.toml", "data.json", "splits.jsonl", "history.jsonl", "last.safetensors", "best.safetensors",
        "report.json", "report.html", "bundle",
    }  # fmt: skip
    files = {"bundle.json", "model.onnx", "model.safetensors", "MODEL_CARD.md", "report.html", "sbom.cdx.json"}
    assert {path.name for path in (run / "bundle").iterdir()} == files


def test_train_text(warm, pictures, tmp_path):
    done = warm("train", pictures, "--out", tmp_path / "run", *QUICK)
    assert done.status == 0
    assert done.err == "note: 2 classes: lying 60, standing 60.\n"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.out), "no bars, no escape codes, no carriage returns"
    assert "test accuracy" in done.out
    assert "95 % interval" in done.out
    assert "logistic regression" in done.out
    assert "only 18 pictures" in done.out and "give an interval of 10 points" in done.out
    assert "keensight predict" not in done.out, "what may be luck is not what comes next"
    (time,) = re.findall(r"^training time  ([^,]+), 2 epochs; .*; .* in all$", done.out, re.MULTILINE)
    assert time == duration(json.loads((tmp_path / "run" / "report.json").read_text())["seconds"])
    assert f", training time {time}, on " in (tmp_path / "run" / "bundle" / "MODEL_CARD.md").read_text()
    assert f'<dt>Training time</dt><dd class="number">{time}<' in (tmp_path / "run" / "report.html").read_text()


def test_train_without_a_test_split(warm, pictures, tmp_path):
    said = warm("train", pictures, "--out", tmp_path / "run", "--json", *QUICK, "--set", "test_fraction=0").json()
    assert said["metrics"]["test"] is None
    check_metrics(said["metrics"]["val"])


def test_predict_json(warm, digits, pictures):
    files = sorted((pictures / "lying").iterdir())[:3]
    done = warm("predict", digits, *files, "--json")
    assert done.status == 0
    assert done.remarks == []
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    for line in lines:
        assert set(line) >= {"file", "label", "probability", "probabilities", "abstained"}
        assert list(line["probabilities"]) == list("0123456789")
        assert line["probability"] == line["probabilities"][line["label"]] == max(line["probabilities"].values())
        assert line["abstained"] == (line["probability"] < 0.6)


def test_predict_takes_run_or_bundle(warm, digits, pictures):
    file = pictures / "lying" / "0.png"
    assert warm("predict", digits, file).out == warm("predict", digits / "bundle", file).out


def test_recipes_json(warm):
    said = warm("recipes", "--json").json()
    assert set(said) >= {"default", "dense", "logistic"}
    assert said["dense"]["model"]["name"] == "dense"
    assert all(recipe["about"] for recipe in said.values())
    text = warm("recipes")
    assert all(name in text.out for name in said)


def test_info_json(warm, digits, pictures):
    assert warm("info", digits, "--json").json()["kind"] == "run"
    of_bundle = warm("info", digits / "bundle", "--json", "--layers").json()
    assert of_bundle["kind"] == "bundle"
    assert of_bundle["labels"] == list("0123456789")
    parameters = sum(layer["parameters"] for layer in of_bundle["layers"])
    assert parameters == of_bundle["model"]["parameters"]
    of_recipe = warm("info", "dense", "--json", "--layers").json()
    assert of_recipe["kind"] == "recipe"
    assert of_recipe["layers"][-1]["shape"] == [10]
    of_data = warm("info", pictures, "--json").json()
    assert of_data["kind"] == "data"
    assert of_data["counts"] == {"all": {"lying": 60, "standing": 60}}
    done = warm("info", "logistik")
    assert "Did you mean 'logistic'?" in done.refusal()


@pytest.mark.thorough
def test_demo(warm, tmp_path):
    done = warm("demo", cwd=tmp_path)
    assert done.status == 0, done.err
    found, chosen = done.err.splitlines()
    assert found.startswith("note: 10 classes: 0 178, 1 182")
    assert chosen.startswith("note: small grey pictures, 1,797 of them: a network from scratch.")
    assert "\x1b" not in done.out
    for word in (
        "Right on",
        "majority class",
        "when every pixel may move",
        "probability",
        "report.html",
        "keensight train",
    ):
        assert word in done.out
    run = tmp_path / "runs" / "digits"
    assert (run / "bundle" / "model.onnx").exists()
    assert list(run.glob("a-*.png"))


def test_a_reader_that_leaves(digits):
    """`keensight info BUNDLE --json | head -c 1` is no error to speak of."""
    command = [sys.executable, "-m", "keensight", "info", str(digits), "--json", "--layers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == 1
    assert said == b""


# --- equal numbers ---------------------------------------------------------------------------------------------------


def test_evaluate_equals_the_report(warm, digits):
    said = warm("evaluate", digits, "digits", "--split", "test", "--json").json()
    assert set(said) >= {"bundle", "data", "split", "metrics"}
    assert said["split"] == "test"
    report = json.loads((digits / "report.json").read_text())
    assert said["metrics"] == report["test"]
    said = warm("evaluate", digits / "bundle", "digits", "--split", "validation", "--json").json()
    assert said["split"] == "val"
    assert said["metrics"] == report["val"]


def test_evaluate_tells_what_is_answered_not_sure_and_none_of_these(warm, digits):
    said = warm("evaluate", digits, "digits", "--split", "test").out
    (shares,) = re.findall(
        r"^answered   (.+)% of the pictures; not sure (.+)%, none of these (.+)%$", said, re.MULTILINE
    )
    assert sum(map(float, shares)) == pytest.approx(100, abs=0.2)
    metrics = json.loads((digits / "report.json").read_text())["test"]
    assert float(shares[2]) == pytest.approx(100 * metrics["none_of_these"], abs=0.06)


def test_evaluate_of_all_that_was_learnt_says_so(warm, digits):
    done = warm("evaluate", digits, "digits", "--json")
    assert done.json()["split"] == "all"
    assert done.json()["metrics"]["n"] == 1797
    assert "--split test" in done.err


@pytest.mark.thorough
def test_evaluate_with_a_test_split_of_its_own(warm, make_pictures, tmp_path):
    data = tmp_path / "in"
    make_pictures(data / "training")
    make_pictures(data / "testing", num_each=20, seed=1)
    run = tmp_path / "run"
    trained = warm("train", data, "--out", run, "--json", "--set", "epochs=3")
    assert trained.json()["metrics"]["test"]["n"] == 40
    said = warm("evaluate", run, data, "--json").json()
    assert said["split"] == "test"
    assert said["metrics"] == trained.json()["metrics"]["test"]
    assert warm("evaluate", run, data, "--split", "val", "--json").json()["metrics"] == trained.json()["metrics"]["val"]


def test_evaluate_of_the_same_pictures_under_other_names(warm, pictures, tmp_path):
    """What was held out is told by content: renaming files must not smuggle learnt pictures into the test."""
    run = tmp_path / "run"
    trained = warm("train", pictures, "--out", run, "--json", *QUICK).json()["metrics"]["test"]
    renamed = tmp_path / "renamed"
    for kind in ("lying", "standing"):
        (renamed / kind).mkdir(parents=True)
        for i in range(60):
            shutil.copy(pictures / kind / f"{i}.png", renamed / kind / f"{(i * 37 + 11) % 60}.png")
    said = warm("evaluate", run, renamed, "--split", "test", "--json").json()["metrics"]
    assert said["n"] == trained["n"]
    assert said["confusion"] == trained["confusion"]
    assert said["loss"] == pytest.approx(trained["loss"], rel=1e-5)


def test_evaluate_of_other_data(warm, digits, make_pictures, tmp_path):
    data = tmp_path / "other"
    shutil.copytree(make_pictures(tmp_path / "in", num_each=3) / "lying", data / "3")
    shutil.copytree(tmp_path / "in" / "standing", data / "7")
    said = warm("evaluate", digits, data, "--json").json()
    assert said["split"] == "all"
    assert said["metrics"]["n"] == 6
    assert len(said["metrics"]["per_class"]) == 10
    refused = warm("evaluate", digits, data, "--split", "test").refusal()
    assert "no test split" in refused
    assert "Leave --split out" in refused


@pytest.mark.thorough
def test_seeds(warm, pictures, tmp_path, sha256):
    """The same seed gives the same bits, and another seed others."""
    words = ("train", pictures, "--set", "epochs=2", "--set", "dropout=0.2", "--set", "rotate=10")
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        assert warm(*words, "--out", tmp_path / name, "--seed", seed).status == 0
    for file in ("best.safetensors", "last.safetensors", "bundle/model.safetensors"):
        one, again, two = (sha256(Path(tmp_path / name / file)) for name in ("one", "again", "two"))
        assert one == again
        assert one != two
    assert "seed = 2" in (tmp_path / "two" / "recipe.toml").read_text()


def test_without_the_training_extra_the_base_install_says_so(lean, digits, tmp_path):
    """As in an environment that has only the runtime: torch and its company cannot be imported."""
    for words in (
        ["train", "digits"],
        ["recipes"],
        ["info", "cnn", "--layers"],
        ["demo"],
        ["explain", digits, "x.png"],
        ["export", digits, "digits", "--to", "int8"],
    ):
        done = lean(*words, cwd=tmp_path, missing={"torch", "sklearn", "tomli_w", "jinja2", "matplotlib", "scipy"})
        said = done.refusal()
        assert "which is not installed" in said and 'pip install "keensight[all]"' in said
        assert len(done.err.splitlines()) == 1 and not list(tmp_path.iterdir())
