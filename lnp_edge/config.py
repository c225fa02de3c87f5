"""Configurations, read from TOML files: every setting with its range and default."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lnp_edge.base.errors import ConfigError, told
from lnp_edge.base.files import parse_toml, read_bounded
from lnp_edge.spec import plugins
from lnp_edge.spec.frontend import settings_of
from lnp_edge.spec.neuron import PACKAGE, leaks_or_sums, neuron_module
from lnp_edge.spec.quantity import LARGEST_MISSING, MOST_MISSING

HINT = "lnp train --help shows an example"
MAX_BYTES = 16384  # tomllib needs seconds for a dotted key of 64 KiB
MAX_NEURONS = 15_000  # of a network; model.onnx stores synapses as dense matrices
MAX_LAYERS = 15
BITS = (2, 3, 4, 5, 6, 7, 8, 16)  # of a weight; a projection has 4, 8 or 16
BLOCKS = (1, 4)  # synapses of a block; four weights of 8 bits are a word
NO_FIELD = ("params", "layer", "derive", "checksum")  # not keys in the file, but converted


def _number(default: float | int, low: float, high: float):
    return field(default=default, metadata={"low": low, "high": high})


def _choice(*names: str):
    """A text field with these choices; the first is the default."""
    return field(default=names[0], metadata={"choices": names})


def _texts(value: object, where: str) -> tuple[str, ...]:
    """A text, or a list of texts."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) and one for one in found):
        raise ConfigError(f"{where} is {told(value)}", 'write a text, or a list such as ["a", "b"]')
    return tuple(found)


def _missing(value: object, where: str) -> tuple[float, ...]:
    found = value if isinstance(value, list | tuple) else [value]
    if len(found) > MOST_MISSING:
        raise ConfigError(f"{where} has {len(found)} values", f"give at most {MOST_MISSING}; NaN and empty need none")
    return tuple(float(_ranged(one, -LARGEST_MISSING, LARGEST_MISSING, False, where)) for one in found)


def _block(value: object, where: str) -> int:
    if type(value) is not int or value not in BLOCKS:
        hint = "write 1 for single synapses, or 4 for blocks of four neighbouring targets"
        raise ConfigError(f"{where} is {told(value)}", hint)
    return value


def _vectors(value: object, where: str) -> tuple[tuple[str, ...], ...]:
    found = value if isinstance(value, list | tuple) else []
    if found != value or not all(isinstance(one, list | tuple) and len(_texts(one, where)) == 3 for one in found):
        raise ConfigError(f"{where} is {told(value)}", 'write lists of three channels: [["ax", "ay", "az"]]')
    return tuple(tuple(one) for one in found)


def _where(value: object, where: str) -> dict[str, tuple[str, ...]]:
    _known(value, list(value) if isinstance(value, dict) else [], f"{where}.")
    assert isinstance(value, dict)
    plain = {key: str(one).lower() if isinstance(one, bool) else one for key, one in value.items()}
    plain = {key: f"{one:g}" if isinstance(one, int | float) else one for key, one in plain.items()}
    return {key: _texts(one, f"{where}.{key}") for key, one in plain.items()}


def _scales(value: object, where: str) -> dict[str, ChannelSettings]:
    _known(value, list(value) if isinstance(value, dict) else [], f"{where}.")
    assert isinstance(value, dict)
    return {key: _read(ChannelSettings, one, f"{where}.{key}.") for key, one in value.items()}


def _own(read: Any, default: Any = ()):
    """A field that `read` makes of what the file says: (value, key) -> value."""
    if default == {}:
        return field(default_factory=dict, metadata={"read": read})
    return field(default=default, metadata={"read": read})


@dataclass(frozen=True)
class ChannelSettings:
    """[data.scale.<channel>]: physical = (count - zero) * scale. What is missing is found in the training part."""

    unit: str = ""
    zero: float | None = _own(lambda value, where: float(_ranged(value, -1e12, 1e12, False, where)), None)
    scale: float | None = _own(lambda value, where: float(_ranged(value, 1e-30, 1e30, False, where)), None)


