"""Draw the pictures of by_hand.md and how_it_works.md into docs/pictures/.

    python docs/draw.py

The numbers of the example come from the tables of by_hand.md, the sizes of the tile from
_simd.h.
"""

import re
from pathlib import Path

from picture import Picture

DOCS = Path(__file__).parent
STEPS = "₀₁₂₃₄"
# -- by_hand.md -----------------------------------------------------------------------------------


def tables(text):
    """The numbers in the rows of a page's tables, as strings, by the name in the first cell."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        name, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        numbers = [cell for cell in cells if re.fullmatch(r"−?\d+(\.\d+)?", cell)]
        if name in found:
            raise ValueError(f"{name}: expected one row of this name, got two")
        if name and numbers:
            found[name] = numbers
    return found


def labelled(names, numbers):
    """Lines of a name and a number each, aligned."""
    width = max(map(len, names))
    return [f"{name:<{width}} {x:>7}" for name, x in zip(names, numbers, strict=True)]


COLUMNS = (62, 206, 350)  # left edges of the three steps
READS, ANSWERS = "aba", "bac"


def by_hand_forward(v, _):
    picture = Picture(480, 452, "The unrolled network with the numbers of the forward pass")
    write, arrow = picture.write, picture.arrow
    for name, y in (("loss", 48), ("p", 126), ("h", 290), ("x", 386)):
        write(12, y, name, "soft", "start")
    for t, x in enumerate(COLUMNS):
        s, middle = STEPS[t + 1], x + 58
        write(middle, 438, f"step {t + 1}", "soft")
        picture.box(x, 28, 116, 30, "warm", [f"L{s}  {v['L' + s][0]}"], "number")
        arrow((middle, 82), (middle, 60))
        picture.box(x, 84, 116, 74)
        for n, line in enumerate(labelled("abc", v["p" + s])):
            right = "abc"[n] == ANSWERS[t]
            if right:
                picture.box(x + 4, 92 + 19 * n, 108, 20, "fresh")
            write(middle, 107 + 19 * n, line, "number strong" if right else "number")
        arrow((middle, 242), (middle, 160))
        write(middle + 8, 196, "W_y,", "ahead small", "start")
        write(middle + 8, 212, "softmax", "ahead small", "start")
        picture.box(x, 244, 116, 52, "", labelled((f"h{s}", ""), v["h" + s]), "number")
        arrow((middle, 350), (middle, 298))
        write(middle + 8, 328, "W_x", "ahead small", "start")
        picture.box(x, 352, 116, 56, "plain", [f"“{READS[t]}”", "  ".join(v["x" + s])], "number")
        arrow((x - 26, 270), (x - 2, 270))
        write(x - 14, 238, "W_h", "ahead small")
    write(8, 258, "h₀=0", "small", "start")
    return picture


def by_hand_backward(v, _):
    picture = Picture(480, 456, "The same network with the gradients that flow back")
    write, arrow = picture.write, picture.arrow
    for name, y in (("loss", 48), ("dz", 126)):
        write(12, y, name, "soft", "start")
    for t, x in enumerate(COLUMNS):
        s, middle = STEPS[t + 1], x + 58
        write(middle, 442, f"step {t + 1}", "soft")
        picture.box(x, 28, 116, 30, "warm", [f"L{s}  {v['L' + s][0]}"], "number")
        arrow((middle, 60), (middle, 82), kind="back")
        picture.box(x, 84, 116, 74, "", labelled("abc", v["dz" + s]), "number back")
        arrow((middle, 160), (middle, 216), kind="back")
        write(middle + 8, 193, "W_yᵀ", "back small", "start")
        lines = labelled((f"dh{s}", "", f"da{s}", ""), v["dh" + s] + v["da" + s])
        picture.box(x, 218, 116, 92, "", lines, "number back")
        arrow((middle, 312), (middle, 364), kind="back")
        write(middle + 8, 343, f"· x{s}, h{STEPS[t]}", "back small", "start")
        if t:
            arrow((x - 2, 264), (x - 26, 264), kind="back")
            write(x - 14, 210, "W_hᵀ", "back small")
    picture.box(62, 366, 404, 48, "warm", ["dW_x, dW_h, db: the sums over all steps"])
    return picture


def by_hand_lstm_step(_, v):
    picture = Picture(
        480, 424, "One step of an LSTM, with the numbers of its first unit at step 3"
    )
    write, arrow = picture.write, picture.arrow

    def value(x, y, name, gradient, lines=("",), kind=""):
        picture.box(x, y, 88, 62, kind)
        write(x + 44, y + 17, name, "small")
        write(x + 44, y + 35, v[name][0], "number strong")
        write(x + 44, y + 53, gradient, "number back small")

    def times(x, y, sign="×"):
        picture.box(x - 14, y - 14, 28, 28, "warm", [sign], round=14)

    value(10, 46, "c₂", v["dc₃∘f₃"][0])
    value(290, 46, "c₃", v["dc₃"][0])
    arrow((98, 77), (128, 77))
    times(144, 77)
    arrow((158, 77), (222, 77))
    times(238, 77, "+")
    arrow((252, 77), (288, 77))
    arrow((334, 108), (334, 150), (398, 150))
    write(366, 142, "tanh", "ahead small")
    times(414, 150)
    arrow((428, 150), (442, 150), (442, 110))
    value(382, 46, "h₃", v["dh₃"][0])
    for x, name in ((10, "f₃"), (120, "i₃"), (230, "g₃"), (370, "o₃")):
        value(x, 228, name, v["d" + name][0], kind="fresh")
        arrow((x + 44, 338), (x + 44, 292))
        write(x + 50, 322, "tanh" if name == "g₃" else "σ", "ahead small", "start")
    times(238, 164)
    arrow((54, 226), (54, 190), (144, 190), (144, 93))
    arrow((164, 226), (164, 164), (222, 164))
    arrow((274, 226), (274, 164), (254, 164))
    arrow((238, 148), (238, 93))
    arrow((414, 226), (414, 166))
    picture.box(10, 340, 448, 32, "plain", ["x₃, h₂, 1   times the weights of each gate"])
    write(240, 398, "bold: value; red: its gradient; both of the first unit", "small")
    write(54, 34, "from step 2", "soft small")
    write(376, 34, "to step 4, h₃ to the logits", "soft small")
    return picture


def by_hand_lstm(_, v):
    picture = Picture(480, 420, "The unrolled LSTM: states above, their gradients below, in red")
    write, arrow = picture.write, picture.arrow
    for t, x in enumerate(COLUMNS):
        s, middle = STEPS[t + 1], x + 58
        picture.box(x, 24, 116, 30, "warm", [f"L{s}  {v['L' + s][0]}"], "number")
        arrow((middle - 8, 78), (middle - 8, 56))
        arrow((middle + 8, 56), (middle + 8, 78), kind="back")
        for name, y in (("h", 80), ("c", 226)):
            lines = labelled((name + s, "", f"d{name}{s}", ""), v[name + s] + v[f"d{name}{s}"])
            picture.box(x, y, 116, 92)
            for n, line in enumerate(lines):
                write(middle, y + 24 + 18 * n, line, "number back" if n > 1 else "number")
        arrow((middle - 8, 224), (middle - 8, 174))
        arrow((middle + 8, 174), (middle + 8, 224), kind="back")
        write(middle - 14, 204, f"o{s}", "ahead small", "end")
        arrow((middle, 352), (middle, 320))
        picture.box(x, 354, 116, 34, "plain", [f"“{READS[t]}”"], "number")
        write(middle, 408, f"step {t + 1}", "soft")
        if t:
            for y, name in ((126, "gates"), (272, f"f{s}")):
                arrow((x - 26, y - 6), (x - 2, y - 6))
                arrow((x - 2, y + 8), (x - 26, y + 8), kind="back")
                write(x - 14, y - 54, name, "ahead small")
    for name, y in (("loss", 44), ("h", 130), ("c", 276), ("x", 376)):
        write(12, y, name, "soft", "start")
    return picture


# -- how_it_works.md ------------------------------------------------------------------------------


def tile_of(branch):
    """What one branch of _simd.h defines, as numbers by their names: BYTES, MR, NV."""
    header = (DOCS.parent / "fastseq/_kernels/_simd.h").read_text("utf-8")
    _, _, rest = header.partition(f"defined({branch})\n#define FS_BYTES")
    text = "#define FS_BYTES" + re.split(r"^#e", rest, flags=re.M)[0]
    return {name: int(n) for name, n in re.findall(r"^#define FS_(\w+) +(\d+)", text, re.M)}


def how_flow(*_):
    picture = Picture(480, 480, "From tokens to the loss, and back")
    stations = (
        ("plain", ("tokens: T × B integers",)),
        ("", ("input projection", "gates = x · W_ihᵀ + b, all steps at once")),
        ("warm", ("time loop", "gates[t] += h[t−1] · W_hhᵀ, then h[t]")),
        ("", ("head, in blocks of rows", "logits, softmax, loss")),
        ("fresh", ("loss: one number for each row",)),
    )
    ahead = "ids", "gates, T·B × G·H", "h of all steps, T·B × H", "logits of a block"
    back = "", "d gates", "d h of all steps", "d logits of a block"
    for n, (kind, lines) in enumerate(stations):
        y = 18 + 94 * n
        picture.box(60, y, 360, 48, kind, lines)
        if n:
            picture.arrow((200, y - 44), (200, y - 3))
            picture.write(192, y - 19, ahead[n - 1], "ahead small", "end")
        if n > 1:
            picture.arrow((280, y - 3), (280, y - 44), kind="back")
            picture.write(288, y - 19, back[n - 1], "back small", "start")
    picture.write(240, 464, "More layers repeat the second and third box.", "small")
    return picture


def how_hoist(*_):
    picture = Picture(480, 404, "Which products are inside the time loop and which outside")
    rows = (
        (18, "before the loop", "x of all steps · W_ihᵀ", "one product, T·B rows"),
        (252, "after the loop", "dW_ih, dW_hh, db, dx", "one product each, T·B rows"),
    )
    for y, when, what, size in rows:
        picture.write(14, y + 30, when, "soft small", "start")
        picture.box(130, y, 336, 50, "fresh", [what, size])
    for y, kind, when in ((102, "", "forward loop"), (182, "back", "backward loop")):
        picture.write(14, y + 22, when, "soft small", "start")
        for n in range(4):
            x = 130 + 88 * n
            label = ("h·W_hhᵀ", "d·W_hh")[kind == "back"]
            picture.box(x, y, 72, 36, "warm", [label], "small")
            ends = ((x + 73, y + 18), (x + 87, y + 18))
            if n < 3:
                picture.arrow(*(ends[::-1] if kind else ends), kind=kind)
    picture.write(298, 160, "T products, B rows each, one after the other", "small")
    picture.write(298, 240, "T products, B rows each, from the last to the first", "small")
    picture.arrow((298, 70), (298, 100))
    picture.box(14, 322, 452, 64, "plain", [
        "A step needs the state before it, so its product waits.",
        "Nothing else does, so everything else leaves the loop."])  # fmt: skip
    return picture


def how_panels(*_):
    picture = Picture(480, 352, "A weight and its panels in memory")
    picture.write(14, 28, "b: K rows, N columns", "", "start")
    for panel in range(3):
        left = 40 + 96 * panel
        for k in range(4):
            kind = ("fresh", "warm", "")[panel]
            width = 48 if panel == 2 else 96
            picture.box(left, 40 + 26 * k, width, 26, kind, [f"{4 * panel + k + 1}"], "number")
    picture.write(34, 97, "K", "soft", "end")
    picture.write(88, 166, "NR columns", "soft small")
    picture.write(184, 166, "NR columns", "soft small")
    picture.write(256, 166, "the rest", "soft small")
    picture.arrow((420, 40), (420, 140), kind="thin")
    picture.write(414, 96, "walk down k", "soft small", "end")
    picture.write(14, 208, "packed: panel after panel, each contiguous", "", "start")
    for n in range(12):
        kind = ("fresh", "warm", "")[n // 4]
        picture.box(14 + 38 * n, 220, 38 if n < 8 else 19, 30, kind)
        if n > 7:
            picture.box(14 + 38 * n + 19, 220, 19, 30, "plain", ["0"], "number soft small")
        picture.write(14 + 38 * n + (19 if n < 8 else 9.5), 240, f"{n + 1}", "number small")
    picture.arrow((14, 266), (466, 266), kind="thin")
    picture.write(240, 286, "addresses in memory", "soft small")
    picture.write(240, 318, "A number stands for one row of one panel: NV vectors.", "small")
    picture.write(240, 338, "The last panel is filled up with zeros.", "small")
    return picture


def how_tile(*_):
    sizes = tile_of("__AVX512F__")
    rows, vectors = sizes["MR"], sizes["NV"]
    numbers = sizes["BYTES"] // 4
    picture = Picture(480, 190 + 34 * rows, "The micro-tile of the avx512 build in float32")
    write, width = picture.write, 312 / vectors
    write(298, 26, f"one row of a panel of b: {vectors} vectors of {numbers} numbers", "small")
    for v in range(vectors):
        picture.box(142 + width * v, 38, width - 4, 28, "fresh", [f"b{v + 1}"], "number small")
    for m in range(rows):
        y = 92 + 34 * m
        picture.box(78, y, 40, 28, "warm", [f"a{m + 1}"], "number small")
        for v in range(vectors):
            label = f"+= a{m + 1}·b{v + 1}" if vectors < 5 else ""
            picture.box(142 + width * v, y, width - 4, 28, "", [label], "number small")
    write(40, 88 + 17 * rows, "column k", "small")
    write(40, 106 + 17 * rows, "of a", "small")
    y = 120 + 34 * rows
    write(298, y, f"c: {rows} × {vectors} sums in registers", "small")
    total = rows * vectors
    write(240, y + 32, f"Each k: {vectors} loads of b, {rows} broadcasts of a,", "small")
    write(240, y + 50, f"{total} multiply-adds of {numbers} numbers each.", "small")
    return picture


LENGTHS = (8, 7, 5, 4, 2, 2, 1, 1)
SHARE = 2  # rows of the first thread, half of all steps


def how_time(*_):
    picture = Picture(480, 414, "Sequences of different lengths in the time loop")
    write = picture.write
    write(14, 28, "sequences, the longest first", "", "start")
    for row, length in enumerate(LENGTHS):
        second = row >= SHARE
        top = 44 + 30 * row + 12 * second
        write(66, top + 18, f"row {row + 1}", "soft small", "end")
        for t in range(length):
            picture.box(76 + 38 * t, top, 34, 26, ("fresh", "warm")[second])
    for thread, lengths in enumerate((LENGTHS[:SHARE], LENGTHS[SHARE:])):
        y = (68, 190)[thread]
        write(392, y, f"thread {thread + 1}:", "small", "start")
        write(392, y + 18, f"{sum(lengths)} steps", "small", "start")
    write(66, 320, "active", "soft small", "end")
    for t in range(max(LENGTHS)):
        active = sum(length > t for length in LENGTHS)
        write(93 + 38 * t, 320, f"{active}", "number small")
    picture.arrow((76, 334), (376, 334), kind="thin")
    write(226, 352, "time", "soft small")
    write(240, 382, "A step multiplies the active rows only: they are the", "small")
    write(240, 400, "first ones, one block. Nothing is computed for padding.", "small")
    return picture


def how_table(*_):
    picture = Picture(480, 300, "Rows of the token table are gathered, their gradients added")
    write = picture.write
    write(84, 28, "token table, V × G·H")
    write(384, 28, "gates, T·B × G·H")
    kinds = "", "fresh", "warm", "", ""
    for row, kind in enumerate(kinds):
        picture.box(24, 42 + 36 * row, 120, 30, kind, [f"row {row}"], "small")
    for n, token in enumerate((1, 2, 1)):
        y = 60 + 54 * n
        picture.box(324, y, 120, 30, kinds[token], [f"id {token}"], "small")
        source = 57 + 36 * token
        picture.arrow((146, source - 4), (320, y + 11))
        picture.arrow((320, y + 20), (146, source + 5), kind="back")
    write(240, 252, "forward, blue: copy the row of each id", "ahead small")
    write(240, 274, "backward, red: add d gates to the row, in the order of n", "back small")
    return picture


def how_head(*_):
    picture = Picture(480, 450, "The two passes of the head over a block of rows")
    write = picture.write
    write(14, 28, "first pass: threads cut the columns", "", "start")
    write(14, 232, "second pass: threads cut the classes", "", "start")
    for top, vertical in ((40, True), (244, False)):
        for v in range(4):
            for n in range(3):
                kind = ("fresh", "warm", "")[n] if vertical else ("fresh", "warm")[v // 2]
                picture.box(100 + 60 * n, top + 34 * v, 58, 32, kind)
        write(92, top + 54, "classes,", "soft small", "end")
        write(92, top + 72, "in chunks", "soft small", "end")
        write(189, top + 154, "rows of h", "soft small")
    for n in range(3):
        picture.arrow((129 + 60 * n, 50), (129 + 60 * n, 164), kind="thin")
    for v in range(2):
        picture.arrow((270, 254 + 68 * v), (270, 302 + 68 * v), kind="thin")
    first = "zᵀ = w · hᵀ + b", "largest so far", "exp(z − largest)", "sum", "→ loss of each row"
    second = "dzᵀ = softmax − onehot", "db: sums of its rows", "dw = dzᵀ · h", "dh += dz · w"
    for y, lines in ((62, first), (262, (*second, "→ dh of each segment"))):
        for n, line in enumerate(lines):
            write(300, y + 20 * n, line, "small", "start")
    write(240, 434, "Both finish a chunk while it is in the second-level cache.", "small")
    return picture


def how_threads(*_):
    picture = Picture(480, 250, "Threads claim the parts of a job")
    write = picture.write
    names = "caller", "worker 1", "worker 2"
    claimed = ((1, 70), (3, 58), (5, 66), (6, 60)), ((2, 84), (4, 74), (7, 68)), ()
    for row, (name, parts) in enumerate(zip(names, claimed, strict=True)):
        top, x = 42 + 44 * row, 92 + 34 * row
        write(80, top + 20, name, "small", "end")
        for part, width in parts:
            picture.box(x, top, width - 4, 30, ("fresh", "warm")[row], [f"{part}"], "number")
            x += width
    picture.box(372, 130, 92, 30, "plain", ["late: no part"], "small soft")
    picture.arrow((92, 182), (456, 182), kind="thin")
    write(274, 200, "time", "soft small")
    write(240, 226, "A part of the output has the same bits whoever computes it.", "small")
    write(92, 26, "a job of 7 parts", "soft small", "start")
    return picture


def main():
    """Write all pictures."""
    for name, picture in pictures().items():
        (DOCS / "pictures" / f"{name}.svg").write_text(str(picture), "utf-8")


def pictures():
    """Every picture by the name of its file."""
    parts = (DOCS / "by_hand.md").read_text("utf-8").split("\n## The LSTM\n")
    numbers = [tables(part) for part in parts]
    draws = (
        by_hand_forward, by_hand_backward, by_hand_lstm_step, by_hand_lstm,
        how_flow, how_hoist, how_panels, how_tile, how_time, how_table, how_head, how_threads,
    )  # fmt: skip
    return {draw.__name__: draw(*numbers) for draw in draws}


if __name__ == "__main__":
    main()
