"""The example in the generated README, compiled and run: it predicts what lnp run predicts."""

import re
import struct
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from conftest import need
from tiny import tiny_counts, tiny_front, tiny_loop, tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.decision import Decision
from lnp_edge.spec.quantity import Quantity

CLASSIFY = """
#include <stdio.h>
int main(void)
{
    int16_t sample[LNP_NET_CHANNELS];
    lnp_net_stream_init(&stream);
    while (fread(sample, sizeof sample, 1, stdin) == 1) {
        const int32_t label = classify(sample);
        fwrite(&label, sizeof label, 1, stdout);
    }
}
"""
PREDICT = """
#include <stdio.h>
int main(void)
{
    int16_t sample[LNP_NET_CHANNELS];
    lnp_net_stream_init(&stream);
    while (fread(sample, sizeof sample, 1, stdin) == 1) {
        double forecast[LNP_NET_N_OUT];
        if (predict(sample, forecast)) {
            fwrite(forecast, sizeof forecast, 1, stdout);
        }
    }
}
"""


def run(folder, model, main, samples):
    """What the README's example and `main` write for samples int16 [T, C]."""
    need("gcc")
    files = generate(model, boards.get("host"))
    for path, text in files.items():
        (folder / path).write_text(text)
    (example,) = re.findall(r"```c\n(.*?)```", files["README.md"], re.S)
    (folder / "example.c").write_text(example + main)
    sources = ["example.c", "lnp_net.c", "lnp_net_tables.c", "lnp_crc32.c"]
    checks = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    subprocess.run(["gcc", *checks, "-o", "example", *sources], cwd=folder, check=True)
    return subprocess.run([folder / "example"], input=samples.tobytes(), capture_output=True, check=True).stdout


LEVELS = ((100, 40), (5000, 60), (20000, 90))
RULE = Decision(stream=True, lead=3000, least=400, low=(-9000,) * 3, high=(9000,) * 3, outside=3, levels=LEVELS)
MODELS = {
    "one sample a step": lambda: tiny_model(),
    "a hop that is no multiple of the frame": lambda: tiny_front("logdiff", 4),
    "samples stacked": lambda: replace(tiny_front("stack", 4), hop=80).check(),
    "windows side by side": lambda: replace(tiny_model(), hop=20).check(),
    "a window at every sample": lambda: replace(tiny_model(), hop=1).check(),
    "a stream": lambda: replace(tiny_model(), hop=7, decision=RULE).check(),
    "a stream of frames": lambda: replace(tiny_front("logdiff", 4), hop=8, decision=RULE).check(),
    "windows with a rule": lambda: replace(tiny_model(), decision=replace(RULE, stream=False)).check(),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_example_finds_the_class_of_every_window(tmp_path, kind):
    model = MODELS[kind]()
    samples = tiny_counts(model, 300).reshape(-1, len(model.channels))[:300]
    labels = np.frombuffer(run(tmp_path, model, CLASSIFY, samples), "<i4")
    none = -2 if model.decision.least else -1
    expected = [-1 if p.unknown else p.label for p in infer(Reference(model), model, samples)]
    assert labels[labels > none].tolist() == expected and len(set(expected)) > 1
    ends = [model.window - 1 + k * model.hop for k in range(len(expected))]
    assert np.flatnonzero(labels > none).tolist() == ends


def test_the_example_acts_on_nothing_that_is_always_the_same():
    """It tested `unknown`, and the page told of `percent`, where no rule had been fitted: false and 0 for ever."""
    plain, ruled = (generate(MODELS[kind](), boards.get("host")) for kind in ("one sample a step", "a stream"))
    (code,) = re.findall(r"```c\n(.*?)```", plain["README.md"], re.S)
    assert "unknown" not in code and "percent" not in code
    said = " ".join(plain["README.md"].split())
    assert "no decision is unknown, and `decision.percent` is 0. `lnp quantize --decide` fits both" in said
    assert "is the confidence, from 40 to 90" in ruled["README.md"] and "decision.unknown" in ruled["README.md"]
    app = {kind: generate(MODELS[kind](), boards.get("host"), app=True)["main.c"] for kind in MODELS}
    without = {kind for kind, text in app.items() if "Percent and unknown are 0" in text}
    assert without == {kind for kind, model in MODELS.items() if not model().decision.levels}


@pytest.mark.parametrize("frame", [1, 4])
def test_the_example_forecasts_what_lnp_run_forecasts(tmp_path, frame):
    """From the last sample of the last step: the same doubles, in the unit of each channel."""
    model = tiny_loop() if frame == 1 else tiny_front("stack", 4)
    quantities = (Quantity("degC", -1000.0, 0.005, False), Quantity("", 5.0, 0.5, False), Quantity("", 512.0, 0.01))
    if frame > 1:
        forecast = replace(tiny_loop().forecast, target=(0, 1, 2, 0), unit=(0.01, 0.02, 0.03, 0.04))
        model = replace(model, forecast=forecast, quantities=quantities).check()
    samples = tiny_counts(model, 200).reshape(-1, 3)[:200]
    said = run(tmp_path, model, PREDICT, samples)
    found = list(struct.iter_unpack(f"<{model.n_out}d", said))
    expected = list(infer(Reference(model), model, samples))
    assert found == [tuple(p.forecast.values()) for p in expected] and len(expected) > 1
    assert (frame > 1) == (expected[0].forecast != expected[0].forecast_counts)