@dataclass(frozen=True)
class DataSettings:
    """[data]

    A data set by its name, or files of your own: `files` or `path` say which. docs/own_data.md explains.
    """

    name: str = "spar"  # lnp_edge/datasets/<name>.py, or an entry point; of own data any name
    # Folder of the files. Of own data relative to the TOML file; else "": $LNP_DATA, or the package.
    root: str = ""
    module: str = ""  # a Python file with load(root), relative to the TOML file
    files: str = ""  # own data: a pattern such as "*/*.csv", relative to root
    path: str = ""  # such as "{person}/{activity}_{n}.csv": what the names of folders and files say
    columns: tuple[str, ...] = _own(_texts)  # names of all columns, for files without a header
    channels: tuple[str, ...] = _own(_texts)  # (): all columns of numbers that have no other use
    time: tuple[str, ...] = _own(_texts)  # a column; or two, of date and time of day
    time_unit: str = _choice("", "s", "ms", "us", "ns")  # "": as the header says, or dates
    rate: float = _number(0.0, 0.0, 1e9)  # Hz; 0: as the time column says
    gap: float = _number(0.0, 0.0, 1e9)  # s without rows that are bridged; 0: one row
    missing: tuple[float, ...] = _own(_missing)  # values that mean none, such as -999
    label: str = ""  # column, or name in `path`, or "folder" or "file"
    group: str = ""  # likewise: who wore the sensor; test groups are held out whole
    # Only rows or files with these values.
    where: dict[str, tuple[str, ...]] = _own(_where, {})  # noqa: RUF009
    held_out: tuple[str, ...] = _own(_texts)  # groups; (): about a third, or the last 30 % of time
    target: tuple[str, ...] = _own(_texts)  # forecast these channels
    ahead: float = _number(0.0, 0.0, 1e9)  # s
    vectors: tuple[tuple[str, ...], ...] = _own(_vectors)  # three channels that a turn of the sensor mixes
    scale: dict[str, ChannelSettings] = _own(_scales, {})  # noqa: RUF009
    window: float = _number(4.0, 1e-6, 1e9)  # s of input per prediction
    hop: float = _number(2.0, 1e-6, 1e9)  # s from one prediction to the next
    limit: int = _number(0, 0, 10**6)  # recordings per class and group, or windows; 0: all
    checksum: str = ""  # no key: of own data as it was read, so that stored results are of these files
    encoder: str = "affine"  # lnp_edge/encoders/<encoder>.py
    front: str = "stack"  # lnp_edge/frontends/<front>.py, which may add settings of its own
    frame: int = _number(1, 1, 1024)  # samples of each channel that one step of the network takes
    # The settings of the front end, given or default. In the file they are ordinary keys.
    params: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        known = settings_of(self.front)
        for name in self.params:
            if name not in known:
                hint = f"available: {', '.join(known)}" if known else "leave params out"
                raise ConfigError(f"front end {self.front} has no setting {name!r}", hint)
        object.__setattr__(self, "params", {name: self.params.get(name, own[0]) for name, own in known.items()})

    @property
    def own(self) -> bool:
        """Whether the files are the user's, described by these settings."""
        return bool(self.files or self.path)


@dataclass(frozen=True)
class LayerSettings:
    """A table [[network.layer]]. Missing keys are taken from [network].

    params : the means of the neuron's parameters that a configuration may set, see
        lnp_edge/neurons; missing ones are the neuron's defaults. In the file they are ordinary
        keys.
    """

    neurons: int = _number(256, 2, MAX_NEURONS)
    neuron: str = "adlif"  # lnp_edge/neurons/<neuron>.py
    density: float = _number(0.3, 0.0, 1.0)  # of synapses in the layer and from the layer before
    recurrent: bool = True  # whether the layer has synapses among its own neurons
    params: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "params", _means(self.neuron, self.params))


