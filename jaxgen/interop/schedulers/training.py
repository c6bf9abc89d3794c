"""What a network of a scheduler was trained with: the path of its table, and its prediction."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxgen.interop.schedulers.config import Config
from jaxgen.interop.schedulers.defaults import DEFAULTS
from jaxgen.interop.schedulers.read import from_diffusers
from jaxgen.paths import Path

_TRAINING = "DDPMScheduler"


class Training(NamedTuple):
    """How a network was trained, and is trained on.

    Attributes:
        path: of the table of noise rates, with times ``(i + 1) / timesteps`` for its entries i.
        prediction: what the network predicts, one of `jaxgen.paths.PREDICTIONS`.
        timesteps: the length of the table.
    """

    path: Path
    prediction: str
    timesteps: int


def training(config: Mapping[str, Any]) -> Training:
    """The path and the prediction to fine-tune a network with, whatever its scheduler samples with.

    Args:
        config: the entries of a ``scheduler_config.json``.

    Returns:
        The path of the table of noise rates, the prediction, and the table's length.

    Raises:
        UserError: if an entry is not supported, or the scheduler has no table.

    Example:
        >>> training({"_class_name": "PNDMScheduler", "prediction_type": "v_prediction"})[1:]
        ('v', 1000)
    """
    entries = Config(config, "the scheduler config")
    if "beta_schedule" not in entries.values or entries.get("use_flow_sigmas"):
        raise entries.wrong(f"{entries.kind} has no table of noise rates here, which networks are fine-tuned on")
    table = {name: entries[name] for name in DEFAULTS[_TRAINING] if name in entries.values}
    kept = ("num_train_timesteps", "prediction_type", "rescale_betas_zero_snr", "trained_betas")
    noise = {name: value for name, value in table.items() if name.startswith("beta_") or name in kept}
    scheduler = from_diffusers({"_class_name": _TRAINING, **noise}, 1)
    return Training(scheduler.path, scheduler.prediction, entries.get("num_train_timesteps", 1000))
