"""What `import keensight` promises: these names, and nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keensight

NAMES = [
    "Dataset",
    "Epoch",
    "KeensightError",
    "Metrics",
    "Pixels",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "Recipe",
    "Report",
    "Splits",
    "Threat",
    "__version__",
    "attack",
    "audit",
    "build",
    "certify",
    "choose_preprocessing",
    "clean",
    "compare",
    "decode",
    "deploy_docker",
    "deploy_kubernetes",
    "deploy_page",
    "evaluate",
    "explain",
    "explore",
    "export",
    "fgsm",
    "finish",
    "fit",
    "gather",
    "import_keras",
    "info",
    "load",
    "load_recipe",
    "lr_range",
    "new_key",
    "open_dataset",
    "predict",
    "predict_each",
    "predict_in_parts",
    "scan",
    "serve",
    "shard",
    "sign",
    "split",
    "start",
    "studio",
    "train",
    "tune",
    "verify",
]


def test_all_is_pinned():
    assert keensight.__all__ == NAMES
    assert dir(keensight) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    assert getattr(keensight, name) is not None


def test_the_version_is_the_same_everywhere():
    root = Path(__file__).parents[1]
    newest = next(line for line in (root / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert newest.startswith(f"## [{keensight.__version__}] - ")
    assert f"\nversion: {keensight.__version__}\n" in (root / "CITATION.cff").read_text()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = keensight.trian


def test_importing_is_light():
    heavy = "{'torch', 'onnxruntime', 'openvino', 'sklearn', 'matplotlib', 'PIL', 'numpy', 'cyclopts'}"
    code = f"import sys, keensight; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_help_of_verbs_is_light():
    """Each verb's module is what `keensight VERB --help` imports."""
    heavy = "{'torch', 'onnx', 'onnxruntime', 'sklearn', 'scipy', 'matplotlib', 'jinja2', 'PIL', 'rich', 'starlette'}"
    modules = "(each.name for each in pkgutil.iter_modules(keensight.cli.__path__, 'keensight.cli.'))"
    code = f"import importlib, pkgutil, sys, keensight.cli; [importlib.import_module(name) for name in {modules}]"
    code += f"; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_pages_without_figures_import_no_matplotlib():
    code = "import sys, keensight.verbs.audit, keensight.verbs.explore; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_server_loads_only_what_answers_need():
    """Each takes milliseconds of a start: the classes of reports and recipes, what lists DATA, rare formats."""
    heavy = "keensight.values.(measures|recipe|threats)|keensight.data.(sources|places)|keensight.(care|pipeline|pages)"
    heavy += "|PIL.(Avif|WebP|Tiff)ImagePlugin|rich|torch"
    code = f"import re, sys, keensight.cli.serve, keensight.verbs.serve; looked = re.compile('({heavy})')\n"
    code += "print([name for name in sys.modules if looked.match(name)])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_training_on_arrays_imports_what_it_needs(tmp_path):
    """scikit-learn and torch's compiler take more than a second each, SciPy a quarter of one."""
    heavy = "{'sklearn', 'scipy', 'torch._dynamo', 'torch._inductor', 'sympy', 'transformers', 'openvino'}"
    run = f"keensight.train('digits', recipe='dense', set=['epochs=1'], out={str(tmp_path / 'run')!r})"
    code = f"import sys, keensight; {run}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_predicting_leaves_nothing_for_onnx_runtimes_telemetry(tmp_path):
    frozen = Path(__file__).parent / "bundle" / "frozen"
    words = [sys.executable, "-m", "keensight", "predict", frozen / "bundle", frozen / "pictures" / "0.png"]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run(words, env=environment, check=True, capture_output=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
