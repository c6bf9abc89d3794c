"""The ensembles that every segmentation method may be compared with: a U-Net with dropout, and several U-Nets."""

from jaxgen.experiment import Run, StageSpec
from jaxgen.medical.segmentation.deterministic import deterministic
from jaxgen.medical.segmentation.ensembles import deep_ensemble, mc_dropout
from jaxgen.medical.segmentation.segmenter import Ensemble
from jaxgen.tasks import images
from jaxgen.tasks.segmentation.data import BASELINE, MOST_NETWORKS, baseline_model, baseline_network, prepare_tiles
from jaxgen.types import Model, Net

DROPOUT = "unet_dropout"


def dropout_network(run: Run) -> Net:
    """The deterministic U-Net, with dropout."""
    return baseline_network(run.config, run.facts.class_count, dropout=run.config.dropout_rate)


def _with_dropout(run: Run) -> Model:
    return deterministic(dropout_network(run))


def _again(number: int) -> StageSpec:
    name, wanted = f"{BASELINE.name}_{number}", lambda config: config.networks >= number
    return images.stage(name, baseline_model, prepare=prepare_tiles, wanted=wanted)


STAGES = (
    images.stage(DROPOUT, _with_dropout, prepare=prepare_tiles, wanted=lambda config: config.dropout_rate > 0),
    *(_again(number) for number in range(2, MOST_NETWORKS + 1)),
)
"""A U-Net with dropout (``--dropout-rate``), and further ones from other starts (``--networks``)."""


def ensembles(run: Run) -> tuple[Ensemble, ...]:
    """Those that the configuration asks for, trained."""
    found, config = [], run.config
    if config.dropout_rate > 0:
        drawn = mc_dropout(dropout_network(run), run.params[DROPOUT]["net"], config.members)
        found.append(Ensemble(DROPOUT, "MC dropout", drawn, probability=True))
    if config.networks > 1:
        names = [BASELINE.name, *(f"{BASELINE.name}_{number}" for number in range(2, config.networks + 1))]
        net = baseline_network(config, run.facts.class_count)
        drawn = deep_ensemble(net, [run.params[name]["net"] for name in names])
        found.append(Ensemble("unets", "Deep ensemble", drawn, probability=True))
    return tuple(found)
