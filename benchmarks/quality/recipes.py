"""Recipes of the quality benchmarks, with a goal for each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes
    ----------
    name : str
    texts : str
        Glob pattern in the folder of data.
    valid : str
        Fraction of the text at its end; or one of the files, which is then not trained on; or two
        fractions of the text: it is trained on up to the first, and validated from there to the
        second.
    goal : float
        Largest acceptable loss in nats per character, or perplexity of words.
    options : tuple of str
        Options of `fastseq train`.
    pytorch : bool
        Whether PyTorch can train the same model with the same schedule and minutes.
    """

    name: str
    texts: str
    valid: str
    goal: float
    options: tuple[str, ...]
    pytorch: bool = False

    @property
    def unit(self) -> str:
        return "perplexity" if "word" in self.options else "nats per character"


def _recipe(name: str, texts: str, valid: str, goal: float, options: str, **more: bool) -> Recipe:
    return Recipe(name, texts, valid, goal, tuple(options.split()), **more)


SHAKESPEARE = "tinyshakespeare/input.txt"
VERNE = "verne/*.txt"
HELD_OUT = "verne/The master of the world.txt"
GRU = "--cell gru --hidden-size 512 --embedding-size 128 --batch-size 32 --seq-length 64"

RECIPES = (
    _recipe("tinyshakespeare-3", SHAKESPEARE, "0.1", 1.56,
            f"{GRU} --learning-rate 0.003 --warmup 0.02 --minutes 3"),
    _recipe("verne-4", VERNE, HELD_OUT, 1.40,
            f"{GRU} --learning-rate 0.003 --warmup 0.02 --minutes 4", pytorch=True),
    _recipe("verne-10", VERNE, HELD_OUT, 1.29,
            f"{GRU} --learning-rate 0.003 --warmup 0.02 --minutes 10", pytorch=True),
    _recipe("published-configuration", SHAKESPEARE, "0.9:0.95", 1.467,
            "--hidden-size 128 --num-layers 2 --embedding-size none --batch-size 20 "
            "--seq-length 10 --learning-rate 0.002 --clip-norm 5 --epochs 17"),
    _recipe("wikitext-2", "wikitext-2/train.articles-permuted.txt", "wikitext-2/valid.txt", 131.0,
            "--level word --vocabulary-size 0 --hidden-size 200 --num-layers 2 "
            "--embedding-size 200 --tie-weights --dropout 0.2 --batch-size 20 --seq-length 35 "
            "--optimizer sgd --learning-rate 20 --schedule plateau --validate-every 1000 "
            "--clip-norm 0.25 --epochs 6"),
)  # fmt: skip
