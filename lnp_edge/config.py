"""What to do, from a TOML file: every setting, its range and its default are here."""

from __future__ import annotations

import json
import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import read_bounded
from lnp_edge.spec import plugins

HINT = "lnp train --help shows an example"
MAX_BYTES = 16384  # tomllib needs seconds for a dotted key that fills 64 KiB
MAX_NEURONS = 15_000  # of a network: model.onnx holds its synapses as dense matrices
MAX_LAYERS = 15
NO_FIELD = ("params", "layer")  # of a table of the file: read and written by _network and _flat


def _number(default: float | int, low: float, high: float):
    return field(default=default, metadata={"low": low, "high": high})


def _choice(*names: str):
    """The first is the default."""
    return field(default=names[0], metadata={"choices": names})


@dataclass(frozen=True)
class DataSettings:
    name: str = "spar"  # lnp_edge/datasets/<name>.py
    root: str = ""  # folder of its files; "": that of the variable LNP_DATA, or the package's own
    window: float = _number(4.0, 1e-6, 1e9)  # s that a prediction looks at
    hop: float = _number(2.0, 1e-6, 1e9)  # s from one prediction to the next
    limit: int = _number(0, 0, 10**6)  # most recordings of a class and group, windows of a series; 0: all
    encoder: str = "affine"  # lnp_edge/encoders/<encoder>.py


@dataclass(frozen=True)
class LayerSettings:
    """A table [[network.layer]]; what it leaves out is [network]'s.

    params : the mean of each parameter of its neuron that a configuration may set, see lnp_edge/neurons; what is left
        out is the neuron's default. In the file they are keys like the others.
    """

    neurons: int = _number(256, 2, MAX_NEURONS)
    neuron: str = "cuba_lif"  # lnp_edge/neurons/<neuron>.py
    density: float = _number(0.3, 0.0, 1.0)  # of the possible synapses among its neurons, and from the layer before
    recurrent: bool = True  # has it synapses among its own neurons?
    params: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "params", _means(self.neuron, self.params))


@dataclass(frozen=True)
class NetworkSettings:
    """layer : none is one population "hidden" with the values here; else populations layer1, layer2, ... The input
    reaches the first, each projects to the next, the last feeds the read-out.  params : as of LayerSettings
    """

    neuron: str = "cuba_lif"  # lnp_edge/neurons/<neuron>.py
    neurons: int = _number(256, 2, MAX_NEURONS)
    density: float = _number(0.3, 0.0, 1.0)  # of the neurons * (neurons - 1) possible synapses at the start
    heterogeneous: bool = True  # else every neuron has the mean parameters, and training leaves the time constants
    clusters: int = _number(1, 1, 100)  # of neighbours, each with time constants of its own distribution
    tau_out: float = _number(4.0, 1e-6, 1e9)  # s
    skip: bool = False  # a projection from the input to the read-out
    params: dict[str, float] = field(default_factory=dict)
    layer: tuple[LayerSettings, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "params", _means(self.neuron, self.params))

    @property
    def layers(self) -> tuple[LayerSettings, ...]:
        """The populations of the network, in the order of a step."""
        return self.layer or (LayerSettings(self.neurons, self.neuron, self.density, True, self.params),)

    @property
    def total(self) -> int:
        """Neurons of all populations."""
        return sum(layer.neurons for layer in self.layers)

    def in_steps(self, dt: float) -> NetworkSettings:
        """With time constants in steps of dt; rounded, so that tasks of any dt meet in the same numbers."""

        def steps(neuron: str, params: dict[str, float]) -> dict[str, float]:
            times = {name for name, p in parameters(neuron).items() if p.is_time}
            return {name: round(value / dt, 9) if name in times else value for name, value in params.items()}

        layer = tuple(replace(one, params=steps(one.neuron, one.params)) for one in self.layer)
        params, tau_out = steps(self.neuron, self.params), round(self.tau_out / dt, 9)
        return replace(self, params=params, tau_out=tau_out, layer=layer)


@dataclass(frozen=True)
class NoiseSettings:
    """Of lnp and its rivals that sample synapses; what each means: lnp_edge/pruning/lnp.py."""

    score: str = _choice("w", "l", "wl")  # of a synapse: |w|, |l| or |w l| times the variance of its ends' difference
    alpha: float = _number(1.0, 0.0, 2.0)  # kept weights are divided by p**alpha
    cap: float = _number(0.0, 0.0, 1e9)  # largest such factor of an edge step, of which a round has two; 0: none
    loop: float = _number(0.0, 0.0, 0.99)  # of lnp, random: gain around the recurrence; 0: not above the start's
    diagonal: str = _choice("keep", "match")  # match: the leak makes up for a changed row sum
    rounds: int = _number(1, 1, 100)  # on a geometric schedule of synapses
    nodes: float = _number(0.05, 0.0, 0.9)  # share of the neurons that go, over all rounds
    added: float = _number(0.0, 0.0, 0.5)  # share of the synapses that delocalisation adds, within the budget
    rule: str = _choice("hub", "random", "targeted")  # where it adds them
    timescales: int = _number(0, 0, 1000)  # trials of Bayesian optimisation of the time constants


