"""Compile the kernels: a module for each instruction set and number type, from one source."""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = bool(os.environ.get("FASTSEQ_DEBUG"))  # bounds checks, slow
ANNOTATE = bool(os.environ.get("FASTSEQ_ANNOTATE"))  # HTML beside each .pyx
NO_COMPILER = """fastseq: no C compiler that finds Python.h. To install them:
    Debian, Ubuntu   apt-get install gcc python3-dev
    Fedora           dnf install gcc python3-devel
    macOS            xcode-select --install"""
LIMITED_API = ("Py_LIMITED_API", "0x030B0000")  # one wheel for CPython 3.11 and later

# No -ffast-math. A fused multiply-add stands where the source says so and nowhere else, so that
# avx2 and avx512 give the same bits; loops over several arrays may be checked for overlap.
FLAGS = ["-O1" if DEBUG else "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# Cython drops the const of temporaries.
FLAGS += ["-Wno-discarded-qualifiers", "-Wno-unused-function", "-g0"]
GCC_FLAGS = ["--param=vect-max-version-for-alias-checks=100"]
BUILDS = {
    "generic": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma",
        "-mprefer-vector-width=512",
    ],
    "neon": ["-DFS_NEON"],
}  # fmt: skip
# Each build is compiled for both number types.
DTYPES = {"float32": [], "float64": [("FS_DOUBLE", None)]}
# The processor that is compiled for; a cross build says it by _PYTHON_HOST_PLATFORM.
MACHINE = sysconfig.get_platform().rpartition("-")[2].lower()
X86, ARM64 = MACHINE in ("x86_64", "amd64"), MACHINE in ("aarch64", "arm64")
KERNELS = Path("fastseq/_kernels")
SHARED = [str(path) for path in sorted(KERNELS.glob("_*")) if path.suffix in (".h", ".pxi")]


def extension(name, flags, macros=()):
    return Extension(
        f"fastseq._kernels.{name}",
        [str(KERNELS / f"{name}.pyx")],
        depends=[*SHARED, "setup.py"],
        extra_compile_args=FLAGS + flags,
        define_macros=[LIMITED_API, *macros],
        py_limited_api=True,
    )


class Build(build_ext):
    """Adds the flags that this compiler has, OpenMP among them."""

    def initialize_options(self):
        super().initialize_options()
        self.force = DEBUG  # what was built without checks is newer than its sources, too

    def build_extensions(self):
        if not self.accepts([], "#include <Python.h>\n"):
            raise SystemExit(NO_COMPILER)
        gcc = self.accepts(GCC_FLAGS)
        openmp = self.accepts(["-fopenmp"])
        for each in self.extensions:
            each.extra_compile_args += GCC_FLAGS if gcc else []
            if openmp and not each.name.endswith("_cpu"):
                each.extra_compile_args += ["-fopenmp"]
                each.extra_link_args += ["-fopenmp"]
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()

    def accepts(self, flags, head=""):
        """Whether a program compiles and links with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "main.c")
            source.write_text(head + "int main(void) { return 0; }\n", encoding="utf-8")
            try:
                objects = self.compiler.compile(
                    [str(source)],
                    output_dir=folder,
                    include_dirs=self.include_dirs,
                    extra_postargs=flags,
                )
                self.compiler.link_executable(
                    objects, "main", output_dir=folder, extra_postargs=flags
                )
            except Exception:  # every compiler class raises errors of its own
                return False
            return True


if sys.platform == "win32":
    raise SystemExit("fastseq: the kernels need GCC or Clang (on Windows: WSL)")

extensions = [extension("_cpu", [])]
extensions += [
    extension(f"{build}_{dtype}", flags, macros)
    for build, flags in BUILDS.items()
    if build == "generic" or (ARM64 if build == "neon" else X86)
    for dtype, macros in DTYPES.items()
]

setup(
    cmdclass={"build_ext": Build},
    ext_modules=cythonize(
        extensions,
        annotate=ANNOTATE,
        force=DEBUG or ANNOTATE,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
