"""Every public name has a complete docstring, and every example in one is true."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from importlib.util import find_spec
from types import ModuleType

import pytest

import fastseq

try:
    from numpydoc.docscrape import NumpyDocString
    from numpydoc.validate import validate
except ImportError:
    validate = None

PUBLIC = (
    "fastseq",
    "fastseq.backend",
    "fastseq.inspection",
    "fastseq.lm",
    "fastseq.neural_bytes",
    "fastseq.neural_bytes.activations",
    "fastseq.neural_bytes.utils",
    "fastseq.nn",
    "fastseq.nn.init",
    "fastseq.nn.utils",
    "fastseq.nn.utils.rnn",
    "fastseq.onnx",
    "fastseq.optim",
    "fastseq.optim.schedules",
    "fastseq.reproduce.run",
    "fastseq.storage.files",
    "fastseq.storage.serialization",
    "fastseq.storage.tensorfile",
    "fastseq.text",
    "fastseq.text.datasets",
    "fastseq.training",
    *(["fastseq.torch"] if find_spec("torch") else []),
)
# Numpydoc's rules: layout and sections, a summary, the signature's parameters with their types,
# what is returned.
RULES = {
    *("GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL10"),
    *("SS01", "SS02", "SS03", "SS04", "SS06", "PR01", "PR02", "PR03", "PR04", "PR10", "RT01"),
}
MEMBERS = (property, classmethod, staticmethod)


def listed(module):
    """Names in ``__all__``, else those that the module defines without an underscore."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


def members(owner):
    """Public methods and properties of a class, with those that it inherits in this package."""
    for base in owner.__mro__:
        if base.__module__.startswith("fastseq"):
            for name, value in vars(base).items():
                if not name.startswith("_") and (
                    inspect.isfunction(value) or isinstance(value, MEMBERS)
                ):
                    yield name, value


def public_names():
    """Dotted name of everything public, each object once, and whether it needs an example."""
    seen = set()
    for module in map(importlib.import_module, PUBLIC):
        for name in listed(module):
            value = getattr(module, name)
            if isinstance(value, ModuleType | str) or id(value) in seen:
                continue
            path = f"{module.__name__}.{name}"
            seen.add(id(value))
            yield path, True
            for member, own in members(value) if inspect.isclass(value) else ():
                if id(own) not in seen:
                    seen.add(id(own))
                    yield f"{path}.{member}", False


def is_made_by_others(name):
    """Whether it is a protocol, PyTorch's, or a record whose fields are documented."""
    value = pkgutil.resolve_name(name)
    if getattr(value, "_is_protocol", False) or hasattr(value, "torch_class"):
        return True
    if not (dataclasses.is_dataclass(value) or hasattr(value, "_fields")):
        return False
    attributes = NumpyDocString(inspect.getdoc(value))["Attributes"]
    documented = [name for entry in attributes for name in entry.name.split(", ")]
    return documented == list(inspect.signature(value).parameters)


NAMES = dict(public_names())


@pytest.mark.skipif(validate is None, reason="needs numpydoc")
@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_documented(name):
    report = validate(name)
    rules = RULES - {"PR01"} if is_made_by_others(name) else RULES
    wrong = [f"{code}: {text}" for code, text in report["errors"] if code in rules]
    assert not wrong, f"{report['file']}:{report['file_line']}"
    text = report["docstring"]
    assert set(re.findall(r"\[(\d+)\]_", text)) == set(re.findall(r"\.\. \[(\d+)\] ", text))
    if NAMES[name]:
        assert doctest.DocTestParser().get_examples(text), "without an example"


MODULES = [
    info.name
    for info in pkgutil.walk_packages(fastseq.__path__, "fastseq.")
    if not info.name.startswith("fastseq._kernels.") and info.name != "fastseq.__main__"
]


@pytest.mark.parametrize("name", ["fastseq", *MODULES])
def test_examples_are_true(name, tmp_path, monkeypatch):
    for package in ("onnx", "torch"):
        if name.startswith(f"fastseq.{package}"):
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTSEQ_CACHE", raising=False)
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed
