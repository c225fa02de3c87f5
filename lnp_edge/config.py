"""What to do, from a TOML file: every setting, its range and its default are here."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import read_bounded

HINT = "lnp train --help shows an example"
MAX_BYTES = 16384  # tomllib needs seconds for a dotted key that fills 64 KiB


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


@dataclass(frozen=True)
class NetworkSettings:
    neuron: str = "cuba_lif"  # lnp_edge/neurons/<neuron>.py
    neurons: int = _number(256, 2, 15_000)  # model.onnx holds them as dense matrices
    density: float = _number(0.3, 0.0, 1.0)  # of the neurons * (neurons - 1) possible synapses at the start
    heterogeneous: bool = True  # else every neuron has the mean time constants, and training leaves them
    clusters: int = _number(1, 1, 100)  # of neighbours, each with time constants of its own distribution
    tau_mem: float = _number(0.2, 1e-6, 1e9)  # s, mean of the gamma distribution
    tau_syn: float = _number(0.1, 1e-6, 1e9)  # s, mean of the gamma distribution
    tau_out: float = _number(4.0, 1e-6, 1e9)  # s


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
    keep: float = _number(0.3, 1e-6, 1.0)  # share of the recurrent synapses that stay
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
    network: NetworkSettings = NetworkSettings()
    prune: PruneSettings = PruneSettings()
    train: TrainSettings = TrainSettings()
    augment: Augmentation = Augmentation()
    quantize: QuantizeSettings = QuantizeSettings()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Config:
        return _read(cls, json.loads(text), "")


def names() -> list[str]:
    """Of the configurations that come with lnp-edge."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def named(name: str) -> Config:
    """The configuration of a task that comes with lnp-edge, by its name; or of a TOML file."""
    if name.endswith(".toml"):
        return load(Path(name))
    if name not in names():
        raise ConfigError(f"no task {name[:40]!r}", f"there is: {', '.join(names())}; or give a TOML file")
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


def _read(cls: type, raw: object, where: str):
    if not isinstance(raw, dict):
        name = where.rstrip(".") or "the configuration"
        raise ConfigError(f"{name} is {str(raw)[:40]!r}", f"write it as a section [{name}]")
    known = {f.name: f for f in fields(cls)}
    for key in raw:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {where}{near[0]}? " if near else ""
            raise ConfigError(f"unknown key {where + str(key)[:40]!r}", f"{hint}there is: {', '.join(known)}")
    return cls(**{key: _value(known[key], value, where + key) for key, value in raw.items()})


def _value(f, value: object, where: str) -> object:
    default = f.default
    if isinstance(default, bool | str):
        if type(value) is not type(default):
            raise ConfigError(f"{where} is {str(value)[:40]!r}", f"write {type(default).__name__}, such as {default!r}")
        if value not in f.metadata.get("choices", [value]):
            raise ConfigError(f"{where} is {str(value)[:40]!r}", f"choose from {', '.join(f.metadata['choices'])}")
        return value
    if not isinstance(default, int | float):
        return _read(type(default), value, f"{where}.")
    low, high = f.metadata["low"], f.metadata["high"]
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{where} is {str(value)[:40]!r}", f"write {kind} from {low:g} to {high:g}")
    return type(default)(value)


FOLDER = Path(__file__).parent / "configs"
SPAR = FOLDER / "spar.toml"
SPAR_QUICK = FOLDER / "spar-quick.toml"