@dataclass(frozen=True)
class PruneSettings:
    method: str = "lnp"  # lnp_edge/pruning/<method>.py
    keep: float = _number(0.3, 1e-6, 1.0)  # share of the synapses between neurons that stay
    noise: NoiseSettings = NoiseSettings()
    shared: bool = False  # prune the network before it has a task: the same for all tasks of one [network] in steps


@dataclass(frozen=True)
class TrainSettings:
    epochs: int = _number(60, 0, 100_000)
    batch: int = _number(64, 1, 65536)
    lr: float = _number(0.02, 0.0, 10.0)  # of weights in units of their start size, annealed by a cosine
    weight_decay: float = _number(0.01, 0.0, 10.0)
    dropout: float = _number(0.1, 0.0, 0.99)  # share of neurons silenced for a batch
    smoothing: float = _number(0.1, 0.0, 0.99)  # of the labels
    averaging: float = _number(0.98, 0.0, 1.0)  # decay a batch of the averaged weights that are returned
    train_taus: bool = True
    balance: float = _number(0.0, 0.0, 1.0)  # classes are drawn as often as count**(1 - balance)
    washout: float = _number(0.25, 0.0, 0.99)  # share of a series' window whose steps cost nothing


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training window, seeded; 0 switches one off."""

    rotation: float = _number(0.2, 0.0, 4.0)  # rad, of all 3-vectors alike: the sensor sits differently
    speed: float = _number(0.1, 0.0, 1.0)  # log of the playback speed
    scale: float = _number(0.1, 0.0, 1.0)  # log of each channel triple's amplitude
    noise: float = _number(0.1, 0.0, 10.0)  # of a channel's standard deviation, per sample
    shift: int = _number(0, 0, 64)  # pixels that an image moves at most, each way


@dataclass(frozen=True)
class QuantizeSettings:
    bits: int = _number(8, 2, 16)  # of a weight: 2 to 8, or 16
    epochs: int = _number(0, 0, 100_000)  # of training on in integers; 0: the trained network is rounded
    lr: float = _number(0.003, 0.0, 10.0)  # as train.lr


@dataclass(frozen=True)
class Config:
    seed: int = _number(1, 0, 2**32 - 1)
    data: DataSettings = DataSettings()
    network: NetworkSettings = field(default_factory=NetworkSettings)
    prune: PruneSettings = PruneSettings()
    train: TrainSettings = TrainSettings()
    augment: Augmentation = Augmentation()
    quantize: QuantizeSettings = QuantizeSettings()

    def to_json(self) -> str:
        """Equal configurations give the same text, by which stored results are found."""
        found = asdict(self)
        if self.data.encoder == DataSettings.encoder:  # a key that came later
            del found["data"]["encoder"]
        return json.dumps(found | {"network": _flat(found["network"])}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Config:
        return _read(cls, json.loads(text), "")


def parameters(neuron: str) -> dict[str, Any]:
    """The parameters of a neuron that a configuration may set, {name: spec.parameters.Parameter}.

    Raises ConfigError for a neuron that does not exist, or is a read-out.
    """
    module = plugins.get("lnp_edge.neurons", neuron)
    if not hasattr(module, "drive_for"):
        raise ConfigError(f"neuron {neuron!r} does not spike: it is a read-out", "choose another, such as 'cuba_lif'")
    return {name: p for name, p in module.PARAMETERS.items() if p.in_config}


def names() -> list[str]:
    """Of the configurations that come with lnp-edge."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def named(name: str) -> Config:
    """The configuration of a task that comes with lnp-edge, by its name; or of a TOML file."""
    if name.endswith(".toml"):
        return load(Path(name))
    if name not in names():
        raise ConfigError(f"no task {name[:40]!r}", f"available: {', '.join(names())}; or give a TOML file")
    return load(FOLDER / f"{name}.toml")


def load(path: Path) -> Config:
    """The configuration of a TOML file. Raises ConfigError naming the key, with the nearest that exists."""
    text = read_bounded(path, MAX_BYTES, ConfigError, HINT)
    try:
        return _read(Config, tomllib.loads(text.decode()), "")
    except (ValueError, RecursionError) as e:  # TOML and UTF-8 errors, and integers too long to print
        raise ConfigError(f"{path}: {e}", HINT) from None
    except ConfigError as e:
        raise ConfigError(f"{path}: {e.what}", e.try_next) from None


def _read(cls: type, raw: Any, where: str):
    if cls is NetworkSettings:
        return _network(raw, where)
    known = {f.name: f for f in fields(cls)}
    _known(raw, list(known), where)
    return cls(**{key: _value(known[key], value, where + key) for key, value in raw.items()})


