"""Docs cannot drift: help texts are compared, and README blocks run. REWRITE_DOCS=1 mends the former."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docstring_parser import DocstringStyle, parse
from PIL import Image

import keensight
from keensight.cli import VERBS
from keensight.models.zoo import MODELS, options_of
from keensight.training.recipe import choices_of, load_recipe
from keensight.values.recipe import KEYS, TABLES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CLI = ROOT / "docs" / "cli.md"
RECIPES = ROOT / "docs" / "recipes.md"


CLI_BEGINS = """# The command line

Made from `--help`; a test compares.

| exit status | |
|---|---|
| 0 | done |
| 1 | it failed, and one paragraph on stderr says why: what was given, what is accepted, what to do next; also if some \
pictures had no answer, or a run's folder is taken |
| 2 | wrong usage: an option or argument is missing, unknown or out of range, or a file or key would be overwritten |
| 3 | a gate refused: a signature, parity with the trained model, int8's accuracy and speed |
| 130 | interrupted; of a run, everything up to the last whole epoch is kept, for `--resume` |

Results are on stdout, all else on stderr. `--key` takes a signer's public key. Without it, a signed bundle is used with
a note that its signature was not checked, and refused (3) if its files are not those that the signature lists.
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


def test_the_help_of_every_verb_is_in_the_docs():
    whole, *each = helps_of("", *VERBS)
    parts = [CLI_BEGINS, f"```text\n{whole}\n```\n"]
    texts = zip(VERBS, each, strict=True)
    parts += [f"## keensight {verb}\n\n```text\n{text}\n```\n" for verb, text in texts]
    compare(CLI, "\n".join(parts))


def test_the_files_that_the_readme_shows_and_links_are_there():
    linked = re.findall(r'(?:\]\(|src=")([\w./-]+)[)"]', README.read_text())
    assert {"docs/report.png", "docs/page.webp", "SECURITY.md"} <= set(linked)
    assert [name for name in linked if not (ROOT / name).is_file()] == []


def test_the_options_in_the_docs_are_those_of_their_commands():
    parts = dict(part.split("\n", 1) for part in CLI.read_text().split("\n## keensight ")[1:])
    wrong = []
    for file in (README, *(ROOT / "docs").rglob("*.md")):
        for verb, words in re.findall(rf"keensight ({'|'.join(VERBS)})\b([^`\n|&;]*)", file.read_text()):
            asked = set(re.findall(r"(?<!\S)--[a-z][\w-]*", words.partition("#")[0])) - {"--help"}
            wrong += [(file.name, verb, option) for option in asked if not re.search(rf"{option}\b", parts[verb])]
    assert wrong == []


def test_code_in_the_docs_lists_is_code_for_mkdocs_too():
    """Markdown on GitHub takes code in a list that is indented by 7; Python's, only by 8."""
    for file in (ROOT / "docs").rglob("*.md"):
        assert not re.search(r"^\d+\. .*(?:\n   .*)*\n\n {7}\S", file.read_text(), re.MULTILINE), file


REFERENCE = re.findall(r"^::: (keensight\.verbs\.\S+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_has_each_argument_of_a_verb_once(name):
    module, _, function = name.rpartition(".")
    verb = getattr(importlib.import_module(module), function)
    told = [each.arg_name for each in parse(verb.__doc__, DocstringStyle.GOOGLE).params]
    if verb is not keensight.predict_each:  # whose docstring refers to predict's
        assert sorted(told) == sorted(inspect.signature(verb).parameters)
    # Markdown would take stars and underlines out of a pattern that is not marked as code
    assert not re.search(r"(?<!`)'\{label", verb.__doc__) and "\n    Example:" not in verb.__doc__


PYTHON = ROOT / "docs" / "python.md"
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text() + PYTHON.read_text(), re.DOTALL)


