"""The transfer matrix as an SVG: a block per change, a line per cloak, a column per detector.

A cell says how many faces were found before → after; its colour runs from blue (all hidden) over purple to orange
(all still found), which people who cannot tell red from green can tell apart; a cell without faces is empty. Text
follows the reader's light or dark setting, and is of a grey for both where a viewer knows none. A dot marks the
detectors that were in the cloak's loop.
"""
from xml.sax.saxutils import escape

CELL, LINE, LEFT, TOP, GAP = 84, 30, 210, 30, 24
RAMP = ((38, 106, 156), (128, 62, 128), (198, 108, 29))
STYLE = """
text{font:13px system-ui,sans-serif;fill:#757b83}
.name{font-weight:600}.small{font-size:11px}
@media (prefers-color-scheme:light){text{fill:#24272b}}
@media (prefers-color-scheme:dark){text{fill:#e3e6ea}}
text.in,.dot{fill:#fff}
"""


def shade(before, after):
    """A cell's colour, between the two nearest of the ramp's; none where there was nothing to find."""
    if not before:
        return "none"
    place = 2 * min(1.0, after / before)
    low, high = (RAMP[0], RAMP[1]) if place < 1 else (RAMP[1], RAMP[2])
    return "#" + "".join(f"{round(a + (b - a) * (place if place < 1 else place - 1)):02x}" for a, b in zip(low, high))


def text(x, y, words, kind="", anchor="start"):
    """One text element."""
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(str(words))}</text>'


def cell(x, y, counts, in_loop):
    """One cell: a coloured box with the counts, and a dot where the cloak was made against this column."""
    box = (f'<rect x="{x + 2}" y="{y + 2}" width="{CELL - 4}" height="{LINE - 4}" rx="4" '
           f'stroke="#8a8f96" stroke-opacity="0.4" fill="{shade(counts["before"], counts["after"])}"/>')
    dot = f'<circle class="dot" cx="{x + 10}" cy="{y + LINE / 2}" r="2.5"/>' if in_loop else ""
    words = f'{counts["before"]} → {counts["after"]}'
    return box + dot + text(x + CELL / 2 + 3, y + LINE / 2 + 4.5, words, "in" if counts["before"] else "", "middle")


def block(result, change, y):
    """One change's lines from y downwards; returns (elements, the y below them)."""
    parts = [text(8, y + 14, change, "name"), text(8 + LEFT, y + 14, result["changes"][change], "small")]
    y += 22
    for row in result["rows"]:
        parts += [text(8, y + 19, row["name"]), text(LEFT, y + 19, f'{row["psnr_db"]:.1f} dB', "small", "end")]
        for i, column in enumerate(result["columns"]):
            counts = row["cells"][change][column["name"]]["iou"]
            parts.append(cell(8 + LEFT + i * CELL, y, counts, row["in_loop"][column["name"]]))
        y += LINE
    return parts, y + GAP


def drawing(result):
    """The whole SVG as text."""
    width = 16 + LEFT + CELL * len(result["columns"])
    parts = [text(8, 20, f'{result["photos"]} photos, {result["faces"]} labelled faces; found before → after, '
                         "• made against this detector; ≥ score that counts", "small")]
    for i, column in enumerate(result["columns"]):
        name, _, kind = column["name"].partition("-")
        x = 8 + LEFT + (i + 0.5) * CELL
        parts += [text(x, TOP + 16, name, "name", "middle"), text(x, TOP + 30, kind, "small", "middle"),
                  text(x, TOP + 44, f'≥ {column["threshold_counted"]:g}', "small", "middle")]
    y = TOP + 56
    for change in result["changes"]:
        more, y = block(result, change, y)
        parts += more
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" '
            f'role="img" aria-label="transfer matrix"><style>{STYLE}</style>' + "\n".join(parts) + "</svg>\n")


def write(result, path):
    """Writes the drawing to a file."""
    with open(path, "w") as file:
        file.write(drawing(result))
