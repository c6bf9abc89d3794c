"""MRI from a quarter of k-space.

What is measured is a linear operator; a reconstruction is a function of it. Here zero filling, total variation, and a
Gaussian prior of brains sampled under the measurements by DDNM.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import phantoms
from jaxgen.figures.pictures import rows
from jaxgen.imaging.operators import pseudo_inverse
from jaxgen.medical.reconstruction import ddnm, total_variation
from jaxgen.medical.reconstruction.mri_scan import mri_system, simulate_real
from jaxgen.metrics import psnr
from jaxgen.mixtures import gaussian
from jaxgen.paths import variance_preserving
from jaxgen.samplers import ddim, grids, sample

SIZE = 32
source = phantoms.phantom_source("brain2d", 804, size=SIZE)
images = np.stack([2 * source[i]["image"] - 1 for i in range(804)]).astype(np.float32)
test, train = images[:4], images[4:].reshape(800, -1)
operator, y = mri_system(simulate_real(jax.random.split(jax.random.key(0), 4), test, "random", 4))

path = variance_preserving()
flat = gaussian(train.mean(0), np.cov(train.T) + 1e-3 * np.eye(SIZE**2)).denoiser(path)
denoise = ddnm(
    lambda x, t: flat(x.reshape(4, -1), t).reshape(x.shape), operator, y, pseudo_inverse(operator, iterations=2)
)
start = path.sigma(path.t_noise) * jax.random.normal(jax.random.key(1), test.shape)
found = {
    "zero filled": operator.adjoint(y).clip(-1, 1),
    "total variation": total_variation(operator, y, 1e-3, iterations=100, squared_norm=1.0, minimum=-1.0),
    "Gaussian prior": sample(ddim(path), denoise, jax.random.key(2), start, grids.uniform(path, 50)).clip(-1, 1),
}
said = ", ".join(
    f"{name} {float(psnr(x, jnp.asarray(test), data_range=2.0).mean()):.1f} dB" for name, x in found.items()
)
shown = {"truth": test, **{name: np.asarray(x) for name, x in found.items()}}
figure = rows(shown, f"Four brains from a quarter of their k-space: {said}.")
