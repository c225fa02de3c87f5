"""An output that holds the network of another task is not replaced: it may have taken hours."""

from __future__ import annotations

import json
from pathlib import Path

from lnp_edge import config as configurations
from lnp_edge.base.errors import ConfigError
from lnp_edge.config import Config


def refuse(output: Path, there: dict, this: Config) -> None:
    """Raise ConfigError if an output belongs to another data set, or to another of the tasks that ship.

    there : the configuration of what it holds, as JSON. Another try of a configuration of one's own replaces the last
    """
    before, now = _tasks(there), _tasks(json.loads(this.to_json()))
    if before[0] != now[0] or (before[1] != now[1] and before[1] and now[1]):
        old, new = (task or data or "something else" for data, task in (before, now))
        another = output.with_name(f"{new}{output.suffix}")
        other = f"choose another name: -o {another}" if another != output else "choose another name with -o"
        raise ConfigError(f"{output} holds a network of {old}, this one is of {new}", f"{other}, or remove {output}")


def _tasks(config: dict) -> tuple[str, str]:
    """The data set of a configuration, and the task that ships with it, "" if there is none."""
    names = (name for name in configurations.names() if _plain(_shipped(name)) == _plain(config))
    data = config.get("data")  # of a file, which may hold anything
    name = data.get("name") if isinstance(data, dict) else ""
    return name if isinstance(name, str) else "", next(names, "")


def _shipped(name: str) -> dict:
    return json.loads(configurations.named(name).to_json())


def _plain(config: dict) -> dict:
    """Without what lnp quantize changes."""
    return {key: value for key, value in config.items() if key != "quantize"}
