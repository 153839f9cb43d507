"""Old x86 processors under emulation: the right build is chosen and computes the same bits.

An instruction that the processor lacks ends the emulated process.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastseq
from fastseq import _kernels

EMULATOR = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
pytestmark = [
    pytest.mark.skipif(
        platform.machine() != "x86_64" or sys.platform != "linux", reason="Linux on x86-64 only"
    ),
    pytest.mark.skipif(
        EMULATOR is None, reason="the emulator is missing (apt-get install qemu-user-static)"
    ),
]

TRAIN = """
import sys
import fastseq
from fastseq.text import Corpus, Vocabulary
text = "the sea is everything; it covers seven tenths of the globe. " * 8
corpus = Corpus.from_text(text, Vocabulary.characters)
for cell in ("lstm", "gru"):
    vocabulary = corpus.vocabulary
    lm = fastseq.LanguageModel(vocabulary, cell=cell, embedding_size=7, hidden_size=19, seed=1)
    config = fastseq.TrainingConfig(steps=3, batch_size=4, seq_length=9)
    fastseq.Trainer(lm, corpus, config).fit()
    print(lm.evaluate(text).nats_per_token.hex())
print(fastseq.get_backend())
"""


def train(cpu=None, backend="auto"):
    """The output of a small training, on an emulated processor if one is named."""
    emulator = [] if cpu is None else [EMULATOR, "-cpu", cpu]
    root = str(Path(fastseq.__file__).parents[1])
    done = subprocess.run(
        [*emulator, sys.executable, "-c", TRAIN],
        env=os.environ | {"PYTHONPATH": root, "FASTSEQ_BACKEND": backend},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(("cpu", "build"), [("Nehalem", "generic"), ("Haswell", "avx2")])
def test_training(cpu, build):
    emulated = train(cpu)
    assert emulated[-1] == build
    if _kernels.supported(build):
        assert emulated == train(backend=build)
