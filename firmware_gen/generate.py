"""Generate firmware from a model and a board: a folder of C that `make` builds without Python."""

from __future__ import annotations

import re
import textwrap
import zlib
from pathlib import Path
from string import Template

from lnp_edge.base.errors import BoardError, ConfigError, DoesNotFit
from lnp_edge.firmware_gen import commands, folder, link, network, startup, stream
from lnp_edge.firmware_gen.folder import write
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.firmware_gen.startup import stack_bytes
from lnp_edge.spec import layout
from lnp_edge.spec.board import AVR, Board
from lnp_edge.spec.model import QuantizedModel

AVR_TABLES = 32_767  # bytes: the largest object where a pointer has 16 bits
PLAIN = "net"  # a name that is free
WORD = re.compile(r"\b(?:lnp|LNP)_\w+")
OWN = re.compile(rf"(lnp|LNP)_{PLAIN}(?![a-z0-9])", re.I)

__all__ = ["generate", "stack_bytes", "write"]


def generate(
    model: QuantizedModel, board: Board, name: str = "net", app: bool = False, selftest: bool = True
) -> dict[str, str]:
    """Every file of the firmware, by its path. The same model and board always give the same bytes.

    app : a program around the network, for a user to change, in place of the server that lnp verify asks
    selftest : whether the server has the self-test of lnp verify, if the board has room for it

    Raises DoesNotFit if the tables or the state alone exceed the board's memory; the size of the
    code is known only after linking.
    """
    check_name(name)
    _check_fits(model, board, app)
    found = _files(model, board, name, app, selftest)
    if name != PLAIN and (word := _taken(model, board, name, app)):
        raise is_taken(name, word)
    return folder.program(name, board, found, _floats(model, app))


def _floats(model: QuantizedModel, app: bool) -> bool:
    """Whether a program may compute in floating point: the user's, with forecasts and physical values."""
    return app and bool(model.forecast or model.quantities or model.missing)


def check_name(name: str) -> None:
    """Raise ConfigError if a name gives a C identifier that is none, or that means something."""
    if not folder.NAME.fullmatch(name):
        raise ConfigError(f"{name[:40]!r} cannot name a model in C", "a-z first, then a-z, 0-9 and _, at most 24")
    if name in network.KEYWORDS:
        raise ConfigError(f"{name!r} cannot name a model in C: it means something there", "choose another --name")


def _files(model: QuantizedModel, board: Board, name: str, app: bool, selftest: bool = True) -> dict[str, str]:
    """The files but for the Makefile and the manifest."""
    files = network.files(model, name)
    if app:
        files["lnp_config.h"] = startup.config(board)
        files["main.c"] = _app(model, name)
    else:
        files |= link.files(model, board, name, selftest)
    files["README.md"] = _readme(model, board, name, app)
    files |= {p.name: p.read_text("utf-8") for p in sorted(CSRC.iterdir()) if _belongs(p, app)}
    of_board = startup.files(board, stack_bytes(model, board))
    for path in sorted(of_board.keys() & files):
        raise BoardError(f"{board.name}: {path} is a file of lnp", "rename the driver, and [uart] driver with it")
    files |= of_board
    if not app:
        text = "".join(f"{path}\0{text}\0" for path, text in sorted(files.items()) if path != "README.md")
        build = f"0x{zlib.crc32(text.encode()):08X}u"
        files["lnp_config.h"] = files["lnp_config.h"].replace(link.BUILD, link.BUILD.replace("0u", build))
    return files


def _taken(model: QuantizedModel, board: Board, name: str, app: bool) -> str:
    """A file or an identifier that a model of this name would have and that others have already; or ""."""
    return taken(_files(model, board, PLAIN, app), name)


def is_taken(name: str, word: str) -> ConfigError:
    return ConfigError(f"{name!r} cannot name a model in C: {word} is there already", "choose another --name")


def taken(files: dict[str, str], name: str) -> str:
    """A file or an identifier that files of a model PLAIN would have under another name and that is there; or ""."""
    words = {*files, *(word for text in files.values() for word in WORD.findall(text))}
    own = {word: OWN.sub(rf"\g<1>_{name}", word) for word in words if OWN.match(word)}
    upper = {word: new.upper() if word.isupper() else new for word, new in own.items()}
    return min(set(upper.values()) & (words - own.keys()), default="")


def _app(model: QuantizedModel, name: str) -> str:
    """The program around the network."""
    none = model.missing_counts
    return Template((CSRC / "app.c.in").read_text("utf-8")).substitute(
        name=name,
        NAME=name.upper(),
        channels=f"{len(model.channels)} integer{'s' * (len(model.channels) > 1)}",
        **_of_decisions(model, name),
        lost=f", and so is one with {' or '.join(map(str, none))}" if none else "",
        there="".join(f" && value != {v}" for v in none),
    )


