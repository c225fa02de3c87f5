"""Decisions: the host and the C of lnp_<name>_push give those of the oracle, field by field."""

import subprocess
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import need
from naive import decisions
from tiny import tiny_counts, tiny_front, tiny_loop, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import ModelError
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.decision import PLAIN, Decision

MAIN = """
#include <stdio.h>
#include <string.h>
#include "lnp_net.h"
static lnp_net_stream_t stream;
int main(void)
{
    int16_t sample[LNP_NET_CHANNELS];
    memset(&stream, 0xA5, sizeof stream);
    lnp_net_stream_init(&stream);
    while (fread(sample, sizeof sample, 1, stdin) == 1) {
        lnp_decision_t d;
        if (lnp_net_push(&stream, sample, &d)) {
            const uint32_t found[] = {d.label, d.margin, d.percent, d.unknown};
            fwrite(found, sizeof found, 1, stdout);
        }
    }
}
"""
RULE = Decision(
    lead=6000, least=900, low=(-1000, -32768, -1000), high=(1000, 32767, 32767), outside=4,
    levels=((0, 0), (500, 40), (5000, 60), (20000, 90)),
)  # fmt: skip
STREAM = replace(RULE, stream=True)


def met_exactly():
    """A rule whose limits are values that occur: each comparison meets equality."""
    plain = replace(tiny_model(), decision=PLAIN)
    samples = samples_for(plain)
    found = list(infer(Reference(plain), plain, samples))
    leads = [max(now.y) - now.y[before.label] for before, now in pairwise(found) if now.label != before.label]
    rule = Decision(lead=leads[0])
    said = list(infer(Reference(plain), replace(plain, decision=rule), samples))
    one = next(p for p in said[3:] if p.margin > 0)  # known by a hair in every respect
    own = samples[one.window * plain.hop :][: plain.window]
    low, high = tuple(own.min(0).tolist()), tuple(own.max(0).tolist())
    return replace(plain, decision=replace(rule, low=low, high=high, least=one.margin, levels=((one.margin, 50),)))


MODELS = {
    "limits that are met exactly": met_exactly,
    "no rule": lambda: tiny_model(),
    "a rule": lambda: replace(tiny_model(), decision=RULE),
    "a window at every sample": lambda: replace(tiny_model(), hop=1, decision=RULE),
    "windows side by side": lambda: replace(tiny_model(), hop=20, decision=RULE),
    "a hop that is no multiple of the frame": lambda: replace(tiny_front("logdiff", 4), decision=RULE),
    "a stream": lambda: replace(tiny_model(), hop=7, decision=STREAM),
    "a stream of frames": lambda: replace(tiny_front("logdiff", 4), hop=8, decision=STREAM),
    "one class": lambda: replace(tiny_model(n_out=1), decision=RULE),
}


def samples_for(model):
    return tiny_counts(model, 250).reshape(-1, len(model.channels))[:250]


@pytest.mark.parametrize("kind", MODELS)
def test_host_and_c_decide_as_the_oracle_does(tmp_path, kind):
    need("gcc")
    model = MODELS[kind]().check()
    samples = samples_for(model)
    expected = decisions(model, samples.tolist())
    said = [(p.label, p.margin, p.percent, p.unknown) for p in infer(Reference(model), model, samples)]
    assert said == expected and len(expected) > 2
    for path, text in generate(model, boards.get("host")).items():
        (tmp_path / path).write_text(text)
    (tmp_path / "own.c").write_text(MAIN)
    sources = ["own.c", "lnp_net.c", "lnp_net_tables.c", "lnp_crc32.c"]
    checks = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    subprocess.run(["gcc", *checks, "-o", "own", *sources], cwd=tmp_path, check=True)
    found = subprocess.run([tmp_path / "own"], input=samples.tobytes(), capture_output=True, check=True).stdout
    rows = np.frombuffer(found, "<u4").reshape(-1, 4).tolist()
    assert [(label, margin, percent, bool(unknown)) for label, margin, percent, unknown in rows] == expected


@pytest.mark.slow
def test_the_models_meet_every_branch_of_the_rule():
    """Else the comparison above would say little."""
    kept = unknown_of_margin = unknown_of_range = 0
    percents = set()
    for kind in ("a rule", "a window at every sample", "a stream"):
        model = MODELS[kind]().check()
        samples = samples_for(model).tolist()
        here = decisions(model, samples)
        percents |= {percent for _, _, percent, _ in here}
        for change, field in (("lead", 0), ("least", 3), ("outside", 3)):
            other = replace(
                model, decision=replace(model.decision, **{change: 0 if change != "outside" else model.window})
            )
            differ = sum(a[field] != b[field] for a, b in zip(here, decisions(other, samples), strict=True))
            kept += differ * (change == "lead")
            unknown_of_margin += differ * (change == "least")
            unknown_of_range += differ * (change == "outside")
    assert min(kept, unknown_of_margin, unknown_of_range) > 0 and percents >= {40, 60, 90}


def test_a_rule_comes_back_from_the_file_and_its_damage_is_found(tmp_path):
    model = replace(tiny_model(), decision=STREAM).check()
    onnx_file.save(model, tmp_path / "model.onnx")
    assert onnx_file.load(tmp_path / "model.onnx").decision == STREAM
    assert model.fingerprint == tiny_model().fingerprint  # the integers of a step do not depend on it
    proto = onnx_file.to_proto(model)
    meta = next(p for p in proto.metadata_props if p.key == "lnp_edge")
    meta.value = meta.value.replace('"lead": 6000', '"lead": 6001')
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="damaged"):
        onnx_file.load(tmp_path / "model.onnx")


BAD = {
    "lead": {"lead": -1},
    "large lead": {"lead": 2**32},
    "least": {"least": 2**32},
    "outside": {"outside": 21},
    "one range": {"low": (0,), "high": (0,)},
    "empty range": {"low": (5, 5, 5), "high": (4, 9, 9)},
    "range beyond int16": {"low": (-32769,) * 3, "high": (0,) * 3},
    "highs alone": {"high": (1, 2, 3)},
    "margins fall": {"levels": ((5, 1), (4, 2))},
    "percents fall": {"levels": ((4, 2), (5, 1))},
    "101 percent": {"levels": ((4, 101),)},
    "17 levels": {"levels": tuple((k, k) for k in range(17))},
}


@pytest.mark.parametrize("what", BAD)
def test_an_impossible_rule_is_refused(what):
    with pytest.raises(ModelError):
        replace(tiny_model(), decision=replace(PLAIN, **BAD[what])).check()


def test_a_forecast_has_no_rule_and_a_stream_decides_at_the_end_of_a_step():
    with pytest.raises(ModelError, match="forecast"):
        replace(tiny_loop(), decision=RULE).check()
    with pytest.raises(ModelError, match="decides every 41"):
        replace(tiny_front("logdiff", 4), decision=STREAM).check()


FOREIGN = {
    "no table": [],
    "a key is missing": {key: value for key, value in asdict(PLAIN).items() if key != "lead"},
    "true for a number": asdict(PLAIN) | {"lead": True},
    "a text in a range": asdict(PLAIN) | {"low": ["1"]},
    "a level of three": asdict(PLAIN) | {"levels": [[1, 2, 3]]},
    "a level of texts": asdict(PLAIN) | {"levels": [["1", "2"]]},
    "a level that is no list": asdict(PLAIN) | {"levels": [1]},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_rule_of_any_other_form_is_refused(what):
    with pytest.raises(ModelError, match=r"its (decision|levels)"):
        onnx_file._decision(FOREIGN[what])
