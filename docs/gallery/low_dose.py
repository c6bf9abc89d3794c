"""Low-dose CT: noise belongs to the rays, not to the pixels.

Photons are counted along each ray; the image is made from these counts. Streaks between dense structures cannot come
from noise added to an image.
"""

import jax
import numpy as np

from jaxgen.data import phantoms
from jaxgen.figures.pictures import rows
from jaxgen.imaging.low_dose import scans_at_doses

source = phantoms.phantom_source("ct2d", 4, size=64)
hounsfield = np.stack([source[i]["image"] for i in range(4)]).astype(np.float32)
photons = (1e5, 1e4, 2e3)
keys = jax.random.split(jax.random.key(0), 4)
scans = scans_at_doses(keys, hounsfield, photons, views=180, field=400.0)

shown = {f"{n:g} photons": np.clip(np.asarray(x) / 500, -1, 1) for n, x in zip(photons, scans, strict=True)}
figure = rows({"truth": np.clip(hounsfield / 500, -1, 1), **shown}, "Drawn chests at three doses, from -500 to 500 HU.")