@dataclass(frozen=True)
class NetworkSettings:
    """[network]

    params : as in LayerSettings
    layer  : if empty, the network is one population "hidden" with the values of this section. Else
        its populations are layer1, layer2, ...: the first receives the input, each projects to the
        next, and the last projects to the read-out.
    """

    neuron: str = "adlif"  # lnp_edge/neurons/<neuron>.py
    neurons: int = _number(256, 2, MAX_NEURONS)
    density: float = _number(0.3, 0.0, 1.0)  # of the possible synapses at the start
    heterogeneous: bool = True  # false: all neurons have the means, and time constants do not train
    clusters: int = _number(1, 1, 100)  # of neighbours, each with its own time constants
    tau_out: float = _number(4.0, 1e-6, 1e9)  # s; with the read-out mean it only scales the start weights
    readout: str = "li"  # lnp_edge/neurons/<readout>.py, one that does not spike
    skip: bool = False  # whether the input also projects directly to the read-out
    inputs: int = _number(0, 0, 1024)  # synapses from the input to each neuron, at random; 0: from all
    params: dict[str, float] = field(default_factory=dict)
    layer: tuple[LayerSettings, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "params", _means(self.neuron, self.params))
        require_readout(self.readout)

    @property
    def layers(self) -> tuple[LayerSettings, ...]:
        """The populations of the network, in the order of a step."""
        return self.layer or (LayerSettings(self.neurons, self.neuron, self.density, True, self.params),)

    @property
    def total(self) -> int:
        """Number of neurons of all populations."""
        return sum(layer.neurons for layer in self.layers)

    def in_steps(self, dt: float) -> NetworkSettings:
        """The settings with time constants in steps of dt.

        They are rounded, so that tasks of different dt get equal numbers.
        """

        def steps(neuron: str, params: dict[str, float]) -> dict[str, float]:
            times = {name for name, p in parameters(neuron).items() if p.is_time}
            return {name: round(value / dt, 9) if name in times else value for name, value in params.items()}

        layer = tuple(replace(one, params=steps(one.neuron, one.params)) for one in self.layer)
        params, tau_out = steps(self.neuron, self.params), round(self.tau_out / dt, 9)
        return replace(self, params=params, tau_out=tau_out, layer=layer)


@dataclass(frozen=True)
class NoiseSettings:
    """[prune.noise], for lnp and the methods that share its steps; see lnp_edge/pruning/lnp.py."""

    # Of a synapse: |w|, |l| or |w l|, times the variance of the difference of its ends.
    score: str = _choice("w", "l", "wl")
    alpha: float = _number(1.0, 0.0, 2.0)  # kept weights are divided by p**alpha
    # Largest factor of a weight in an edge step; 0: no limit. A round has two edge steps.
    cap: float = _number(0.0, 0.0, 1e9)
    # Loop gain after lnp or random. 0: lnp keeps it within the guard's limit, random restores the
    # start network's.
    loop: float = _number(0.0, 0.0, 0.99)
    diagonal: str = _choice("keep", "match")  # match: the leak compensates a changed row sum
    rounds: int = _number(1, 1, 100)  # on a geometric schedule of synapses
    nodes: float = _number(0.05, 0.0, 0.9)  # fraction of the neurons removed, over all rounds
    added: float = _number(0.0, 0.0, 0.5)  # fraction of the kept synapses that delocalisation adds
    rule: str = _choice("hub", "random", "targeted")  # where delocalisation adds them
    timescales: int = _number(0, 0, 1000)  # trials of Bayesian optimisation of the time constants


@dataclass(frozen=True)
class PruneSettings:
    """[prune]"""

    method: str = "lnp"  # lnp_edge/pruning/<method>.py
    keep: float = _number(0.3, 1e-6, 1.0)  # fraction of the synapses between neurons that is kept
    # Fraction of the synapses from the input that is kept; those of a removed neuron go with it.
    inputs: float = _number(1.0, 1e-6, 1.0)
    noise: NoiseSettings = NoiseSettings()
    # Prune before the network has a task. Tasks with equal [network] in steps share the result, and `inputs`
    # are pruned last, in each task.
    shared: bool = False
    # Neighbouring targets whose synapses from a neuron stay or go together; see pruning/steps/blocks.py.
    block: int = _own(_block, 1)


