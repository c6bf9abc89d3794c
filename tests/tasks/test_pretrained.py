"""``--pretrained``: a run starts from a folder's weights and draws as its pipeline; what is wrong with one is said."""

import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from jaxgen.app.cli import main
from jaxgen.data import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.interop import clip_text, diffusers
from jaxgen.interop import stable_diffusion as interop
from jaxgen.interop.fine_tuning import pieces
from jaxgen.tasks import text
from jaxgen.tasks.text import pretrained, tuning
from jaxgen.train import fingerprint
from tests.interop.clip_files import write_tokenizer
from tests.interop.test_stable_diffusion import INDEX, TEXT, UNET, VAE, random

LENGTH, CAPTIONS = 12, ["a red disc", "the left", "a green disc", "of"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "tiny"
    encoder = TEXT | {"max_position_embeddings": LENGTH, "vocab_size": write_tokenizer(folder / "tokenizer")}
    key, x, t = jax.random.key(0), jnp.zeros((1, 4, 4, 4)), jnp.zeros(1)
    unet = jax.eval_shape(lambda: diffusers.network(UNET).init(key, x, t, context=jnp.zeros((1, LENGTH, 8))))
    vae = jax.eval_shape(diffusers.network(VAE).init, key, jnp.zeros((1, 8, 8, 3)))
    words = jax.eval_shape(clip_text.network(encoder).init, key, jnp.zeros((1, LENGTH), jnp.int32))
    diffusers.save(folder / "unet", random(unet), UNET)
    diffusers.save(folder / "vae", random(vae), VAE)
    clip_text.save(folder / "text_encoder", random(words), encoder)
    (folder / "scheduler").mkdir()
    scheduler = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def run_of(folder, channels=3, **changes):
    image = np.random.default_rng(0).integers(0, 255, (8, 16, 16, channels), np.uint8)
    source = ArraySource({"image": image, "text": np.array(CAPTIONS * 2)})
    config = tuning.TuningConfig(
        pretrained=str(folder),
        size=16,
        chunk=2,
        sampler_steps=3,
        channels=(8, 8),
        autoencoder_channels=(8, 8),
        **changes,
    )
    splits = Splits(source, source, source)
    return Run(config, text.measure(config, splits), {}, splits)


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(np.array_equal, a, b))


@pytest.mark.thorough
def test_every_way_starts_from_the_folders_weights_scale_path_and_prediction(original):
    run, pipeline = run_of(original), interop.load(original)
    batch = {"code": jnp.ones((2, 8, 8, 4)), "text": jnp.zeros((2, LENGTH), jnp.int32)}
    for mode in ("unet", "both", "lora"):
        params = tuning.tuned_model(run, mode).init(jax.random.key(0), batch)
        assert equal({name: params[name] for name in ("net", "text")}, {n: pipeline.params[n] for n in ("net", "text")})
        assert float(params["scale"]["factor"]) == pipeline.scale == 0.5
    assert equal(
        pretrained.complete(run).params["autoencoder"], {n: pipeline.params[n] for n in ("encoder", "decoder")}
    )
    assert run.facts.words == ()
    assert run.facts.pretrained == f"{fingerprint(pipeline.params):08x}"
    np.testing.assert_array_equal(text.tokens_of(run, CAPTIONS), pipeline.tokenizer.encode(CAPTIONS))
    assert [spec.name for spec in tuning.STAGES if spec.wanted is None or spec.wanted(run.config)] == list(tuning.MODES)
    assert [spec.name for spec in text.STAGES if spec.wanted is None or spec.wanted(run.config)] == ["diffusion"]


