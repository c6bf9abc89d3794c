"""The names of low-rank updates in files of diffusers, peft and kohya's scripts."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

FORMS = ("diffusers", "peft", "kohya")
_KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder"}
_SUFFIX = re.compile(r"(?:\.lora\.|\.lora_linear_layer\.|_lora\.|\.lora_)(down|up|A|B)(?:\.default)?\.weight$")
_KINDS = {"down": "down", "up": "up", "A": "down", "B": "up"}
_OTHER = ("hada_", "lokr_", "lora_mid", "dora_scale", "lora_magnitude_vector", "oft_", "lora_A.bias", "lora_B.bias")
_BEFORE = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


class Named(NamedTuple):
    """What a tensor's name says.

    Attributes:
        network: ``"unet"`` or ``"text_encoder"``.
        module: the layer that is updated, by its name in that network.
        kind: ``"down"``, ``"up"`` or ``"alpha"``.
    """

    network: str
    module: str
    kind: str


def named(tensor: str, modules: Mapping[str, Sequence[str]]) -> Named | str:
    """Read a tensor's name, whichever of the forms it has.

    Args:
        tensor: its name.
        modules: the layers of each network.

    Returns:
        What it says, or in words why it is not read.

    Example:
        >>> modules = {"unet": ["mid_block.attentions.0.to_out.0"]}
        >>> named("unet.mid_block.attentions.0.processor.to_out_lora.up.weight", modules)
        Named(network='unet', module='mid_block.attentions.0.to_out.0', kind='up')
        >>> named("lora_unet_mid_block_attentions_0_to_out_0.alpha", modules).kind
        'alpha'
    """
    other = next((kind for kind in _OTHER if kind in tensor), None)
    if other is not None:
        return f"tensor {tensor[:120]!r} is no part of a LoRA ({other}): such updates are not read"
    suffix = _SUFFIX.search(tensor)
    if suffix is None and not tensor.endswith(".alpha"):
        return f"tensor {tensor[:120]!r} is no part of a LoRA; is it a file of LoRA weights?"
    stem = tensor[: suffix.start()] if suffix else tensor.removesuffix(".alpha")
    kind = _KINDS[suffix[1]] if suffix else "alpha"
    network, candidates = _candidates(stem, modules)
    if network not in modules:
        return f"tensor {tensor[:120]!r} is for a {network}, which is not updated here"
    kohya = {module.replace(".", "_"): module for module in modules[network]} if stem.startswith("lora_") else {}
    known = set(modules[network])
    for candidate in candidates:
        module = kohya.get(candidate, candidate)
        if module in known:
            return Named(network, module, kind)
    return f"has an update of {candidates[0][:120]!r}, which this {network} has not; is it for another model?"


def _candidates(stem: str, modules: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """The network, and the names that the layer may have there."""
    for prefix, network in _KOHYA.items():
        if stem.startswith(prefix):
            return network, [stem.removeprefix(prefix)]
    if stem.startswith("lora_te2_"):
        return "text_encoder_2", [stem]
    stem = stem.removeprefix("base_model.model.")
    head, _, rest = stem.partition(".")
    inside = head in modules or re.fullmatch(r"unet|text_encoder(_\d)?|transformer", head) is not None
    network, module = (head, rest) if inside else ("unet", stem)
    module = module.replace(".processor", "")
    last = module.rpartition(".")[2]
    names = [module, f"{module}.0" if last == "to_out" else module]
    if last in _BEFORE:
        names.append(module.removesuffix(last) + _BEFORE[last])
    return network, [*names, *(f"text_model.{name}" for name in names)]


def written(form: str, network: str, module: str, down: np.ndarray, up: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors of an update by the names of a form.

    Args:
        form: one of `FORMS`.
        network: ``"unet"`` or ``"text_encoder"``.
        module: the layer.
        down: ``[r, in]``.
        up: ``[out, r]``.

    Returns:
        Tensors by name.

    Raises:
        ValueError: if the form has no names for this network.

    Example:
        >>> list(written("kohya", "unet", "conv_in", np.ones((2, 3)), np.ones((4, 2))))
        ['lora_unet_conv_in.lora_down.weight', 'lora_unet_conv_in.lora_up.weight', 'lora_unet_conv_in.alpha']
    """
    if form == "kohya":
        prefixes = [prefix for prefix, name in _KOHYA.items() if name == network]
        if not prefixes:
            raise ValueError(f"kohya's names are for unet and text_encoder, not for {network}")
        name = prefixes[0] + module.replace(".", "_")
        alpha = np.asarray(down.shape[0], np.float32)  # a scale of 1
        return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": alpha}
    name = f"{network}.{module}"
    if form == "peft":
        return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    middle = "lora" if network == "unet" else "lora_linear_layer"
    return {f"{name}.{middle}.down.weight": down, f"{name}.{middle}.up.weight": up}
