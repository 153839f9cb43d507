"""Train a language model on the characters of a text, watch it learn, and write some more.

Without a file, the text is the manual that every Python includes.
"""

import argparse

import fastseq
from fastseq.text import Corpus, Vocabulary, datasets
from fastseq.training import Callback


class Samples(Callback):
    """Shows a line that the model writes whenever its loss has been measured."""

    def recorded(self, run, record):
        if "valid_loss" in record:
            text = run.lm.sample("The ", length=60, temperature=0.7, seed=0)
            print(f"step {record['step']:>5}, loss {record['valid_loss']:.3f}: {text!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("texts", nargs="*", metavar="FILE", help="texts in UTF-8")
    parser.add_argument("--steps", type=int, default=400, help="updates (default: %(default)s)")
    parser.add_argument("--save", metavar="FILE", help="file for the model")
    args = parser.parse_args()

    if args.texts:
        corpus = Corpus.from_files(args.texts, Vocabulary.characters, valid=0.05)
    else:
        text = datasets.find("python-manual").text()
        corpus = Corpus.from_text(text, Vocabulary.characters, valid=0.05)
    lm = fastseq.LanguageModel(
        corpus.vocabulary, cell="gru", hidden_size=128, embedding_size=32, seed=1
    )
    config = fastseq.TrainingConfig(
        steps=args.steps, validate_every=max(1, args.steps // 4), learning_rate=0.005
    )
    fastseq.Trainer(lm, corpus, config, callbacks=[Samples()], console=False).fit()
    print(lm.sample("The ", length=300, temperature=0.7, seed=0))
    if args.save:
        lm.save(args.save)


if __name__ == "__main__":
    main()