@dataclass(frozen=True)
class TrainSettings:
    """[train]"""

    epochs: int = _number(60, 0, 100_000)  # with patience, the most
    # Stop by the training loss: once it has stopped falling within so many epochs, the learning rate
    # falls over as many; 0: over all epochs. See lnp_edge/training/schedule.py.
    patience: int = _number(0, 0, 100_000)
    batch: int = _number(64, 1, 65536)  # windows
    lr: float = _number(0.02, 0.0, 10.0)  # of weights relative to their start size; falls to 0 by half a cosine
    weight_decay: float = _number(0.01, 0.0, 10.0)
    dropout: float = _number(0.1, 0.0, 0.99)  # fraction of the neurons silenced in a batch
    smoothing: float = _number(0.1, 0.0, 0.99)  # of the labels
    averaging: float = _number(0.98, 0.0, 1.0)  # decay per batch of the averaged weights
    train_taus: bool = True  # whether time constants train
    balance: float = _number(0.0, 0.0, 1.0)  # class frequency: count**(1 - balance)
    washout: float = _number(0.25, 0.0, 0.99)  # fraction at the start of a window without loss


@dataclass(frozen=True)
class StreamSettings:
    """[stream]: train for continuous inference, in which the network is never reset. docs/streams.md explains.

    [data] window is then the time that the network gets to settle: the first decision follows after it, and
    no time constant exceeds it.
    """

    batches: int = _number(0, 0, 10**6)  # of training, in place of train.epochs; 0: windows from a reset
    grace: float = _number(1.5, 0.0, 1e9)  # s after a change of class without loss
    false_changes: float = _number(60.0, 0.0, 1e6)  # an hour on held-out training groups, which `lead` allows


@dataclass(frozen=True)
class Augmentation:
    """[augment]: random changes of training windows; 0 switches one off."""

    rotation: float = _number(0.2, 0.0, 4.0)  # rad, of all 3-vectors alike: the orientation
    speed: float = _number(0.1, 0.0, 1.0)  # of the logarithm of the playback speed
    scale: float = _number(0.1, 0.0, 1.0)  # of the logarithm of each channel triple's amplitude
    noise: float = _number(0.1, 0.0, 10.0)  # per sample, in standard deviations of a channel
    shift: int = _number(0, 0, 64)  # largest shift of an image, pixels, in each direction


@dataclass(frozen=True)
class QuantizeSettings:
    """[quantize]"""

    bits: int = _number(8, 2, 16)  # per weight: 2 to 8, or 16
    epochs: int = _number(0, 0, 100_000)  # of further training in integers; 0: only round
    lr: float = _number(0.003, 0.0, 10.0)  # as train.lr
    decide: bool = False  # fit the rule of decisions, see docs/streams.md; else the class of the largest read-out


