"""Evaluation of private images: the networks, both generators, classifiers of drawn images, and the release report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgen import figures, headings
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures.histograms import histograms
from jaxgen.imaging.variations import classical
from jaxgen.medical.privacy.checks import release_checks
from jaxgen.medical.privacy.linking import two_stages
from jaxgen.medical.privacy.report import to_json
from jaxgen.medical.privacy.sampling import acceptance
from jaxgen.metrics import mean_auroc
from jaxgen.metrics.sample_sets import joined
from jaxgen.tasks import features, generation, images
from jaxgen.tasks.privacy.audit import LEAST, Audit, People, sampled
from jaxgen.tasks.privacy.data import COPYING, REGULAR, in_bytes, labels_like, members_of, several
from jaxgen.train.finding_classifiers import Labelled, Training, fit, small_classifier

SEEDS = 3
"""Classifiers of each set of images."""
USE = (
    "Research on methods, such as training and testing networks, if the release report says passed. Not for diagnosis. "
    "The filter covers these images, not the weights of the model: handle weights as the training data."
)


def evaluate(run: Run) -> Evaluation:
    """Evaluate networks, generators and filters, and report on what may be released."""
    people = People(run)
    pairs = people.held_out_pairs()
    audits = {name: Audit(run, people, name) for name in (COPYING, REGULAR)}
    regular = audits[REGULAR]
    usable = {how: x for how, x in regular.sets.items() if len(x) >= LEAST and np.isfinite(x).all()}
    real = generation.RealImages(run, features.Features(run))
    sets = {f"{REGULAR}, {how}": x[: real.count] for how, x in usable.items()}
    compared = generation.Comparison(run, lambda n: sets, real=real)
    verifier = {} if pairs is None else {"verifier, unseen people": pairs.rates(people.threshold)}
    found = joined(
        verifier,
        audits[COPYING].metrics,
        regular.metrics,
        classifiers(run, regular) if run.facts.classes and "label" in run.splits.test[0] else {},
    )
    rates = [
        row["rate"]
        for row in acceptance(regular.samples, tuple(map(str, range(int(regular.samples.asked.max()) + 1)))).values()
    ]
    checks = release_checks(found, (COPYING, REGULAR), regular.membership, rates, len(regular.samples.images), LEAST)
    release = about(run) | to_json(checks) | {"acceptance": acceptance(regular.samples, run.facts.classes)}
    scores = {} if pairs is None else {"two people": pairs.apart, "one person": pairs.same}
    scores |= {f"{name}: drawn, and nearest": np.nan_to_num(audit.links.score) for name, audit in audits.items()}
    shown = min(8, len(regular.members))
    twins = audits[COPYING].links.nearest[:shown]
    return compared.evaluation(
        metrics=found,
        figures={
            "scores": histograms(scores, "Scores of the verifier; from the threshold on pairs are linked.", x="logit"),
            "copies": figures.rows(
                {"drawn": audits[COPYING].samples.first[:shown], "nearest": audits[COPYING].members[twins] / 127.5 - 1},
                "Images of the over-trained generator, and the training images that retrieval finds for them.",
            ),
        },
        headline=headline(found, release["verdict"]),
        describe=headings.PRIVACY
        | {"auroc": Metric("Classifier AUROC", "higher", "of a classifier trained on these images, on real ones")}
        | headings.OF_SETS,
        chosen={"threshold": people.threshold},
    )._replace(release=release)


def classifiers(run: Run, regular: Audit) -> dict[str, dict[str, float]]:
    """The mean AUROC on real test images of classifiers trained on as many real, drawn and filtered images, varied."""
    held_out = images.real_images(run, run.splits.test)
    count = len(regular.samples.images)
    if count < LEAST:
        return {}
    eye, rng = np.eye(len(run.facts.classes), dtype=np.float32), np.random.default_rng(run.config.seed)
    some, source = several(run, members_of(run, REGULAR))
    labels = np.array([int(source[i]["label"]) for i in range(len(source))])
    chosen, drawn = (rng.permutation(n)[:count] for n in (len(some), len(regular.samples.first)))
    first = np.nan_to_num(regular.samples.first[drawn])
    sets = {
        "real images": Labelled(some[chosen], eye[labels[chosen]]),
        f"{REGULAR}, unfiltered": Labelled(first, eye[regular.samples.asked[drawn]]),
        f"{REGULAR}, two stages": Labelled(np.nan_to_num(regular.samples.images), eye[regular.samples.label]),
    }
    training, found = Training(small_classifier(len(eye)), run.config.classifier_steps), {}
    for name, labelled in sets.items():
        predictors = fit(training, labelled, seeds=range(SEEDS), vary=classical)
        truth = eye[held_out["label"]]
        scores = [float(mean_auroc(predict(held_out["image"]), truth)) for predict in predictors]
        found[name] = {"auroc": float(np.mean(scores))}
    return found


def about(run: Run) -> dict[str, Any]:
    """What goes with images that are released: where they come from, and what they are for."""
    splits = run.splits
    return {
        "origin": f"{splits.name}, {splits.origin}",
        "licence": splits.licence,
        "training_images": len(splits.train),
        "intended_use": USE,
    }


def headline(found: Mapping[str, Any], verdict: str) -> str:
    """The result in a sentence or two."""
    before, after = (found[f"{COPYING}, {how}"] for how in ("unfiltered", "two stages"))
    name = "copies" if "copies" in before else "linked"
    said = " and ".join(f"{row.get(name, float('nan')):.0%}" for row in (before, after))
    word = "copies" if name == "copies" else "links to training people"
    auc = found.get("verifier, unseen people", {}).get("auc")
    tells = "" if auc is None else f"The verifier tells unseen people apart with AUC {auc:.3f}. "
    membership = found[f"{REGULAR}, unfiltered"]["membership"]
    return (
        f"{tells}Of the over-trained generator's images {said} are {word} before and after two stages; "
        f"membership AUC of the regular one {membership:.2f}. Release: {verdict}."
    )


def sample(run: Run, n: int, label: np.ndarray | None = None) -> Evaluation:
    """Images of the regular generator that the two stages let through.

    Raises:
        UserError: if the cap is reached for all of them.
    """
    people, classes = People(run), run.facts.classes
    source = members_of(run, REGULAR)
    link = two_stages(people.embed, people.verify, in_bytes(run, source).arrays["image"], people.threshold)
    asked = labels_like(source, n) if label is None else label
    drawn = sampled(run, link, run.key, REGULAR, asked)
    count = len(drawn.images)
    if not count:
        raise UserError(
            f"--n {n}: all {int(drawn.draws.sum())} images drawn were linked to training people, so none is released; "
            "ask for more, or train on more people"
        )
    rows = acceptance(drawn, classes)
    known_label = drawn.label if classes else None
    found = generation.sampled(drawn.images, "Images that are linked to nobody.", known_label, classes)
    return found._replace(
        metrics={"images": count} | {f"{name}, asked": row for name, row in rows.items()},
        headline=f"{count} of {n} images, {int(drawn.draws.sum())} drawn",
        release=about(run) | {"number": count, "asked": n, "acceptance": rows},
    )
