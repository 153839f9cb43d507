"""PyTorch's side of a quality benchmark: the same model, text, schedule and minutes.

    python -m benchmarks.quality.pytorch --train FILE... --valid FILE --minutes X [...]

The model is an embedding, recurrent layers, dropout, linear; float32, oneDNN where PyTorch uses
it, fused Adam, clipping of the norm with `foreach`. Validation is not part of the minutes.
"""

import math
import time
from argparse import ArgumentParser, Namespace

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.pytorch import CELLS, detach
from fastseq import Corpus, Vocabulary
from fastseq.lm.evaluation import validation_batches


class Model(nn.Module):
    """Embedding, recurrent layers, linear."""

    def __init__(self, args: Namespace, vocabulary: int) -> None:
        super().__init__()
        E, H = args.embedding_size, args.hidden_size
        self.embedding = nn.Embedding(vocabulary, E)
        dropout = args.dropout if args.num_layers > 1 else 0.0
        self.rnn = CELLS[args.cell](E, H, args.num_layers, dropout=dropout)
        self.dropout = nn.Dropout(args.dropout)
        self.head = nn.Linear(H, vocabulary)

    def forward(self, ids, state):
        y, state = self.rnn(self.dropout(self.embedding(ids)), state)
        return self.head(self.dropout(y)), state


def parse() -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--valid", required=True, help="file, or share of the text's end")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm")
    for name, value in (
        ("hidden-size", 256), ("embedding-size", 128), ("num-layers", 1), ("batch-size", 32),
        ("seq-length", 64), ("threads", 2),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (
        ("learning-rate", 2e-3), ("warmup", 0.0), ("final-rate", 0.02), ("dropout", 0.0),
        ("clip-norm", 1.0),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=float, default=value)
    return parser.parse_args()


def rate(args: Namespace, done: float) -> float:
    """The learning rate of fastseq's cosine schedule."""
    if done < args.warmup:
        return args.learning_rate * max(done / args.warmup, 1e-3)
    x = min((done - args.warmup) / (1.0 - args.warmup), 1.0)
    cosine = 0.5 * (1.0 + math.cos(math.pi * x))
    return args.learning_rate * (args.final_rate + (1.0 - args.final_rate) * cosine)


def mean_loss(model: Model, batches) -> float:
    model.eval()
    total, state = 0.0, None
    with torch.inference_mode():
        for inputs, targets in batches:
            logits, state = model(torch.from_numpy(inputs), state)
            aims = torch.from_numpy(targets).view(-1)
            total += F.cross_entropy(logits.flatten(0, 1), aims, reduction="sum").item()
    return total / batches.token_count


def train(model: Model, batches, args: Namespace) -> int:
    """Train for so many minutes; return the number of tokens."""
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=args.learning_rate, fused=True)
    model.train()
    start, tokens, step, state = time.monotonic(), 0, 0, None
    while (done := (time.monotonic() - start) / (60.0 * args.minutes)) < 1.0:
        window = step % len(batches)
        state = None if window == 0 else state
        inputs, targets = map(torch.from_numpy, batches.window(window))
        for group in optimizer.param_groups:
            group["lr"] = rate(args, done)
        optimizer.zero_grad(set_to_none=True)
        logits, state = model(inputs, state)
        state = detach(state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.view(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, args.clip_norm, foreach=True)
        optimizer.step()
        step, tokens = step + 1, tokens + inputs.numel()
        if step % 100 == 0:
            print(f"step {step:,}  epoch {step / len(batches):.2f}  loss {loss.item():.3f}  "
                  f"tokens/s {tokens / (time.monotonic() - start):,.0f}", flush=True)  # fmt: skip
    return tokens


def main() -> None:
    args = parse()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    valid = args.valid if not args.valid.replace(".", "").isdigit() else float(args.valid)
    corpus = Corpus.from_files(args.train, Vocabulary.characters, valid=valid)
    model = Model(args, len(corpus.vocabulary))
    batches = corpus.batches("train", args.batch_size, args.seq_length)
    tokens = train(model, batches, args)
    loss = mean_loss(model, validation_batches(corpus, args.batch_size))
    print(f"PyTorch {torch.__version__}: {args.minutes:g} minutes, {tokens:,} tokens, "
          f"valid {loss:.4f} nats per character")  # fmt: skip


if __name__ == "__main__":
    main()
