"""Docs cannot drift: help texts are compared, and README blocks run. REWRITE_DOCS=1 mends the former."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from keensight.cli import VERBS
from keensight.models.zoo import MODELS, options_of
from keensight.training.recipe import load_recipe
from keensight.values import Recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CLI = ROOT / "docs" / "cli.md"


CLI_BEGINS = """# The command line

Made from `--help`; a test compares.

| exit status | |
|---|---|
| 0 | done |
| 1 | it failed, and one paragraph on stderr says why: what came, what is accepted, what to do next; also where some \
pictures had no answer, or a run's folder is taken |
| 2 | wrong usage: an option or argument is missing, unknown or out of range, or a file or key would be overwritten |
| 3 | a gate refused: a signature, parity with the trained model, int8's accuracy and speed |
| 130 | interrupted; of a run, everything up to the last whole epoch is kept, for `--resume` |

Results are on stdout, all else on stderr. `--key` takes a signer's public key. Without it, a signed bundle is used with
a note that nobody checked its signature, and refused (3) where its files are not those that the signature lists.
"""
HELP = """
import sys
from keensight.cli import main
for words in sys.argv[1:]:
    try:
        main([*words.split(), "--help"])
    except SystemExit as end:
        assert not end.code
    print(flush=True, end=chr(0))
"""


def helps_of(*commands):
    """Help texts as a terminal of 100 columns shows them, one for each command ("" for keensight's own)."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    words = [sys.executable, "-c", HELP, *commands]
    *texts, _ = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout.split("\0")
    return ["\n".join(line.rstrip() for line in text.strip().splitlines()) for text in texts]


def compare(file, expected):
    if os.environ.get("REWRITE_DOCS"):
        file.write_text(expected)
    assert file.read_text() == expected, f"{file.name} is out of date: REWRITE_DOCS=1 pytest tests/test_docs.py"


def test_the_help_in_the_readme_is_the_help():
    start, end = "<!-- help: keensight --help -->\n", "<!-- end of help -->"
    before, rest = README.read_text().split(start)
    after = rest.split(end)[1]
    compare(README, f"{before}{start}\n```text\n{helps_of('')[0]}\n```\n\n{end}{after}")


def test_the_help_of_every_verb_is_in_the_docs():
    parts = [CLI_BEGINS]
    texts = zip(VERBS, helps_of(*VERBS), strict=True)
    parts += [f"## keensight {verb}\n\n```text\n{text}\n```\n" for verb, text in texts]
    compare(CLI, "\n".join(parts))


PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.splitlines()[-1][:40])
def test_the_readmes_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save("a-picture.jpg")
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("file", [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"], ids=str)
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text()):
        assert target.startswith("https://") or (file.parent / target).exists(), f"{file.name}: {target}"


def test_make_targets_in_the_docs_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in (README, ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"^    make ([a-z-]+)", file.read_text(), re.MULTILINE)) <= targets


def test_every_key_of_a_recipe_is_explained(tmp_path):
    text = (ROOT / "docs" / "recipes.md").read_text()
    keys = {field.name for field in fields(Recipe)} - {"options"}
    keys |= {*MODELS, *(key for model in MODELS for key in options_of(model))}
    assert not [key for key in sorted(keys) if f"`{key}`" not in text]
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "parts.toml").write_text(example)
    assert load_recipe(str(tmp_path / "parts.toml")).options == {"filters": 32}
