"""What goes with images that are given away: a release report, a data card and a model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen.app import runs
from jaxgen.errors import UserError
from jaxgen.medical.privacy import report

RELEASE, DATA_CARD, MODEL_CARD = "release.json", "data_card.md", "model_card.md"
UNSAID = "not stated"


def write_release(path: Path, release: Mapping[str, Any]) -> None:
    """Save a release report in a folder, if there is one."""
    if release:
        runs.write_json(path / RELEASE, release)


def with_report(release: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """What comes with samples, with the report of the run that drew them.

    Args:
        release: what came with them (`jaxgen.experiment.Evaluation.release`); empty if they have no report.
        run: the folder of the run.

    Returns:
        All of it; the checks are those of the run's evaluation, or one that was not run if there was none.
    """
    if not release:
        return {}
    none = report.check("all checks", None, 0.0, reason="the run has not been evaluated")
    return {**report.to_json([none]), **runs.read_object(run / RELEASE, default={}), **release}


def write_cards(path: Path, release: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Save the cards of samples.

    Args:
        path: the folder of the samples.
        release: see `with_report`.
        about: ``config.json`` of the run that drew them.
    """
    runs.write_bytes(path / DATA_CARD, data_card(release, about).encode())
    runs.write_bytes(path / MODEL_CARD, model_card(release, about).encode())


def data_card(release: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The card of generated images: number, origin, licence, how they were made, checks, use."""
    facts = {
        "images": f"{release.get('number', UNSAID)} of {release.get('asked', UNSAID)} that were asked for",
        "kind": "drawn by a model; whether any can be linked to a training person, the checks below say",
        **_origin(release),
        "generator": _made_by(about),
        "intended use": release.get("intended_use", UNSAID),
    }
    rows = release.get("acceptance") or {}
    table = [f"| {name} | {row['asked']} | {row['drawn']} | {row['accepted']} |" for name, row in rows.items()]
    classes = ["", "| class | asked for | drawn | accepted |", "|---|---|---|---|", *table] if table else []
    return "\n".join(["# Data card", "", *_listed(facts), *classes, "", *_checks(release), ""])


def model_card(release: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The card of the generator: what it is, what it was trained on, checks, use, and what the checks do not cover."""
    facts = {
        "model": _made_by(about),
        "summary": about.get("summary") or UNSAID,
        "command": f"`{about['command']}`" if about.get("command") else UNSAID,
        "training images": release.get("training_images", UNSAID),
        **_origin(release),
        "intended use": release.get("intended_use", UNSAID),
    }
    limits = (
        "The checks are of samples. Weights can hold what no sample shows: keep them as the training data are kept."
    )
    return "\n".join(["# Model card", "", *_listed(facts), "", *_checks(release), "", limits, ""])


def release_lines(text: str) -> list[str]:
    """The release report of a run or of its samples, as a table.

    Args:
        text: the run folder, its ``samples/``, or the ``samples.npz`` in there.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    path = Path(text)
    folder = path.parent if path.name == "samples.npz" else path
    file = folder / RELEASE
    if not file.is_file():
        raise UserError(
            f"{text}: it has no release report; give a run of private_xray that has been evaluated, or its samples"
        )
    try:
        return report.lines(report.from_json(runs.read_object(file)))
    except ValueError as error:
        raise UserError(f"{file}: {error}; restore it from a copy, or evaluate the run again") from error


def _origin(release: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "origin of the training data": release.get("origin") or UNSAID,
        "licence of the training data": release.get("licence") or UNSAID,
    }


def _made_by(about: Mapping[str, Any]) -> str:
    changed = ", ".join(about.get("changed", ()))
    preset = f"{about.get('experiment', UNSAID)}, preset {about.get('preset', UNSAID)}"
    return f"{preset}, with {changed} changed" if changed else preset


def _listed(facts: Mapping[str, Any]) -> list[str]:
    return [f"- **{name}**: {value}" for name, value in facts.items()]


def _checks(release: Mapping[str, Any]) -> list[str]:
    return ["```", *report.lines(report.from_json(release)), "```"]
