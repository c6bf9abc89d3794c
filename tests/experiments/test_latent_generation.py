"""Latent diffusion of images and volumes: the published sizes, flows, and what is wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import experiment
from jaxgen.app.cli import main
from jaxgen.data.source import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.families import regression_model
from jaxgen.tasks import covariates, latent, latent_generation

FACTS = covariates.CovariateFacts(
    value_range=((0.0,), (1.0,)),
    image_channels=1,
    covariates=("age", "sex", "ventricles", "brain"),
    covariate_range=((0.0, 0.0, 0.4, 18.0), (1.0, 1.0, 2.0, 30.0)),
)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def built(name, preset="full", facts=FACTS, **changes):
    """The groups of parameters of both stages, by shape."""
    config = dataclasses.replace(experiment.find(name).presets[preset], **changes)
    run = Run(config, facts)
    key, shape = jax.random.key(0), (2, *config.size) if not isinstance(config.size, int) else (2, *2 * (config.size,))
    batch = {"image": jax.ShapeDtypeStruct((*shape, facts.image_channels), jnp.float32)}
    first = jax.eval_shape(latent.autoencoder_model(run).init, key, batch)
    codes = {"code": jnp.zeros((2, *latent.code_shape(run))), "covariates": jnp.zeros((2, 4))}
    model = latent_generation.make_model(run, first)
    return first, jax.eval_shape(model.init, key, codes)


def test_full_has_the_published_sizes():
    """Pinaya et al. 2022 in MONAI's form, and the autoencoder of Stable Diffusion."""
    autoencoder, diffusion = built("brain_ldm")
    assert count((autoencoder["encoder"], autoencoder["decoder"])) == 13_766_248
    assert count(diffusion["net"]) == 553_168_899
    assert diffusion["net"]["Conv_0"]["kernel"].shape[-2:] == (7, 256)
    run = Run(experiment.find("latent_diffusion").presets["full"], dataclasses.replace(FACTS, image_channels=3))
    assert (
        count(
            [
                jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))
                for net, shape in zip(latent.autoencoder(run), ((1, 64, 64, 3), (1, 8, 8, 4)), strict=True)
            ]
        )
        == 83_653_863
    )


def test_a_flow_of_codes_and_a_marked_null():
    flow = {"path": "rectified", "prediction": "velocity", "sampler": "euler", "null_condition": "marked"}
    _, params = built("brain_ldm", "smoke", **flow)
    assert set(params) == {"net", "scale"}
    assert params["net"]["Conv_0"]["kernel"].shape[-2] == 2 + 4 + 1


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("brain_ldm", {"size": (32, 48)}, "--size must be three numbers"),
        ("brain_ldm", {"size": (30, 48, 32)}, "--size must be a multiple of 8"),
        ("brain_ldm", {"slices": True}, "--slices: whole volumes"),
        ("brain_ldm", {"cross_attention": (2,)}, "--attention must name levels from 0 to 1"),
        ("brain_ldm", {"guidance": 2.0, "drop_condition": 0.0}, "--guidance needs a model that was trained with"),
        ("latent_diffusion", {"size": 60}, "--size must be a multiple of 8"),
    ],
)
def test_what_does_not_fit_is_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(experiment.find(name).presets["small"], **changes)


def test_attention_to_covariates_that_are_not_there_is_refused():
    config = dataclasses.replace(experiment.find("latent_diffusion").presets["smoke"], cross_attention=(0,))
    with pytest.raises(UserError, match=r"--cross-attention: .* has no covariates"):
        latent_generation.conditions(
            Run(config, covariates.CovariateFacts(value_range=((0.0,), (1.0,)), image_channels=1))
        )


def test_other_volumes_are_measured_by_a_network():
    """Of data that are no phantoms a network is trained to read the covariates, in their units."""
    config = dataclasses.replace(
        experiment.find("brain_ldm").presets["smoke"], data="volumes.npz", feature_channels=(4,)
    )
    assert covariates.STAGE.wanted(config)
    assert not covariates.STAGE.wanted(experiment.find("brain_ldm").presets["smoke"])
    run = Run(config, FACTS)
    batch = {"image": jnp.zeros((2, 16, 16, 16, 1)), "covariates": jnp.zeros((2, 4))}
    net = jax.jit(regression_model(covariates.network(run)).init)(jax.random.key(0), batch)
    measure = covariates.measuring(run._replace(params={"features": net}))
    found = measure(np.zeros((3, 16, 16, 16, 1), np.float32))
    np.testing.assert_allclose(found, np.tile(FACTS.covariate_range[0], (3, 1)), atol=1e-6)
    with pytest.raises(UserError, match="can measure phantoms alone"):
        covariates.measuring(run)


def test_volumes_with_masks_are_measured_by_their_labels():
    """The map from labels to covariates is a fact; the network answers for each voxel, and learns from masks."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (12, 16, 16, 16)).astype(np.uint8)
    volumes = 3.0 * np.stack([(masks == 1).sum((1, 2, 3)), (masks == 2).sum((1, 2, 3))], axis=1)
    source = ArraySource({"image": 80 * masks[..., None], "mask": masks, "covariates": volumes})
    smoke = experiment.find("brain_ldm").presets["smoke"]
    config = dataclasses.replace(smoke, data="volumes.npz", feature_channels=(4,), chunk=4)
    splits = Splits(source, source, source, covariate_names=("front", "back"))
    facts = covariates.measure(config, splits)
    np.testing.assert_allclose(facts.of_labels, [[3, 0], [0, 3], [0, 0]], atol=1e-6)
    run = Run(config, facts, {}, splits)
    stage = covariates.build(run)
    examples = covariates.examples(run)
    batch = {name: np.stack([examples[i][name] for i in range(4)]) for name in examples[0]}
    prepared = stage.prepare(jax.random.split(jax.random.key(0), 4), batch)
    params = jax.jit(stage.model.init)(jax.random.key(1), prepared)
    loss, info = jax.jit(stage.model.objectives[0].loss)(params, jax.random.split(jax.random.key(2), 4), prepared)
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-5)
    assert loss.shape == info["accuracy"].shape == (4,)
    real = covariates.RealVolumes(run._replace(params={"features": params}))
    assert real.dice == {"dice_1": 0.0, "dice_2": 0.0}  # untrained, it finds background everywhere
    np.testing.assert_allclose(real.measure(real.held_out), np.zeros((16, 2)), atol=1e-6)  # test, then validation
    assert real.train_features.shape == (12, 11)


def test_a_volume_without_covariates_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "bare.npz", volumes=np.random.default_rng(0).integers(0, 255, (6, 8, 8, 8), np.uint8))
    flags = ["--data", str(tmp_path / "bare.npz"), "--workdir", str(tmp_path / "run")]
    assert main(["run", "brain_ldm", "--preset", "smoke", *flags]) == 2
    assert "has no array `covariates`" in capsys.readouterr().err
