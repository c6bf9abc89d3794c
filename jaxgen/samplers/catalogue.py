"""The samplers by name, with the cost of a step of each.

`SAMPLERS` is the one list of them: an option takes its choices from it (``option(..., choices=SAMPLERS)``), and so do
``jaxgen sample --sampler``, the comparison of all samplers and the tests. A new sampler is a file and a line here.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxgen.paths import Path
from jaxgen.samplers import (
    ddim,
    ddpm,
    deis,
    dpm_solver_1s,
    dpm_solver_2m,
    dpm_solver_2s,
    dpm_solver_3m,
    dpm_solver_3s,
    edm,
    euler,
    euler_ancestral,
    euler_maruyama,
    heun,
    kdpm2,
    lms,
    midpoint,
    pndm,
    predictor_corrector,
    reverse_diffusion,
    runge_kutta4,
    unipc,
)
from jaxgen.types import Step


class Sampler(NamedTuple):
    """A sampler in the catalogue.

    Attributes:
        step: ``step(path) -> Step``.
        evaluations: of the network per step.
        random: whether it draws noise on the way.
        extra: further evaluations of a whole run; negative where the last step, to no noise at all, needs fewer.
    """

    step: Callable[[Path], Step]
    evaluations: int = 1
    random: bool = False
    extra: int = 0

    def steps_within(self, evaluations: int) -> int:
        """The number of steps that a number of evaluations allows, at least 1."""
        return max(1, (evaluations - self.extra) // self.evaluations)


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler(ddpm, random=True),
    "ddim": Sampler(ddim),
    "ddim_eta1": Sampler(lambda path: ddim(path, eta=1.0), random=True),
    "euler": Sampler(euler),
    "euler_ancestral": Sampler(euler_ancestral, random=True),
    "heun": Sampler(heun, evaluations=2, extra=-1),
    "midpoint": Sampler(midpoint, evaluations=2),
    "rk4": Sampler(runge_kutta4, evaluations=4, extra=-1),
    "edm": Sampler(edm, evaluations=2, extra=-1),
    "edm_churn": Sampler(lambda path: edm(path, churn=20.0), evaluations=2, random=True, extra=-1),
    "dpm_solver_1s": Sampler(dpm_solver_1s),
    "dpm_solver_2s": Sampler(dpm_solver_2s),
    "dpm_solver_3s": Sampler(dpm_solver_3s),
    "dpm_solver_2m": Sampler(dpm_solver_2m),
    "dpm_solver_3m": Sampler(dpm_solver_3m),
    "dpm_solver_2m_sde": Sampler(lambda path: dpm_solver_2m(path, eta=1.0), random=True),
    "kdpm2": Sampler(kdpm2, evaluations=2, extra=-1),
    "kdpm2_ancestral": Sampler(lambda path: kdpm2(path, eta=1.0), evaluations=2, random=True, extra=-1),
    "unipc": Sampler(unipc),
    "deis": Sampler(deis),
    "pndm": Sampler(pndm, extra=1),
    "lms": Sampler(lms),
    "euler_maruyama": Sampler(euler_maruyama, random=True),
    "reverse_diffusion": Sampler(reverse_diffusion, random=True),
    "predictor_corrector": Sampler(
        lambda path: predictor_corrector(reverse_diffusion(path), path), evaluations=2, random=True
    ),
}

FLOW_SOLVERS: dict[str, Callable[[Path], Step]] = {
    "euler": euler,
    "midpoint": midpoint,
    "heun": heun,
    "runge_kutta4": runge_kutta4,
}
"""Solvers of the ordinary equation of a velocity, as experiments with flows offer them."""
