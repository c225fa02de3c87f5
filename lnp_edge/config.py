"""What to do, from a TOML file: every setting, its range and its default are here."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

from lnp_edge.errors import ConfigError
from lnp_edge.files import read_bounded

HINT = "lnp train --help shows an example"
MAX_BYTES = 16384  # tomllib needs seconds for a dotted key that fills 64 KiB


def _number(default: float | int, low: float, high: float):
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class DataSettings:
    name: str = "spar"  # lnp_edge/datasets/<name>.py
    root: str = ""  # where its files lie; SPAR ships with the package
    window: float = _number(4.0, 1e-6, 1e6)  # s that a prediction looks at
    hop: float = _number(2.0, 1e-6, 1e6)  # s from one prediction to the next


@dataclass(frozen=True)
class NetworkSettings:
    neuron: str = "cuba_lif"  # lnp_edge/neurons/<neuron>.py
    neurons: int = _number(256, 2, 15_000)  # model.onnx holds them as dense matrices
    density: float = _number(0.3, 0.0, 1.0)  # of the neurons * (neurons - 1) possible synapses at the start
    tau_mem: float = _number(0.2, 1e-6, 1e6)  # s, mean of the gamma distribution
    tau_syn: float = _number(0.1, 1e-6, 1e6)  # s, mean of the gamma distribution
    tau_out: float = _number(4.0, 1e-6, 1e6)  # s


@dataclass(frozen=True)
class PruneSettings:
    method: str = "lnp"  # lnp_edge/pruning/<method>.py
    keep: float = _number(0.3, 1e-6, 1.0)  # share of the recurrent synapses that stay


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


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training window, seeded; 0 switches one off."""

    rotation: float = _number(0.2, 0.0, 4.0)  # rad, of all 3-vectors alike: the sensor sits differently
    speed: float = _number(0.1, 0.0, 1.0)  # log of the playback speed
    scale: float = _number(0.1, 0.0, 1.0)  # log of each channel triple's amplitude
    noise: float = _number(0.1, 0.0, 10.0)  # of a channel's standard deviation, per sample


@dataclass(frozen=True)
class Config:
    seed: int = _number(1, 0, 2**32 - 1)
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    prune: PruneSettings = PruneSettings()
    train: TrainSettings = TrainSettings()
    augment: Augmentation = Augmentation()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Config:
        return _read(cls, json.loads(text), "")


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
        return value
    if not isinstance(default, int | float):
        return _read(type(default), value, f"{where}.")
    low, high = f.metadata["low"], f.metadata["high"]
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{where} is {str(value)[:40]!r}", f"write {kind} from {low:g} to {high:g}")
    return type(default)(value)


SPAR = Path(__file__).parent / "configs" / "spar.toml"
SPAR_QUICK = Path(__file__).parent / "configs" / "spar-quick.toml"
