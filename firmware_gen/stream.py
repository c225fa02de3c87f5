"""Decisions from single samples in C: what the header says of a stream, and the tables that lnp_push.h reads."""

from __future__ import annotations

import numpy as np

from lnp_edge.firmware_gen import tables
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.quantity import Quantity


def names(model: QuantizedModel, up: str) -> str:
    """Macros of the public header: rate and names."""
    lines = [f"#define LNP_{up}_SAMPLE_SECONDS {model.sample_dt!r}"]
    for key, words in (("CHANNEL_NAMES", model.channels), ("CLASS_NAMES", model.classes)):
        lines.append(f"#define LNP_{up}_{key} {{{', '.join(map(text, words))}}}")
    if model.quantities:
        lines += [
            f"#define LNP_{up}_CHANNEL_UNITS {{{', '.join(text(q.unit) for q in model.quantities)}}}",
            "// A physical value is (count - zero) * scale.",
            f"#define LNP_{up}_CHANNEL_ZEROS {{{', '.join(repr(q.zero) for q in model.quantities)}}}",
            f"#define LNP_{up}_CHANNEL_SCALES {{{', '.join(repr(q.scale) for q in model.quantities)}}}",
        ]
        lines += [_count_of(up, k, q) for k, q in enumerate(model.quantities)]
    missing = " || ".join(["lnp_no_value((double)(value))", *map(_equals, model.missing)])
    lines += [
        "// Whether a value, as recordings hold it and before it is a count, stands for no sample, as for lnp run.",
        f"#define LNP_{up}_IS_MISSING(value) ({missing})",
    ]
    if model.forecast:
        lines += [
            f"#define LNP_{up}_HORIZON {model.forecast.horizon}u  // samples from the last one to what is forecast",
            f"#define LNP_{up}_TARGETS {{{', '.join(map(str, model.forecast.target))}}}  // channel of each read-out",
            f"#define LNP_{up}_UNITS {{{', '.join(map(repr, model.forecast.unit))}}}  // counts of 1 in each read-out",
        ]
    return "\n".join(lines)


def _equals(missing: float) -> str:
    """C that compares in single precision, as spec/quantity.py does. Its digits are exact, so that no reader rounds."""
    return f"(float)(value) == {float(np.float32(missing))!r}f"


def _count_of(up: str, channel: int, quantity: Quantity) -> str:
    """A macro that turns a physical value of a channel into its count, a compile-time constant where value is one."""
    value = f"((value) / {quantity.scale!r} + {quantity.zero!r})"
    return f"#define LNP_{up}_COUNT_{channel}(value) lnp_count({value})"


def forecast(model: QuantizedModel, name: str) -> str:
    """The function of the public header that makes a value of a read-out; "" if the model decides on a class."""
    if model.forecast is None:
        return ""
    up = name.upper()
    of_counts = [(q.zero, q.scale) if q.physical else (0.0, 1.0) for q in model.forecast_quantities]
    zeros, scales = (", ".join(map(repr, column)) for column in zip(*of_counts, strict=True))
    unit = f"the unit of its channel, LNP_{up}_CHANNEL_UNITS" if model.quantities else "counts of its channel"
    return f"""// Returns what read-out `out` forecasts, in {unit}.
// sample : the one with which push returned true;  decision : what push wrote
static inline double lnp_{name}_forecast(const int16_t sample[LNP_{up}_CHANNELS], const lnp_decision_t *decision,
                                         uint32_t out)
{{
    static const uint16_t target[LNP_{up}_N_OUT] = LNP_{up}_TARGETS;
    static const double unit[LNP_{up}_N_OUT] = LNP_{up}_UNITS;
    static const double zero[LNP_{up}_N_OUT] = {{{zeros}}};
    static const double scale[LNP_{up}_N_OUT] = {{{scales}}};
    const double count = (double)sample[target[out]] + unit[out] * (double)decision->y[out];
    return (count - zero[out]) * scale[out];
}}

"""


def text(words: str) -> str:
    """A C string: any character but letters, digits and a few signs is the octal codes of its UTF-8."""
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-+.,:;()[]/=<>"
    return '"' + "".join(c if c in plain else "".join(f"\\{b:03o}" for b in c.encode()) for c in words) + '"'


def source(model: QuantizedModel, name: str) -> str:
    """The end of lnp_<name>.c: tables and constants of decisions, and lnp_push.h."""
    up, decision = name.upper(), model.decision
    if not decision.ranged(model.window):
        decision = decision.without_range()
    constants = {key: f"LNP_{up}_{key}" for key in ("CHANNELS", "FRAME", "N_IN", "WINDOW", "HOP", "WINDOWS")}
    constants |= {"STREAMS": f"{decision.stream:d}", "CLASSIFIES": f"{model.forecast is None:d}"}
    constants |= {"RANGED": f"{bool(decision.low):d}", "LEVELS": f"{len(decision.levels)}u"}
    lines = []
    for key in ("lead", "least", "outside") if model.forecast is None else ():
        lines.append(f"static const uint32_t decision_{key} = {getattr(decision, key)}u;")
    for key, values in (("low", decision.low), ("high", decision.high)):
        if values:
            body = tables.wrap([str(v) for v in values])
            lines.append(f"static const LNP_FLASH int16_t decision_{key}[{len(values)}] = {{\n{body}\n}};")
    if decision.levels:
        body = tables.wrap([f"{{{margin}u, {percent}}}" for margin, percent in decision.levels])
        lines.append(f"static const LNP_FLASH lnp_level_t decision_level[{len(decision.levels)}] = {{\n{body}\n}};")
    defines = [f"#define LNP_{key} {value}" for key, value in constants.items()]
    return "\n".join([*lines, *defines, "", '#include "lnp_push.h"', ""])
