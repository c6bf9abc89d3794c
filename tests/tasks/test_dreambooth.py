"""DreamBooth: what it learns from, what stays frozen, and what users are told."""

import dataclasses

import jax
import numpy as np
import PIL.Image
import pytest

from jaxgen.data import ArraySource, Splits, words
from jaxgen.data.subjects import UNSEEN
from jaxgen.errors import UserError
from jaxgen.experiment import Run, find
from jaxgen.families.lora import trained_share, unmerge
from jaxgen.families.personalised import MODES, WITH_PRIOR, personalised_params
from jaxgen.tasks import latent, text
from jaxgen.tasks.text import dreambooth
from jaxgen.train import fingerprint, init_state, make_train_step

SMOKE = find("dreambooth").presets["smoke"]
CAPTIONS = np.array(["nodule on the left", "normal", "nodule", "large heart"])


@pytest.fixture(scope="module")
def run():
    """A run whose generic networks are random."""
    rng = np.random.default_rng(0)
    source = ArraySource({"image": rng.random((4, 16, 16, 1), np.float32), "text": CAPTIONS})
    splits = Splits(source, source, source)
    run = Run(
        dataclasses.replace(SMOKE, class_images=6, sampler_steps=2), dreambooth.measure(SMOKE, splits), {}, splits
    )
    batch = {"image": np.zeros((1, 16, 16, 1)), "code": np.zeros((1, *latent.code_shape(run)), np.float32)}
    batch["text"] = text.tokens_of(run, [""])
    models = {"autoencoder": latent.autoencoder_model(run), "generic": text.model_of_codes(run)}
    shapes = {name: jax.eval_shape(model.init, jax.random.key(0), batch) for name, model in models.items()}
    params = jax.tree.map(lambda s: np.asarray(0.2 * rng.normal(size=s.shape), np.float32), shapes)
    params["generic"]["scale"]["factor"] = np.float32(1.5)
    return run._replace(params=params)


def test_prompts_token_and_captions(run):
    config = run.config
    assert (config.subject_prompt, config.class_noun) == ("sks chest radiograph", "chest radiograph")

    def captions(share):
        other = run._replace(config=dataclasses.replace(config, noun_alone=share))
        return words.decode(text.vocabulary(run), dreambooth.generic(other).arrays["text"])

    assert captions(0.0) == [f"chest radiograph , {caption}" for caption in CAPTIONS]
    assert set(captions(1.0)) == {"chest radiograph"}
    assert words.decode(text.vocabulary(run), text.tokens_of(run, [config.subject_prompt])) == ["sks chest radiograph"]
    assert words.decode(text.vocabulary(run), np.array([dreambooth.token_numbers(run)])) == ["sks"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": "two words"}, "--token must be one word"),
        ({"class_noun": " "}, "--class-noun one or more"),
    ],
)
def test_prompts_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SMOKE, **changes)


def test_a_token_that_means_something_is_refused(run):
    for token in ("nodule", "Chest"):
        with pytest.raises(UserError, match=f"--token {token}: captions of the data have this word"):
            dreambooth.measure(dataclasses.replace(SMOKE, token=token), run.splits)


def test_the_computed_patient_is_like_itself_and_not_like_another(run):
    found = dreambooth.subject_of(run)
    assert found.learnt.shape == (5, 16, 16, 1)
    assert found.unseen.shape == (UNSEEN, 16, 16, 1)
    assert found.similarity(found.unseen) > 0.8
    other = dreambooth.subject_of(run._replace(config=dataclasses.replace(run.config, patient=1)))
    assert found.similarity(other.learnt) < 0.6
    assert found.similarity(np.full_like(found.learnt, np.nan)) == 0


