"""Generation: tokens per second of a character LSTM, against PyTorch's loop in inference mode.

    python -m benchmarks.generation [--hidden 128] [--rounds 9] [--json FILE]

One text, one token after the other, drawn from the softmax. fastseq makes a text, as a user would
ask for it; PyTorch's loop, in whichever way of writing it takes least time, makes numbers.
"""

from collections.abc import Sequence

from benchmarks.command import options, save, start
from benchmarks.pytorch import best_generator
from benchmarks.timing import interleave, ratio_range
from fastseq import LanguageModel
from fastseq.text import Vocabulary

VOCABULARY = 256
OURS, THEIRS = 2000, 200  # tokens of one call
GOAL_TOKENS, GOAL_RATIO = 150_000, 30


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--hidden", type=int, default=128, help="hidden size")
    args = start(parser, arguments)
    lm = LanguageModel(Vocabulary.codes(VOCABULARY), "lstm", args.hidden)
    generator, form = best_generator(VOCABULARY, args.hidden, THEIRS)
    timings = interleave(
        {
            "pytorch": lambda: generator.generate(THEIRS),
            "fastseq": lambda: lm.sample("a", OURS, seed=0),
        },
        args.rounds,
    )
    per_call = OURS / THEIRS
    low, high = (per_call * r for r in ratio_range(timings["pytorch"], timings["fastseq"]))
    ours, theirs = OURS / timings["fastseq"].seconds, THEIRS / timings["pytorch"].seconds
    row = {
        "row": f"char LSTM V={VOCABULARY} H={args.hidden}", "pytorch_form": form,
        "fastseq_tokens_per_second": ours, "pytorch_tokens_per_second": theirs,
        "ratio": ours / theirs, "ratio_range": [low, high],
        "goal": GOAL_RATIO, "goal_tokens_per_second": GOAL_TOKENS,
    }  # fmt: skip
    print(f"{row['row']}, tokens/s")
    print(f"fastseq {ours:10,.0f}   at least {GOAL_TOKENS:,}")
    print(f"PyTorch {theirs:10,.0f}   ({form})")
    print(f"ratio   {ours / theirs:9.1f}×   at least {GOAL_RATIO}×")
    save(args.json, [row])


if __name__ == "__main__":
    main()
