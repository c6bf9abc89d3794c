"""Line charts as inline SVG, in the colours of the page around them."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from jaxgen.errors import printable

WIDTH, HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 12, 34
_POINTS = 600


def number(value: object) -> str:
    """A number for people: four significant digits, thousands apart, a dash for what is missing.

    Example:
        >>> number(0.123456), number(1234567), number(2.5e-7), number(None)
        ('0.1235', '1,234,567', '2.5e-07', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.3g}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        if value != 0 and not 1e-3 <= abs(value) < 1e6:
            return f"{value:.3g}"
        return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return str(value)


def column(values: Sequence[object]) -> list[str]:
    """Numbers in one column of a table: as `number` shows them, but all with as many digits after the point.

    Example:
        >>> column([9.8765, 12.3, None]), column([0.0123, 25.3]), column([0.00031, 0.5]), column([3, 4])
        (['9.88', '12.30', '–'], ['0.0123', '25.3000'], ['0.000310', '0.500000'], ['3', '4'])
    """
    numbers = [float(v) for v in values if _is_finite(v)]
    sizes = [abs(v) for v in numbers if v != 0]
    whole = all(isinstance(v, int) for v in values if _is_finite(v))
    if whole or not sizes or max(sizes) >= 1e6 or min(sizes) < (1e-5 if max(sizes) < 10 else 1e-3):
        return [number(v) for v in values]
    wanted = 2 - math.floor(math.log10(min(sizes)))
    digits = max(wanted, 4) if max(sizes) < 10 else min(max(wanted, 1), 4)
    return [f"{v:,.{digits}f}" if _is_finite(v) else number(v) for v in values]


def _is_finite(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers between `low` and `high`.

    Example:
        >>> ticks(0, 1)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], label: str, *, smooth: bool = True) -> str:
    """One chart of one or several curves over training steps.

    The y axis is logarithmic where the values are positive and span more than a factor of 30. Long curves are thinned
    to means over equal stretches; where there is one noisy curve, its running mean is drawn over it.

    Args:
        series: points ``(step, value)`` by the name of the curve.
        label: what the chart shows, for those who cannot see it.
        smooth: draw the running mean where there is one curve.

    Returns:
        An ``<svg>`` element, or an empty string if there is nothing to draw.

    Example:
        >>> line_chart({"a": [(0, 1.0), (1, 2.0)]}, "loss").startswith("<svg")
        True
        >>> line_chart({"a": []}, "loss")
        ''
    """
    curves = {
        name: _thin([(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)])
        for name, points in series.items()
    }
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return ""
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    logarithmic = min(ys) > 0 and max(ys) / min(ys) > 30

    def warp(y: float) -> float:
        return math.log10(y) if logarithmic else y

    x0, x1 = min(xs), max(xs)
    y0, y1 = warp(min(ys)), warp(max(ys))
    pad = 0.05 * (y1 - y0) or 0.05 * abs(y1) or 1.0
    y0, y1 = y0 - pad, y1 + pad

    def at(x: float, y: float) -> str:
        across = (x - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = (warp(y) - y0) / (y1 - y0)
        return (
            f"{_LEFT + across * (WIDTH - _LEFT - _RIGHT):.1f},{HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM):.1f}"
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(printable(label))}">']
    for tick in _y_ticks(y0, y1, logarithmic):
        y = at(x0, tick).split(",")[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{float(y) + 4:.1f}" text-anchor="end">{_tick(tick)}</text>')
    for tick in ticks(x0, x1, 4):
        x = at(tick, 10**y0 if logarithmic else y0).split(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - 12}" text-anchor="middle">{_tick(tick)}</text>')
    for index, points in enumerate(curves.values()):
        colour = f"c{index % 6}"
        both = smooth and len(curves) == 1 and len(points) >= 20
        if len(points) == 1:
            x, y = at(*points[0]).split(",")
            parts.append(f'<circle class="{colour}" cx="{x}" cy="{y}" r="3"/>')
            continue
        path = " ".join(at(x, y) for x, y in points)
        parts.append(f'<polyline class="{colour}{" faint" if both else ""}" points="{path}"/>')
        if both:
            path = " ".join(at(x, y) for x, y in _running_mean(points))
            parts.append(f'<polyline class="{colour}" points="{path}"/>')
    parts.append("</svg>")
    if len(curves) > 1:
        names = map(html.escape, map(printable, curves))
        keys = (f'<span><i class="b{index % 6}"></i>{name}</span>' for index, name in enumerate(names))
        parts.append(f'<p class="key">{"".join(keys)}</p>')
    return "".join(parts)


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= _POINTS:
        return points
    size = math.ceil(len(points) / _POINTS)
    groups = (points[i : i + size] for i in range(0, len(points), size))
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _running_mean(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    width = max(2, len(points) // 20)
    means = []
    for i in range(len(points)):
        reach = min(width, i, len(points) - 1 - i)
        window = points[i - reach : i + reach + 1]
        means.append((points[i][0], sum(y for _, y in window) / len(window)))
    return means


def _y_ticks(y0: float, y1: float, logarithmic: bool) -> list[float]:
    if not logarithmic:
        return ticks(y0, y1)
    decades = [10.0**i for i in range(math.ceil(y0), math.floor(y1) + 1)]
    if len(decades) > 6:
        return decades[:: math.ceil(len(decades) / 6)]
    if len(decades) >= 3:
        return decades
    return sorted(
        f * 10.0**i for i in range(math.floor(y0), math.ceil(y1)) for f in (1, 3) if y0 <= math.log10(f * 10.0**i) <= y1
    )


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.10g}"
