"""The precision-recall curve as a PNG, drawn with Pillow.

Matplotlib would be usual, but is 9 MB with six dependencies for one picture of four lines. Pillow comes with Streamlit
anyway and includes a font.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, HEIGHT = 800, 560
LEFT, RIGHT, TOP, BOTTOM = 80, 30, 60, 70
SMOOTH = 2
"""Drawn this many times larger and scaled down, as Pillow does not antialias lines."""
COLOURS = ("#0b5fa5", "#c2410c", "#5b7f17", "#7a7a7a", "#8e44ad")
"""Safe for red-green colour blindness: blue, orange, olive, grey, violet."""
INK, GRID, PAPER = "#222222", "#dddddd", "#ffffff"


def draw(curves: Mapping[str, Sequence[float]], title: str) -> bytes:
    """A PNG of precision (y) over recall (x); each curve has precision at evenly spaced recalls from 0 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (WIDTH * SMOOTH, HEIGHT * SMOOTH), PAPER)
    pen = ImageDraw.Draw(image)
    font, small = (ImageFont.load_default(size * SMOOTH) for size in (18, 14))

    def at(recall: float, precision: float) -> tuple[float, float]:
        x = LEFT + recall * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - precision * (HEIGHT - TOP - BOTTOM)
        return x * SMOOTH, y * SMOOTH

    for tick in np.linspace(0, 1, 6):
        pen.line([at(tick, 0), at(tick, 1)], GRID, SMOOTH)
        pen.line([at(0, tick), at(1, tick)], GRID, SMOOTH)
        x, y = at(tick, 0)
        pen.text((x, y + 8 * SMOOTH), f"{tick:.1f}", INK, small, anchor="mt")
        x, y = at(0, tick)
        pen.text((x - 8 * SMOOTH, y), f"{tick:.1f}", INK, small, anchor="rm")
    pen.line([at(0, 1), at(0, 0), at(1, 0)], INK, 2 * SMOOTH)
    pen.text((LEFT * SMOOTH, 20 * SMOOTH), title, INK, font, anchor="lt")
    x, y = at(0.5, 0)
    pen.text((x, y + 36 * SMOOTH), "recall: share of the fraud that is found", INK, small, anchor="mt")
    pen.text(
        (LEFT * SMOOTH, 44 * SMOOTH), "precision: share of the alerts that are fraud", INK, small, anchor="lt"
    )
    for i, (name, precision) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        recalls = np.linspace(0, 1, len(precision))
        points = [at(float(r), p) for r, p in zip(recalls, precision, strict=True)]
        pen.line(points, colour, 3 * SMOOTH, joint="curve")
        x, y = at(1, 1)
        y += (12 + 24 * i) * SMOOTH
        pen.line([(x - 200 * SMOOTH, y), (x - 172 * SMOOTH, y)], colour, 4 * SMOOTH)
        pen.text((x - 164 * SMOOTH, y), name, INK, small, anchor="lm")
    sink = io.BytesIO()
    image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(sink, "PNG", optimize=True)
    return sink.getvalue()
