"""The rows of a comparison: each a method of lnp_edge/pruning with its options."""

from __future__ import annotations

from dataclasses import replace

from lnp_edge.config import NoiseSettings, PruneSettings

ALPHA_1 = NoiseSettings(alpha=1.0, cap=0.0, nodes=0.0)
PUBLISHED = NoiseSettings(score="l", alpha=1.0, cap=0.0, added=0.05)
LOOP = 0.75

# Without keep, which every comparison varies.
METHODS: dict[str, PruneSettings] = {
    "lnp": PruneSettings("lnp"),
    "noise, 1/p": PruneSettings("lnp", noise=ALPHA_1),
    "lnp, |l|, 1/p": PruneSettings("lnp", noise=PUBLISHED),
    "lnp, loop gain": PruneSettings("lnp", noise=replace(ALPHA_1, loop=LOOP)),
    "weight, 1/p": PruneSettings("weight", noise=ALPHA_1),
    "uniform, 1/p": PruneSettings("uniform", noise=ALPHA_1),
    "random, same abscissa": PruneSettings("random"),
    "random, loop gain": PruneSettings("random", noise=NoiseSettings(loop=LOOP)),
    "magnitude": PruneSettings("magnitude"),
}
DENSE = PruneSettings(keep=1.0)

# The forms of each step; at one share of synapses.
EDGES = NoiseSettings(nodes=0.0)
ABLATION: dict[str, PruneSettings] = {
    name: PruneSettings("lnp", noise=noise)
    for name, noise in {
        "1: synapses": EDGES,
        "1, alpha = 1": ALPHA_1,
        "1, alpha = 0": replace(EDGES, alpha=0.0),
        "1, score |l|": replace(EDGES, score="l"),
        "1, score |w l|": replace(EDGES, score="wl"),
        "1, matched diagonal": replace(EDGES, diagonal="match"),
        "1 + 2: neurons": NoiseSettings(),
        "1 + 2, ten rounds": NoiseSettings(rounds=10),
        "1 + 2 + 3: hub": NoiseSettings(added=0.05),
        "1 + 2 + 3: random": NoiseSettings(added=0.05, rule="random"),
        "1 + 2 + 3: targeted": NoiseSettings(added=0.05, rule="targeted"),
        "1 to 4: time constants": NoiseSettings(added=0.05, timescales=20),
        "1 + loop gain": replace(ALPHA_1, loop=LOOP),
    }.items()
}

# Rivals that need a task: only where everything is trained.
TRAINED: dict[str, PruneSettings] = {"SNIP": PruneSettings("snip"), "activity": PruneSettings("activity")}
