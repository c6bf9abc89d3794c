"""DreamBooth: a generic model of images and text learns one subject, all of its networks or a part."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen.config import option
from jaxgen.data import ArraySource, Splits, words
from jaxgen.data.captions import after_noun, texts_of
from jaxgen.data.subjects import Subject, patient_with_implant, subject_in_folder
from jaxgen.errors import UserError
from jaxgen.experiment import Run, StageSpec
from jaxgen.families.lora import TARGETS
from jaxgen.families.personalised import MODES, WITH_PRIOR, personalised_model, personalised_params
from jaxgen.families.prior_preservation import class_pairs, in_pairs
from jaxgen.interop.fine_tuning import pieces
from jaxgen.tasks import text
from jaxgen.tasks.text import pretrained
from jaxgen.train import Stage
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamBoothConfig(text.TextConfig):
    """The options of the subject, of its class, and of learning it."""

    subject: str = option("", "folder with a few images of your subject; empty for a computed patient", group="data")
    patient: int = option(0, "which computed patient", ge=0, group="data")
    shots: int = option(5, "images of the subject that are learnt", ge=1, group="data")
    token: str = option("sks", "the word that comes to mean the subject: one that no caption has", group="data")
    class_noun: str = option("chest radiograph", "what all images are, and the subject is one of", group="data")
    noun_alone: float = option(0.25, "share of generic captions that are the noun alone", ge=0, le=1, group="data")
    modes: tuple[str, ...] = option(tuple(MODES), "how the subject is learnt", choices=MODES, group="method")
    class_images: int = option(200, "images of the class that the generic model draws", ge=4, group="method")
    prior_weight: float = option(1.0, "weight of the class images in the loss", ge=0, le=100, group="method")
    rank: int = option(8, "rank of the updates of lora", ge=1, group="method")
    lora_targets: str = option("attention", "layers that lora updates", choices=TARGETS, group="method")
    tuning_steps: int = option(400, "training steps of each way", ge=1, group="training")
    tuning_rate: float = option(2e-4, "peak learning rate of both networks", gt=0, le=10, group="training")
    lora_rate: float = option(2e-3, "that of lora", gt=0, le=10, group="training")
    embedding_rate: float = option(5e-3, "that of textual inversion", gt=0, le=10, group="training")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if len(words.split(self.token)) != 1 or not words.split(self.class_noun):
            raise UserError(f"--token must be one word, and --class-noun one or more, got {self.subject_prompt!r}")

    @property
    def subject_prompt(self) -> str:
        """Asks for the subject; the class noun alone asks for any image of the class."""
        return f"{self.token} {self.class_noun}"


def measure(config: DreamBoothConfig, splits: Splits) -> text.TextFacts:
    """Facts of the generic images; the words are those of their captions, and the token, which no caption may have."""
    known = {word for caption in (*texts_of(splits.train), config.class_noun) for word in words.split(caption)}
    if not config.pretrained and known & set(words.split(config.token)):
        raise UserError(f"--token {config.token}: captions of the data have this word; give one that means nothing yet")
    return text.measure(config, splits, [f"{config.subject_prompt},"])


def generic(run: Run) -> ArraySource:
    """The generic training images with their captions after the prompt of the class, some with that alone."""
    config, source = run.config, run.splits.train
    return text.captioned(run, source, after_noun(texts_of(source), config.class_noun, config.noun_alone, config.seed))


def subject_of(run: Run) -> Subject:
    """The subject that the configuration names."""
    config, facts = run.config, run.facts
    if config.subject:
        return subject_in_folder(Path(config.subject), config.size, facts.image_channels, config.shots)
    return patient_with_implant(config.seed, config.patient, config.size, facts.value_range, config.shots)


def token_numbers(run: Run) -> list[int]:
    """The token that comes to mean the subject; a tokenizer of pieces of words may have several for it."""
    if run.config.pretrained:
        return pieces(pretrained.pipeline_of(run.config).tokenizer, run.config.token)
    return [run.facts.words.index(*words.split(run.config.token)) + len(words.SPECIAL)]


def tuned_model(run: Run, mode: str) -> Model:
    """The model that a way of learning trains, from the parameters of the generic one; no prompt is dropped."""
    config, base = run.config, pretrained.complete(run).params["generic"]
    asked = {"base": base, "tokens": token_numbers(run), "rank": config.rank, "weight": config.prior_weight}
    asked["targets"] = TARGETS[config.lora_targets]
    return personalised_model(text.model_of_codes(run, drop=0.0), mode, **asked)


def class_images(run: Run) -> np.ndarray:
    """Images of the class ``[n, h, w, c]``, drawn by the generic model as before any tuning, without guidance."""
    asked = text.tokens_of(run, [run.config.class_noun] * run.config.class_images), 1.0
    return text.drawing(run, "generic", exactly=True)(jax.random.fold_in(jax.random.key(run.config.seed), 1), *asked)


def pairs(run: Run, mode: str) -> ArraySource:
    """The codes of the subject's images, and with each, of ways that see them, those of an image of the class."""

    def coded(drawn: np.ndarray, prompt: str) -> dict[str, np.ndarray]:
        held = np.round((np.clip(np.nan_to_num(drawn), -1, 1) + 1) * 127.5).astype(np.uint8)
        tokens = text.tokens_of(run, [prompt] * len(held))
        return text.codes(run, ArraySource({"image": held, "text": tokens})).arrays

    learnt = coded(subject_of(run).learnt, run.config.subject_prompt)
    if mode not in WITH_PRIOR:
        return ArraySource(learnt)
    return ArraySource(class_pairs(learnt, coded(class_images(run), run.config.class_noun)))


def _tuning(mode: str) -> StageSpec:
    def build(run: Run) -> Stage:
        rates = {"lora": run.config.lora_rate, "textual_inversion": run.config.embedding_rate}
        prepared = in_pairs(text.prepare(run)) if mode in WITH_PRIOR else text.prepare(run)
        return text.tuning_stage(mode, tuned_model(run, mode), run, rates.get(mode, run.config.tuning_rate), prepared)

    def wanted(config: Any) -> bool:
        return mode in config.modes

    return StageSpec(mode, build, wanted, examples=lambda run: pairs(run, mode))


STAGES = (*text.generic_stages(generic, generic), *map(_tuning, MODES))


def drawing(run: Run) -> Callable[..., np.ndarray]:
    """``draw(mode, key, tokens [n, m], guidance)``: images by ``"generic"`` or one of `MODES`, one program for all."""
    draw, params = text.drawing(run, "generic", exactly=True), pretrained.complete(run).params
    return lambda mode, *asked: draw(*asked, trained=personalised_params(params[mode], token_numbers(run)))
