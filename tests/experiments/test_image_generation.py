"""The image-generation experiments: on images of the user, and their full presets by shape."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import experiment
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.tasks import images, networks

COUNTS = {
    "ddpm": 113_673_219,
    "guidance": 295_900_035,
    "image_to_image": 113_673_219,
    "score_sde": 62_513_667,
    "flow_matching": 295_900_035 - 1001 * 4 * 192,  # without the labels of `guidance`
    "sampler_speed": 295_900_035 - 1001 * 4 * 192,
}


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "flags"), [("guidance", []), ("score_sde", ["--path", "ve"])])
def test_smoke_preset_on_images_of_the_user(name, flags, data, tmp_path):
    run = tmp_path / "run"
    flags = [*flags, "--samples", "8", "--chunk", "8"]
    assert main(["run", name, "--preset", "smoke", "--data", str(data), "--workdir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    numbers = [v for entry in metrics.values() if isinstance(entry, dict) for v in entry.values()]
    assert numbers
    assert np.isfinite(numbers).all()
    assert (run / "report.html").stat().st_size > 20_000
    sampler = ["--sampler", "probability_flow"] if name == "score_sde" else ["--label", "1"]
    assert main(["sample", str(run), "--n", "3", *sampler]) == 0
    (drawn,) = run.glob("samples*/samples.npz")
    assert np.load(drawn)["images"].shape == (3, 16, 16, 1)


@pytest.mark.thorough
def test_images_without_labels_need_no_network_for_their_features(tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (40, 16, 16), np.uint8))
    run = tmp_path / "run"
    flags = ["--samples", "8", "--chunk", "8", "--steps", "2"]
    assert main(["run", "ddpm", "--preset", "smoke", "--data", str(path), "--workdir", str(run), *flags]) == 0
    constants = json.loads((run / "constants.json").read_text())
    assert constants["classes"] == []
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"ddpm"}
    assert np.isfinite(json.loads((run / "metrics.json").read_text())["ddpm"]["frechet"])


def test_guidance_asks_for_labels(tmp_path, capsys):
    path = tmp_path / "plain.npz"
    np.savez(path, images=np.zeros((40, 16, 16), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None])
    assert main(["run", "guidance", "--preset", "smoke", "--data", str(path), "--workdir", str(tmp_path / "r")]) == 2
    assert "labels" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "size"), [("size", 20), ("attention", (3,))])
def test_configurations_that_do_not_fit(name, size):
    with pytest.raises(UserError, match=f"--{name} must"):
        dataclasses.replace(experiment.find("ddpm").presets["small"], **{name: size})


@pytest.mark.parametrize("name", COUNTS)
def test_the_full_preset_is_the_paper_s_network(name):
    """By shape alone: DDPM at 256 pixels (Ho et al. 2020), ADM at 64 (Dhariwal & Nichol 2021), DDPM++ (Song et al.)."""
    config = experiment.find(name).presets["full"]
    facts = images.ImageFacts(value_range=((0.0,) * 3, (255.0,) * 3), image_channels=3)
    net = networks.network(experiment.Run(config, facts), classes=1000 if name == "guidance" else None)
    x = jax.ShapeDtypeStruct((1, config.size, config.size, 3), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x, jax.ShapeDtypeStruct((1,), jnp.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNTS[name]
