"""The commands: each makes public calls and prints their results.

A command is a module here with two functions, ``add_arguments(parser)`` and ``run(args)``, and
a line in `COMMANDS`. Its module is imported only when the command is used.
"""

# Name, which is also that of the module (with "_" for "-"), and one line for `fastseq --help`.
COMMANDS = {
    "reproduce": "train the four published language models and compare time and losses",
    "train": "train a language model on texts",
    "sample": "generate text with a trained model",
    "evaluate": "measure how well a model predicts texts",
    "inspect": "write a page that shows what each unit of a model does while it reads a text",
    "export-onnx": "write a model for other runtimes, as one step of it in the ONNX format",
    "bench": "time the compiled kernels against their plain-Python reference",
    "info": "describe this machine and build, or a model",
}
