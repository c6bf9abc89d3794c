"""Calibration: does 0.8 mean 0.8?

Probabilities that are too sure lie below the diagonal. The expected calibration error is the mean distance from it.
"""

import jax
import numpy as np

from jaxgen.figures.pictures import curves
from jaxgen.metrics import expected_calibration_error, reliability_curve

logits = 2 * jax.random.normal(jax.random.key(0), (20_000,))
outcome = jax.random.uniform(jax.random.key(1), logits.shape) < jax.nn.sigmoid(logits)

series = {"as it should be": ([0, 1], [0, 1])}
for name, sharpness in (("calibrated", 1.0), ("too sure", 2.5)):
    probability = jax.nn.sigmoid(sharpness * logits)
    error = float(expected_calibration_error(probability, outcome))
    curve = reliability_curve(probability, outcome, bins=10)
    kept = np.asarray(curve.number) > 0
    series[f"{name}, error {error:.3f}"] = (np.asarray(curve.probability)[kept], np.asarray(curve.frequency)[kept])

figure = curves(series, "How often it was true, by the probability that was said.", x="said", y="true")
