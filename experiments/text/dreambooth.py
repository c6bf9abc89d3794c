"""DreamBooth: five images of one subject are learnt, with and without prior preservation, by LoRA, as one word.

    jaxgen run dreambooth                                   # computed radiographs, then a patient with an implant
    jaxgen run dreambooth --subject FOLDER --token sks --class-noun "chest radiograph"
    jaxgen sample RUN --prompt "sks chest radiograph, large left pleural effusion" --guidance 3

The subject's similarity is measured where the implant is, exactly; the diversity of the class shows what was forgotten.
Ruiz et al. 2023, "DreamBooth", arXiv 2208.12242; Hu et al. 2021, arXiv 2106.09685; Gal et al. 2022, arXiv 2208.01618.
"""

import functools

from jaxgen.app.cli import run_module
from jaxgen.data.subjects import changes
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.families.lora import trained_share
from jaxgen.figures import rows
from jaxgen.metrics.diversity import within_class_distance
from jaxgen.tasks import features, generation, text
from jaxgen.tasks.text import dreambooth

SMALL = {"data": "cxr_phantom/32", "size": 32, "autoencoder_channels": (16, 32), "patch": 2}
SMALL |= {"steps": 3000, "samples": 128, "lora_targets": "all", "rank": 1, "lora_rate": 5e-3}
DESCRIBE = {
    "similarity": Metric("Similarity", "higher", "correlation of images of the subject's prompt with the subject"),
    "gain": Metric("Gain", "higher", "similarity, above that of the generic model"),
    "diversity": Metric("Diversity", "higher", "1 - MS-SSIM of pairs of images of the class"),
    "lost": Metric("Lost", "lower", "diversity of the class that was lost, as a share of the generic model's"),
    "distance": Metric("Distance", "higher", "mean distance of two images of the class, in features"),
    "drift": Metric("Drift", "lower", "similarity of images of the class with the subject, above the generic model's"),
    "trained": Metric("Trained", "", "parameters that are trained, as a share of both networks'"),
}


def evaluate(run: Run) -> Evaluation:
    config, found, n = run.config, dreambooth.subject_of(run), run.config.samples
    extract, draw = features.Features(run), dreambooth.drawing(run)
    metrics, drawn, of_class = {}, {}, {}
    for mode in ("generic", *config.modes):
        tokens = (text.tokens_of(run, [one] * n) for one in (config.subject_prompt, config.class_noun))
        mine, others = (draw(mode, run.key, one, config.guidance) for one in tokens)
        drawn[mode], of_class[mode] = mine[:8], others[:8]
        metrics[mode] = found.scores(mine, others) | {"distance": within_class_distance(extract(others))}
    start = metrics["generic"]
    for mode in config.modes:
        metrics[mode] = changes(metrics[mode], start)
        metrics[mode]["trained"] = trained_share(run.params[mode], dreambooth.MODES[mode])
    del start["drift"]
    if len(found.unseen):
        metrics["unseen images"] = {"similarity": found.similarity(found.unseen)}
    said = ", ".join(f"{mode} {metrics[mode]['gain']:+.2f} ({-metrics[mode]['lost']:+.0%})" for mode in config.modes)
    return Evaluation(
        metrics | {"images": n},
        {
            "subject": rows({"learnt": found.learnt[:8]} | drawn, f"Images of '{config.subject_prompt}'."),
            "class": rows(of_class, f"Images of '{config.class_noun}', from the same noise."),
        },
        f"Similarity with the subject (diversity of the class), compared with the generic model: {said}.",
        DESCRIBE,
    )


def sample(run: Run, n: int, prompt: tuple[str, ...] = ("",)) -> Evaluation:
    mode = "prior" if "prior" in run.config.modes else run.config.modes[-1]
    draw = functools.partial(dreambooth.drawing(run), mode)
    return text.sample(run, n, prompt if any(prompt) else (run.config.subject_prompt,), draw)


EXPERIMENT = generation.experiment(
    name="dreambooth",
    summary="A few images of one subject: fine-tuning with and without prior preservation, LoRA, textual inversion",
    data="chest radiographs with reports, then one patient with an implant, all computed; or your images of a subject",
    config=dreambooth.DreamBoothConfig,
    presets={
        "small": text.SMALL | SMALL,
        "smoke": text.SMOKE | {"tuning_steps": 4, "class_images": 8, "modes": ("prior", "textual_inversion")},
        "full": text.FULL | {"data": "cxr_phantom/512", "tuning_steps": 800, "tuning_rate": 5e-6, "lora_rate": 1e-4},
    },
    load=text.load,
    measure=dreambooth.measure,
    stages=dreambooth.STAGES,
    evaluate=evaluate,
    sample=sample,
    **text.OF_TEXT | {"baseline": "generic"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
