"""What a network of a scheduler is fine-tuned with, whatever the scheduler samples with."""

import numpy as np
import pytest

from jaxgen import paths
from jaxgen.errors import UserError
from jaxgen.interop.schedulers import training
from jaxgen.schedules import linear_betas

TABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
STABLE = paths.discrete(np.linspace(np.sqrt(0.00085), np.sqrt(0.012), 1000) ** 2)


@pytest.mark.parametrize(
    "kind",
    ["DDPM", "DDIM", "PNDM", "EulerDiscrete", "LMSDiscrete", "DPMSolverMultistep", "UniPCMultistep", "HeunDiscrete"],
)
def test_the_table_is_that_of_the_entries(kind):
    found = training({"_class_name": f"{kind}Scheduler", **TABLE, "steps_offset": 1, "prediction_type": "v_prediction"})
    assert found[1:] == ("v", 1000)
    for t in (0.001, 0.3, 1.0):
        np.testing.assert_allclose(found.path.alpha(t), STABLE.alpha(t), rtol=1e-6)
        np.testing.assert_allclose(found.path.sigma(t), STABLE.sigma(t), rtol=1e-6)


def test_entries_that_are_left_out_are_those_of_the_class():
    found = training({"_class_name": "KDPM2DiscreteScheduler", "beta_schedule": "scaled_linear"})
    assert found.prediction == "noise"
    np.testing.assert_allclose(found.path.alpha(0.7), STABLE.alpha(0.7), rtol=1e-6)
    short = training({"_class_name": "DDIMScheduler", "num_train_timesteps": 50})
    assert short.timesteps == 50
    np.testing.assert_allclose(
        short.path.alpha(1.0), paths.discrete(linear_betas(50, 1e-4, 0.02)).alpha(1.0), rtol=1e-6
    )


@pytest.mark.parametrize(
    "entries", [{"_class_name": "FlowMatchEulerDiscreteScheduler"}, {"_class_name": "EDMEulerScheduler"}]
)
def test_schedulers_without_a_table_are_refused(entries):
    with pytest.raises(UserError, match="has no table of noise rates here, which networks are fine-tuned on"):
        training(entries)