@dataclass(frozen=True)
class Config:
    """A complete configuration."""

    seed: int = _number(1, 0, 2**32 - 1)
    data: DataSettings = DataSettings()
    network: NetworkSettings = field(default_factory=NetworkSettings)
    prune: PruneSettings = PruneSettings()
    train: TrainSettings = TrainSettings()
    stream: StreamSettings = StreamSettings()
    augment: Augmentation = Augmentation()
    quantize: QuantizeSettings = QuantizeSettings()
    # No key: what the file leaves to the data, such as "data.window", see task/fit.py. () once it is fitted.
    derive: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The configuration as JSON, the same text for equal ones: a key of stored results."""
        found = asdict(self)
        first = ("name", "root", "window", "hop", "limit")  # older stored results lack the others
        default = asdict(DataSettings())
        found["data"] = {k: v for k, v in found["data"].items() if k in first or v != default[k]}
        found["data"] = {k: _without_none(v) if k == "scale" else v for k, v in found["data"].items()}
        found["data"] |= found["data"].pop("params", {})
        if not self.derive:
            del found["derive"]
        if self.prune.inputs == 1:
            del found["prune"]["inputs"]
        if self.prune.block == 1:
            del found["prune"]["block"]
        if not self.train.patience:
            del found["train"]["patience"]
        if self.stream == StreamSettings():
            del found["stream"]
        if not self.quantize.decide:
            del found["quantize"]["decide"]
        return json.dumps(found | {"network": _flat(found["network"])}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Config:
        raw = json.loads(text)
        derive = _texts(raw.pop("derive", ()), "derive") if isinstance(raw, dict) else ()
        data = raw.get("data") if isinstance(raw, dict) else None
        checksum = str(data.pop("checksum", ""))[:16] if isinstance(data, dict) else ""
        found = _read(cls, raw, "")
        return replace(found, derive=derive, data=replace(found.data, checksum=checksum))


def parameters(neuron: str) -> dict[str, Any]:
    """The parameters of a neuron that a configuration may set, {name: spec.parameters.Parameter}.

    Raises ConfigError for an unknown neuron and for a read-out.
    """
    if neuron not in plugins.names(PACKAGE):
        raise plugins.unknown("neuron", neuron, neurons(spiking=True), f"{PACKAGE.replace('.', '/')}/")
    module = neuron_module(neuron)
    if not hasattr(module, "drive_for"):
        available = f"available: {', '.join(neurons(spiking=True))}"
        raise ConfigError(f"neuron {neuron!r} does not spike: it is a read-out", available)
    return {name: p for name, p in module.PARAMETERS.items() if p.in_config}


def neurons(spiking: bool) -> list[str]:
    """The names of the neurons that spike, or of those that do not: the read-outs."""
    return [name for name in plugins.names(PACKAGE) if hasattr(neuron_module(name), "drive_for") == spiking]


def require_readout(name: str) -> None:
    """Raise ConfigError unless a neuron of this name exists, does not spike, and is what float networks run."""
    known = neurons(spiking=False)
    if name not in known:
        raise ConfigError(f"no read-out is called {str(name)[:40]!r}", f"available: {', '.join(known)}")
    if not leaks_or_sums(neuron_module(name)):
        what = f"networks cannot be trained with the read-out {name}: it is not y = c * y + drive + bias"
        raise ConfigError(what, "write it as lnp_edge/neurons/li.py or mean.py is, or choose one of them")


def names() -> list[str]:
    """The names of the configurations that come with lnp-edge."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def named(name: str) -> Config:
    """The configuration of a TOML file, or the one of this name that comes with lnp-edge."""
    if name.endswith(".toml"):
        return load(Path(name))
    if name not in names():
        raise ConfigError(f"no task {name[:40]!r}", f"available: {', '.join(names())}; or give a TOML file")
    return load(FOLDER / f"{name}.toml")


def load(path: Path) -> Config:
    """The configuration of a TOML file.

    Raises ConfigError naming a wrong key, with the nearest known one.
    """
    return parse(read_bounded(path, MAX_BYTES, ConfigError, HINT), path)


def parse(text: bytes, path: Path) -> Config:
    """The configuration of a TOML text that stands, or will stand, at `path`."""
    try:
        raw = parse_toml(text)
        found = _read(Config, raw, "")
        _check_quantize(found)
        return _of_the_user(found, raw, path)
    except (ValueError, RecursionError) as e:  # TOML, UTF-8, or too long an integer
        raise ConfigError(f"{path}: {e}", HINT) from None
    except ConfigError as e:
        raise ConfigError(f"{path}: {e.what}", e.try_next) from None


def _of_the_user(config: Config, raw: dict, path: Path) -> Config:
    """The configuration; of own data with its name, its folder, and what the data must say."""
    data = config.data
    if not (data.own or data.module or data.name not in plugins.names("lnp_edge.datasets")):
        return config
    if data.own and data.module:
        raise ConfigError("data.module and data.files are both given", "choose one")
    if data.own or data.module:
        name = data.name if "name" in raw["data"] else re.sub(r"[^\w.-]", "_", path.stem)
        if not re.fullmatch(r"[\w.-]{1,60}", name):
            raise ConfigError(f"data.name is {name[:60]!r}", "choose letters, digits, _ and -, 60 at most")
        data = replace(data, name=name, root=str(path.parent / data.root))
    return replace(config, data=data, derive=_absent(config, raw))


