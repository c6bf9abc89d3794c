"""ControlNet as a task: sizes, hints of the data and of users, and what is measured in images."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from jaxgen import experiment
from jaxgen.data import ArraySource
from jaxgen.data.hints import edges, read_hint
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks import text
from jaxgen.tasks.text import control, control_evaluation


def config(**changes):
    two = dict.fromkeys(("channels", "autoencoder_channels", "hint_channels"), (8, 8))
    return control.ControlConfig(**two | {"size": 16, "attention": (1,)} | changes)


def test_the_encoder_of_the_hint_must_shrink_it_as_the_autoencoder_does():
    with pytest.raises(
        UserError, match=r"--hint-channels: 3 widths .* 4 times smaller, .* 2 times smaller; give 2 widths"
    ):
        config(hint_channels=(8, 8, 8))
    config(hint_channels=(8, 8, 8), patch=2)


def test_full_is_the_published_network_and_what_it_stands_on_is_not_counted():
    preset = experiment.find("controlnet").presets["full"]
    facts = text.TextFacts(value_range=((0.0,), (1.0,)), image_channels=1, words=("word",))
    run = Run(preset, facts, {"autoencoder": {"encoder": {}}})
    batch = {
        "code": jax.ShapeDtypeStruct((1, 64, 64, 4), jnp.float32),
        "text": jax.ShapeDtypeStruct((1, preset.tokens), jnp.int32),
        "control": jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32),
    }
    key = jax.random.key(0)
    base = jax.eval_shape(text.build(run).model.init, key, batch)

    def init(base, batch):
        return control.build(run._replace(params={**run.params, "diffusion": base})).model.init(key, batch)

    params = jax.eval_shape(init, base, batch)
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(group)) for name, group in params.items()}
    assert (count["control"], count["net"]) == (361_279_120, 859_520_964)
    assert {name: params[name] for name in base} == base


def run_of(data, **changes):
    made = config(data=data, **changes)
    splits = control.load(made)
    return types.SimpleNamespace(config=made, facts=text.measure(made, splits), splits=splits)


def test_hints_are_those_of_the_data_at_the_size_of_the_run():
    run = run_of("coloured_phantom/32", size=32)
    few = control.images.Subset(run.splits.validation, range(3))
    found = control.hinted(run, few).arrays
    assert found["control"].shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(found["control"][..., :1], [few[i]["control"] for i in range(3)])
    smaller = control.hinted(run_of("coloured_phantom/32"), few).arrays["control"]
    np.testing.assert_allclose(smaller.mean(), found["control"].mean(), atol=1)


def test_without_hints_they_are_the_edges_of_the_images():
    run = run_of("cxr_phantom/32", size=32)
    few = control.images.Subset(run.splits.validation, range(2))
    found = control.hinted(run, few).arrays
    assert set(np.unique(found["control"])) == {0, 255}
    wanted = [edges(image / 255) for image in found["image"]]
    np.testing.assert_array_equal(found["control"][..., 2] > 0, wanted)


def test_a_hint_of_a_user_is_read_and_what_is_wrong_is_one_line(tmp_path):
    line = np.zeros((16, 16), np.uint8)
    line[3] = 255
    for name, array in {"grey": line, "colour": np.repeat(line[..., None], 3, 2), "mask": line // 255}.items():
        PIL.Image.fromarray(array).save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_hint(tmp_path / f"{name}.png", 16, "--control")[..., 1], line)
    PIL.Image.fromarray(line.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_hint(tmp_path / "deep.png", 16, "--control")[..., 0], line)

    PIL.Image.fromarray(np.zeros((8, 24), np.uint8)).save(tmp_path / "wide.png")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "grey.png").read_bytes()[:40])
    np.save(tmp_path / "below.npy", line - 300.0)
    np.save(tmp_path / "many.npy", np.zeros((16, 16, 4)))
    for name, message in {
        "wide.png": r"--control .*wide\.png: 24 x 8 pixels, but the run has hints of 16 x 16; resize it to that",
        "damaged.png": r"damaged\.png: .*damaged",
        "none.png": r"none\.png: .*no such file",
        "below.npy": r"--control .*below\.npy: holds other values than numbers from 0 to 255",
        "many.npy": r"--control .*many\.npy: not grey and not RGB",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            read_hint(tmp_path / name, 16, "--control")
        assert "\n" not in str(caught.value)


class Measured(control_evaluation.Drawn):
    """The measurements alone, without a network."""

    def __init__(self, run, part, n):
        found = control.hinted(run, control.images.Subset(part, range(n))).arrays
        self.run, self.parts, self.hints = run, (part,), found["control"]
        self.real = types.SimpleNamespace(held_out=found["image"].astype(np.float32) / 127.5 - 1)


def test_contours_and_colours_of_real_images_are_as_asked_and_of_others_are_not():
    run = run_of("coloured_phantom/32", size=32)
    measured = Measured(run, run.splits.validation, 60)
    real = measured.real.held_out
    found = measured.metrics(real)
    assert found == {"contour_iou": pytest.approx(1, abs=0.01), "shape_iou": pytest.approx(1), "colours": 1.0}
    others = measured.metrics(np.roll(real, 1, 0))
    assert others["contour_iou"] < 0.3
    assert others["colours"] < 0.15
    nothing = measured.metrics(np.zeros_like(real))
    assert (nothing["contour_iou"], nothing["shape_iou"], nothing["colours"]) == (0, 0, 0)


def test_edges_and_findings_of_radiographs_are_measured_and_hints_of_users_are_not():
    run = run_of("cxr_phantom/32", size=32)
    measured = Measured(run, run.splits.validation, 20)
    found = measured.metrics(measured.real.held_out)
    assert found["contour_iou"] > 0.9
    assert "agreement" in found
    hint = np.zeros((1, 32, 32, 1), np.uint8)
    measured.parts = (ArraySource({"image": hint, "control": hint, "text": np.array(["a"])}),)
    assert measured.metrics(measured.real.held_out) == {}
