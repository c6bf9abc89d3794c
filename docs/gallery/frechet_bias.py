"""The Frechet distance depends on how many images there are.

Two sets of the same distribution have a distance of 0, yet every finite pair of sets gives more, the more the fewer
images there are. Compare equal numbers, or extrapolate.
"""

import numpy as np

from jaxgen.figures.pictures import curves
from jaxgen.metrics import frechet_distance

rng = np.random.default_rng(0)
numbers, width = [100, 200, 400, 800, 1600, 3200], 64
distances = [frechet_distance(*rng.standard_normal((2, n, width))) for n in numbers]

series = {f"two sets of one Gaussian in {width} dimensions": (numbers, distances)}
figure = curves(series, "The true distance is 0.", x="images in each set", y="Frechet distance", logarithmic="xy")
