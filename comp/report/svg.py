"""Plots as SVG, drawn by hand: colours are classes of the page's style sheet, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 42
COLOURS = 8  # classes s0 … s7 of the style sheet


@dataclass(frozen=True)
class Line:
    """A line, or points alone, through (x, y); ``colour`` is a number of the style sheet's."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dashed: bool = False
    points: bool = False


@dataclass(frozen=True)
class Scale:
    """Where values lie on the sheet."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def chart(
    lines: Sequence[Line],
    x_name: str,
    y_name: str,
    *,
    description: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Lines over two axes. ``description`` says in words what the plot shows, for those who cannot see it; ``marks`` are upright
    lines at an x with a word. Values that are not finite are left out.
    """
    drawn = [_finite(line) for line in lines]
    x = Scale(*(x_range or _range([v for line in drawn for v in line.x])), LEFT, WIDTH - RIGHT)
    y = Scale(*(y_range or _range([v for line in drawn for v in line.y])), HEIGHT - BOTTOM, TOP)
    whole = x_range is None and all(float(v).is_integer() for line in drawn for v in line.x)
    parts = [_grid(x, y, x_name, y_name, 1.0 if whole else 0.0)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(
            _tag("line", "guide", x1=x(low), y1=y(low), x2=x(high), y2=y(high)),
        )
    for at, word in marks:
        parts.append(_tag("line", "mark", x1=x(at), y1=y.start, x2=x(at), y2=y.end))
        parts.append(_text(x(at) + 4, TOP + 10, word, "small"))
    parts += [_line(line, x, y) for line in drawn]
    return _svg(Markup("").join(parts), description, WIDTH, HEIGHT)


def bars(rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], *, description: str) -> Markup:
    """Bars lying down, of one or more shares (0 to the greatest) a row, one under the other, each with its number."""
    greatest = max((value for _, values in rows for value in values if math.isfinite(value)), default=1) or 1
    thick = 12
    step = thick * len(names) + 10
    height = step * len(rows) + 8
    x = Scale(0, greatest, 150, WIDTH - 60)
    parts = []
    for n, (name, values) in enumerate(rows):
        top = 4 + n * step
        parts.append(_text(142, top + step / 2, _short(name, 20), "end"))
        for c, value in enumerate(values):
            wide = max(x(value) - x.start, 0.5) if math.isfinite(value) else 0
            parts.append(
                _tag(
                    "rect", f"fill s{c % COLOURS}", x=x.start, y=top + c * thick, width=wide, height=thick - 2
                )
            )
            parts.append(_text(x.start + wide + 4, top + c * thick + 9, _number(value), "small"))
    return _svg(Markup("").join(parts), description, WIDTH, height)


def legend(lines: Sequence[tuple[str, int]]) -> Markup:
    """Names beside their colours."""
    return Markup('<p class="legend">{}</p>').format(
        Markup(" ").join(
            Markup('<span><i class="swatch b{}"></i>{}</span>').format(colour % COLOURS, name)
            for name, colour in lines
        )
    )


def _finite(line: Line) -> Line:
    kept = [(a, b) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return Line(line.name, [a for a, _ in kept], [b for _, b in kept], line.colour, line.dashed, line.points)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the lowest to the highest value, never of no length."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    apart = high - low
    return (
        (low - 0.04 * apart, high + 0.04 * apart)
        if apart > 0
        else (low - max(0.5, abs(low) / 100), high + max(0.5, abs(high) / 100))
    )


def _ticks(scale: Scale, least: float = 0.0) -> list[float]:
    """Four to eight round values on a scale; fewer where they would be less than ``least`` apart."""
    apart = scale.high - scale.low
    unit = 10.0 ** math.floor(math.log10(apart / 4))
    step = next((unit * m for m in (1, 2, 5) if apart / (unit * m) <= 8), unit * 10)
    step = max(step, least)
    first = math.ceil(scale.low / step - 1e-9)
    return [n * step for n in range(first, math.floor(scale.high / step + 1e-9) + 1)]


def _grid(x: Scale, y: Scale, x_name: str, y_name: str, least: float) -> Markup:
    """Both axes; the ticks of x are ``least`` apart or more, as there is no run or epoch 1.5."""
    parts = []
    for value in _ticks(y):
        parts.append(_tag("line", "grid", x1=x.start, y1=y(value), x2=x.end, y2=y(value)))
        parts.append(_text(x.start - 6, y(value) + 4, _number(value), "end small"))
    for value in _ticks(x, least):
        parts.append(_tag("line", "grid", x1=x(value), y1=y.start, x2=x(value), y2=y.end))
        parts.append(_text(x(value), y.start + 16, _number(value), "middle small"))
    parts.append(_text((x.start + x.end) / 2, HEIGHT - 6, x_name, "middle"))
    parts.append(
        Markup('<text class="middle" transform="translate(13 {:.1f}) rotate(-90)">{}</text>').format(
            (y.start + y.end) / 2, y_name
        )
    )
    return Markup("").join(parts)


def _line(line: Line, x: Scale, y: Scale) -> Markup:
    colour = f"s{line.colour % COLOURS}"
    dots = Markup("").join(
        Markup('<circle class="fill {}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
            colour, x(a), y(b), 3.5 if line.points else 2, f"{line.name}: {_number(a)}, {_number(b)}"
        )
        for a, b in zip(line.x, line.y, strict=True)
        if line.points or len(line.x) <= 60
    )
    if line.points:
        return dots
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(line.x, line.y, strict=True))
    dash = Markup(' stroke-dasharray="5 4"') if line.dashed else ""
    return Markup('<polyline class="line {}"{} points="{}"/>').format(colour, dash, path) + dots


def _tag(name: str, style: str, **places: float) -> Markup:
    told = " ".join(f'{key}="{value:.1f}"' for key, value in places.items())
    return Markup("<" + name + ' class="{}" ').format(style) + Markup(told + "/>")


def _text(x: float, y: float, words: str, style: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(style, x, y, words)


def _svg(inside: Markup, description: str, width: int, height: float) -> Markup:
    shape = Markup('<svg class="plot" role="img" viewBox="0 0 {} {:.0f}" aria-label="{}">').format(
        width, height, description
    )
    return shape + inside + Markup("</svg>")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
