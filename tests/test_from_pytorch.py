"""The example in docs/from_pytorch.md: both programs, exactly as shown."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "from_pytorch.md"
WORDS, CLASSES = 30, 3


def sentences(count, rng):
    """Batches of padded sentences, whose class is the commonest third of their words."""
    for _ in range(count):
        lengths = rng.integers(1, 9, 8)
        classes = rng.integers(0, CLASSES, 8)
        ids = rng.integers(0, WORDS, (8, 8))
        own = rng.random((8, 8)) < 0.7
        ids = np.where(own, ids % 10 + 10 * classes, ids)
        yield ids * (np.arange(8)[:, None] < lengths), lengths, classes


def test_both_programs_train_to_the_same_loss(rng):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads wait for each other on a busy machine
    theirs, ours = ({}, {})
    for source, names in zip(
        re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)[:2],
        (theirs, ours),
        strict=True,
    ):
        exec(source, names)
    first, second = theirs["Classifier"](WORDS, CLASSES), ours["Classifier"](WORDS, CLASSES)
    second.load_state_dict(first.state_dict())
    batches = list(sentences(10, rng))
    tensors = [[torch.from_numpy(a) for a in batch] for batch in batches]
    expected = theirs["train"](first, tensors, 5)
    losses = ours["train"](second, batches, 5)
    np.testing.assert_allclose(losses, expected, atol=2e-4)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])  # it learns something