def _absent(config: Config, raw: dict) -> tuple[str, ...]:
    """The keys that depend on the data's time scale, and that a file does not have."""
    found = [f"data.{key}" for key in ("window", "hop") if key not in raw["data"]]
    network = raw.get("network", {})

    def times(neuron: str, *given: dict) -> list[str]:
        return [n for n, p in parameters(neuron).items() if p.is_time and not any(n in table for table in given)]

    found += [f"network.{key}" for key in ["tau_out"] if key not in network]
    found += [f"network.{key}" for key in times(config.network.neuron, network)]
    for k, layer in enumerate(config.network.layer):
        found += [f"network.layer.{k}.{key}" for key in times(layer.neuron, network, network["layer"][k])]
    found += [f"train.{key}" for key in ("epochs", "balance") if key not in raw.get("train", {})]
    return (*found, *(f"augment.{key}" for key in ("noise", "speed") if key not in raw.get("augment", {})))


def _without_none(scales: dict) -> dict:
    return {name: {k: v for k, v in one.items() if v is not None} for name, one in scales.items()}


def _check_quantize(config: Config) -> None:
    """Refuse what lnp quantize would refuse after the training, if not told otherwise on its command line."""
    if config.quantize.bits not in BITS:
        raise ConfigError(f"quantize.bits is {config.quantize.bits}", f"choose one of {', '.join(map(str, BITS))}")


def _read(cls: type, raw: Any, where: str):
    if cls is NetworkSettings:
        return _network(raw, where)
    known = {f.name: f for f in fields(cls) if f.name not in NO_FIELD}
    own = _settings(raw, where) if cls is DataSettings else {}
    if taken := sorted(own.keys() & known.keys()):
        raise ConfigError(f"the front end has a setting {taken[0]!r}, which [data] has", "give it another name there")
    _known(raw, [*known, *own], where)
    found = {key: _value(known[key], value, where + key) for key, value in raw.items() if key in known}
    if own:
        found["params"] = {key: _ranged(raw[key], *own[key][1:], False, where + key) for key in own if key in raw}
    return cls(**found)


def _settings(raw: Any, where: str) -> dict[str, tuple[float, float, float]]:
    """The settings that the front end of [data] takes."""
    front = raw.get("front", DataSettings.front) if isinstance(raw, dict) else None
    try:
        return settings_of(front) if isinstance(front, str) else {}
    except ConfigError as e:
        raise ConfigError(f"{where}front: {e.what}", e.try_next) from None


def _known(raw: Any, known: list[str], where: str) -> None:
    """Raise ConfigError unless raw is a table whose keys are all known."""
    if not isinstance(raw, dict):
        name = where.rstrip(".") or "the configuration"
        section = "[[network.layer]]" if name.endswith("]") else f"[{name}]"
        raise ConfigError(f"{name} is {told(raw)}", f"write it as a section {section}")
    for key in raw:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {where}{near[0]}? " if near else ""
            raise ConfigError(f"unknown key {where + str(key)[:40]!r}", f"{hint}available: {', '.join(known)}")


def _network(raw: Any, where: str) -> NetworkSettings:
    """The section [network]. Its neuron determines which keys it may have besides the fields."""
    _known(raw, list(raw) if isinstance(raw, dict) else [], where)
    found = _population(NetworkSettings, {k: v for k, v in raw.items() if k != "layer"}, {}, where, ["layer"])
    tables = raw.get("layer", [])
    if not isinstance(tables, list) or len(tables) > MAX_LAYERS:
        what = f"{len(tables)} tables" if isinstance(tables, list) else told(tables)
        raise ConfigError(f"{where}layer is {what}", f"write 1 to {MAX_LAYERS} tables [[{where}layer]]")
    given = {key: raw[key] for key in ("neurons", "neuron", "density", *found.params) if key in raw}
    layers = tuple(
        _population(LayerSettings, table, given, f"{where}layer[{k}].", []) for k, table in enumerate(tables, 1)
    )
    for k, one in enumerate(layers[1:], 2):
        if one.density == 0:
            hint = "choose a density above 0; to remove the recurrent synapses, set recurrent = false"
            raise ConfigError(f"{where}layer[{k}].density is 0: nothing reaches the layer", hint)
    found = replace(found, layer=layers)
    if found.total > MAX_NEURONS:
        raise ConfigError(f"{where}layer has {found.total} neurons", f"choose at most {MAX_NEURONS} in all layers")
    return found


