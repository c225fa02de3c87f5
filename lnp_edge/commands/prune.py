"""Draw a random network and prune it before any training."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from lnp_edge import config, network_file, pipeline
from lnp_edge.console import bars, note, out, table
from lnp_edge.files import refuse_unwritable
from lnp_edge.network_file import NetworkFile

HELP = "draw a network and prune it, before training"
EXAMPLE = "  lnp prune demo.toml -o pruned.safetensors && lnp train pruned.safetensors -o trained.safetensors"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="TOML file, or a task's name; [prune] has the method and the share to keep")
    parser.add_argument("-o", "--output", type=Path, default=Path("pruned.safetensors"))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import pruning

    refuse_unwritable(args.output)
    settings = config.named(args.config)
    data = pipeline.split(settings, pipeline.load_data(settings))
    dense = pipeline.new_network(settings, data)
    with bars() as progress:
        task = progress.add_task(f"prune by {settings.prune.method}", total=100, info="")

        def show(share: float, what: str) -> None:
            progress.update(task, completed=round(100 * share), info=what)

        pruned = pipeline.prune(settings, data, dense, show)
    report = pruning.describe(dense, pruned)
    if args.json:
        print(json.dumps(asdict(report)))
    rows = [
        [name, f"{m.neurons}", f"{m.synapses}", f"{m.abscissa:.4f}", f"{m.radius:.4f}"]
        for name, m in (("dense", report.before), (settings.prune.method, report.after))
    ]
    if not args.json:
        out.print(table("", ["", "neurons", "synapses", "abscissa", "radius"], rows))
    history = {"prune": {"method": settings.prune.method, "synapses_before": report.before.synapses}}
    network_file.save(NetworkFile(pruned, settings, history), args.output)
    note(f"written: {args.output}    next: lnp train {args.output}")
    return 0
