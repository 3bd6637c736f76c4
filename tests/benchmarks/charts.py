"""Small pictures: bars, ranges on a logarithmic scale, points. Plain SVG that follows the reader's light or dark."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.figures import number

WIDTH, LEFT, RIGHT, TOP, ROW = 860, 250, 90, 44, 30
STYLE = """<style>
    svg { color: #1f2937; background: #ffffff; font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
    text { fill: currentColor; }
    .title { font-weight: 600; }
    .small { font-size: 12px; font-weight: 400; opacity: 0.8; }
    .label { text-anchor: end; }
    .middle { text-anchor: middle; }
    .grid { stroke: #cbd5e1; stroke-width: 1; }
    .theirs { fill: #94a3b8; stroke: #94a3b8; }
    .ours { fill: #4f46e5; stroke: #4f46e5; }
    @media (prefers-color-scheme: dark) {
      svg { color: #e2e8f0; background: #0f172a; }
      .grid { stroke: #334155; }
      .theirs { fill: #64748b; stroke: #64748b; }
      .ours { fill: #818cf8; stroke: #818cf8; }
    }
  </style>"""


def bars(title: str, unit: str, rows: Sequence[tuple[str, float, bool]]) -> str:
    """One bar for each (label, value, is it ours)."""
    longest = max(value for _, value, _ in rows)
    parts = []
    for index, (label, value, is_ours) in enumerate(rows):
        y, width = TOP + index * ROW, max(1.0, value / longest * (WIDTH - LEFT - RIGHT))
        parts += [
            _label(label, y),
            f'<rect class="{_whose(is_ours)}" x="{LEFT}" y="{y + 5}" width="{width:.1f}" height="{ROW - 12}" rx="2"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{y + 19}">{number(value)}</text>',
        ]
    return _svg(title, unit, TOP + len(rows) * ROW + 8, parts)


def ranges(title: str, unit: str, rows: Sequence[tuple[str, float, float, bool]]) -> str:
    """For each (label, median, high percentile, is it ours) a dot and a line, on a logarithmic scale."""
    lowest = 10 ** math.floor(math.log10(min(low for _, low, _, _ in rows)))
    highest = 10 ** math.ceil(math.log10(max(high for _, _, high, _ in rows)))
    bottom = TOP + len(rows) * ROW

    def x(value: float) -> float:
        share = math.log10(value / lowest) / math.log10(highest / lowest)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    parts = []
    tick = lowest
    while tick <= highest:
        parts += [
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>',
            f'<text class="small middle" x="{x(tick):.1f}" y="{bottom + 16}">{tick:g}</text>',
        ]
        tick *= 10
    for index, (label, low, high, is_ours) in enumerate(rows):
        y, whose = TOP + index * ROW + 14, _whose(is_ours)
        parts += [
            _label(label, y - 14),
            f'<rect class="{whose}" x="{x(low):.1f}" y="{y - 2}" width="{x(high) - x(low):.1f}" height="4"/>',
            f'<circle class="{whose}" cx="{x(low):.1f}" cy="{y}" r="6"/>',
            f'<text class="small" x="{x(high) + 10:.1f}" y="{y + 4}">{number(low)}</text>',
        ]
    return _svg(title, unit, bottom + 26, parts)


def points(title: str, unit: str, series: Sequence[tuple[str, Sequence[float], bool]]) -> str:
    """Each series' values in their order, from left to right: up to two series, (label, values, is it ours)."""
    height, left = 220, 60
    highest = max(value for _, values, _ in series for value in values)
    longest = max(len(values) for _, values, _ in series)
    step = _round_step(highest)
    parts = []
    for index in range(math.floor(highest / step) + 1):
        y = TOP + height - index * step / highest * height
        parts += [
            f'<line class="grid" x1="{left}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="small label" x="{left - 8}" y="{y + 4:.1f}">{index * step:g}</text>',
        ]
    for label, values, is_ours in series:
        for index, value in enumerate(values):
            x = left + (index + 0.5) / longest * (WIDTH - 20 - left)
            y = TOP + height - value / highest * height
            parts.append(f'<circle class="{_whose(is_ours)}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(f'<text class="small label" x="{x:.1f}" y="{y - 10:.1f}">{escape(label)}</text>')
    return _svg(title, unit, TOP + height + 16, parts)


def _round_step(highest: float) -> float:
    rough = highest / 4
    power = 10 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def _label(text: str, y: float) -> str:
    return f'<text class="label" x="{LEFT - 10}" y="{y + 19}">{escape(text)}</text>'


def _whose(is_ours: bool) -> str:
    return "ours" if is_ours else "theirs"


def _svg(title: str, unit: str, height: float, parts: Sequence[str]) -> str:
    body, size = "\n  ".join(parts), f"0 0 {WIDTH} {height:.0f}"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" aria-label="{escape(title)}">
  {STYLE}
  <text class="title" x="20" y="22">{escape(title)} <tspan class="small">{escape(unit)}</tspan></text>
  {body}
</svg>
"""
