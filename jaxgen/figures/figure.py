"""A figure, as reports show it."""

from typing import NamedTuple

from matplotlib.figure import Figure as MatplotlibFigure


class Figure(NamedTuple):
    """A figure with the sentence that explains it.

    Attributes:
        figure: a ``matplotlib.figure.Figure`` (made without pyplot, so that nothing needs closing).
        caption: what to see in it, in a sentence or two.
    """

    figure: MatplotlibFigure
    caption: str
