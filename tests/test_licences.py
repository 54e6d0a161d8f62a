"""The licences of what users install: scripts/licences, which `make lint` runs."""

import runpy
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LICENCES = runpy.run_path(str(ROOT / "scripts" / "licences"))


@pytest.mark.parametrize(
    ("licence", "is_accepted"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND MIT", True),
        ("GPL-3.0-only OR MIT", True),  # a choice
        ("GPL-3.0-only AND MIT", False),
        ("GPL-2.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("LGPL-3.0-only", False),
        ("MPL-2.0", False),  # accepted by a package's name alone
        ("SSPL-1.0", False),
        ("Proprietary", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_a_licence_is_accepted_that_asks_only_to_be_named(licence, is_accepted):
    assert LICENCES["is_accepted"](licence) is is_accepted


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT"),
        ([("Classifier", "License :: OSI Approved :: BSD License")], "BSD-3-Clause"),
        ([("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"), ("License", "MIT")],
         "GNU General Public License v3 (GPLv3)"),
        ([("License", "\n   Apache License\n   Version 2.0")], "Apache-2.0"),
        ([("License", "UNKNOWN")], "unknown"),
        ([], "unknown"),
    ],
)  # fmt: skip
def test_metadata_old_and_new_are_read(fields, said):
    about = Message()
    for name, text in fields:
        about[name] = text
    assert LICENCES["said_by"](about) == said


def test_all_that_users_install_is_listed_and_judged():
    page = (ROOT / "docs" / "licences.md").read_text()
    needed = LICENCES["needed"](ROOT / "pyproject.toml")
    assert needed["numpy"] == "" and needed["torch"] == "train" and needed["h5py"] == "keras"
    assert needed["email-validator"] == "sign"  # of an extra of a dependency's dependency
    assert "pytest" not in needed  # what developers need is not given to anybody
    assert [name for name in needed if f"| {name} |" not in page] == []
    assert {name for name, _ in LICENCES["JUDGED"]} <= set(needed), "a judgement outlived its package"
