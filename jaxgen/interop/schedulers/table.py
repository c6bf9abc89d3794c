"""Schedulers with a table of noise rates, as of DDPM."""

import jax.numpy as jnp
import numpy as np

from jaxgen import paths
from jaxgen.interop.schedulers import levels as noise
from jaxgen.interop.schedulers import plans
from jaxgen.interop.schedulers.asked import Asked, refuse
from jaxgen.interop.schedulers.config import Config
from jaxgen.interop.schedulers.defaults import PREDICTIONS
from jaxgen.interop.schedulers.methods import bounded, holding, method
from jaxgen.interop.schedulers.scheduler import Predict, Scheduler, interpolated
from jaxgen.samplers import ddpm
from jaxgen.types import Array, Denoise, Step


def from_table(config: Config, asked: Asked) -> Scheduler:
    """The scheduler of a table of noise rates."""
    betas = noise.betas(config)
    path, ratios = paths.discrete(betas), noise.ratios(betas)
    if config["prediction_type"] == "flow_prediction":
        raise config.wrong("prediction_type is 'flow_prediction', which needs use_flow_sigmas to be true")
    prediction = PREDICTIONS[config.one_of("prediction_type", *PREDICTIONS)]
    config.one_of("use_dynamic_shifting", False)
    config.one_of("timestep_type", "discrete")
    refuse(config, asked, "mu")
    plan_of, told = plans.PLANS[config.kind], ratios.copy()
    if plan_of is not plans.chain and np.isinf(told[-1]):
        # diffusers replaces the infinite level at the end of such a table by this one.
        told[-1] = np.sqrt(2.0**24 - 1)
    plan = plan_of(config, told, asked)
    if plan.times is not None:
        times = plan.times
    else:
        assert plan.levels is not None
        times = noise.times(ratios, plan.levels)
    start = 1.0
    if plan_of is plans.ratio and config["timestep_spacing"] != "leading":
        assert plan.levels is not None
        start = float(plan.levels[0] / np.sqrt(plan.levels[0] ** 2 + 1))
    known, numbers = times[:-1], plan.numbers
    if plan.middles is not None:
        known = np.append(known, noise.times(ratios, plan.middles[0]))
        numbers = np.append(numbers, plan.middles[1])
    number = interpolated(known, numbers)
    learned = config.get("variance_type") in ("learned", "learned_range")
    hold = holding(config)

    def denoiser(predict: Predict) -> Denoise:
        def denoise(x: Array, t: Array) -> Array:
            output = predict(x, number(t))
            if learned:
                output = output[..., : x.shape[-1]]
            return paths.convert(path, x, t, output, prediction, "x0")

        return bounded(config, hold(denoise), number)

    usual = method(config, path, len(times) - 1)

    def step(predict: Predict | None = None) -> Step:
        if config.kind in ("DDPMScheduler", "UnCLIPScheduler") and learned:
            if predict is None:
                raise ValueError("this scheduler learns its variance: its step needs the network")
            # The network's second half lies in [-1, 1], from the small variance to the large one.
            return ddpm(path, lambda x, t: (predict(x, number(t))[..., x.shape[-1] :] + 1) / 2)
        return usual

    return Scheduler(path, prediction, jnp.asarray(times), start, number, denoiser, step)
