"""Plots as inline SVG in the colours of the page that shows them."""

import io
import re
from collections.abc import Callable
from html import escape

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, LINE, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404"
_THEMED = {INK: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)", SECOND: "var(--second)"}
"""Colours that matplotlib draws → the variables of the style that take their place."""
_PLOT = {
    "svg.fonttype": "none",
    "svg.hashsalt": "spire",
    "font.size": 8.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
}


def figure(draw: Callable[[Axes], None], inches: tuple[float, float], label: str, caption: str) -> str:
    """Draw a plot as inline SVG that takes its colours from the page; `inches` wide and high."""
    buffer = io.StringIO()
    with rc_context(_PLOT):
        canvas = Figure(figsize=inches, layout="constrained")
        draw(canvas.subplots())
        canvas.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue().partition("<svg")[2]
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r' id="[a-z]+_\d+"', "", svg)
    for colour, variable in _THEMED.items():
        svg = svg.replace(colour, variable)
    return f'<figure><svg role="img" aria-label="{escape(label)}"{svg}<figcaption>{caption}</figcaption></figure>'
