"""Folders of whole pipelines without PyTorch: read, sampled, written, and what does not belong together is said."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgen.errors import UserError
from jaxgen.interop import clip_text, diffusers, learned_words
from jaxgen.interop import stable_diffusion as interop
from tests.interop.clip_files import write_tokenizer

UNET = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 4,
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [4, 4],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 4,
    "scaling_factor": 0.5,
}
TEXT = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 8,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "requires_safety_checker": True,
}
PROMPTS = ["a red disc", "the left"]


def random(shapes):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(0.3 * rng.standard_normal(s.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "tiny"
    size = write_tokenizer(folder / "tokenizer", length=8)
    key, x, t = jax.random.key(0), jnp.zeros((1, 4, 4, 4)), jnp.zeros(1)
    unet = jax.eval_shape(lambda: diffusers.network(UNET).init(key, x, t, context=jnp.zeros((1, 8, 8))))
    vae = jax.eval_shape(diffusers.network(VAE).init, key, jnp.zeros((1, 8, 8, 3)))
    text = {**TEXT, "vocab_size": size}
    encoder = jax.eval_shape(clip_text.network(text).init, key, jnp.zeros((1, 8), jnp.int32))
    diffusers.save(folder / "unet", random(unet), UNET)
    diffusers.save(folder / "vae", random(vae), VAE)
    clip_text.save(folder / "text_encoder", random(encoder), text)
    scheduler = {"_class_name": "DDIMScheduler", "clip_sample": False}
    for name, content in (("model_index", INDEX), ("scheduler/scheduler_config", scheduler)):
        (folder / f"{name}.json").parent.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def pipeline(original):
    return interop.load(original)


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def change(file, **entries):
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(np.array_equal, a, b))


def draw(pipeline, prompts=PROMPTS, **options):
    options = {"steps": 2, "guidance": 2.0, **options}
    return np.asarray(pipeline.sample(jax.random.key(1), prompts, **options))


@pytest.mark.thorough
def test_images_follow_prompts_and_guidance(pipeline):
    images = draw(pipeline)
    assert images.shape == (2, 8, 8, 3)
    assert np.abs(images).max() <= 1
    np.testing.assert_array_equal(images, draw(pipeline))
    other = draw(pipeline, ["a green disc", "the left"])
    assert np.abs(images[0] - other[0]).max() > 1e-4
    np.testing.assert_allclose(images[1], other[1], atol=1e-5)
    assert np.abs(images - draw(pipeline, guidance=4.0)).max() > 1e-4
    assert np.abs(images - draw(pipeline, negative=["green"])).max() > 1e-4
    np.testing.assert_allclose(draw(pipeline, negative=[""]), images, atol=1e-6)
    with pytest.warns(UserWarning, match="has 11 tokens and the text encoder takes 8: 'disc disc disc' was cut off"):
        draw(pipeline, ["a red disc of the left disc disc disc"] * 2)


def test_prompts_become_contexts(pipeline):
    context = pipeline.encode(["", "a red disc"])
    assert context.shape == (2, 8, 8)
    with pytest.raises(UserError, match="the text encoder takes 8; leave out"):
        pipeline.encode(["a red disc of the left disc disc disc"])


def test_what_is_written_is_read(pipeline, tmp_path):
    changed = jax.tree.map(lambda x: np.asarray(x) + 1, pipeline.params)
    interop.save(tmp_path / "again", pipeline, changed)
    again = interop.load(tmp_path / "again")
    assert equal(again.params, changed)
    assert again.configs["unet"] == pipeline.configs["unet"]
    index = json.loads((tmp_path / "again" / "model_index.json").read_text())
    assert (index["safety_checker"], index["requires_safety_checker"]) == ([None, None], False)
    with pytest.raises(UserError, match="is where this pipeline was read from; give another folder"):
        interop.save(tmp_path / "again", again)


def test_learned_words_and_updates(original, pipeline, tmp_path):
    learned_words.save(tmp_path, "<lung>", np.ones((2, 8)))
    file = tmp_path / "learned_embeds.safetensors"
    told = interop.load(original, words=[file])
    assert told.params["text"]["tokens"].shape[0] == pipeline.params["text"]["tokens"].shape[0] + 2
    assert equal(told.params["net"], pipeline.params["net"])
    assert np.abs(told.encode(["a <lung>"]) - told.encode(["a lung"])).max() > 1e-3
    with pytest.raises(UserError, match="a pipeline with learned words is not written"):
        interop.save(tmp_path / "again", told)
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora"
    updates = {f"{name}.down.weight": np.ones((1, 8), np.float32), f"{name}.up.weight": np.ones((8, 1), np.float32)}
    save_file(updates, tmp_path / "lora.safetensors")
    merged = interop.with_lora(told, tmp_path / "lora.safetensors", 0.5)
    differ = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), merged.params, told.params)
    np.testing.assert_allclose(sorted(jax.tree.leaves(differ))[-2:], [0.0, 0.5], atol=1e-6)
    learned_words.save(tmp_path, "<lung>", np.ones((2, 9)))
    with pytest.raises(UserError, match="is 8 wide and the learned words 9; are they for another version"):
        interop.load(original, words=[file])


@pytest.mark.parametrize(
    ("file", "entries", "said"),
    [
        (
            "model_index",
            {"_class_name": "StableDiffusionXLPipeline"},
            "supported: 'StableDiffusionPipeline', of Stable",
        ),
        ("model_index", {"vae": [None, None]}, "names no vae; give the folder of a whole pipeline"),
        ("model_index", {"text_encoder": ["transformers", "T5"]}, "its text_encoder is a 'T5'; supported: 'CLIPText"),
        ("unet/config", {"_class_name": "UNet2DModel"}, "unet/config.json: cross_attention_dim is 8, which is not"),
        ("scheduler/scheduler_config", {"_class_name": "Other"}, "scheduler/scheduler_config.json: "),
        ("text_encoder/config", {"num_hidden_layers": 3}, "lacks tensor text_model.encoder.layers.2"),
    ],
)
def test_what_is_not_supported_is_said(folder, file, entries, said):
    change(folder / f"{file}.json", **entries)
    with pytest.raises(UserError) as raised:
        interop.load(folder)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("part", "entries", "said"),
    [
        (
            "text_encoder",
            {"hidden_size": 6},
            "its text_encoder answers 6 channels and its unet takes 8; are they of one",
        ),
        ("text_encoder", {"vocab_size": 20}, "tokens and its text_encoder knows 20; are they of one version?"),
        ("vae", {"latent_channels": 3}, "its vae has codes of 3 channels and its unet takes 4 and answers 4"),
        (
            "unet",
            {"in_channels": 9},
            "its unet takes 9 and answers 4; are they of one pipeline? Inpainting and depth are",
        ),
        ("vae", {"shift_factor": 0.5}, "its vae has shift_factor 0.5; supported: none"),
    ],
)
def test_parts_of_different_pipelines(folder, part, entries, said):
    change(folder / part / "config.json", **entries)
    with pytest.raises(UserError) as raised:
        interop.load(folder)
    assert said in str(raised.value)


def test_wrong_folders_and_missing_files(folder, tmp_path):
    with pytest.raises(UserError, match=r"model_index.json: no such file; give the folder of a whole pipeline"):
        interop.load(tmp_path)
    with pytest.raises(UserError, match="unet holds one network: give the folder of a whole pipeline"):
        interop.load(folder / "unet")
    (folder / "tokenizer" / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"merges.txt: no such file; a tokenizer is both"):
        interop.load(folder)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(UserError, match="tokenizer: no such folder; give the folder of a whole pipeline"):
        interop.load(folder)


def test_what_cannot_be_drawn(pipeline):
    with pytest.raises(UserError, match="images of 8 x 9: both must be multiples of 4 in this pipeline"):
        draw(pipeline, size=(8, 9))
    with pytest.raises(UserError, match="3 negative prompts for 2 prompts: give one, or one for each"):
        draw(pipeline, negative=["a", "b", "c"])
    with pytest.raises(UserError, match=r"the noise has shape \(2, 8, 8, 4\), and 2 images of this size start from"):
        draw(pipeline, noise=jnp.zeros((2, 8, 8, 4)))
