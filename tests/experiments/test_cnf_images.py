"""Continuous normalizing flows of images, what they are compared with, and at which cost."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.generation import cnf_images
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks.images import ImageFacts

GREY = ImageFacts(value_range=((0.0,), (255.0,)), image_channels=1)


def preset(name="smoke", **changes):
    return dataclasses.replace(cnf_images.EXPERIMENT.presets[name], **changes)


def built(config, facts=GREY):
    return {spec.name: spec.build(Run(config, facts)) for spec in cnf_images.EXPERIMENT.stages[1:]}


@pytest.mark.parametrize("name", ["small", "full"])
def test_parameters_are_equal_within_a_tenth_and_evaluations_exactly(name):
    config = preset(name)
    stages = built(config)
    batch = {"image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), jnp.float32)}
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(stage.model.init, jax.random.key(0), batch)))
        for name, stage in stages.items()
    }
    assert sizes["cnf"] == sizes["flow_matching"]
    assert sizes["glow"] == pytest.approx(sizes["cnf"], rel=0.1)
    per_step = config.solver_steps * {"midpoint": 2, "dopri5": 6}[config.training_solver]
    assert stages["cnf"].steps == config.steps
    assert stages["flow_matching"].steps == stages["glow"].steps == config.steps * per_step


@pytest.mark.parametrize("solver", list(cnf_images.EVALUATIONS))
def test_the_evaluations_of_a_step_of_each_solver(solver):
    """Counted by a velocity that says when it is called."""
    from jaxgen.samplers.ode import solve_ode

    calls = []

    def velocity(params, x, t):
        jax.debug.callback(lambda t: calls.append(float(t)), t)
        return -x

    for steps in (4, 8):
        calls.append(None)
        jax.block_until_ready(solve_ode(velocity, (), jnp.ones((1, 2)), 0.0, 1.0, solver=solver, steps=steps))
        jax.effects_barrier()
    few = calls[1 : calls.index(None, 1)]
    many = calls[calls.index(None, 1) + 1 :]
    assert len(many) - len(few) == 4 * cnf_images.EVALUATIONS[solver]


@pytest.mark.thorough
def test_the_density_of_a_velocity_of_zero_is_the_normal_one():
    config = preset()
    run, x = Run(config, GREY), np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)).astype(np.float32)
    params = built(config)["cnf"].model.init(jax.random.key(0), {"image": jnp.asarray(x)})
    params = {"cnf": jax.tree.map(jnp.zeros_like, params)}
    found = cnf_images.density(run, "cnf")(params, jax.random.split(jax.random.key(1), 2), jnp.asarray(x))
    want = -0.5 * (x**2).sum((1, 2, 3)) - 128 * math.log(2 * math.pi)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_a_size_that_glow_cannot_halve():
    with pytest.raises(UserError, match="--size must be a multiple of 8 with these --levels, got 28"):
        preset("small", levels=3)


def test_points_in_the_plane_are_no_images(tmp_path, capsys):
    np.savez(tmp_path / "images.npz", images=np.zeros((9, 28, 28), np.uint8))
    for name in ("cnf", "planar_flow"):
        flags = ["--data", str(tmp_path / "images.npz"), "--workdir", str(tmp_path / name)]
        assert main(["run", name, "--preset", "smoke", *flags]) == 2
        assert f"jaxgen run cnf_images --data {tmp_path / 'images.npz'}" in capsys.readouterr().err