def test_the_loss_is_that_of_the_table_and_the_prediction_by_hand(original, monkeypatch):
    run, pipeline = run_of(original), interop.load(original)
    code, tokens = jnp.full((1, 8, 8, 4), 0.7), jnp.asarray(text.tokens_of(run, ["a red disc"]))
    asked = []
    echo = pipeline._replace(
        net=pipeline.net._replace(apply=lambda params, x, n, **named: asked.append((x, n)) or 0 * x)
    )
    monkeypatch.setattr(pretrained, "pipeline_of", lambda config: echo)
    loss = text.make_model(run, drop=0.0).objectives[0].loss
    value, _ = loss(pipeline.params, jax.random.split(jax.random.key(3), 1), {"code": code, "text": tokens})
    x, number = asked[0]
    betas = np.linspace(np.sqrt(0.0001), np.sqrt(0.02), 1000) ** 2
    remaining = np.interp(float(number[0]), np.arange(1000), np.cumprod(1 - betas))
    alpha, sigma = np.sqrt(remaining), np.sqrt(1 - remaining)
    noise = (np.asarray(x) - alpha * 0.7) / sigma
    assert abs(noise.mean()) < 0.3
    assert abs(noise.std() - 1) < 0.2
    np.testing.assert_allclose(float(value[0]), np.mean((alpha * noise - sigma * 0.7) ** 2), rtol=2e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("channels", [3, 1])
def test_before_any_tuning_images_are_those_of_the_pipeline(original, channels):
    run, pipeline = run_of(original, channels), interop.load(original)
    prompts, key = ["a red disc", "the left"], jax.random.key(7)
    drawn = text.drawing(run, "generic")(key, text.tokens_of(run, prompts), 2.0)
    wanted = np.asarray(pipeline.sample(jax.random.split(key, 2), prompts, guidance=2.0, steps=3, size=(16, 16)))
    assert drawn.shape == (2, 16, 16, channels)
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(drawn, wanted if channels == 3 else wanted.mean(-1, keepdims=True), atol=2e-5)
    if channels == 3:
        # At a scale of 1 the prompt alone counts, and LoRA begins as no change.
        params = tuning.tuned_model(run, "lora").init(key, {})
        tuned = tuning.drawing(run._replace(params={"lora": params}), "lora")
        alone = pipeline.sample(jax.random.split(key, 2), prompts, guidance=1.0, steps=3, size=(16, 16))
        np.testing.assert_allclose(tuned(key, text.tokens_of(run, prompts), 1.0), alone, atol=2e-5)


def test_a_word_is_the_tokens_of_its_pieces(original):
    tokenizer = interop.load(original).tokenizer
    numbers = pieces(tokenizer, "disc")
    assert len(numbers) == 1
    assert numbers == pieces(tokenizer, " Disc ")
    assert len(pieces(tokenizer, "sks")) == 3


def test_one_line_each_for_what_is_wrong(original, folder):
    with pytest.raises(
        UserError, match=r"--pretrained: nowhere/model_index\.json: no such file; give the folder of a whole"
    ):
        run_of("nowhere")
    with pytest.raises(UserError, match=r"--pretrained: .*unet/model_index.json: no such file; .* holds one network"):
        run_of(folder / "unet")
    with pytest.raises(UserError, match=r"--pretrained, --size 18: images of 18 x 18: both must be multiples of 4"):
        pretrained.check(types.SimpleNamespace(pretrained=str(folder), size=18), 3)
    with pytest.raises(UserError, match="its vae takes 3 channels, and images have 2"):
        run_of(folder, channels=2)
    run = run_of(folder)
    with pytest.raises(UserError, match=r"--prompt: the prompt 'a red disc of .* has 14 tokens .* takes 12; leave out"):
        text.tokens_of_prompts(run, ["a red disc of the left disc disc disc disc disc disc"])
    with pytest.raises(UserError, match=r"--pretrained .*copy: the prompt .* has 14 tokens .* takes 12; leave out"):
        text.tokens_of(run, ["a red disc of the left disc disc disc disc disc disc"])
    shutil.copy(folder / "vae" / "diffusion_pytorch_model.safetensors", folder / "unet")
    with pytest.raises(UserError, match=r"--pretrained: .*unet/diffusion_pytorch_model\.safetensors"):
        pretrained.complete(run)
    shutil.copytree(original / "unet", folder / "unet", dirs_exist_ok=True)
    changed = jax.tree.map(lambda x: x + 1, interop.load(original).params)
    interop.save(folder.parent / "other", interop.load(original), changed)
    shutil.copytree(folder.parent / "other" / "unet", folder / "unet", dirs_exist_ok=True)
    with pytest.raises(
        UserError, match=r"--pretrained .*: holds other weights than when this run began; put those back"
    ):
        pretrained.complete(run)
    for file in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / file).unlink()
    with pytest.raises(UserError, match=r"--pretrained: .*tokenizer: has neither tokenizer.json nor vocab.json"):
        pretrained.complete(run)


@pytest.mark.thorough
def test_a_whole_run(original, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "own.npz", images=image, texts=np.array(CAPTIONS * 6))
    flags = ["--pretrained", str(original), "--data", str(tmp_path / "own.npz"), "--samples", "8", "--chunk", "8"]
    flags += ["--modes", "plain", "--tuning-steps", "2", "--class-noun", "disc", "--token", "red", "--shots", "2"]
    (tmp_path / "subject").mkdir()
    for i in range(3):
        PIL.Image.fromarray(image[i]).save(tmp_path / "subject" / f"{i}.png")
    run = tmp_path / "run"
    assert (
        main(
            [
                "run",
                "dreambooth",
                "--preset",
                "smoke",
                *flags,
                "--subject",
                str(tmp_path / "subject"),
                "--workdir",
                str(run),
                "--quiet",
            ]
        )
        == 0
    )
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"plain"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics) == {"generic", "plain", "unseen images", "images"}
    assert main(["sample", str(run), "--n", "2", "--prompt", "red disc", "--out", str(tmp_path / "out")]) == 0
