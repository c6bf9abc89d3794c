"""Images from label maps: the data, the networks that read maps, and whether the maps are obeyed and are of use."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.chunks import in_chunks
from jaxgen.config import option
from jaxgen.data import ArraySource, Splits
from jaxgen.data.label_channels import Maps
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run, StageSpec
from jaxgen.families import classifier_model
from jaxgen.metrics.label_volumes import label_dice
from jaxgen.nets import UNetVariant, unet
from jaxgen.nets.reads_map import reads_map
from jaxgen.tasks import images
from jaxgen.tasks.images import Widths
from jaxgen.tasks.translation import data, diffusion
from jaxgen.tasks.translation.baselines import Translator
from jaxgen.tasks.translation.evaluation import Comparison
from jaxgen.types import Batch, Key, Model, Net

DESCRIBE = {
    "dice": Metric("Dice of maps", "higher", "labels that a network trained on real images finds, mean over labels"),
    "segmenter": Metric("Segmenter's Dice", "higher", "of a network trained with these images, on real test images"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticConfig(diffusion.DiffusionTranslationConfig):
    """The options of images from label maps."""

    data: str = option(
        "dental_phantom/32", "images with masks of several classes: a name, folder, or npz", group="data"
    )
    size: int = option(32, "pixels along one side; images are resized", ge=8, le=2048, group="data")
    spade: int = option(32, "channels of the convolutions that read the map in the norms", ge=4, group="network")
    segmenter_steps: int = option(600, "training steps of each segmentation network", ge=1, group="evaluation")
    segmenter_channels: Widths = option((16, 32, 64), "widths of its levels", ge=4, group="evaluation")
    few: int = option(
        20, "real images that segmentation networks have, with drawn ones and without", ge=2, group="data"
    )

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        if self.unpaired:
            raise UserError("--unpaired: an image belongs to each label map; leave it out")


def load(config: SemanticConfig) -> Splits:
    """Images with masks of several classes; data with one class are refused."""
    splits = images.open_images(config, ("image", "mask"), foreground="each")
    if len(splits.mask_names) < 2:
        raise UserError(f"--data {config.data}: its masks have one class, and a label map needs two or more")
    train, validation, test = (Maps(part, len(splits.mask_names) + 1) for part in splits[:3])
    return splits._replace(train=train, validation=validation, test=test)


def spade_network(run: Run, channels: int) -> Net:
    """The U-Net whose norms read the map, for ``channels`` of x."""
    config = run.config
    variant = UNetVariant(spade=config.spade, spade_encoder=True)
    options = {"blocks": config.blocks, "attention": config.attention or (), "head_width": config.head_width}
    net = unet(
        run.facts.image_channels, channels=config.diffusion_channels, patch=config.patch, variant=variant, **options
    )
    return reads_map(net, channels)


def segmenter(run: Run) -> Net:
    """The network that finds the labels of images."""
    return unet(run.facts.source_channels, channels=run.config.segmenter_channels, blocks=1, patch=1)


def _prepare(config: SemanticConfig) -> images.Prepare:
    pairs = data.prepare(config)

    def prepare(key: Key, batch: Batch) -> Batch:
        pair = pairs(key, batch)
        return {"image": pair["image"], "mask": jnp.argmax(pair["source"], -1)}

    return prepare


def few_real(run: Run) -> ArraySource:
    """The few real images with their maps."""
    arrays = data.examples(run).arrays
    return ArraySource({name: x[: run.config.few] for name, x in arrays.items()})


def with_drawn(method: Callable[[Run], Translator]) -> Callable[[Run], ArraySource]:
    """The few real images, repeated until they are a half, and images that a method draws from all training maps."""

    def mixed(run: Run) -> ArraySource:
        maps, few = data.examples(run).arrays["source"], few_real(run).arrays
        drawn = method(run).run(jax.random.key(run.config.seed), maps.astype(np.float32) / 127.5 - 1)
        again = np.resize(np.arange(len(few["image"])), len(maps))
        image = np.round((drawn + 1) * 127.5).astype(np.uint8)
        return ArraySource(
            {
                "image": np.concatenate([few["image"][again], image]),
                "source": np.concatenate([few["source"][again], maps]),
            }
        )

    return mixed


def segmenting(name: str, examples: Callable[[Run], ArraySource] | None = None) -> StageSpec:
    """A stage that trains a segmentation network, on all real images unless told otherwise."""

    def model(run: Run) -> Model:
        return classifier_model(segmenter(run), label="mask")

    return images.stage(name, model, steps="segmenter_steps", prepare=_prepare)._replace(examples=examples)


def labels_of(run: Run, stage: str, x: np.ndarray) -> np.ndarray:
    """The labels ``[n, h, w]`` that a trained segmentation network finds."""
    net, params = segmenter(run), run.params[stage]["net"]
    find = jax.jit(lambda x: jnp.argmax(net.apply(params, x), -1))
    return np.asarray(in_chunks(find, len(x), run.config.chunk, x))


def evaluated(run: Run, methods: list[Translator], references: list[Translator], trained: dict[str, str]) -> Evaluation:
    """Methods and references on test maps, and segmentation networks on real test images.

    Args:
        run: the run.
        methods: of the recipe.
        references: what they are compared with.
        trained: the stages of segmentation networks, by the row that says what they were trained with.
    """
    count = run.facts.source_channels - 1

    def obeyed(x: np.ndarray, test: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {"dice": _mean_dice(labels_of(run, "segmenter", x), test["source"].argmax(-1), count)}

    def shown(x: np.ndarray) -> np.ndarray:
        """Maps in grey."""
        return 2 * x.argmax(-1, keepdims=True) / count - 1 if x.shape[-1] == count + 1 else x

    compared = Comparison(run, methods, references=references, extra=obeyed, view=shown, describe=DESCRIBE)
    test = compared.test
    found = compared.evaluation()
    rows = {name: dict(row) if isinstance(row, dict) else row for name, row in found.metrics.items()}
    rows["test images"] = obeyed(test["image"], test)
    truth = test["source"].argmax(-1)
    for name, stage in trained.items():
        rows.setdefault(name, {})["segmenter"] = _mean_dice(labels_of(run, stage, test["image"]), truth, count)
    said = ", ".join(f"{one.name} {rows[one.name]['dice']:.3f}" for one in (*methods, *references))
    return found._replace(
        metrics=rows,
        headline=f"Dice of the maps asked for and found: {said}; in real images {rows['test images']['dice']:.3f}.",
    )


def _mean_dice(found: np.ndarray, truth: np.ndarray, count: int) -> float:
    return float(np.nanmean(list(label_dice(found, truth, count).values())))
