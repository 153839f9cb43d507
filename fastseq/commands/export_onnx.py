"""`fastseq export-onnx`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from .. import onnx
from ..lm import LanguageModel, open_checkpoint
from ..text.sources import readable_size
from .options import add_json, add_model, not_empty, print_json
from .wording import model_in_words, vocabulary_in_words

DEFAULT_FILE = "model.onnx"

EXAMPLES = """\
examples:
  fastseq export-onnx runs/novel -o novel.onnx
  fastseq export-onnx runs/novel/last.safetensors -o last.onnx --json

A run of the exported model reads one token in each row of a batch and gives the log-probabilities
of the next one; the state that comes out goes into the next run. The vocabulary is in the model's
metadata. Needs the package onnx: pip install 'fastseq-rnn[onnx]'
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = "%(prog)s MODEL [-o FILE] [options]", EXAMPLES
    add_model(parser)
    parser.add_argument(
        "-o", "--out", type=not_empty, default=DEFAULT_FILE, metavar="FILE",
        help="file to write (default: %(default)s)",
    )  # fmt: skip
    add_json(parser)


def run(args: Namespace) -> None:
    checkpoint = open_checkpoint(args.model)
    onnx.export(LanguageModel.from_checkpoint(checkpoint), args.out)
    graph = onnx.load(args.out)
    if args.json:
        print_json(_facts(args.out, graph))
        return
    print(f"{args.out}, {readable_size(Path(args.out).stat().st_size)}")
    print(f"{'model':<10} {model_in_words(checkpoint.config)}")
    print(f"{'vocabulary':<10} {vocabulary_in_words(checkpoint.vocabulary)}")
    for name, ports in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        print(f"{name:<10} {', '.join(map(_port, ports))}")
    print(f"{'metadata':<10} {', '.join(graph.metadata)}")


def _port(port: onnx.Port) -> str:
    sizes = ", ".join(map(str, port.shape or ()))
    return f"{port.name} ({sizes}) {port.dtype}"


def _facts(path: str, graph: onnx.GraphModule) -> dict[str, Any]:
    ports = {"inputs": graph.inputs, "outputs": graph.outputs}
    described = {
        name: [{"name": p.name, "dtype": p.dtype.name, "shape": p.shape} for p in group]
        for name, group in ports.items()
    }
    size = Path(path).stat().st_size
    return {"file": path, "bytes": size, **described, "metadata": sorted(graph.metadata)}
