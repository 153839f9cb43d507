"""Compile the kernels: one Cython source, a module for each instruction set and number type."""

import os
import platform
import runpy
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = bool(os.environ.get("FASTSEQ_DEBUG"))  # bounds checks, slow
ANNOTATE = bool(os.environ.get("FASTSEQ_ANNOTATE"))  # HTML beside the C source
REQUIRED = bool(os.environ.get("FASTSEQ_REQUIRE_COMPILED"))  # fail where there is no compiler
REMEDY = """The kernels need GCC 10, Clang 12 or later, and Python's headers:
    Debian, Ubuntu   apt-get install gcc python3-dev
    Fedora           dnf install gcc python3-devel
    macOS            xcode-select --install
    Windows          the "C++ Clang tools" of Visual Studio"""
WITHOUT = "Without them fastseq runs in plain Python, thousands of times slower."
# Address of the repository that a release is built from; the pages of a release link to it.
REPOSITORY = os.environ.get("FASTSEQ_REPOSITORY")
LIMITED_API = ("Py_LIMITED_API", "0x030B0000")  # one wheel for CPython 3.11 and later

# No -ffast-math. A fused multiply-add stands where the source says so and nowhere else, so that
# avx2, avx512 and neon give the same bits; loops over several arrays may be checked for overlap.
FLAGS = ["-O1" if DEBUG else "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-Wno-unused-function", "-g0"]
GCC_FLAGS = ["--param=vect-max-version-for-alias-checks=100"]
# Cython drops the const of temporaries.
GCC_FLAGS += ["-Wno-discarded-qualifiers"]
CLANG_FLAGS = ["-Wno-incompatible-pointer-types-discards-qualifiers"]
# The builds of each processor, best first, with their flags.
BUILDS = {
    "x86_64": {
        "avx512": [
            "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma",
            "-mprefer-vector-width=512",
        ],
        "avx2": ["-mavx2", "-mfma"],
        "generic": [],
    },
    "arm64": {"neon": [], "generic": []},
}  # fmt: skip
# The processor that is compiled for; a cross build names it in _PYTHON_HOST_PLATFORM.
MACHINE = sysconfig.get_platform().rpartition("-")[2]
MACHINE = MACHINE.lower().replace("amd64", "x86_64").replace("aarch64", "arm64")
if MACHINE == "universal2":  # a Python for both of Apple's: each needs flags of its own
    MACHINE = platform.machine()
    os.environ.setdefault("ARCHFLAGS", f"-arch {MACHINE}")
# Each build is compiled for both number types.
DTYPES = {"float32": "", "float64": "#define FS_DOUBLE\n"}

KERNELS = Path("fastseq/_kernels")
TRANSLATED = Path("build/cython", KERNELS)  # where Cython writes C
SHARED = [
    str(path) for path in sorted(KERNELS.glob("_*")) if path.suffix in (".h", ".pxi", ".pyx")
]
TOO_OLD = """
#if defined(__apple_build_version__) ? __clang_major__ < 13 : \\
    defined(__clang__) ? __clang_major__ < 12 : __GNUC__ < 10
#error too old, or not one of the two
#endif
"""


def extension(name, flags=()):
    return Extension(
        f"fastseq._kernels.{name}",
        [],  # translated when it is built
        depends=[*SHARED, "setup.py"],
        include_dirs=[str(KERNELS), str(TRANSLATED)],
        extra_compile_args=[*FLAGS, *flags],
        define_macros=[LIMITED_API],
        py_limited_api=True,
    )


def name_kernels(name):
    """Write the C source of one module: the translated kernels under its name."""
    build, dtype = name.split("_")
    text = (
        f'#define FS_BUILD "{build}"\n#define FS_BUILD_{build}\n{DTYPES[dtype]}'
        f'#define PyInit__build PyInit_{name}\n#include "_build.c"\n'
    )
    path = TRANSLATED / f"{name}.c"
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def long_description():
    """README with links that work elsewhere."""
    links = runpy.run_path("docs/links.py")
    return links["absolute"](Path("README.md").read_text(encoding="utf-8"), REPOSITORY, "HEAD")


class Build(build_ext):
    """Translates the kernels once and compiles them with the flags that this compiler has."""

    def initialize_options(self):
        super().initialize_options()
        self.force = DEBUG  # what was built without checks is newer than its sources, too

    def finalize_options(self):
        super().finalize_options()
        if self.editable_mode and not DEBUG:  # by default folders that pip removes afterwards
            self.build_lib, self.build_temp = "build/editable", "build/objects"

    def build_extensions(self):
        if self.compiler.compiler_type == "msvc":
            self.use_clang_cl()
        problem = self.find_problem()
        if problem and REQUIRED:
            raise SystemExit(f"fastseq: {problem}. {REMEDY}")
        if problem:
            print(f"fastseq: {problem}. {REMEDY}\n{WITHOUT}", file=sys.stderr)
            self.extensions = []
            return
        self.translate()
        flags = GCC_FLAGS if self.accepts(["-Werror", *GCC_FLAGS]) else CLANG_FLAGS
        for each in self.extensions:
            self.complete(each, flags)
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()

    def use_clang_cl(self):
        """Compile with Clang, which has vector types and takes GCC's flags, in MSVC's place."""
        self.compiler.initialize()
        self.compiler.cc = shutil.which("clang-cl") or self.compiler.cc

    def complete(self, ext, flags):
        """Add the source and the flags that this compiler takes."""
        name = ext.name.rpartition(".")[2]
        ext.sources = [str(TRANSLATED / f"{name}.c")]
        if not name.startswith("_"):
            name_kernels(name)
        ext.extra_compile_args += flags
        if self.compiler.compiler_type == "msvc":
            ext.extra_compile_args = [f"/clang:{flag}" for flag in ext.extra_compile_args]

    def find_problem(self):
        """Why this compiler cannot compile the kernels, or None."""
        if not self.accepts([]):
            return "no C compiler"
        if not self.accepts([], TOO_OLD):
            return "the C compiler is too old, or Microsoft's, which has no vector types"
        if not self.accepts([], "#include <Python.h>\n"):
            return "the C compiler does not find Python.h"
        return None

    def build_extension(self, ext):
        super().build_extension(ext)
        name = ext.name.rpartition(".")[2]
        if not name.startswith("_"):
            stub = Path(self.get_ext_fullpath(ext.name)).with_name(f"{name}.pyi")
            stub.write_text("from fastseq._kernels._build import *  # noqa: F403\n")

    def translate(self):
        from Cython.Build import cythonize

        cythonize(
            [Extension(f"fastseq._kernels.{p.stem}", [str(p)]) for p in KERNELS.glob("*.pyx")],
            build_dir="build/cython",
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
        )

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


setup(
    cmdclass={"build_ext": Build},
    ext_modules=[
        extension("_cpu"),
        extension("_team"),
        *(
            extension(f"{build}_{dtype}", flags)
            for build, flags in BUILDS.get(MACHINE, {"generic": []}).items()
            for dtype in DTYPES
        ),
    ],
    long_description=long_description(),
    long_description_content_type="text/markdown",
    project_urls={"Repository": REPOSITORY} if REPOSITORY else {},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
