"""What differs on macOS and Windows, run here under the name of the other system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastseq

ROOT = Path(fastseq.__file__).parents[1]
# NumPy is imported under the true name.
START = """
import sys, types
import numpy as np
sys.platform = {platform!r}
"""
REGISTRY = """
class Key:
    def __enter__(self): return self
    def __exit__(self, *_): pass
def open_key(root, place):
    assert (root, place.rpartition("\\\\")[2]) == ("HKLM", "0"), place
    return Key()
sys.modules["winreg"] = types.SimpleNamespace(
    HKEY_LOCAL_MACHINE="HKLM", OpenKey=open_key, QueryValueEx=lambda key, name: (name + "  ", 1)
)
"""
MEMORY = """
import ctypes
def fill(status):
    status._obj.total = status._obj.length << 30
    return 1
ctypes.windll = types.SimpleNamespace(kernel32=types.SimpleNamespace(GlobalMemoryStatusEx=fill))
"""


def run(platform, code, path=None):
    """The output of a program that takes this system for another one."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if path is not None:
        environment["PATH"] = os.pathsep.join([str(path), environment["PATH"]])
    done = subprocess.run(
        [sys.executable, "-c", START.format(platform=platform) + code],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for a program")
@pytest.mark.parametrize(("script", "name"), [
    ("test \"$*\" = '-n machdep.cpu.brand_string' && echo Apple M9", "Apple M9"),
    ("exit 1", ""),
])  # fmt: skip
def test_macos_names_the_processor(tmp_path, script, name):
    sysctl = tmp_path / "sysctl"
    sysctl.write_text(f"#!/bin/sh\n{script}\n")
    sysctl.chmod(0o755)
    got = run("darwin", "from fastseq.backend import cpu_name; print(cpu_name())", tmp_path)
    assert got.strip() == name or (not name and got.strip())


def test_windows_names_the_processor():
    code = REGISTRY + "from fastseq.backend import cpu_name; print(cpu_name())"
    assert run("win32", code) == "ProcessorNameString\n"


def test_windows_knows_its_memory():
    code = MEMORY + "from fastseq.checks import physical_memory; print(physical_memory() >> 30)"
    assert run("win32", code) == "64\n"  # the size of the structure, by its documentation


def test_windows_maps_no_file_that_it_replaces(tmp_path):
    """Saving a model over the file that it was loaded from."""
    code = f"""
from fastseq.storage import tensorfile
import mmap
mmap.mmap = None
path = {os.fspath(tmp_path / "a.safetensors")!r}
for value in (1.0, 2.0):
    tensorfile.write_tensors(path, {{"a": np.full(3, value)}}, {{}})
    read = tensorfile.read_tensors(path)
    print(read.tensors["a"].sum(), read.tensors["a"].flags.writeable)
"""
    assert run("win32", code) == "3.0 False\n6.0 False\n"
