"""Evaluation of private images: the networks, both generators, classifiers of drawn images, and the release report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgen import figures, headings
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures.histograms import histograms
from jaxgen.medical.privacy.linking import two_stages
from jaxgen.medical.privacy.report import Check, check, to_json
from jaxgen.medical.privacy.sampling import acceptance
from jaxgen.metrics import mean_auroc
from jaxgen.metrics.sample_sets import joined
from jaxgen.tasks import features, generation, images
from jaxgen.tasks.augmentation import Labelled, Training, classical, fit, small_classifier
from jaxgen.tasks.privacy.audit import DESCRIBE, LEAST, Audit, People, sampled
from jaxgen.tasks.privacy.data import COPYING, REGULAR, in_bytes, labels_like, members_of, several

SEEDS = 3
"""Classifiers of each set of images."""
AUC, MEMBERSHIP, REFUSED = 0.97, 0.6, 0.5
"""Limits of the report: AUC of the verifier at least, of membership inference at most, accepted share at least."""
EXCESS, BLIND = 0.05, 0.5
"""The same: by how much a share may exceed that of new images, of whom a test that is of use takes fewer than half."""
SEEN = 0.3
"""The same: by how much copies of the over-trained generator must exceed those of new images."""
RATIO = 0.8
"""The same: distance to the nearest training image, over a new image's, at least."""
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
    checks = release_checks(found, regular)
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
        describe=DESCRIBE
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


def release_checks(found: Mapping[str, Mapping[str, float]], regular: Audit) -> list[Check]:
    """The checks of images that two stages let through, each with its limit, and with the reason if it was not run.

    Shares are those above the share of new images of people whom no generator has seen: tests are not perfect, and what
    they say of strangers is no copy.
    """
    count = len(regular.samples.images)
    few = f"{count} images passed the filter, {LEAST} are the least"

    def above(name: str, generator: str = REGULAR, how: str = "two stages") -> dict[str, Any]:
        drawn, new = (found[f"{generator}, {one}"].get(name) for one in (how, "new images"))
        if new is None:
            return {"value": None, "reason": "the people of real images have no known codes"}
        if new > BLIND:
            return {"value": None, "reason": f"it takes {new:.0%} of new images for images of training people"}
        return {"value": None if drawn is None else drawn - new, "reason": few if generator == REGULAR else "diverged"}

    verifier = found.get("verifier, unseen people", {}).get("auc")
    kind = "copies" if "copies" in found[f"{COPYING}, new images"] else "linked"
    rates = [row["rate"] for row in acceptance(regular.samples, _names(regular)).values()]
    ratio = found[f"{REGULAR}, two stages"].get("pixel_ratio")
    return [
        check("verifier AUC, unseen people", verifier, AUC, least=True, reason="no second visits of test patients"),
        check("over-trained generator: copies seen", limit=SEEN, least=True, **above(kind, COPYING, "unfiltered")),
        check("membership AUC", regular.membership, MEMBERSHIP),
        check("copies by known codes", limit=EXCESS, **above("copies")),
        check("linked by the embedding alone", limit=EXCESS, **above("alike")),
        check("correlated with a training image", limit=EXCESS, **above("correlated")),
        check("nearest training image, pixels", ratio, RATIO, least=True, reason=few),
        check("accepted share of the rarest class", min(rates), REFUSED, least=True),
    ]


def about(run: Run) -> dict[str, Any]:
    """What goes with images that are released: where they come from, and what they are for."""
    splits = run.splits
    return {
        "origin": f"{splits.name}, {splits.origin}",
        "licence": splits.licence,
        "training_images": len(splits.train),
        "intended_use": USE,
    }


def _names(regular: Audit) -> tuple[str, ...]:
    return tuple(map(str, range(int(regular.samples.asked.max()) + 1)))


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
