"""The loss curves as a picture, drawn with Pillow so that training needs no plotting library."""
import csv
import math

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 900, 500, 50
COLOURS = {"loss": "#202020", "rpn_score": "#0072b2", "rpn_box": "#56b4e9", "score": "#d55e00",
           "box": "#e69f00"}
POINTS = 300


def losses(source, target):
    """Draws curves.csv (means over up to 300 stretches, logarithmic scale) into a PNG."""
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    curves = {name: _means([float(row[name]) for row in rows]) for name in COLOURS}
    values = [value for curve in curves.values() for value in curve if value > 0]
    if values:
        low = math.floor(math.log10(max(min(values), 1e-6)))
        high = max(low + 1, math.ceil(math.log10(max(values))))
        _axes(draw, low, high, int(rows[-1]["iteration"]))
        for place, (name, curve) in enumerate(curves.items()):
            _curve(draw, curve, low, high, COLOURS[name])
            draw.text((WIDTH - 2 * MARGIN - 20, MARGIN + 14 * place), name, COLOURS[name])
    image.save(target)


def _means(values):
    step = max(1, -(-len(values) // POINTS))
    return [sum(values[i:i + step]) / len(values[i:i + step])
            for i in range(0, len(values), step)]


def _y(value, low, high):
    share = (math.log10(max(value, 10 ** low)) - low) / (high - low)
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)


def _axes(draw, low, high, last):
    for power in range(low, high + 1):
        y = _y(10 ** power, low, high)
        draw.line((MARGIN, y, WIDTH - MARGIN, y), "#dddddd")
        draw.text((8, y - 6), f"{10 ** power:g}", "black")
    draw.text((MARGIN, HEIGHT - MARGIN + 8), "1", "black")
    draw.text((WIDTH - MARGIN - 60, HEIGHT - MARGIN + 8), f"{last} iterations", "black")


def _curve(draw, curve, low, high, colour):
    across = (WIDTH - 2 * MARGIN) / max(1, len(curve) - 1)
    points = [(MARGIN + i * across, _y(value, low, high)) for i, value in enumerate(curve)]
    if len(points) > 1:
        draw.line(points, colour, 2)
