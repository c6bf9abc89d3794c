"""Images from text: latent diffusion under a prompt, its text encoder trained with it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.chunks import in_chunks
from jaxgen.config import option
from jaxgen.data import ArraySource, Source, Splits, words
from jaxgen.data.captions import texts_of
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import scaled_codes_model, text_diffusion_model
from jaxgen.families.latent_autoencoder import decode
from jaxgen.interop import fine_tuning
from jaxgen.metrics.sample_sets import cut
from jaxgen.nets.clip_text import TextSizes, clip_text
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import diffusion, features, generation, images, latent
from jaxgen.tasks.networks import network
from jaxgen.tasks.text import pretrained
from jaxgen.train import Stage
from jaxgen.types import Array, Key, Model, Net, Params

SAMPLER = "dpm_solver_2m"
"""How images are drawn where nothing else is said."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig(latent.LatentConfig, features.FeatureConfig):
    """The options of every experiment that draws images from text."""

    data: str = option(
        "cxr_phantom", "data: a name, or a .npz with `texts` (or finding, view, sex, age) and `images`", group="data"
    )
    pretrained: str = option(
        "",
        "Stable Diffusion folder to start from: its networks, words and noise levels, not those of flags",
        group="data",
    )
    mirror: bool = option(False, "mirror training images at random; off, since captions tell left from right")
    tokens: int = option(32, "words and marks of a prompt, with its begin and end", ge=3, le=1024, group="network")
    text_width: int = option(64, "width of the text encoder", ge=8, group="network")
    text_depth: int = option(2, "its blocks", ge=1, group="network")
    text_heads: int = option(2, "its attention heads", ge=1, group="network")
    attention: images.Widths | None = option(
        (0, 1), "levels whose positions attend to each other and to the text, 0 the finest", ge=0, group="network"
    )
    patch: int = option(1, "fold blocks of this many places of the code into channels", ge=1, le=16, group="network")
    drop_text: float = option(0.1, "share of prompts that training leaves out", ge=0, le=1, group="method")
    guidance: float = option(3.0, "scale of the guidance by the prompt; 1 is none", ge=0, group="sampling")
    sampler: str | None = option(
        None, f"how images are drawn; none: {SAMPLER}, or as --pretrained does", choices=SAMPLERS, group="sampling"
    )
    sampler_steps: int = option(20, "steps from noise to image", ge=1, le=10_000, group="sampling")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.pretrained:
            return
        multiple = latent.shrinkage(self) * self.patch * 2 ** (len(self.channels) - 1)
        if self.size % multiple:
            raise UserError(f"--size must be a multiple of {multiple} with these levels of both networks")
        if not self.attention:
            raise UserError("--attention: some level must attend to the text; name one, such as 0")
        if self.text_width % self.text_heads:
            raise UserError(f"--text-heads must divide --text-width {self.text_width}, got {self.text_heads}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFacts(images.ImageFacts):
    """Facts of images with captions.

    Attributes:
        words: those of the training captions, by token; none with ``--pretrained``, which has its own.
        pretrained: a checksum of the weights that training starts from, or empty.
    """

    words: tuple[str, ...] = ()
    pretrained: str = ""
    sparse: ClassVar[tuple[str, ...]] = ("home", "pretrained")


def load(config: TextConfig) -> Splits:
    """Images with captions; data without are refused."""
    return images.open_images(config, ("image", "text"))


def load_reports(config: TextConfig) -> Splits:
    """Computed radiographs with reports, in which findings are measured; others are refused."""
    if str(config.data).split("/")[0] != "cxr_phantom":
        raise UserError(f"--data {config.data}: findings are measured in computed radiographs alone; give cxr_phantom")
    return load(config)


def measure(config: TextConfig, splits: Splits, others: Sequence[str] = ()) -> TextFacts:
    """The range of the values, the channels, and the words of the training captions, and of others."""
    known = images.measure_images(config, splits)
    if config.pretrained:
        return TextFacts(**dataclasses.asdict(known), pretrained=pretrained.check(config, known.image_channels))
    try:
        learned = words.learn([*texts_of(splits.train), *others], length=config.tokens).words
    except ValueError as error:
        raise UserError(f"--data {config.data}: the captions hold no word; write some") from error
    return TextFacts(**dataclasses.asdict(known) | {"words": learned})


def vocabulary(run: Run) -> words.Vocabulary:
    """The words that the run knows."""
    return words.Vocabulary(run.facts.words, run.config.tokens)


def encode(run: Run, texts: Sequence[str]) -> np.ndarray:
    """Tokens ``[n, tokens]`` of texts, by the words that the run knows or by the folder's tokenizer."""
    if run.config.pretrained:
        return pretrained.pipeline_of(run.config).tokenizer.encode(texts)
    return words.encode(vocabulary(run), texts)


def tokens_of(run: Run, captions: Sequence[str]) -> np.ndarray:
    """Tokens ``[n, tokens]`` of captions of the data.

    Raises:
        UserError: if one is too long.
    """
    config = run.config
    try:
        return encode(run, captions)
    except UserError as error:
        head, tail = f"--tokens {config.tokens}", ", or raise --tokens"
        head, tail = (f"--pretrained {config.pretrained}", "") if config.pretrained else (head, tail)
        raise UserError(f"{head}: {error}{tail}") from error


def tokens_of_prompts(run: Run, prompts: Sequence[str]) -> np.ndarray:
    """Tokens ``[n, tokens]`` of what a user asks for.

    Raises:
        UserError: if a prompt is too long, or has a word that the run does not know.
    """
    if not run.config.pretrained:
        words.refuse_unknown(vocabulary(run), prompts)
    try:
        return encode(run, prompts)
    except UserError as error:
        raise UserError(f"--prompt: {error}") from error


def captioned(run: Run, source: Source, captions: Sequence[str] | None = None) -> ArraySource:
    """Images of a source at one size, a byte per value, and the tokens of their captions, or of others."""
    found = images.resized(source, run.config.size, run.facts.value_range, dtype=np.uint8)
    tokens = tokens_of(run, texts_of(source) if captions is None else captions)
    return ArraySource({"image": found.arrays["image"], "text": tokens}, found.names, found.patients)


def examples(run: Run) -> ArraySource:
    """What training is fed: the training images with their captions."""
    return captioned(run, run.splits.train)


def text_encoder(run: Run) -> Net:
    """The text encoder."""
    config = run.config
    sizes = TextSizes(vocabulary(run).size, config.tokens, config.text_width, config.text_depth, config.text_heads)
    return clip_text(sizes)


BOTH = ("net", "text")
"""The two networks: of codes, and of prompts."""


def make_model(run: Run, trains: tuple[str, ...] = BOTH, *, drop: float | None = None) -> Model:
    """The diffusion model of codes under a prompt, whose groups `trains` learn; None drops ``config.drop_text``."""
    drop = run.config.drop_text if drop is None else drop
    if run.config.pretrained:
        return pretrained.make_model(run, trains, drop)
    return text_diffusion_model(
        network(run, image_channels=run.config.code_channels, cross_attention=run.config.attention),
        text_encoder(run),
        latent.code_shape(run),
        make_sampling(run.config),
        empty=empty_prompt(run),
        drop=drop,
        weight=diffusion.loss_weight(run.config, diffusion.make_path(run.config)),
        data="code",
        trains=trains,
    )


def make_sampling(config: TextConfig) -> Sampling:
    """How codes are drawn: the path, the step and the grid of the sampler, and what the network predicts."""
    path = diffusion.make_path(config)
    step = SAMPLERS[config.sampler or SAMPLER].step(path)
    return Sampling(path, step, grids.uniform(path, config.sampler_steps), config.prediction)


def empty_prompt(run: Run) -> list[int]:
    """The tokens of the empty prompt."""
    return words.encode(vocabulary(run), [""])[0].tolist()


def model_of_codes(run: Run, trains: tuple[str, ...] = BOTH, *, drop: float | None = None) -> Model:
    """`make_model` with codes at standard deviation 1, from the generic parameters where there are some."""
    model, base = scaled_codes_model(make_model(run, trains, drop=drop)), pretrained.complete(run).params.get("generic")
    return model if base is None else model._replace(init=lambda key, batch: base)


def autoencoder(run: Run) -> tuple[Net, Net]:
    """Encoder and decoder, ours or the folder's."""
    if not run.config.pretrained:
        return latent.autoencoder(run)
    return fine_tuning.autoencoder(pretrained.pipeline_of(run.config), run.facts.image_channels)


def prepare(run: Run) -> images.Prepare:
    """On the device: a draw of each code (`jaxgen.tasks.latent.draw_codes`) with its tokens."""
    drawn = latent.draw_codes(pretrained.complete(run), autoencoder(run))
    return lambda key, batch: {"code": drawn(key, batch), "text": batch["text"]}


def codes(run: Run, found: ArraySource | None = None) -> ArraySource:
    """The training images, or others, encoded once, with the tokens of their captions."""
    return latent.encoded(pretrained.complete(run), examples(run) if found is None else found, autoencoder(run))


def build(run: Run) -> Stage:
    """The stage that trains the network of codes and the text encoder together."""
    optimizers = dict.fromkeys(BOTH, images.optimizer(run.config))
    return Stage("diffusion", model_of_codes(run), optimizers, run.config.steps, prepare(run))


Examples = Callable[[Run], ArraySource]
AUTOENCODER = images.stage(
    "autoencoder",
    latent.autoencoder_model,
    steps="autoencoder_steps",
    groups=("encoder", "decoder"),
    wanted=lambda config: not config.pretrained,
)
STAGES = (AUTOENCODER, StageSpec("diffusion", build, examples=codes))


def generic_stages(coded: Examples, told: Examples) -> tuple[StageSpec, StageSpec]:
    """The stages ``autoencoder`` and ``generic``, of images and of captioned ones; left out with ``--pretrained``."""
    spec = StageSpec("generic", build, AUTOENCODER.wanted, examples=lambda run: codes(run, told(run)))
    return AUTOENCODER._replace(examples=coded), spec._replace(build=lambda run: build(run)._replace(name="generic"))


def tuning_stage(mode: str, model: Model, run: Run, rate: float, prepared: images.Prepare) -> Stage:
    """A stage that tunes a model of codes, all that its objective trains, for ``config.tuning_steps``."""
    slower, steps = dataclasses.replace(run.config, learning_rate=rate), run.config.tuning_steps
    return Stage(
        mode, model, dict.fromkeys(model.objectives[0].groups, images.optimizer(slower, steps)), steps, prepared
    )


Draw = Callable[..., np.ndarray]


def drawing(run: Run, stage: str = "diffusion", model: Model | None = None, *, exactly: bool = False) -> Draw:
    """Images of prompts.

    Args:
        run: the run.
        stage: the stage whose networks draw.
        model: that it trained; None for `make_model`.
        exactly: draw in chunks of ``config.chunk`` however few there are, so that one program serves all.

    Returns:
        ``draw(key, tokens [n, m], guidance, *conditions, trained=None) -> [n, h, w, c]`` in [-1, 1]; the scale is an
        argument of the program, which is compiled once. Conditions ``[n, ...]``, such as hints, are what
        ``model.sample`` takes after the scale; `trained` are other parameters than those of the stage.
    """
    run = pretrained.complete(run)
    model, decoder = model or make_model(run), autoencoder(run)[1]

    @jax.jit
    def some(trained: Params, decoding: Params, guidance: Array, keys: Key, tokens: Array, *conditions: Array) -> Array:
        codes = model.sample(trained, keys, len(keys), tokens, guidance, *conditions)
        return cut(decode(decoder, decoding, codes, trained["scale"]["factor"]))

    def draw(
        key: Key, tokens: np.ndarray, guidance: float, *conditions: np.ndarray, trained: Params | None = None
    ) -> np.ndarray:
        n, scale = len(tokens), jnp.float32(guidance)
        params = run.params[stage] if trained is None else trained, run.params["autoencoder"]
        arrays = jax.random.split(key, n), tokens, *conditions
        return in_chunks(lambda *x: some(*params, scale, *x), n, run.config.chunk, *arrays, exactly=exactly)

    return draw


def sample(run: Run, n: int, prompt: Sequence[str] = ("",), draw: Draw | None = None) -> Evaluation:
    """What ``jaxgen sample`` leaves: n images of the prompts in turn, each file named by its prompt."""
    prompts, scale = [prompt[i % len(prompt)] for i in range(n)], run.config.guidance
    drawn = (draw or drawing(run))(run.key, tokens_of_prompts(run, prompts), scale)
    names = list(dict.fromkeys(prompts))
    label = np.array([names.index(one) for one in prompts])
    asked = "; ".join(names) if any(names) else "no prompt"
    return generation.sampled(drawn, f"Images of: {asked}. Guidance {scale:g}.", label, names)


SMALL: dict[str, Any] = {"data": "cxr_phantom/48", "size": 48, "channels": (32, 64), "attention": (1,), "steps": 2500}
SMALL |= {"autoencoder_steps": 1000, "optimizer": "muon", "learning_rate": 2e-3}
SMOKE: dict[str, Any] = {"data": "cxr_phantom/16", "autoencoder_channels": (8, 8), "autoencoder_steps": 4}
SMOKE |= {"channels": (8, 12), "attention": (1,), "text_width": 8, "text_depth": 1}
FULL: dict[str, Any] = {"size": 512, "autoencoder_channels": (128, 256, 512, 512), "autoencoder_steps": 200_000}
FULL |= {"channels": (320, 640, 1280, 1280), "blocks": 2, "attention": (0, 1, 2), "head_width": 64, "adaptive": False}
FULL |= {"tokens": 77, "text_width": 768, "text_depth": 12, "text_heads": 12, "guidance": 4.0, "sampler_steps": 75}
FULL |= {"steps": 60_000, "batch_size": 256, "learning_rate": 5e-5}
"""Stable Diffusion's U-Net and a text encoder of the size of CLIP's, for 512 pixels."""
OF_TEXT: dict[str, Any] = {
    "facts": TextFacts,
    "examples": examples,
    "sample_flags": {"prompt": None, "guidance": "guidance", "sampler": "sampler", "steps": "sampler_steps"},
    "baseline": "unconditional",
}
"""Fields that every experiment of the task has, unless it says otherwise."""
