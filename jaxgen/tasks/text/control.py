"""Images from text under the control of hints: a ControlNet on a frozen text diffusion model."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from jaxgen.config import option
from jaxgen.data import ArraySource, Source, Splits
from jaxgen.data.hints import hints_of, read_hint
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import ControlledNets, controlnet_model, scaled_codes_model
from jaxgen.tasks import diffusion, images, latent, text
from jaxgen.tasks.networks import control_network, network
from jaxgen.train import Stage
from jaxgen.types import Batch, Key, Model, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlConfig(text.TextConfig):
    """The options of images drawn from text and hints."""

    data: str = option(
        "coloured_phantom",
        "data: a name, or a .npz with `images`, `texts` and perhaps `control` (else: edges of the images)",
        group="data",
    )
    hint_channels: images.Widths = option(
        (16, 32, 64), "widths of the encoder of the hint; each but the first halves it", ge=4, group="network"
    )
    strength: float = option(1.0, "weight of the hint when images are drawn; 0 is none", ge=0, group="sampling")
    drop_text_control: float = option(
        0.5, "share of prompts that the training of the ControlNet leaves out", ge=0, le=1, group="method"
    )
    control_steps: int = option(2000, "training steps of the ControlNet", ge=1, group="training")
    control_rate: float = option(1e-3, "its peak learning rate", gt=0, le=10, group="training")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.pretrained:
            raise UserError("--pretrained: a ControlNet is trained here on a model of its own; leave it out")
        shrinks, wanted = 2 ** (len(self.hint_channels) - 1), latent.shrinkage(self) * self.patch
        if shrinks != wanted:
            raise UserError(
                f"--hint-channels: {len(self.hint_channels)} widths make a hint {shrinks} times smaller, but images "
                f"become {wanted} times smaller; give {wanted.bit_length()} widths"
            )


def load(config: ControlConfig) -> Splits:
    """Images with captions, and their hints where the data have any."""
    return images.open_images(config, ("image", "text"), ("control",))


def hinted(run: Run, source: Source | None = None) -> ArraySource:
    """The training images, or others, at one size, with the tokens of their captions and their hints."""
    source = run.splits.train if source is None else source
    found = text.captioned(run, source)
    arrays = {**found.arrays, "control": hints_of(source, found.arrays["image"])}
    return ArraySource(arrays, found.names, found.patients)


def make_model(run: Run) -> Model:
    """The ControlNet of the trained diffusion model of codes."""
    config, base = run.config, run.params["diffusion"]
    nets = ControlledNets(
        network(run, image_channels=config.code_channels, cross_attention=config.attention),
        text.text_encoder(run),
        control_network(run, config.hint_channels, cross_attention=config.attention),
    )
    model = controlnet_model(
        nets,
        latent.code_shape(run),
        text.make_sampling(config),
        empty=text.empty_prompt(run),
        base=base,
        drop=config.drop_text_control,
        weight=diffusion.loss_weight(config, diffusion.make_path(config)),
        data="code",
    )
    scaled = scaled_codes_model(model)

    def init(key: Key, batch: Batch) -> Params:
        return {**scaled.init(key, batch), "scale": base["scale"]}

    return scaled._replace(init=init, sample=functools.partial(model.sample, strength=config.strength))


def build(run: Run) -> Stage:
    """The stage that trains the ControlNet."""
    config, prepare = run.config, text.prepare(run)
    rate = dataclasses.replace(config, learning_rate=config.control_rate)
    optimizers = {"control": images.optimizer(rate, config.control_steps)}

    def with_hints(key: Key, batch: Batch) -> Batch:
        return {**prepare(key, batch), "control": batch["control"] / 255.0}

    return Stage("control", make_model(run), optimizers, config.control_steps, with_hints)


STAGES = (*text.STAGES, StageSpec("control", build, examples=lambda run: text.codes(run, hinted(run))))


def drawing(run: Run, *, exactly: bool = False) -> text.Draw:
    """Images of prompts and hints: ``draw(key, tokens [n, m], guidance, hints [n, size, size, 3])``, hints as bytes."""
    drawn = text.drawing(run, "control", make_model(run), exactly=exactly)

    def draw(key: Key, tokens: np.ndarray, guidance: float, hints: np.ndarray) -> np.ndarray:
        return drawn(key, tokens, guidance, hints.astype(np.float32) / 255)

    return draw


def sample(run: Run, n: int, prompt: Sequence[str] = ("",), control: Sequence[str] = ()) -> Evaluation:
    """What ``jaxgen sample`` leaves: n images of the prompts and hints in turn, without hints those of test images."""
    if control:
        given = np.stack([read_hint(path, run.config.size, "--control") for path in control])
    else:
        test = run.splits.test
        given = hinted(run, images.Subset(test, range(min(n, len(test))))).arrays["control"]
    chosen, draw = given[np.arange(n) % len(given)], drawing(run)
    drawn = text.sample(run, n, prompt, lambda key, tokens, scale: draw(key, tokens, scale, chosen))
    return drawn._replace(arrays={**drawn.arrays, "control": chosen})
