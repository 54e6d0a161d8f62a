"""The house's floors: a package imports only from packages above it in the list."""

import ast
from pathlib import Path

import keensight

SOURCE = Path(keensight.__file__).parent
FLOORS = [
    "version",
    "errors",
    "values",
    "names",
    "files",
    "cached",
    "machine",
    "executor",
    "workspace",
    "kernels",
    "engines",
    "data",
    "models",
    "robustness",
    "training",
    "evaluation",
    "explanation",
    "bundle",
    "interop",
    "inference",
    "care",
    "pages",
    "serving",
    "deploy",
    "pipeline",
    "scale",
    "verbs",
    "cli",
]


def imports(file: Path) -> set[str]:
    """The packages of ours that a file imports, type hints and imports inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            assert node.level == 0, f"{file} imports relatively"
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == "keensight" and rest:
                found.add(rest[0])
    return found


def test_imports_point_one_way():
    climbs = []
    for file in SOURCE.rglob("*.py"):
        home = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        if home in ("__init__", "__main__"):
            continue
        climbs += [f"{file}: {other}" for other in imports(file) if FLOORS.index(other) > FLOORS.index(home)]
    assert not climbs


def test_every_package_has_a_floor():
    homes = {p.name.removesuffix(".py") for p in SOURCE.iterdir() if p.suffix == ".py" or any(p.glob("*.py"))}
    assert homes - {"__init__", "__main__"} <= set(FLOORS)


def test_there_are_no_drawers():
    drawers = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py", "manager.py"}
    assert not [file for file in SOURCE.rglob("*.py") if file.name in drawers]
