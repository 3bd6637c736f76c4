"""Charts as PNG, drawn with Pillow: matplotlib would add 60 MB and build its font cache in every new container."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (33, 37, 41)
FAINT = (222, 226, 230)
BLUE = (13, 110, 253)

SCALE = 2  # drawn for screens with two pixels per point
MARGIN = 24 * SCALE
GAP = 12 * SCALE


def draw_confusion_matrix(path: Path, labels: list[str], matrix: list[list[int]]) -> None:
    """One row for each true class, one column for each predicted class; the fuller a cell of its row, the darker."""
    heading, text, number = _font(16), _font(12), _font(18)
    cell = 84 * SCALE
    label_width = int(max(text.getlength(label) for label in labels))
    left = MARGIN + label_width + GAP
    top = MARGIN + 3 * (16 * SCALE + GAP)
    side = cell * len(labels)
    width = max(left + side, MARGIN + int(heading.getlength("Confusion matrix"))) + MARGIN
    image, draw = _paper(width, top + side + MARGIN)

    draw.text((MARGIN, MARGIN), "Confusion matrix", INK, heading, anchor="la")
    draw.text((left + side / 2, MARGIN + 16 * SCALE + 2 * GAP), "predicted", INK, text, anchor="mm")
    draw.text((left - GAP, top - GAP), "true", INK, text, anchor="rs")
    for row, counts in enumerate(matrix):
        y = top + row * cell
        draw.text((left - GAP, y + cell / 2), labels[row], INK, text, anchor="rm")
        draw.text((left + (row + 0.5) * cell, top - GAP), labels[row], INK, text, anchor="ms")
        for column, count in enumerate(counts):
            x = left + column * cell
            share = count / max(sum(counts), 1)
            draw.rectangle((x, y, x + cell - SCALE, y + cell - SCALE), _mix(BLUE, share), FAINT, SCALE)
            ink = PAPER if share > 0.5 else INK
            draw.text((x + cell / 2, y + cell / 2), str(count), ink, number, anchor="mm")
    image.save(path, optimize=True)


def draw_bars(path: Path, title: str, values: dict[str, float]) -> None:
    """Horizontal bars for shares between 0 and 1, in the order given."""
    heading, text = _font(16), _font(12)
    bar, longest = 24 * SCALE, 320 * SCALE
    left = MARGIN + int(max(text.getlength(name) for name in values)) + GAP
    top = MARGIN + 16 * SCALE + 2 * GAP
    width = left + longest + int(text.getlength(" 0.000")) + MARGIN
    image, draw = _paper(width, top + len(values) * (bar + GAP) - GAP + MARGIN)

    draw.text((MARGIN, MARGIN), title, INK, heading, anchor="la")
    for index, (name, value) in enumerate(values.items()):
        y = top + index * (bar + GAP)
        end = left + longest * value / max(*values.values(), 1e-9)
        draw.text((left - GAP, y + bar / 2), name, INK, text, anchor="rm")
        draw.rectangle((left, y, max(end, left + SCALE), y + bar), BLUE)
        draw.text((end + GAP / 2, y + bar / 2), f"{value:.3f}", INK, text, anchor="lm")
    image.save(path, optimize=True)


def _paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), PAPER)
    return image, ImageDraw.Draw(image)


def _font(points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(points * SCALE)


def _mix(colour: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    red, green, blue = (round(paper + (ink - paper) * share) for paper, ink in zip(PAPER, colour, strict=True))
    return red, green, blue