def _population(cls: type, raw: Any, given: dict, where: str, more: list[str]) -> Any:
    """NetworkSettings or LayerSettings from a table.

    given : values for missing keys
    more  : other keys that are allowed
    """
    known = {f.name: f for f in fields(cls) if f.name not in NO_FIELD}
    inherited = given | (raw if isinstance(raw, dict) else {})
    neuron = _value(known["neuron"], inherited.get("neuron", known["neuron"].default), f"{where}neuron")
    try:
        means = parameters(neuron)
    except ConfigError as e:
        raise ConfigError(f"{where}neuron: {e.what}", e.try_next) from None
    available = [*known, *more, *means]
    for key in raw if isinstance(raw, dict) else ():
        if key not in available and (owners := [n for n in neurons(spiking=True) if key in parameters(n)]):
            raise ConfigError(
                f"unknown key {where + key!r}: {neuron} has no {key}", f"available: {', '.join(available)}; "
                f'or choose neuron = "{owners[0]}"'
            )  # fmt: skip
    _known(raw, available, where)
    inherited = {key: value for key, value in inherited.items() if key in known or key in means}
    values = {key: _value(known[key], value, where + key) for key, value in inherited.items() if key in known}
    params = {key: _ranged(value, *_range(means[key]), False, where + key) for key, value in inherited.items()
              if key in means}  # fmt: skip
    return cls(**values, params=params)


def _means(neuron: str, given: dict[str, float]) -> dict[str, float]:
    """The mean of each parameter, given or default, in the order of the neuron's file."""
    known = parameters(neuron)
    for name in given:
        if name not in known:
            raise ConfigError(f"{neuron} has no parameter {name!r}", f"available: {', '.join(known)}")
    return {name: float(given.get(name, p.default)) for name, p in known.items()}


def _range(p: Any) -> tuple[float, float]:
    """The range of a parameter's mean.

    A mean in units of the parameter's scale has no other limit than its sign.
    """
    if p.is_time:
        return 1e-6, 1e9
    if p.scale:
        return (0.0 if p.low >= 0 else -1e9), 1e9
    return max(p.low, -1e9), min(p.high, 1e9)


def _flat(network: dict) -> dict:
    """The section as in a file: parameters are keys; what older results lack is left out if it is the default."""
    params, layers = network.pop("params"), network.pop("layer")
    if not network["skip"]:
        del network["skip"]
    for key in ("readout", "inputs"):
        if network[key] == getattr(NetworkSettings, key):
            del network[key]
    return network | params | ({"layer": [one | one.pop("params") for one in layers]} if layers else {})


def _example(default: bool | str) -> str:
    return "true or false" if isinstance(default, bool) else f"a text, such as {json.dumps(default)}"


def _value(f, value: object, where: str) -> Any:
    if read := f.metadata.get("read"):
        return read(value, where)
    default = f.default_factory() if f.default is MISSING else f.default
    if isinstance(default, bool | str):
        if type(value) is not type(default):
            raise ConfigError(f"{where} is {told(value)}", f"write {_example(default)}")
        if value not in f.metadata.get("choices", [value]):
            raise ConfigError(f"{where} is {told(value)}", f"choose from {', '.join(f.metadata['choices'])}")
        return value
    if not isinstance(default, int | float):
        return _read(type(default), value, f"{where}.")
    return _ranged(value, f.metadata["low"], f.metadata["high"], isinstance(default, int), where)


def _ranged(value: object, low: float, high: float, whole: bool, where: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        allowed = f"a whole number from {low} to {high}" if whole else f"a number from {low:g} to {high:g}"
        raise ConfigError(f"{where} is {told(value)}", f"write {allowed}")
    return int(value) if whole else float(value)


FOLDER = Path(__file__).parent / "configs"
SPAR = FOLDER / "spar.toml"
SPAR_QUICK = FOLDER / "spar-quick.toml"
