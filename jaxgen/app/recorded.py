"""What a run folder says, for the pages that are made of it."""

import stat
from pathlib import Path
from typing import Any

from jaxgen import local_paths
from jaxgen.app import runs
from jaxgen.app.tables import ordered

MOST_FIGURE = 64 * 2**20
"""Bytes of a figure at most."""


class Recorded:
    """What a run folder says, read once."""

    def __init__(self, folder: runs.RunFolder) -> None:
        self.folder = folder
        self.about: dict[str, Any] = runs.read_object(folder.config, runs.CONFIG)
        self.name: str = self.about.get("experiment", folder.path.name)
        self.data: dict[str, Any] = runs.read_object(folder.data, default={})
        self.environment: dict[str, Any] = runs.read_object(folder.environment, default={})
        for entries, name, short in (
            (self.data, "origin", local_paths.origin),
            (self.environment, "command_line", local_paths.command_without_paths),
        ):  # of runs before these were saved without paths
            if isinstance(entries.get(name), str):
                entries[name] = short(entries[name])
        self.timings: dict[str, Any] = runs.read_object(folder.timings, runs.TIMINGS, default={})
        self.captions: dict[str, Any] = runs.read_object(folder.captions, runs.CAPTIONS, default={})
        self.metrics = ordered(runs.read_object(folder.metrics, default={}), self.captions.get("order", {}))
        self.log = runs.read_log(folder.log)
        self.headline: str = self.captions.get("headline", "")
        self.describe: dict[str, Any] = self.captions.get("describe", {})
        self.baseline: str = self.about.get("baseline", "")

    @property
    def smoke(self) -> bool:
        """Whether it only shows that the parts work."""
        return self.about.get("preset") == "smoke"

    @property
    def trust(self) -> str:
        """What its commands need with the path of the run."""
        return " --trust-code" if self.about.get("source") else ""

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Its figures: their names and captions, in order."""
        return self.captions.get("figures", [])

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of the log that show a figure of an evaluation while training."""
        return [row for row in self.log if row.get("figure")]

    def figure(self, name: Any, folder: str = "figures") -> Path | str:
        """The file of a figure in the run folder, or why there is none to show."""
        if not isinstance(name, str) or not runs.is_plain_name(name):
            return f"{name!r} is left out: it is no name of a figure of this run."
        path = self.folder.path / folder / f"{name}.png"
        try:
            found = path.lstat()
        except (OSError, ValueError):
            return f"{path.name} is missing."
        if not stat.S_ISREG(found.st_mode):
            return f"{path.name} is left out: it is a link, or no file, and not a figure of this run."
        if found.st_size > MOST_FIGURE:
            return f"{path.name} is left out: it is larger than {MOST_FIGURE >> 20} MiB."
        return path
