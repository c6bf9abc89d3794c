"""``jaxgen convert``: networks between the files of jaxgen, diffusers, transformers and MONAI, without PyTorch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.app import exporting, runs
from jaxgen.app.opening import open_trained
from jaxgen.app.outputs import Say
from jaxgen.errors import UserError
from jaxgen.interop import diffusers, forms, json_files, monai_bundle, tree_files
from jaxgen.types import Params

_MONAI = (".pt", ".pth")


class Network(NamedTuple):
    """What a source holds.

    Attributes:
        params: the parameters.
        config: which network they are of.
        scheduler: entries of a scheduler of diffusers, or None.
    """

    params: Params
    config: Mapping[str, Any]
    scheduler: Mapping[str, Any] | None = None


def convert(
    source: Path,
    out: Path,
    *,
    part: str | None = None,
    config: Path | None = None,
    overwrite: bool = False,
    say: Say = print,
) -> None:
    """Convert a network from one form into another.

    Args:
        source: a model's folder of diffusers or transformers, one part of a pipeline's folder, a bundle of MONAI, a
            file of weights of MONAI, a file that this wrote, or a run folder.
        out: ``.npz`` or ``.safetensors`` for a file of jaxgen, ``.pt`` or ``.pth`` for MONAI, otherwise a folder.
        part: which network of a pipeline, a bundle or a run.
        config: a JSON file with the arguments of a network of MONAI, for a file of weights alone.
        overwrite: replace what is there already.
        say: called with each line for the user.

    Raises:
        UserError: if the source holds no network, or one that the form of `out` does not have.
    """
    _refuse_existing(out, overwrite)
    found = _read(source, part, config)
    forms.check(found.params, found.config, str(source))
    written = _write(out, found, overwrite)
    count = sum(leaf.size for leaf in _leaves(found.params))
    kind = found.config.get("_class_name") or found.config.get("_target_") or "text encoder"
    say(f"{kind}, {count:,} parameters: {', '.join(map(str, written))}")


def _leaves(params: Params) -> list[Any]:
    import jax

    return jax.tree.leaves(params)


def _refuse_existing(out: Path, overwrite: bool) -> None:
    if out.is_dir() and (out.suffix in (*tree_files.SUFFIXES, *_MONAI)):
        raise UserError(f"{out}: it is a folder; give the name of a file, or of a folder without that ending")
    there = any(out.iterdir()) if out.is_dir() else out.exists()
    if there and not overwrite:
        raise UserError(f"{out}: it is there already; give another name, or --overwrite to replace it")


# Reading.


def _read(source: Path, part: str | None, config: Path | None) -> Network:
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; give a model's folder, a file of weights or a run")
    if source.is_dir():
        if config is not None:
            raise UserError(f"--config is for a file of weights alone; {source} is a folder and has its own")
        return _read_folder(source, part)
    if part is not None:
        raise UserError(f"--part is for pipelines, bundles and runs; {source} is a file of one network")
    if tree_files.is_tree(source):
        if config is not None:
            raise UserError(f"--config is for files of MONAI; {source} has its own configuration")
        return Network(*tree_files.read(source))
    return _read_weights(source, config)


def _read_folder(source: Path, part: str | None) -> Network:
    if (source / "constants.json").exists():  # config.json alone may be that of a model
        return _read_run(source, part)
    if (source / "configs").is_dir():
        return _read_bundle(source, part)
    if (source / "model_index.json").exists():
        parts = sorted(folder.parent.name for folder in source.glob("*/config.json"))
        source = source / _chosen(source, part, parts, "pipeline")
    elif part is not None:
        raise UserError(f"--part is for pipelines, bundles and runs; {source} is the folder of one network")
    advice = "give a model's folder, a file of weights or a run"
    entries = json_files.read_object(source / "config.json", advice)
    return Network(forms.form_of(entries, str(source / "config.json")).load(source, entries, None), entries)


def _chosen(source: Path, part: str | None, parts: list[str], kind: str) -> str:
    """The part that is meant of those that there are."""
    if part is None and len(parts) == 1:
        return parts[0]
    if part not in parts:
        said = f"has no part {part!r}" if part else f"is a {kind} of several networks"
        raise UserError(f"{source}: {said}; give --part with one of {', '.join(parts) or 'none'}")
    return part


def _read_run(source: Path, part: str | None) -> Network:
    run = open_trained(source).run
    stages = list(run.params) if part is None else [_chosen(source, part, list(run.params), "run")]
    found, failed = {}, None
    for stage in stages:
        try:
            found[stage] = exporting.exported(run, stage)
        except UserError as error:  # such as of the network that images are compared with
            failed = UserError(f"{source}: {error}")
    if failed is not None and not found:
        raise failed
    return Network(*found[_chosen(source, None, list(found), "run")])


def _read_bundle(source: Path, part: str | None) -> Network:
    bundle = monai_bundle.load_bundle(source)
    part = _chosen(source, part, list(bundle.definitions), "bundle")
    groups = ("encoder", "decoder", "codebook")
    if part == "autoencoder":
        params = {name: bundle.params[name] for name in groups if name in bundle.params}
    else:
        params = bundle.params[part]
    definition = bundle.definitions[part]
    return Network(params, {**definition.options, "_target_": definition.target})


def _read_weights(source: Path, config: Path | None) -> Network:
    if source.suffix == ".npz":
        raise UserError(f"{source}: was not written by jaxgen convert, and says nothing of its network")
    if config is None:
        raise UserError(
            f"{source}: weights alone say nothing of their network; for MONAI's give --config FILE.json with its "
            "arguments and '_target_', for diffusers' give the folder that also holds config.json"
        )
    entries = json_files.read_object(config, "give a JSON file with the arguments of a network of MONAI")
    form = forms.form_of(entries, str(config))
    if form.folder:
        raise UserError(f"{config}: is a configuration of {form.library}, whose networks are folders: give the folder")
    return Network(form.load(source, entries, None), entries)


# Writing.


def _write(out: Path, found: Network, overwrite: bool) -> list[Path]:
    """Write a network, and say which files or folders were written."""
    form = forms.form_of(found.config, str(out))
    suffix = out.suffix.lower()
    if suffix in tree_files.SUFFIXES:
        out.parent.mkdir(parents=True, exist_ok=True)
        tree_files.write(out, found.params, found.config)
        return [out]
    if suffix in (".bin", ".ckpt", ".h5", ".msgpack", ".pkl", ".onnx"):
        raise UserError(
            f"{out}: files in {suffix} are not written; name a folder, or a file in .npz, .safetensors, .pt"
        )
    if suffix in _MONAI:
        return _write_monai(out, form, found, overwrite)
    if not form.folder:
        raise UserError(f"{out}: a network of {form.library} is a file of weights; give a name that ends in .pt")
    if found.scheduler is None:
        form.save(out, found.params, found.config)
        return [out]
    return _write_pipeline(out, found)


def _write_monai(out: Path, form: forms.Form, found: Network, overwrite: bool) -> list[Path]:
    if form.folder:
        raise UserError(
            f"{out}: {out.suffix} is for networks of MONAI, and this is one of {form.library}; name a folder"
        )
    arguments = out.with_suffix(".json")
    _refuse_existing(arguments, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    form.save(out, found.params, found.config)
    runs.write_text(arguments, _json(found.config))
    return [out, arguments]


def _write_pipeline(out: Path, found: Network) -> list[Path]:
    """A whole pipeline of diffusers: U-Net, scheduler, and the index of both."""
    diffusers.save(out / "unet", found.params, found.config)
    (out / "scheduler").mkdir(exist_ok=True)
    runs.write_text(out / "scheduler" / "scheduler_config.json", _json(found.scheduler or {}))
    index = {
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    runs.write_text(out / "model_index.json", _json(index))
    return [out]


def _json(entries: Mapping[str, Any]) -> str:
    return json.dumps(dict(entries), indent=2, sort_keys=True) + "\n"
