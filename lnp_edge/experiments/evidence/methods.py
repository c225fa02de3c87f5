"""The rows of a comparison: each is a method of lnp_edge/pruning with options.

A method that is not listed here gets a row with its own name.
"""

from __future__ import annotations

from dataclasses import replace

from lnp_edge.config import NoiseSettings, PruneSettings
from lnp_edge.spec import plugins

EDGES = NoiseSettings(nodes=0.0)
HALF = NoiseSettings(alpha=0.5, cap=3.0)
PUBLISHED = NoiseSettings(score="l", added=0.05)
LOOP = NoiseSettings(loop=0.75)
AS_THEY_ARE = NoiseSettings(alpha=0.0, nodes=0.0)  # kept weights are not rescaled

# keep is not set here: every comparison varies it.
METHODS: dict[str, PruneSettings] = {
    "lnp": PruneSettings("lnp"),
    "lnp, alpha 1/2": PruneSettings("lnp", noise=HALF),
    "lnp, published": PruneSettings("lnp", noise=PUBLISHED),
    "lnp, loop gain": PruneSettings("lnp", noise=LOOP),
    "weight": PruneSettings("weight", noise=EDGES),
    "uniform": PruneSettings("uniform", noise=EDGES),
    "random": PruneSettings("uniform", noise=AS_THEY_ARE),
    "random, same abscissa": PruneSettings("random"),
    "random, loop gain": PruneSettings("random", noise=LOOP),
    "magnitude": PruneSettings("magnitude"),
}
DENSE = PruneSettings(keep=1.0)

# The variants of each step, at one share of synapses.
ABLATION: dict[str, PruneSettings] = {
    name: PruneSettings("lnp", noise=noise)
    for name, noise in {
        "1: synapses": EDGES,
        "1, alpha 1/2": replace(HALF, nodes=0.0),
        "1, alpha 0": replace(EDGES, alpha=0.0),
        "1, score |l|": replace(EDGES, score="l"),
        "1, score |w l|": replace(EDGES, score="wl"),
        "1, matched diagonal": replace(EDGES, diagonal="match"),
        "1 + 2: neurons": NoiseSettings(),
        "1 + 2, ten rounds": NoiseSettings(rounds=10),
        "1 + 2 + 3: hub": NoiseSettings(added=0.05),
        "1 + 2 + 3: random": NoiseSettings(added=0.05, rule="random"),
        "1 + 2 + 3: targeted": NoiseSettings(added=0.05, rule="targeted"),
        "1 to 4: time constants": NoiseSettings(added=0.05, timescales=20),
        "1 + 2, loop gain": LOOP,
    }.items()
}

# Other methods that need a task: only where all weights are trained.
TRAINED: dict[str, PruneSettings] = {"SNIP": PruneSettings("snip"), "activity": PruneSettings("activity")}

for _name in sorted(set(plugins.names("lnp_edge.pruning")) - {row.method for row in (METHODS | TRAINED).values()}):
    _rows = TRAINED if getattr(plugins.get("lnp_edge.pruning", _name), "NEEDS", "") else METHODS
    _rows[_name] = PruneSettings(_name)
