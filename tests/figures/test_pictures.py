import io

import numpy as np
import PIL.Image

from jaxgen import figures

GREY, WIDE, RED = np.full((4, 4, 1), 0.5), np.full((3, 6, 1), -1.0), np.tile([1.0, -1.0, -1.0], (5, 5, 1))


def pixels(figure):
    buffer = io.BytesIO()
    figure.figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(PIL.Image.open(buffer).convert("RGB"))


def test_images_of_any_shape_and_colour_lie_in_their_rows():
    figure = figures.rows({"grey": [GREY, GREY], "others": [WIDE, RED]}, "A caption.", heads=["first", "second"])
    assert figure.caption == "A caption."
    (axes,) = figure.figure.axes
    assert [text.get_text() for text in axes.texts] == ["grey", "others", "first", "second"]
    page = pixels(figure)
    height, width = page.shape[:2]
    centres = [[page[height * row // 4, width * column // 4].tolist() for column in (1, 3)] for row in (1, 3)]
    assert centres == [[[192] * 3] * 2, [[0] * 3, [255, 0, 0]]]
    assert page[height * 58 // 100, width // 4].tolist() == [255] * 3, "a wide image keeps its proportions"


def test_a_grid_breaks_into_rows():
    figure = figures.grid([GREY] * 5, "", columns=3)
    page = pixels(figure)
    height, width = page.shape[:2]
    shown = [[page[height * (2 * r + 1) // 4, width * (2 * c + 1) // 6, 0] < 255 for c in range(3)] for r in (0, 1)]
    assert shown == [[True] * 3, [True, True, False]]
