"""CT from 20 views.

Filtered back-projection shows streaks where views are few; total variation removes them, and small structures too.
"""

import numpy as np

from jaxgen.data import phantoms
from jaxgen.figures.pictures import rows
from jaxgen.imaging.ct_scan import ct_system, filtered, sparse_views
from jaxgen.medical.reconstruction import total_variation

source = phantoms.phantom_source("ct2d", 4, size=64)
hounsfield = np.stack([source[i]["image"] for i in range(4)])
x = np.clip(hounsfield / 1000, -1, 1).astype(np.float32)
scan = sparse_views(x, 20, 20)
operator, y = ct_system(scan)

shown = {
    "truth": x,
    "filtered back-projection": filtered(scan, "hann"),
    "total variation": np.asarray(total_variation(operator, y, 1e-3, iterations=200, squared_norm=1.1, minimum=-1.0)),
}
figure = rows(shown, "Drawn chests from 20 parallel views.")
