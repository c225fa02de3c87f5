"""The report of lnp verify: all that was compared and found, as JSON and as a page for people."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import refuse_unwritable, write_whole
from lnp_edge.base.version import VERSION
from lnp_edge.experiments.evidence.report import Table, page
from lnp_edge.runtime.coverage import Coverage
from lnp_edge.runtime.selftest import SelfTest
from lnp_edge.spec import protocol
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages.proof import Proof

ENDINGS = (".json", ".html")
ELSEWHERE = "make room, or choose another --report"


def refuse(path: Path) -> None:
    """Raise ConfigError for what cannot be a report, before anything runs."""
    if path.suffix not in ENDINGS:
        raise ConfigError(f"--report is {str(path)[:60]!r}", f"end it with {' or '.join(ENDINGS)}: both are written")
    for each in paths(path):
        refuse_unwritable(each, ELSEWHERE)


def paths(path: Path) -> tuple[Path, Path]:
    """Of the two files of a report."""
    data, html = (path.with_suffix(ending) for ending in ENDINGS)
    return data, html


def facts(model: QuantizedModel, path: Path, found: Proof, args) -> dict:
    """What was compared with what: fingerprints, board, inputs."""
    told = found.told
    return {
        "model": {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "fingerprint": f"{model.fingerprint:08x}",
            "populations": [f"{p.name} ({p.n} {p.neuron})" for p in model.populations],
            "synapses": model.synapses,
        },
        "firmware": found.firmware or {"sources": "", "image": "", "toolchain": "", "compiler": "as flashed"},
        "board": {"name": told.board, "clock_hz": told.clock_hz, "port": args.port or "", "started_by": told.cause},
        "link": {"messages": f"{protocol.wire_crc():08x}", "max_payload": told.max_payload},
        "inputs": {"steps": args.steps, "seed": args.seed, "faults": args.faults, "exhaustive": args.exhaustive},
        "host": {
            "lnp_edge": VERSION,
            "python": platform.python_version(),
            "machine": f"{sys.platform} {platform.machine()}",
        },
    }


def write(path: Path, of: dict, found: Proof) -> tuple[Path, Path]:
    """Write both files; returns their paths."""
    refuse(path)
    data, html = paths(path)
    write_whole(data, (json.dumps({"of": of} | found.as_dict(), indent=1) + "\n").encode(), ELSEWHERE)
    write_whole(html, _page(of, found), ELSEWHERE)
    return data, html


def _page(of: dict, found: Proof) -> bytes:
    board = of["board"]["name"]
    title = f"{of['model']['file']} on {board}: {'verified' if found.ok else 'NOT verified'}"
    named = (
        ("synthetic inputs", found.verdict),
        ("real windows", found.windows),
        ("generated inputs", found.generated),
    )
    intro = [f"{name}, {line}" for name, part in named if part for line in part.lines()]
    intro += [line for part in (found.selftest, found.decisions) if part for line in part.lines()]
    if found.coverage:
        intro += found.coverage.lines()
    sections: list = []
    if not found.ok:
        sections.append(("Likely cause", [found.cause]))
    sections.append(("Compared", [_compared(found)]))
    if found.selftest:
        sections.append(("Self-test", [_checks(found.selftest)]))
    if found.coverage:
        sections.append(("Coverage", _coverage(found.coverage, found.cannot)))
    sections.append(("What it was", [_facts(of)]))
    rows = [[kind, f"{n:,}"] for count in found.link.values() for kind, n in count.items()]
    sections.append(("The line", [Table("Requests and what became of them", ["", "number"], rows, {})]))
    return page(title, intro, sections)


def _compared(found: Proof) -> Table:
    rows, marks = list[list[str]](), dict[tuple[int, int], str]()
    for name, part in (("synthetic", found.verdict), ("real windows", found.windows), ("generated", found.generated)):
        if part:
            marks[len(rows), 5] = "better" if part.ok else "worse"
            cycles = f"{part.cycles_per_step:,.0f}" if part.cycles_per_step else ""
            rows.append([
                name, f"{part.steps:,}", f"{part.state_words:,}", f"{part.longest:,}", cycles,
                "0" if part.ok else "; ".join(part.lines()[:-1]),
            ])  # fmt: skip
    if found.decisions:
        decided = found.decisions
        marks[len(rows), 5] = "better" if decided.ok else "worse"
        said = decided.left_out or str(decided.differ)
        rows.append([f"decisions of the app: {decided.compared}", "", "", "", "", said])
    columns = ["inputs", "steps", "state words", "steps without a reset", "cycles a step", "differences"]
    return Table(
        f"Of {found.verdict.tables} tables {len(found.verdict.table_differences)} differ", columns, rows, marks
    )


def _checks(tested: SelfTest) -> Table:
    rows, marks = list[list[str]](), dict[tuple[int, int], str]()
    for check in tested.checks:
        marks[len(rows), 2] = "worse" if check.wrong else "better"
        rows.append([check.name, str(check.cases), check.wrong or check.left_out or "0 differences"])
    return Table("What no run of steps executes", ["check", "cases", "result"], rows, marks)


def _coverage(coverage: Coverage, cannot: tuple[str, ...]) -> list[Table | str]:
    rows, marks = list[list[str]](), dict[tuple[int, int], str]()
    for what, parts in (
        ("neurons that fired", coverage.neurons), ("synapses that carried something", coverage.synapses),
        ("used of all tables", (coverage.entries,)), ("used of all inputs' encoders", (coverage.values,)),
    ):  # fmt: skip
        for part in parts:
            marks[len(rows), 4] = "better" if part.used == part.all else "worse"
            share = f"{100 * part.used / part.all:.1f} %" if part.all else ""
            rows.append([part.name, what, f"{part.used:,}", f"{part.all:,}", share])
    table = Table(f"On {coverage.steps:,} steps", ["of", "", "number", "of all", "share"], rows, marks)
    share = f"{100 * coverage.largest:.2g} %"
    largest = f"The largest magnitude of a state variable is {share} of what is proved, at {coverage.where}."
    more = [f"Their largest drive, held, does not make them fire: {', '.join(cannot)}."] if cannot else []
    return [table, largest, *coverage.missing(), *more]


def _facts(of: dict) -> Table:
    rows = list[list[str]]()
    for group, values in of.items():
        for name, value in values.items():
            text = ", ".join(value) if isinstance(value, list) else f"{value:,}" if type(value) is int else str(value)
            rows.append([group, name.replace("_", " "), text])
    return Table("Fingerprints are SHA-256, of the model also that of SEMANTICS.md section 8", ["", "", ""], rows, {})
