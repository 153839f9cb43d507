"""Start of a process: no traceback in any case; names are imported on first use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastseq

COMMANDS = {
    "module": ["-m", "fastseq"],
    "script": ["-c", "import sys; from fastseq.__main__ import main; sys.exit(main())"],
}


@pytest.fixture(params=COMMANDS)
def start(request, tmp_path):
    """Run the command in a subprocess; return status and stderr."""

    def run(*arguments, **environment):
        path = os.pathsep.join([str(tmp_path), str(Path(fastseq.__file__).parents[1])])
        done = subprocess.run(
            [sys.executable, *COMMANDS[request.param], *arguments],
            env=os.environ | {"PYTHONPATH": path} | environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    return run


# numpy is the first slow import, tqdm a late one.
@pytest.mark.parametrize("module", ["numpy", "tqdm", "json"])
def test_ctrl_c_during_imports_is_quiet(module, start, tmp_path):
    interrupt = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit('late')"
    (tmp_path / f"{module}.py").write_text(interrupt)
    assert start("info") == (130, "")


@pytest.mark.parametrize(("name", "value", "message"), [
    ("FASTSEQ_BACKEND", "foo", "FASTSEQ_BACKEND: expected one of auto, avx512, avx2, neon, "
     "generic, oracle, got 'foo'"),
])  # fmt: skip
def test_a_wrong_environment_is_reported_on_one_line(name, value, message, start):
    assert start("info", **{name: value}) == (2, f"fastseq: error: {message}\n")


@pytest.mark.parametrize("threads", ["99999999999", "9" * 5000, "abc", "0", "-1", "²", "2,3"])
def test_any_number_of_openmp_threads_is_accepted(threads):
    code = "import fastseq; print(fastseq.get_num_threads())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": threads},
        cwd=Path(fastseq.__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n" if threads == "2,3" else int(done.stdout) <= os.cpu_count()


def test_every_public_name_is_there():
    assert sorted(fastseq.__all__) == list(fastseq.__all__)
    assert set(dir(fastseq)) >= set(fastseq.__all__)
    for name in fastseq.__all__:
        assert getattr(fastseq, name) is not None
    assert fastseq.serialization.load_file is fastseq.load_file
    with pytest.raises(AttributeError, match=r"module 'fastseq' has no attribute 'RNN'"):
        fastseq.RNN  # noqa: B018


def test_sources_without_compiled_kernels_say_so(tmp_path):
    """A silent fall-back would look like a program that hangs."""
    sources = Path(fastseq.__file__).parent
    shutil.copytree(sources, tmp_path / "fastseq", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    code = "import fastseq; print(fastseq.get_backend())"

    def run(name):
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "FASTSEQ_BACKEND": name}
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    auto, oracle, missing = run("auto"), run("oracle"), run("avx2")
    assert (auto.returncode, auto.stdout.strip()) == (0, "oracle")
    assert "no compiled kernels" in auto.stderr
    assert (oracle.returncode, oracle.stdout.strip(), oracle.stderr) == (0, "oracle", "")
    assert missing.returncode != 0
    assert "'avx2': not compiled" in missing.stderr
