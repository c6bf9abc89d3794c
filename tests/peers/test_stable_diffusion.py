"""Whole Stable Diffusion pipelines: from the same noise the same images, in diffusers and here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.interop import stable_diffusion as interop

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
from tests.peers import tiny_pipeline  # noqa: E402

pytestmark = pytest.mark.peers
PROMPTS = ["a red disc", "the left lung of a patient"]
NEGATIVE = ["green", ""]
TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SCHEDULERS = {
    "version 1, PNDM": (1, lambda: diffusers.PNDMScheduler(**TABLE, skip_prk_steps=True)),
    "version 1, Euler": (1, lambda: diffusers.EulerDiscreteScheduler(**TABLE, timestep_spacing="trailing")),
    "version 2, DDIM and v": (
        2,
        lambda: diffusers.DDIMScheduler(
            **TABLE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False
        ),
    ),
    "version 2, DPM-Solver++": (
        2,
        lambda: diffusers.DPMSolverMultistepScheduler(**TABLE, use_karras_sigmas=True),
    ),
}


def noise(n=2, height=8, width=8):
    return np.random.default_rng(0).standard_normal((n, height, width, 4)).astype(np.float32)


def run_theirs(pipe, start, **options):
    pipe.set_progress_bar_config(disable=True)
    latents = torch.from_numpy(start.transpose(0, 3, 1, 2).copy())
    images = pipe(latents=latents, output_type="np", **options).images
    return 2 * images - 1


def check(ours, pipe, tolerance=1e-3, start=None, **options):
    start = noise() if start is None else start
    height, width = options.get("size", (16, 16))
    asked = {"num_inference_steps": options["steps"], "guidance_scale": options["guidance"]}
    asked |= {"height": height, "width": width}
    expected = run_theirs(pipe, start, prompt=PROMPTS, negative_prompt=options.get("negative"), **asked)
    got = np.asarray(ours.sample(jax.random.key(0), PROMPTS, noise=jnp.asarray(start), **options))
    assert got.shape == expected.shape
    assert got.std() > 0.05
    assert (np.abs(got) < 1).mean() > 0.5  # not black and white
    np.testing.assert_allclose(got, expected, atol=tolerance)


@pytest.mark.parametrize(("version", "scheduler"), SCHEDULERS.values(), ids=SCHEDULERS)
def test_guided_images_from_the_same_noise(version, scheduler, tmp_path):
    pipe = tiny_pipeline.pipeline(tmp_path, version, scheduler())
    pipe.save_pretrained(tmp_path / "pipe")
    ours = interop.load(tmp_path / "pipe")
    check(ours, pipe, steps=20, guidance=3.0, negative=NEGATIVE)


def test_without_guidance_and_another_size(tmp_path):
    pipe = tiny_pipeline.pipeline(tmp_path)
    pipe.save_pretrained(tmp_path / "pipe")
    ours = interop.load(tmp_path / "pipe")
    assert ours.size == (16, 16)
    check(ours, pipe, steps=4, guidance=1.0, size=(8, 24), start=noise(height=4, width=12))


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_written_here_is_read_there(version, tmp_path):
    pipe = tiny_pipeline.pipeline(tmp_path, version)
    pipe.save_pretrained(tmp_path / "pipe")
    ours = interop.load(tmp_path / "pipe")
    rng = np.random.default_rng(1)
    changed = jax.tree.map(lambda x: x + 0.02 * rng.standard_normal(x.shape).astype(np.float32), ours.params)
    interop.save(tmp_path / "ours", ours, changed)
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "ours")
    check(ours._replace(params=changed), again, steps=3, guidance=3.0)
    check(interop.load(tmp_path / "ours"), again, steps=3, guidance=3.0)
    codes = np.random.default_rng(2).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        expected = again.vae.encode(torch.from_numpy(codes.transpose(0, 3, 1, 2).copy())).latent_dist.mean
    got = ours.autoencoder.encoder.apply(changed["encoder"], codes)[..., :4]
    np.testing.assert_allclose(np.asarray(got).transpose(0, 3, 1, 2), expected, atol=1e-4)


def test_learned_words_and_lora_files(tmp_path):
    from safetensors.torch import save_file

    pipe = tiny_pipeline.pipeline(tmp_path)
    pipe.save_pretrained(tmp_path / "pipe")
    rows = torch.from_numpy(np.random.default_rng(3).standard_normal((2, tiny_pipeline.WIDTH)).astype(np.float32))
    save_file({"<lung>": rows}, tmp_path / "word.safetensors")
    updates = {}
    for half, shape in (("down", (2, 8)), ("up", (8, 2))):
        name = f"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.{half}.weight"
        updates[name] = 0.5 * torch.from_numpy(np.random.default_rng(4).standard_normal(shape).astype(np.float32))
    save_file(updates, tmp_path / "lora.safetensors")
    ours = interop.with_lora(
        interop.load(tmp_path / "pipe", words=[tmp_path / "word.safetensors"]), tmp_path / "lora.safetensors", 0.8
    )
    pipe.load_textual_inversion(str(tmp_path / "word.safetensors"))
    pipe.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    pipe.fuse_lora(lora_scale=0.8)
    start, prompts = noise(), ["a <lung>", "the left <lung>"]
    expected = run_theirs(pipe, start, prompt=prompts, num_inference_steps=3, guidance_scale=3.0)
    got = ours.sample(jax.random.key(0), prompts, noise=jnp.asarray(start), steps=3, guidance=3.0)
    np.testing.assert_allclose(got, expected, atol=1e-3)
