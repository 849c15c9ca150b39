"""Colours and fonts of every plot. Blue and orange are distinct under all common forms of colour blindness
(after Okabe & Ito 2008), and no plot conveys information by colour alone.

`LIGHT` and `DARK` have the same roles; the page's stylesheet is made from them too.
"""

from __future__ import annotations

from typing import Any

LIGHT = {
    "ink": "#1c2126",
    "muted": "#5c6771",
    "rule": "#d8dde2",
    "band": "#e8edf2",
    "blue": "#0a67b0",
    "orange": "#c2560c",
    "green": "#0b7d69",
    "purple": "#84489e",
    "grey": "#87919b",
    "pale": "#b4bcc4",
}
DARK = {
    "ink": "#e4e7ea",
    "muted": "#a0a9b2",
    "rule": "#343b43",
    "band": "#262d34",
    "blue": "#5db4f2",
    "orange": "#f29d5c",
    "green": "#45c7ab",
    "purple": "#c998e2",
    "grey": "#858f99",
    "pale": "#59626b",
}
PAPER = "#fefefe"  # not white itself: white text on dark cells stays white
INK, MUTED, RULE, BAND = (LIGHT[role] for role in ("ink", "muted", "rule", "band"))
BLUE, ORANGE, GREEN, PURPLE = (LIGHT[role] for role in ("blue", "orange", "green", "purple"))
GREY, PALE = LIGHT["grey"], LIGHT["pale"]

RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "axes.labelsize": 11.5,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.edgecolor": PALE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.linewidth": 0.9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.major.width": 0.9,
    "ytick.major.width": 0.9,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "path.simplify": False,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}
