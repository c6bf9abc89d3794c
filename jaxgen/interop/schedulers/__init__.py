"""What schedulers describe: a ``scheduler_config.json`` gives the path, the prediction, the grid and the step.

Every scheduler of diffusers is a path, a list of noise levels on it, the numbers that the network is told at these
levels, and a method. Its ways of choosing levels and numbers are kept as they are, rounding too, so that a trained
network sees what it saw there; the methods are ours (`jaxgen.samplers`). Where diffusers departs from what it means to
compute, ours does not follow:

- DDIM, PNDM: every step ends where the next begins, also where the number of steps does not divide the table.
- DDPM with the large variance: no noise is added by the step that ends at the data.
- PNDM combines noises, also where the network predicts v.
- LMS begins with order 1 wherever it begins, also midway (image to image).
- DPM-Solver++ of order 3 has order 3.
- UniPC with bh1 ends in numbers, and so does multistep DPM-Solver++ where the last two levels are equal.
- KDPM2, ancestral: the middle of a step is the next level, and is told the number of that level, rounded or not.
- UnCLIP with one step makes it from the end of the table; theirs divides by zero.
- EDM with exponential levels starts from the largest also where there is one step.
- A shift of the last level (`shift_terminal`) leaves a grid of one step as it is; theirs divides by zero.
- Clipping and thresholding change x0, and the noise is what follows from x_t and that x0, in every method.
"""

from jaxgen.interop.schedulers.read import from_diffusers
from jaxgen.interop.schedulers.scheduler import Predict, Scheduler
from jaxgen.interop.schedulers.training import Training, training

__all__ = ["Predict", "Scheduler", "Training", "from_diffusers", "training"]