def test_a_folder_of_ones_own(run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    for i, one in enumerate(pixels):
        PIL.Image.fromarray(one).save(tmp_path / f"{i}.png")
    config = dataclasses.replace(run.config, subject=str(tmp_path), shots=2)
    found = dreambooth.subject_of(run._replace(config=config))
    assert (found.learnt.shape, found.unseen.shape) == ((2, 16, 16, 1), (1, 16, 16, 1))
    assert found.similarity(found.learnt) == pytest.approx(1)
    assert np.ptp(found.learnt) > 1.9
    with pytest.raises(UserError, match=r"--subject .*: holds 3 images; add some, or give fewer --shots"):
        dreambooth.subject_of(run._replace(config=dataclasses.replace(config, shots=4)))
    with pytest.raises(UserError, match=r"--subject nowhere: no such folder"):
        dreambooth.subject_of(run._replace(config=dataclasses.replace(config, subject="nowhere")))


@pytest.mark.thorough
def test_class_images_come_from_the_frozen_model(run):
    """After steps of every way the generic model is the same to the bit, and so are the class images."""
    before, checksum = dreambooth.pairs(run, "prior"), fingerprint(run.params["generic"])
    assert set(before.arrays) == {
        f"{kind}{name}" for kind in ("", "class_") for name in ("mean", "log_variance", "text")
    }
    assert len(before) == run.config.class_images
    learnt = dreambooth.pairs(run, "plain")
    assert len(learnt) == run.config.shots
    np.testing.assert_array_equal(before.arrays["mean"], learnt.arrays["mean"][np.arange(6) % 5])
    tokens = text.tokens_of(run, [run.config.subject_prompt, run.config.class_noun])
    assert (before.arrays["text"] == tokens[0]).all()
    assert (before.arrays["class_text"] == tokens[1]).all()
    params = dict(run.params)
    for mode in MODES:
        stage = next(spec for spec in dreambooth.STAGES if spec.name == mode).build(run)
        source = before if mode in WITH_PRIOR else learnt
        batch = {name: x[:4] for name, x in source.arrays.items()}
        keys = jax.random.split(jax.random.key(0), 4)
        state = init_state(stage.model, stage.optimizers, jax.random.key(1), stage.prepare(keys, batch))
        step = make_train_step(stage.model, stage.optimizers, ema_decay=0.0, prepare=stage.prepare)
        state, metrics = jax.jit(step, donate_argnums=0)(state, batch)
        assert np.isfinite(metrics["loss"])
        params[mode] = state.params
        trained = {
            name for name in state.params if fingerprint(state.params[name]) != fingerprint(start(run, mode)[name])
        }
        assert trained == set(MODES[mode]), mode
    assert fingerprint(run.params["generic"]) == checksum
    after = dreambooth.pairs(run._replace(params=params), "lora")
    assert all(np.array_equal(after.arrays[name], x) for name, x in before.arrays.items())
    check_merged(run, params)


def start(run, mode):
    """The parameters that a way begins with."""
    model = dreambooth.tuned_model(run, mode)
    return jax.tree.map(np.asarray, model.init(jax.random.key(1), {}))


def check_merged(run, params):
    """What is drawn with: LoRA merged and taken back, one learned word, and the generic model itself."""
    generic, token = run.params["generic"], dreambooth.token_numbers(run)
    assert fingerprint(personalised_params(generic, token)) == fingerprint(generic)
    merged = personalised_params(params["lora"], token)
    assert set(merged) == set(generic)
    assert fingerprint(merged) != fingerprint(generic)
    for name, update in params["lora"]["lora"].items():
        back = unmerge(merged[name], update)
        assert (
            max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (back, generic[name])), strict=True)) < 1e-6
        )
    learned = personalised_params(params["textual_inversion"], token)["text"]["tokens"]
    changed = np.flatnonzero(np.any(np.asarray(learned) != generic["text"]["tokens"], axis=1))
    assert changed.tolist() == token
    whole = sum(leaf.size for name in ("net", "text") for leaf in jax.tree.leaves(generic[name]))
    share = trained_share(params["textual_inversion"], MODES["textual_inversion"])
    assert share == generic["text"]["tokens"].shape[1] / whole
