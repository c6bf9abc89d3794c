"""Personalised text to image: the ways to teach a generic model one subject, and what each leaves."""

from collections.abc import Sequence

from jaxgen.families.lora import ATTENTION, lora_model, merge
from jaxgen.families.prior_preservation import prior_preservation_model
from jaxgen.families.textual_inversion import replace_rows, textual_inversion_model
from jaxgen.types import Model, Params

BOTH = ("net", "text")
MODES = {"plain": BOTH, "prior": BOTH, "lora": ("lora",), "textual_inversion": ("embedding",)}
"""What each way trains."""
WITH_PRIOR = ("prior", "lora")
"""The ways that also see images of the class."""


def personalised_model(
    model: Model,
    mode: str,
    *,
    base: Params,
    tokens: Sequence[int],
    rank: int = 8,
    targets: str = ATTENTION,
    weight: float = 1.0,
) -> Model:
    """The model that a way of learning a subject trains.

    Args:
        model: of images under a prompt (`jaxgen.families.text_diffusion_model`) that trains both of its networks.
        mode: one of `MODES`.
        base: the generic parameters, from which training starts.
        tokens: those that come to mean the subject, for ``"textual_inversion"``.
        rank: of the updates of ``"lora"``.
        targets: what these update, see `jaxgen.families.lora.init_lora`.
        weight: of the class images, see `jaxgen.families.prior_preservation.prior_preservation_model`.

    Returns:
        The `Model`; with one of `WITH_PRIOR` its batches hold images of the class too.

    Reference:
        Ruiz et al. 2023, "DreamBooth", arXiv 2208.12242; Hu et al. 2021, arXiv 2106.09685; Gal et al. 2022, arXiv
        2208.01618.
    """
    if mode == "textual_inversion":
        return textual_inversion_model(model, tokens, base=base)
    started = (
        lora_model(model, rank, base=base, groups=BOTH, targets=targets)
        if mode == "lora"
        else model._replace(init=lambda key, batch: base)
    )
    return prior_preservation_model(started, weight) if mode in WITH_PRIOR else started


def personalised_params(params: Params, tokens: Sequence[int]) -> Params:
    """The parameters that a way of learning leaves, in the form of the generic model's: one program draws with all.

    Args:
        params: of `personalised_model`, or of the generic model.
        tokens: as given there.

    Returns:
        LoRA merged, the learned rows in the table of tokens; the groups ``"lora"`` and ``"embedding"`` are gone.
    """
    rest = {name: group for name, group in params.items() if name not in ("lora", "embedding")}
    if "lora" in params:
        return rest | {name: merge(rest[name], update) for name, update in params["lora"].items()}
    return replace_rows(rest, tokens, params["embedding"]) if "embedding" in params else rest