def _of_decisions(model: QuantizedModel, name: str) -> dict[str, str]:
    """The parts of the program that differ between a class and a forecast."""
    up = name.upper()
    if model.forecast is None:
        code = Template((CSRC / "app_class.c.in").read_text("utf-8")).substitute(NAME=up)
        never = "" if _has_rule(model) else "// Percent and unknown are 0: lnp quantize --decide fits them.\n"
        return {
            "what": _what(model),
            "row": f"//     samples label margin percent unknown y0 ...\n{never}",
            "acts": "// Does something about a decision: sets a pin, sends a message.\n",
            "takes": "",
            "given": "",
            "decided": code,
        }
    known = model.forecast_quantities
    said = [f"{title} [{q.unit}]" if q.unit else title for title, q in zip(model.classes, known, strict=True)]
    cells = ['"' + one.replace('"', '""') + '"' if set(one) & set(',"') else one for one in said]
    columns = ",".join(["samples", *cells, *(f"y{o}" for o in range(model.n_out))])
    code = Template((CSRC / "app_forecast.c.in").read_text("utf-8")).substitute(
        name=name, NAME=up, columns=stream.text(columns + "\n"), decimals=", ".join(str(q.decimals) for q in known)
    )
    return {
        "what": _what(model),
        "row": (
            "//     samples,<what is forecast>,...,y0,...\n"
            "// A forecast is in the unit of its channel, in counts if that has none; y are the read-outs.\n"
        ),
        "acts": (
            "// Does something about a forecast: sets a pin, sends a message. sample is the one that it comes after;\n"
            f"// lnp_{name}_forecast makes a value of it and a read-out.\n"
        ),
        "takes": f"const int16_t sample[LNP_{up}_CHANNELS], ",
        "given": "sample, ",
        "decided": code,
    }


def _what(model: QuantizedModel) -> str:
    return "decision" if model.forecast is None else "forecast"


def _has_rule(model: QuantizedModel) -> bool:
    """Whether a decision can be unknown, or has a confidence."""
    return _may_be_unknown(model) or bool(model.decision.levels)


def _may_be_unknown(model: QuantizedModel) -> bool:
    return model.decision.least > 0 or model.decision.ranged(model.window)


def _belongs(file: Path, app: bool) -> bool:
    return file.suffix in (".c", ".h") and not (app and (file.stem in link.FILES or file.name == "main.c"))


def _check_fits(model: QuantizedModel, board: Board, app: bool) -> None:
    """Raise DoesNotFit for what surely does not; of the rest, the linker knows."""
    try_next = "prune more, train fewer neurons, or choose another --board (lnp boards lists them)"
    flash = layout.table_bytes(model)
    if flash > board.flash.size:
        raise DoesNotFit(f"needs {flash} B flash for its tables, {board.name} has {board.flash.size}", try_next)
    whole = layout.struct_bytes(model)
    if board.family == AVR and whole > AVR_TABLES:
        raise DoesNotFit(f"needs {whole} B for its tables, avr-gcc has no more than {AVR_TABLES} for all", try_next)
    networks, more, what = 1, link.ram_bytes(model, board), "state, link and stack"
    if app:
        networks, more, what = model.open_windows, 4 * model.n_in, "states and stack"
    ram = networks * layout.state_bytes(model) + more + stack_bytes(model, board)
    if ram > board.ram.size:
        raise DoesNotFit(f"needs {ram} B RAM or more for {what}, {board.name} has {board.ram.size}", try_next)


def _readme(model: QuantizedModel, board: Board, name: str, app: bool) -> str:
    own, *others = known = commands.names(board, _floats(model, app))
    files = network.files(model, name)
    copied = [*files, *(shared := network.shared(files))]
    copy = f"Copy {', '.join(f'`{path}`' for path in copied[:-1])} and `{copied[-1]}`."
    needs = "They need only a C11 compiler: no heap, no library, and floating point only where you use physical values."
    needs += " Compile them with -std=gnu11: with -std=c11 the tables are in RAM." * (board.family == AVR)
    first = f"`make` takes the first of {', '.join(known)} that is installed; each builds into a folder of its own."
    several = f"Several models in one program share the last {len(shared)}."
    return Template((CSRC / "README.md.in").read_text("utf-8")).substitute(
        name=name,
        NAME=name.upper(),
        board=board.name,
        fingerprint=f"{model.fingerprint:08x}",
        populations=", ".join(f"{p.name} ({p.n} {p.neuron})" for p in model.populations),
        channels=len(model.channels),
        synapses=model.synapses,
        table_bytes=layout.table_bytes(model),
        state_bytes=layout.state_bytes(model),
        elf=commands.output(name, "TOOLCHAIN" if others else own),
        driver=board.uart,
        copied=textwrap.fill(f"{copy} {needs} {several}", 100, break_on_hyphens=False),
        others="".join(f"make TOOLCHAIN={other}\n" for other in others),
        first=f"\n{first}\n" * bool(others),
        **(_of_app(model, board, name) if app else _of_server(model, board)),
        **example(model, name),
    )


