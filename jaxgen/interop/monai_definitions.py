"""What the configuration of a MONAI bundle describes: networks, their files of weights, the scheduler and the shapes.

The expressions that build and load networks are looked at as syntax trees: ``load_state_dict(torch.load(FILE))`` says
which file belongs to which network. Nothing of them is run.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.errors import UserError
from jaxgen.interop.monai_config import CodeError, Config, calculate, is_code, parse, parts_of

AUTOENCODERS = ("AutoencoderKL", "AutoencoderKlMaisi", "SPADEAutoencoderKL", "VQVAE")
UNETS = ("DiffusionModelUNet", "DiffusionModelUNetMaisi", "SPADEDiffusionModelUNet", "CustomDiffusionModelUNet")
CONTROLNETS = ("ControlNet", "ControlNetMaisi", "CustomControlNet")
SCHEDULERS = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "RFlowScheduler")


class Source(NamedTuple):
    """Where tensors are kept.

    Attributes:
        file: the path as the configuration gives it.
        inside: the name of the entry of that file that holds them; None if it holds nothing else.
    """

    file: str
    inside: str | None


class Definition(NamedTuple):
    """One object that a configuration describes by its ``_target_``.

    Attributes:
        name: its id in the configuration.
        target: the whole ``_target_``.
        options: the arguments of its constructor.
        source: where its weights are; None where the configuration does not say.
    """

    name: str
    target: str
    options: dict[str, Any]
    source: Source | None

    @property
    def kind(self) -> str:
        """The name of the class."""
        return self.target.rpartition(".")[2]


def definitions(config: Config, kinds: tuple[str, ...], part: str = "") -> list[Definition]:
    """The objects of some classes, in the order of the file.

    Args:
        config: of the bundle.
        kinds: names of classes.
        part: what their ids begin with.

    Returns:
        Their definitions, with all arguments resolved.

    Raises:
        UserError: if an argument is code, which is never run.

    Example:
        >>> net = {"_target_": "monai.networks.nets.AutoencoderKL", "channels": ["@size"]}
        >>> config = Config({"size": 8, "net": net}, Path("inference.json"))
        >>> definitions(config, AUTOENCODERS)[0].options
        {'channels': [8]}
    """
    found = []
    for name, value in config.entries():
        target = value.get("_target_") if isinstance(value, dict) else None
        if isinstance(target, str) and target.rpartition(".")[2] in kinds and name.startswith(part):
            options = {key: config.value(f"{name}::{key}") for key in value if not key.startswith("_")}
            found.append(Definition(name, target, options, _weights(config, name)))
    return found


def _follow(config: Config, name: str) -> tuple[str, Any]:
    """The entry that a chain of plain references ends at."""
    for _ in range(50):
        value = config.raw(name) if name in config else None
        if not (isinstance(value, str) and value.startswith("@")):
            return name, value
        name = "::".join(parts_of(value[1:]))
    raise UserError(f"{config.file}: {name} refers to itself; write its value")


class _Tree(NamedTuple):
    """A part of an expression, with the ids of its references."""

    node: ast.expr
    names: Mapping[str, str]

    def at(self, node: ast.expr) -> "_Tree":
        return _Tree(node, self.names)

    def value(self, config: Config) -> Any:
        """What it amounts to; None if it is code."""
        try:
            return calculate(self.node, lambda name: config.value(self.names[name]))
        except (CodeError, UserError):
            return None


def _tree(text: Any) -> _Tree | None:
    try:
        return _Tree(*parse(text)) if is_code(text) else None
    except CodeError:
        return None


def _behind(config: Config, tree: _Tree) -> _Tree:
    """What an expression that is one reference refers to, if that is an expression again."""
    for _ in range(50):
        if not isinstance(tree.node, ast.Name) or tree.node.id not in tree.names:
            break
        following = _tree(_follow(config, tree.names[tree.node.id])[1])
        if following is None:
            break
        tree = following
    return tree


def _expressions(config: Config) -> Iterator[tuple[str, _Tree]]:
    for name, value in config.entries():
        tree = _tree(value)
        if tree is not None:
            yield name, tree


def _calls(tree: _Tree) -> Iterator[tuple[ast.Call, str]]:
    """The calls in an expression, with the last part of what is called."""
    for node in ast.walk(tree.node):
        if isinstance(node, ast.Call):
            function = node.func
            yield node, function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _root(config: Config, tree: _Tree) -> str | None:
    """The id of the entry that ``@net.to(device)`` and the like begin with."""
    for _ in range(50):
        node = tree.node
        if isinstance(node, ast.Name) and node.id in tree.names:
            name, value = _follow(config, tree.names[node.id])
            following = _tree(value)
            if following is None:
                return name
            tree = following
        elif isinstance(node, ast.Call):
            tree = tree.at(node.func)
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            tree = tree.at(node.value)
        else:
            break
    return None


def _loader(config: Config, function: _Tree) -> str | None:
    """The id of the network whose weights a function loads; None if it loads none."""
    function = _behind(config, function)
    if isinstance(function.node, ast.IfExp):
        function = function.at(function.node.body)
    node = function.node
    if isinstance(node, ast.Attribute) and node.attr in ("load_state_dict", "load_old_state_dict"):
        return _root(config, function.at(node.value))
    return None


def _source(config: Config, tree: _Tree) -> Source | None:
    """The file that ``torch.load(FILE)["entry"].to(device)`` and the like read."""
    inside = None
    for _ in range(50):
        tree = _behind(config, tree)
        node = tree.node
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load" and node.args:
            file = tree.at(node.args[0]).value(config)
            return Source(file, inside) if isinstance(file, str) else None
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            inside = str(node.slice.value)
            tree = tree.at(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            tree = tree.at(node.func.value)
        else:
            break
    return None


def _weights(config: Config, network: str) -> Source | None:
    for _, tree in _expressions(config):
        for call, _ in _calls(tree):
            if call.args and _loader(config, tree.at(call.func)) == network:
                return _source(config, tree.at(call.args[0]))
    return None


def scale_factor(config: Config, part: str = "") -> float | Source:
    """The number that codes are multiplied by, or where it is kept; 1 where the configuration has none.

    Raises:
        UserError: if it is code that names no file.
    """
    name = f"{part}scale_factor"
    if name not in config:
        inferers = [one for one, _ in config.entries() if parts_of(one)[-1] == "scale_factor" and not part]
        if not inferers:
            return 1.0
        name = inferers[0]
    tree = _tree(_follow(config, name)[1])
    source = None if tree is None else _source(config, tree)
    if source is not None and source.inside is not None:
        return source
    value = config.value(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise UserError(f"{config.file}: {name} is {value!r}; it must be a number above 0")
    return float(value)


def _whole_numbers(value: Any) -> tuple[int, ...] | None:
    good = isinstance(value, list) and all(type(n) is int and 0 < n <= 2**16 for n in value)
    return tuple(value) if good and value else None


def latent_shape(config: Config, part: str = "") -> tuple[int, ...] | None:
    """Channels and spatial shape of the code that is sampled, from ``latent_shape`` or from ``torch.randn(SHAPE)``.

    Returns:
        ``(c, *spatial)``, or None where the configuration does not say.

    Example:
        >>> latent_shape(Config({"noise": "$torch.randn((1, 3, 20, 28, 20)).to(@device)"}, Path("inference.json")))
        (3, 20, 28, 20)
    """
    if f"{part}latent_shape" in config:
        return _whole_numbers(config.value(f"{part}latent_shape"))
    for name, tree in _expressions(config):
        for call, function in _calls(tree):
            if function == "randn" and call.args and name.startswith(part):
                shape = call.args[0] if len(call.args) == 1 else ast.List(list(call.args), ast.Load())
                found = _whole_numbers(tree.at(shape).value(config))
                if found is not None and len(found) > 2:
                    return found[1:]
    return None


def steps(config: Config, part: str = "") -> int | None:
    """The number of sampler steps, from ``num_inference_steps`` or ``set_timesteps(N)``; None if it is not said."""
    name = f"{part}num_inference_steps"
    if name in config:
        found = _whole_numbers([config.value(name)])
        return found[0] if found else None
    for _, tree in _expressions(config):
        for call, function in _calls(tree):
            if function == "set_timesteps":
                given = [k.value for k in call.keywords if k.arg == "num_inference_steps"] + call.args[:1]
                found = _whole_numbers([tree.at(one).value(config) for one in given[:1]])
                if found:
                    return found[0]
    return None


def covariates(config: Config) -> dict[str, float]:
    """The numbers that images are sampled for, by name, from ``conditioning``: the values that the bundle itself uses.

    Example:
        >>> config = Config({"age": 0.1, "sex": 1.0, "conditioning": "$torch.tensor([[@sex, @age]]).unsqueeze(1)"},
        ...                 Path("inference.json"))
        >>> covariates(config)
        {'sex': 1.0, 'age': 0.1}
    """
    tree = _tree(config.raw("conditioning")) if "conditioning" in config else None
    found: dict[str, float] = {}
    if tree is None:
        return found
    for call, function in _calls(tree):
        node = call.args[0] if function in ("tensor", "FloatTensor") and call.args else None
        while isinstance(node, ast.List) and len(node.elts) == 1 and isinstance(node.elts[0], ast.List):
            node = node.elts[0]
        for i, element in enumerate(node.elts if isinstance(node, ast.List) else ()):
            name = parts_of(tree.names[element.id])[-1] if isinstance(element, ast.Name) else str(i)
            value = tree.at(element).value(config)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return {}
            found[name] = float(value)
    return found


def inside_folder(folder: Path, path: str, root: str) -> Path:
    """A file that a configuration names, which must be in the bundle's folder.

    Args:
        folder: of the bundle.
        path: of the file, as the configuration gives it.
        root: its ``bundle_root``.

    Raises:
        UserError: if the path leads elsewhere.

    Example:
        >>> inside_folder(Path("brain"), "./models/model.pt", ".").as_posix()
        'brain/models/model.pt'
    """
    rest = Path(path)
    if root and rest.is_relative_to(root):
        rest = rest.relative_to(root)
    if rest.is_absolute() or ".." in rest.parts:
        raise UserError(f"{folder}: the configuration names {path!r}, which is not in this folder; put the file there")
    return folder / rest
