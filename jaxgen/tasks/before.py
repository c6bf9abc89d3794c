"""Experiments whose functions take ``(config, constants, trained, ...)`` one by one, as they did before `Run`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxgen.experiment import Experiment, StageSpec
from jaxgen.facts import Facts


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnyFacts(Facts):
    """Any dict."""

    values: Mapping[str, Any]

    def __getattr__(self, name):
        if name in ("value_range", "classes") and name in self.values:
            return self.values[name]
        raise AttributeError(name)

    def to_json(self):
        """The dict."""
        return dict(self.values)

    @classmethod
    def from_json(cls, values):
        """From the dict."""
        return cls(values=values, home=values.get("home", ""))


def constants(run):
    """What was a dict."""
    return {**({"home": run.facts.home} if run.facts.home else {}), **run.facts.values, "chosen": run.chosen}


def stage(spec):
    """A stage."""
    return StageSpec(spec.name, lambda run: spec.build(run.config, constants(run), run.params), spec.wanted)


def experiment(*, measure, stages, evaluate, sample=None, apply=None, examples=None, **rest):
    """The experiment."""

    def applied(run):
        function = apply(run.config, constants(run), run.params)
        return lambda key, image: function(key, image.array)

    return Experiment(
        measure=lambda config, splits: AnyFacts(values=measure(config, splits)),
        facts=AnyFacts,
        stages=tuple(map(stage, stages)),
        evaluate=lambda run: evaluate(run.config, constants(run), run.params, run.splits, run.key),
        sample=sample
        and (lambda run, n, **more: sample(run.config, constants(run), run.params, run.splits, run.key, n, **more)),
        apply=apply and applied,
        examples=examples and (lambda run: examples(run.config, constants(run), run.splits)),
        **rest,
    )