def _known(raw: Any, known: list[str], where: str) -> None:
    """Refuse what is no table, or has a key that is none of these."""
    if not isinstance(raw, dict):
        name = where.rstrip(".") or "the configuration"
        section = "[[network.layer]]" if name.endswith("]") else f"[{name}]"
        raise ConfigError(f"{name} is {str(raw)[:40]!r}", f"write it as a section {section}")
    for key in raw:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {where}{near[0]}? " if near else ""
            raise ConfigError(f"unknown key {where + str(key)[:40]!r}", f"{hint}available: {', '.join(known)}")


def _network(raw: Any, where: str) -> NetworkSettings:
    """The section [network], whose neuron says what keys it has beside the fields."""
    _known(raw, list(raw) if isinstance(raw, dict) else [], where)
    found = _population(NetworkSettings, {k: v for k, v in raw.items() if k != "layer"}, {}, where, ["layer"])
    tables = raw.get("layer", [])
    if not isinstance(tables, list) or len(tables) > MAX_LAYERS:
        what = f"{len(tables)} tables" if isinstance(tables, list) else repr(str(tables)[:40])
        raise ConfigError(f"{where}layer is {what}", f"write 1 to {MAX_LAYERS} tables [[{where}layer]]")
    given = {key: raw[key] for key in ("neurons", "neuron", "density", *found.params) if key in raw}
    layers = tuple(
        _population(LayerSettings, table, given, f"{where}layer[{k}].", []) for k, table in enumerate(tables, 1)
    )
    for k, one in enumerate(layers[1:], 2):
        if one.density == 0:
            hint = "write a share above 0; recurrent = false leaves out the synapses of a layer with itself"
            raise ConfigError(f"{where}layer[{k}].density is 0: nothing reaches the layer", hint)
    found = replace(found, layer=layers)
    if found.total > MAX_NEURONS:
        raise ConfigError(f"{where}layer has {found.total} neurons", f"{MAX_NEURONS} at most, of all layers together")
    return found


def _population(cls: type, raw: Any, given: dict, where: str, more: list[str]) -> Any:
    """NetworkSettings or LayerSettings. given : values for what raw leaves out;  more : other keys, for an error"""
    known = {f.name: f for f in fields(cls) if f.name not in NO_FIELD}
    inherited = given | (raw if isinstance(raw, dict) else {})
    neuron = _value(known["neuron"], inherited.get("neuron", known["neuron"].default), f"{where}neuron")
    try:
        means = parameters(neuron)
    except ConfigError as e:
        raise ConfigError(f"{where}neuron: {e.what}", e.try_next) from None
    _known(raw, [*known, *more, *means], where)
    inherited = {key: value for key, value in inherited.items() if key in known or key in means}
    values = {key: _value(known[key], value, where + key) for key, value in inherited.items() if key in known}
    params = {key: _ranged(value, *_range(means[key]), False, where + key) for key, value in inherited.items()
              if key in means}  # fmt: skip
    return cls(**values, params=params)


def _means(neuron: str, given: dict[str, float]) -> dict[str, float]:
    """The mean of each parameter in its neuron's order: as given, or its default."""
    known = parameters(neuron)
    for name in given:
        if name not in known:
            raise ConfigError(f"{neuron} has no parameter {name!r}", f"available: {', '.join(known)}")
    return {name: float(given.get(name, p.default)) for name, p in known.items()}


def _range(p: Any) -> tuple[float, float]:
    """Of the mean. What has a scale of its own is given in it: of the range of the values only the sign is left."""
    if p.is_time:
        return 1e-6, 1e9
    if p.scale:
        return (0.0 if p.low >= 0 else -1e9), 1e9
    return max(p.low, -1e9), min(p.high, 1e9)


def _flat(network: dict) -> dict:
    """The section as a file has it: parameters are keys, and what says nothing is left out."""
    params, layers = network.pop("params"), network.pop("layer")
    if not network["skip"]:
        del network["skip"]
    return network | params | ({"layer": [one | one.pop("params") for one in layers]} if layers else {})


def _value(f, value: object, where: str) -> Any:
    default = f.default_factory() if f.default is MISSING else f.default
    if isinstance(default, bool | str):
        if type(value) is not type(default):
            raise ConfigError(f"{where} is {str(value)[:40]!r}", f"write {type(default).__name__}, such as {default!r}")
        if value not in f.metadata.get("choices", [value]):
            raise ConfigError(f"{where} is {str(value)[:40]!r}", f"choose from {', '.join(f.metadata['choices'])}")
        return value
    if not isinstance(default, int | float):
        return _read(type(default), value, f"{where}.")
    return _ranged(value, f.metadata["low"], f.metadata["high"], isinstance(default, int), where)


def _ranged(value: object, low: float, high: float, whole: bool, where: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{where} is {str(value)[:40]!r}", f"write {kind} from {low:g} to {high:g}")
    return int(value) if whole else float(value)


FOLDER = Path(__file__).parent / "configs"
SPAR = FOLDER / "spar.toml"
SPAR_QUICK = FOLDER / "spar-quick.toml"
