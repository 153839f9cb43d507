"""The side of PyTorch in a quality benchmark: the same model, text, schedule and minutes.

    python -m benchmarks.quality.pytorch --train FILE... --valid FILE --minutes X [...]

The model consists of an embedding, recurrent layers, dropout and a linear layer. It is trained in
float32, with oneDNN where PyTorch uses it, fused Adam, and clipping of the norm with `foreach`.
The minutes do not include validation.
"""

import time
from argparse import ArgumentParser, Namespace

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.pytorch import CELLS, detach
from fastseq import Corpus, TrainingConfig, Vocabulary
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
    parser.add_argument("--valid", required=True, help="file, or fraction of the text at its end")
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


def mean_loss(model: Model, batches) -> float:
    model.eval()
    total, state = 0.0, None
    with torch.inference_mode():
        for inputs, targets in batches:
            logits, state = model(torch.from_numpy(inputs), state)
            goals = torch.from_numpy(targets).view(-1)
            total += F.cross_entropy(logits.flatten(0, 1), goals, reduction="sum").item()
    return total / batches.token_count


def train(model: Model, batches, args: Namespace) -> int:
    """Train for the given minutes; return the number of tokens."""
    parameters = list(model.parameters())
    config = TrainingConfig(
        learning_rate=args.learning_rate, warmup=args.warmup, final_rate=args.final_rate
    )
    optimizer = torch.optim.Adam(parameters, lr=args.learning_rate, fused=True)
    model.train()
    start, tokens, step, state = time.monotonic(), 0, 0, None
    while (done := (time.monotonic() - start) / (60.0 * args.minutes)) < 1.0:
        window = step % len(batches)
        state = None if window == 0 else state
        inputs, targets = map(torch.from_numpy, batches.window(window))
        for group in optimizer.param_groups:
            group["lr"] = config.rate(done)
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
