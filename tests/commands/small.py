"""A small text, and options for a small model and a short training run."""

TEXT = "The cat sat on the mat. The dog sat on the log.\n" * 40
TINY = ["--hidden-size", "8", "--batch-size", "2", "--seq-length", "8", "--steps", "20"]
