"""Generation: tokens per second of a character LSTM, against PyTorch's loop in inference mode.

    python -m benchmarks.generation [--hidden 128] [--rounds 9] [--json FILE]

One row of tokens is drawn from the softmax, one token at a time. fastseq returns numbers
(`sample_tokens`) or a text (`sample`); PyTorch's loop, in its fastest form, returns numbers.
"""

from collections.abc import Sequence

from benchmarks.command import options, save, start
from benchmarks.pytorch import best_generator
from benchmarks.timing import interleave
from fastseq import LanguageModel
from fastseq.text import Vocabulary

VOCABULARY = 256
OURS, THEIRS = 2000, 200  # tokens per call
GOAL_TOKENS, GOAL_RATIO = 150_000, 30


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--hidden", type=int, default=128, help="hidden size")
    args = start(parser, arguments)
    lm = LanguageModel(Vocabulary.codes(VOCABULARY), "lstm", args.hidden)
    generator, form = best_generator(VOCABULARY, args.hidden, THEIRS)
    sides = {
        "numbers": (OURS, lambda: lm.sample_tokens([97], OURS, seed=0)),
        "text": (OURS, lambda: lm.sample("a", OURS, seed=0)),
        "pytorch": (THEIRS, lambda: generator.generate(THEIRS)),
    }
    timings = interleave({name: call for name, (_, call) in sides.items()}, args.rounds)
    speeds = {name: sides[name][0] / timing.seconds for name, timing in timings.items()}
    rows = [
        {
            "row": f"char LSTM V={VOCABULARY} H={args.hidden}, {name}", "pytorch_form": form,
            "fastseq_tokens_per_second": speeds[name],
            "pytorch_tokens_per_second": speeds["pytorch"],
            "ratio": speeds[name] / speeds["pytorch"],
            "goal": GOAL_RATIO, "goal_tokens_per_second": GOAL_TOKENS,
        }
        for name in ("numbers", "text")
    ]  # fmt: skip
    print(f"PyTorch {speeds['pytorch']:,.0f} tokens/s ({form})")
    print(f"{'row':32} {'tokens/s':>10} {'goal':>10} {'ratio':>7} {'goal':>5}")
    for row in rows:
        print(
            f"{row['row']:32} {row['fastseq_tokens_per_second']:10,.0f} {GOAL_TOKENS:10,} "
            f"{row['ratio']:6.1f}× {GOAL_RATIO:4}×"
        )
    save(args.json, rows)


if __name__ == "__main__":
    main()