def _of_server(model: QuantizedModel, board: Board) -> dict[str, str]:
    """The parts of the README about the program that lnp verify asks."""
    return {
        "more_ram": f"| link buffers, in RAM | {link.ram_bytes(model, board)} |\n",
        "does": "answers requests on the serial line.\n`lnp verify` compares it with the model, bit for bit.",
        "others_are": (
            "`lnp_link.*`, `lnp_serve.c`, `lnp_cobs.*`, `lnp_wire.h`\nand `lnp_config.h` are the serial link."
        ),
    }


def _of_app(model: QuantizedModel, board: Board, name: str) -> dict[str, str]:
    """The parts of the README about the program that a user changes."""
    count, what = model.open_windows, _what(model)
    command, more = commands.running(board, name, ".")
    run = (
        (f"Run it{f', {more}' if command and more else ''}:\n\n```\n{command}\n```") if command else f"Run it: {more}."
    )
    rows = (
        "As it stands it reads rows of text with a count for each channel; "
        '`numpy.savetxt("counts.csv", model.counts(recording, missing="hold"), "%d", ",")` writes some, with '
        '`model = lnp_edge.load("model.onnx")`.'
    )
    return {
        "more_ram": f"| all {count} network states, in RAM | {count * layout.state_bytes(model)} |\n" * (count > 1),
        "does": (
            f"takes samples and acts on {what}s.\n"
            f"Replace two functions in `main.c`: where a sample comes from, and what a {what} does.\n\n"
            f"{textwrap.fill(rows, 100)}\n\n{run}"
        ),
        "others_are": "`lnp_config.h` has the constants of the\nboard.",
    }


def _of_rule(model: QuantizedModel) -> str:
    """What else a decision says, in words."""
    margin = "`decision.margin` is by how much the read-out of the class is above all others."
    if not _has_rule(model):
        return (
            f"{margin} This model was quantised without a rule of decisions: no decision is unknown, and "
            "`decision.percent` is 0. `lnp quantize --decide` fits both."
        )
    levels = model.decision.levels
    if not levels:
        return f"{margin} `decision.percent` is 0: no confidence was fitted."
    low, high = levels[0][1], levels[-1][1]
    return (
        f"{margin} `decision.percent` is the confidence, from {low} to {high}: of decisions with such a margin, "
        "so many percent were right on data that no training saw; 0 where there were too few to tell."
    )


def example(model: QuantizedModel, name: str) -> dict[str, str]:
    """The parts of the README's example that differ between a class and a forecast, windows and a stream."""
    up = name.upper()
    sample = f"const int16_t sample[LNP_{up}_CHANNELS]"
    if model.decision.stream:
        when = (
            f"The first {_what(model)} comes after `LNP_{up}_WINDOW` samples, then one after every `LNP_{up}_HOP`. The "
            f"network is never reset, and takes a step every `LNP_{up}_FRAME` samples."
        )
        more = ""
    else:
        when = f"A window of `LNP_{up}_WINDOW` samples gives a {_what(model)}; one begins every `LNP_{up}_HOP` samples."
        more = (
            f"Each window starts from reset. Windows that overlap have a network each, `LNP_{up}_WINDOWS` in all, "
            "which step as samples arrive: no sample is buffered beyond a step. "
        )
    how = f"{more}After a gap in the samples, begin again with `lnp_{name}_stream_init`."
    words = {"when": textwrap.fill(when, 100), "how": textwrap.fill(how, 100)}
    *some, last = ["NaN", "infinite", "beyond 1e30", *(f"{value:.9g}" for value in model.missing)]
    gone = (
        f"A value is missing that is {', '.join(some)} or {last}: `LNP_{up}_IS_MISSING(value)` finds it before it "
        "becomes a count, which could not say so. Give the channel's last one in its place, as `lnp run` does, "
        "or begin again."
    )
    words["how"] += "\n\n" + textwrap.fill(gone, 100)
    if model.forecast is None:
        words["how"] += "\n\n" + textwrap.fill(_of_rule(model), 100)
        unknown = _may_be_unknown(model)
        returns = "-1 if it is unknown, -2 if none is due" if unknown else "-1 if none is due"
        return words | {
            "takes": (
                f"// Takes the next sample. Returns the class that is decided, {returns}.\n"
                f"int32_t classify({sample})\n{{"
            ),
            "none": "-2" if unknown else "-1",
            "answer": f"    return {'decision.unknown ? -1 : ' if unknown else ''}(int32_t)decision.label;",
        }
    later = f"{model.forecast.horizon} sample{'s' * (model.forecast.horizon > 1)} later"
    units = f"its unit, LNP_{up}_CHANNEL_UNITS" if model.quantities else "counts"
    return words | {
        "takes": (
            "// Takes the next sample. If a forecast is due, returns true and, for each read-out, what its channel is\n"
            f"// {later}, in {units}.\n"
            f"bool predict({sample}, double forecast[LNP_{up}_N_OUT])\n{{"
        ),
        "none": "false",
        "answer": (
            f"    for (uint32_t o = 0; o < LNP_{up}_N_OUT; o++) {{\n"
            f"        forecast[o] = lnp_{name}_forecast(sample, &decision, o);\n"
            "    }\n    return true;"
        ),
    }
