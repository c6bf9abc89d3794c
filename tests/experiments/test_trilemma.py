import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from experiments.studies import trilemma
from jaxgen.divergence import draw_probes
from jaxgen.errors import UserError
from jaxgen.experiment import stages_of
from jaxgen.families import any_width
from jaxgen.figures import trade_off as figures
from jaxgen.flops import count_flops
from jaxgen.samplers import continuous_flow
from jaxgen.tasks import families

SHAPE = (16, 16, 1)


@pytest.mark.parametrize("name", any_width.FAMILIES)
def test_a_family_comes_within_ten_per_cent_of_the_parameters_asked_for(name):
    family = any_width.FAMILIES[name]
    width = any_width.fitting_width(family, SHAPE, 200_000)
    assert abs(any_width.parameters(family.model(SHAPE, width), SHAPE) / 200_000 - 1) < 0.1


@pytest.mark.thorough
def test_the_full_preset_has_equal_parameters_too():
    config = trilemma.EXPERIMENT.presets["full"]
    shape = (config.size, config.size, 1)
    for name in ("gan", "flow", "diffusion"):
        family = any_width.FAMILIES[name]
        width = any_width.fitting_width(family, shape, config.parameters)
        assert abs(any_width.parameters(family.model(shape, width), shape) / config.parameters - 1) < 0.1


def test_the_steps_are_what_the_compute_pays_for():
    config = dataclasses.replace(trilemma.EXPERIMENT.presets["smoke"], compute=1.0)
    plan = families.plan(config, SHAPE, "vae")
    assert plan["steps"] == round(1e12 / plan["operations"])
    half = families.plan(dataclasses.replace(config, batch_size=config.batch_size // 2), SHAPE, "vae")
    assert half["operations"] == pytest.approx(plan["operations"] / 2, rel=0.01)


def test_only_the_gan_is_not_clipped():
    config = trilemma.EXPERIMENT.presets["small"]

    def second_update(name, size):
        model = any_width.FAMILIES[name].model(SHAPE, 8)
        optimizer = next(iter(families.family_optimizers(config, name, model, 1000).values()))
        params = {"w": jnp.ones(1)}
        state = optimizer.init(params)
        for gradient in (1.0, size):
            update, state = optimizer.update({"w": jnp.full(1, gradient)}, state, params)
        return float(update["w"][0])

    assert second_update("vae", 1.0) == pytest.approx(second_update("vae", 100.0))
    assert abs(second_update("gan", 100.0)) > 1.2 * abs(second_update("gan", 1.0))


@pytest.mark.thorough
def test_the_operations_of_the_cnf_are_those_of_its_solver_written_out():
    """A method of two stages by hand, each evaluation made again when the gradient comes back through it.

    The solver gives the midpoint method's first stage the weight 0 and computes it all the same; here both have 1 / 2.
    """
    width, batch, steps = 8, 2, any_width.CNF_STEPS
    net = any_width._unet(SHAPE, width)
    x = jnp.zeros((batch, *SHAPE))
    params = jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros(()))

    def nats(params, x, probes):
        @jax.checkpoint
        def rate(x, t):
            value, push = jax.linearize(lambda x: net.apply(params, x, t), x)
            product = push(probes[0])
            return value, jnp.sum(product * probes[0]) + jnp.sum(product**2) + jnp.sum(value**2)

        total = 0.0
        for i in range(steps):
            t, h = 1 - i / steps, -1 / steps
            first, gained = rate(x, jnp.float32(t))
            second, more = rate(x + h * first, jnp.float32(t + h))
            x, total = x + h / 2 * (first + second), total + h / 2 * (gained + more)
        return jnp.sum(x**2) + total

    probes = draw_probes(jax.random.key(0), x.shape, 1)
    by_hand = count_flops(jax.grad(nats), params, x, probes)
    assert continuous_flow.draw_probes(jax.random.key(0), x, "hutchinson", 1).shape == probes.shape
    assert any_width._cnf_flops(SHAPE, width, batch) == pytest.approx(by_hand, rel=0.15)


def test_standings_run_from_the_worst_to_the_best():
    places = figures.standings({"a": (1.0, 10.0, 3.0), "b": (100.0, 1000.0, None), "c": (10.0, 10.0, 5.0)})
    assert places["a"] == pytest.approx((1.0, 0.1, 1.0))
    assert places["b"] == pytest.approx((0.1, 1.0, 0.0))
    assert places["c"] == pytest.approx((0.55, 0.1, 0.1))


def test_only_the_families_asked_for_are_trained():
    config = dataclasses.replace(trilemma.EXPERIMENT.presets["small"], families=("vae", "diffusion"))
    assert [stage.name for stage in stages_of(trilemma.EXPERIMENT, config)] == ["features", "vae", "diffusion"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 20}, "--size must be a multiple of 8"),
        ({"families": ("vae", "vae")}, "names one twice"),
        ({"families": ("flow_matching",), "evaluations": (3,)}, "--evaluations: flow_matching cannot be drawn with 3"),
    ],
)
def test_flags_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(trilemma.EXPERIMENT.presets["small"], **changes)


def run(config, tmp_path):
    from jaxgen.app import runner, runs

    folder = runner.train(trilemma.EXPERIMENT, "smoke", config, tmp_path / "run", quiet=True, say=lambda line: None)
    assert folder.finished()
    return runs.read_json(folder.path / "metrics.json"), runs.read_json(folder.path / "timings.json")


def check(metrics):
    for name, row in metrics.items():
        if isinstance(row, dict):
            assert all(math.isfinite(value) for value in row.values()), name
    assert metrics["vae"]["bits"] > 0
    assert "bits" not in metrics["held-out images"]


@pytest.mark.thorough
def test_smoke_preset(tmp_path):
    config = dataclasses.replace(trilemma.EXPERIMENT.presets["smoke"], families=("vae",))
    metrics, _ = run(config, tmp_path)
    check(metrics)


@pytest.mark.thorough
def test_all_families_run(tmp_path):
    config = dataclasses.replace(
        trilemma.EXPERIMENT.presets["smoke"],
        families=tuple(any_width.FAMILIES),
        evaluations=(1, 4, 5),
    )
    metrics, _ = run(config, tmp_path)
    check(metrics)
    labels = {"gan", "vae", "flow", "cnf, midpoint 4", "flow matching, Euler 1", "diffusion, DDIM 5"}
    assert labels <= metrics.keys()
