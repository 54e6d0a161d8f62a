"""Compile the C kernels, or leave them out: with KEENSIGHT_PURE=1, or where no compiler works.

All else stands in pyproject.toml. The kernels are loaded by ctypes and know nothing of Python, so one wheel of a
platform serves every Python from 3.11 on.
"""

import os
import shutil

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = [f"src/keensight/kernels/{name}.c" for name in ("layers", "resizing", "warping")]
FUNCTIONS = ["pool", "pool_backward", "dropout", "affine", "resize"]  # as in keensight/kernels/__init__.py
OPTIONS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]


class BuildKernels(build_ext):
    """Windows exports what is named, and by itself would look for the start of a Python module, which this is not."""

    def get_export_symbols(self, ext: Extension) -> list[str]:  # noqa: D102
        return [f"keensight_{name}" for name in FUNCTIONS]


kernels = Extension(
    "keensight.kernels.compiled",
    SOURCES,
    depends=["src/keensight/kernels/layers.h"],
    extra_compile_args=OPTIONS,
    py_limited_api=True,
    optional=True,
)
is_pure = os.environ.get("KEENSIGHT_PURE", "0") != "0"
options = {"bdist_wheel": {"py_limited_api": "cp311"}}
if os.name == "nt" and shutil.which("gcc"):  # the kernels speak GCC's C, which Microsoft's compiler refuses
    options["build_ext"] = {"compiler": "mingw32"}
setup(
    ext_modules=[] if is_pure else [kernels],
    cmdclass={"build_ext": BuildKernels},
    options={} if is_pure else options,
)