@pytest.mark.thorough
@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.splitlines()[-1][:40])
def test_the_readmes_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save("a-picture.jpg")
    exec(compile(block, "docs", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("file", [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"], ids=str)
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text()):
        assert target.startswith("https://") or (file.parent / target).exists(), f"{file.name}: {target}"


def test_every_page_is_in_the_sites_contents():
    listed = (ROOT / "mkdocs.yml").read_text()
    pages = [
        file.relative_to(ROOT / "docs").as_posix()
        for file in (ROOT / "docs").rglob("*")
        if file.suffix in (".md", ".ipynb")
    ]
    assert not [page for page in pages if f"{page}\n" not in listed]


def test_make_targets_in_the_docs_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in (README, ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"^    make ([a-z-]+)", file.read_text(), re.MULTILINE)) <= targets


def row_of(key):
    """A key as a line of the table in docs/recipes.md: its name, default, what is accepted, and what it does."""
    default = "" if key.default in ("", (), {}) else f"`{json.dumps(key.default)}`"
    accepted = ", ".join(f"`{json.dumps(choice)}`" for choice in choices_of(key))
    if key.low is not None:
        accepted = f"{key.low:,.12g} to {key.high:,.12g}"
    elif not accepted and key.example:
        accepted = f"such as `{json.dumps(key.example)}`"
    return f"| `{key.field}` | {default} | {accepted} | {key.about} |"


def test_the_keys_of_a_recipe_in_the_docs_are_those_that_there_are():
    parts = []
    for table in ("", *TABLES):
        title = "On top" if not table else f"`[{table}]`: {TABLES[table].__doc__.partition(';')[0].rstrip('.')}"
        rows = [row_of(key) for key in KEYS.values() if key.table == table]
        parts.append(
            "\n".join([f"## {title}\n", "| key | default | accepted | what it does |", "|---|---|---|---|", *rows])
        )
    start, end = "<!-- keys -->\n", "<!-- end of keys -->"
    before, rest = RECIPES.read_text().split(start)
    compare(RECIPES, f"{before}{start}\n" + "\n\n".join(parts) + f"\n\n{end}{rest.split(end)[1]}")


def test_the_models_and_their_own_keys_are_in_the_docs(tmp_path):
    text = RECIPES.read_text()
    names = {*MODELS, *(key for model in MODELS for key in options_of(model))}
    assert not [name for name in sorted(names) if f"`{name}`" not in text]
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "parts.toml").write_text(example)
    assert load_recipe(str(tmp_path / "parts.toml")).model.options == {"filters": 32}


def spoken(tree):
    """All texts in a file that are no docstring."""
    said = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said
    ]


def test_messages_name_no_file_that_an_installed_keensight_lacks():
    texts = {file: spoken(ast.parse(file.read_text("utf-8"))) for file in (ROOT / "src").rglob("*.py")}
    lacking = re.compile(r"(?<!/)docs/\w|constraints\.txt|README\.md|source folder|CONTRIBUTING|Makefile")
    assert [(str(file), text) for file, said in texts.items() for text in said if lacking.search(text)] == []
    named = {name for said in texts.values() for text in said for name in re.findall(r"^([a-z]+\.md)\b", text)}
    assert {"recipes.md", "gather.md", "keras.md"} <= named  # what follows PAGES begins a text of its own
    assert [name for name in named if not (ROOT / "docs" / name).is_file()] == []


@pytest.mark.parametrize("has_pictures", [True, False])
def test_ci_runs_all_that_needs_no_pictures_where_there_are_none(tmp_path, has_pictures):
    """Whoever has only the repository, as GitHub does."""
    (tmp_path / "make").write_text('#!/bin/sh\necho "$*" "$EXECUTE_NOTEBOOKS" >>"$0.log"\n')
    (tmp_path / "make").chmod(0o755)
    if has_pictures:
        (tmp_path / "planesnet.zip").touch()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "KEENSIGHT_PICTURES": str(tmp_path)}
    subprocess.run([ROOT / ".ci" / "run"], check=True, env=environment, capture_output=True)
    asked = (tmp_path / "make.log").read_text().splitlines()
    assert asked[:3] == ["lint ", "demo ", "test "]
    last = [f"example DATA={tmp_path} ", "docs "] if has_pictures else ["docs false"]
    assert asked[-1 - len(last) :] == ["dist ", *last]
