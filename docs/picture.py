"""Pictures as SVG, legible on any background, without fonts of their own."""

STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1d2733 }
.number { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.small { font-size: 13px } .strong { font-weight: 600 }
.soft { fill: #5a6672 } .back { fill: #b3261e } .ahead { fill: #1f5fa8 }
rect { fill: #edf2f8; stroke: #7f92a8 } path { fill: none; stroke: #1f5fa8; stroke-width: 1.6 }
rect.card { fill: #ffffff; stroke: #d5dbe1 } rect.plain { fill: #ffffff }
rect.warm { fill: #fdeadb; stroke: #c2702a } rect.fresh { fill: #def0e4; stroke: #3d8b57 }
path.back { stroke: #b3261e; fill: none } path.tip { fill: #1f5fa8; stroke: none }
path.tip.back { fill: #b3261e } path.thin { stroke: #7f92a8; stroke-width: 1 }
path.dashed { stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e3e8ee } .soft { fill: #a3afbb } .back { fill: #ff9a8f } .ahead { fill: #8fbff5 }
rect { fill: #2a333e; stroke: #77889b } path { stroke: #8fbff5 }
rect.card { fill: #1b2129; stroke: #3a444f } rect.plain { fill: #1b2129 }
rect.warm { fill: #4a3423; stroke: #dd9458 } rect.fresh { fill: #20402c; stroke: #6cbd88 }
path.back { stroke: #ff9a8f } path.tip { fill: #8fbff5 } path.tip.back { fill: #ff9a8f }
path.thin { stroke: #77889b }
}
"""


class Picture:
    """An SVG that is put together from boxes, lines and words; coordinates are pixels."""

    def __init__(self, width, height, title):
        self.size, self.title, self.parts = (width, height), title, []
        self.box(0.5, 0.5, width - 1, height - 1, "card", round=8)

    def box(self, x, y, width, height, kind="", lines=(), words="", round=4):
        """A rectangle with lines of words in its middle."""
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'rx="{round}"/>'
        )
        top = y + height / 2 - 18 * (len(lines) - 1) / 2 + 5
        for n, line in enumerate(lines):
            self.write(x + width / 2, top + 18 * n, line, words)

    def write(self, x, y, words, kind="", anchor="middle"):
        """Words at a point of their base line."""
        words = words.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(
            f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}" '
            f'xml:space="preserve">{words}</text>'
        )

    def arrow(self, *points, kind="", tip=True):
        """A line through points, the last of which gets a tip."""
        line = " L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="{kind}" d="M{line}"/>')
        if tip:
            (x0, y0), (x, y) = points[-2:]
            length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
            u, v = 4 * (x - x0) / length, 4 * (y - y0) / length
            corners = (x, y), (x - 2 * u - v, y - 2 * v + u), (x - 2 * u + v, y - 2 * v - u)
            shape = " L".join(f"{a:.1f} {b:.1f}" for a, b in corners)
            self.parts.append(f'<path class="tip {kind}" d="M{shape}Z"/>')

    def __str__(self):
        width, height = self.size
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">',
            f"<title>{self.title}</title>\n<style>{STYLE}</style>",
            *self.parts,
            "</svg>\n",
        ])  # fmt: skip
