"""Longer proofs: the log-density that a flow learns, beside that of the points, whose entropy no model can beat."""

import jax
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.data import planar
from jaxgen.families import cnf_model, flow_matching_model
from jaxgen.nets import mlp
from jaxgen.samplers import Sampling, euler, grids
from tests.families.planar import points, train

PATH = paths.rectified()


def _excess(name, model, steps, **options):
    """Nats lost to the true law on fresh points, with the standard error."""
    law = planar.planar_set(name)
    params = jax.jit(lambda key: train(model, {"x": points(law, 100_000)}, key, steps, **options))(jax.random.key(0))
    fresh = points(law, 4000, 1)
    log_prob = jax.jit(lambda p, x: model.log_prob(p, None, x, trace="exact", rtol=1e-4, atol=1e-4))
    lost = law.log_prob(np.asarray(fresh)) - np.asarray(log_prob(params, fresh))
    return lost.mean(), lost.std() / np.sqrt(len(lost))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight_gaussians", "moons"])
def test_flow_matching_is_within_a_twentieth_of_a_nat_of_the_entropy(name):
    net = mlp(2, widths=(64, 64, 64), time_scale=10.0)
    model = flow_matching_model(net, (2,), Sampling(PATH, euler(PATH), grids.uniform(PATH, 2)), data="x")
    lost, error = _excess(name, model, 12_000, batch=512, rate=4e-3, decay=0.999)
    assert -4 * error < lost < 0.05


@pytest.mark.slow
def test_a_continuous_normalizing_flow_is_within_a_twentieth_of_a_nat_of_the_entropy():
    net = mlp(2, widths=(64, 64, 64), time_scale=2.0)
    model = cnf_model(net, (2,), data="x", solver="dopri5", steps=3)
    lost, error = _excess("moons", model, 1200, batch=256, rate=5e-3, decay=0.99)
    assert -4 * error < lost < 0.05
