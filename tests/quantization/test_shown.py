"""What lnp quantize says of a model, in words."""

from dataclasses import replace

from tiny import tiny_model

from lnp_edge.commands.quantize import _of_neurons, _of_rule
from lnp_edge.config import Config, NetworkSettings, QuantizeSettings
from lnp_edge.spec.decision import Decision


def test_neurons_that_pruning_removed_are_told():
    """31 neurons where 32 were asked for stood there without a word."""
    model = tiny_model(n=31)
    said = {drawn: _of_neurons(Config(network=NetworkSettings(neurons=drawn)), model) for drawn in (31, 32)}
    weights = f"{model.synapses:,} synapses, weights of {QuantizeSettings().bits} bits."
    assert said[31].endswith(f": 31 neurons, {weights}")
    assert said[32].endswith(f": 31 neurons (32 were drawn, pruning removed 1), {weights}")


def test_a_rule_is_told_in_words_and_none_is_not():
    model = tiny_model()
    rule = Decision(lead=9000, least=400, low=(0,) * 3, high=(9,) * 3, outside=3, levels=((0, 40), (5000, 90)))
    assert _of_rule(model) == ""
    assert _of_rule(replace(model, decision=replace(rule, outside=model.window, levels=()))) == (
        "Decisions: another class must lead by 9,000; a margin below 400 is unknown."
    )
    assert _of_rule(replace(model, decision=rule)).endswith(
        "more than 3 samples beyond the range of training are unknown; the confidence is 40 to 90 %."
    )
