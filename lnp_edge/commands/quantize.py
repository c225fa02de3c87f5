"""Turn a trained network into model.onnx: weights of 2 to 8 or 16 bits, 16-bit
decays, and a proof that nothing overflows.

With --epochs, first continues training with the device's integers; to continue
a stopped training, run the same command again. With --decide, also fits the
rule of decisions (docs/streams.md). A report compares integers and
floats for each layer. If a layer went silent, writes nothing and exits with 1.

Beside it, model.onnx.windows takes up to 64 windows of the training data, on
which lnp verify proves the device too and counts what a step costs. The model
works without this file. It holds recordings: do not give it to anybody who
must not see them.
"""

import argparse
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import rich.progress
from numpy.typing import NDArray
from rich.text import Text

from lnp_edge.base.console import bars, note, out, print_table, say
from lnp_edge.base.errors import ConfigError, LnpError, WentSilent
from lnp_edge.base.files import beside, discard, refuse_unwritable
from lnp_edge.base.progress import EpochProgress
from lnp_edge.commands import _another, _given
from lnp_edge.config import BITS, Config, QuantizeSettings
from lnp_edge.experiments import predict
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.network import Network
from lnp_edge.network import file as network_file
from lnp_edge.quantization import report as quantize_report
from lnp_edge.spec.layout import state_bytes, table_bytes
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import decide, pipeline
from lnp_edge.task import metrics
from lnp_edge.task.split import Split, data_for
from lnp_edge.training.kernels.derive import trains_in_integers

HELP = "turn a trained network into an integer model, model.onnx"
EXAMPLE = """  lnp quantize trained.safetensors -o model.onnx
  lnp quantize trained.safetensors --bits 4 --epochs 20 -o model.onnx"""

FOLDED = [f"{what}{k}" for what in ("pruning", "fold") for k in range(decide.FOLDS)]  # checkpoints


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", type=_given.path, metavar="NETWORK.safetensors", help="written by lnp train")
    parser.add_argument(
        "-o", "--output", type=_given.path, default=Path("model.onnx"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--bits", type=int, help="bits per weight, 2 to 8 or 16 (default: [quantize] of the network)")
    parser.add_argument(
        "--epochs", type=int, help="epochs of training in integers; 0 only rounds (default: [quantize] of the network)"
    )
    parser.add_argument(
        "--decide", action="store_const", const=True,
        help="fit the rule of decisions on training groups: trains three more networks (default: [quantize] decide)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    for written in (args.output, windows_file.path_of(args.output)):
        refuse_unwritable(written)
    wanted = {name: value for name in ("bits", "epochs", "decide") if (value := getattr(args, name)) is not None}
    file = network_file.load(args.network)
    config = replace(file.config, quantize=_checked(replace(file.config.quantize, **wanted)))
    _refuse_another(args.output, config)
    data = data_for(config, file.network)
    if config.quantize.decide:
        decide.parts(data.train)  # refuses before the training what it would refuse after it
    checkpoint = beside(args.output, "checkpoint")
    model, changes, predicted = _quantized(config, data, file.network, args.output, checkpoint)
    some = quantize_report.some(data.test_windows.counts, model.n)
    layers = quantize_report.compare(file.network, model, data.task, config.quantize.bits, some)
    report = _report(config, data, model, changes, predicted) | {
        "float_measures": file.history.get("float_measures"),
        "layers": layers,
        "proposals": _proposals(config, file.network, layers),
    }
    if not (silenced := quantize_report.silenced(layers)):  # before the report: whoever reads that may stop reading
        windows_file.save_both(model, pipeline.sample(data), args.output)
        discard(checkpoint, *(beside(args.output, name) for name in FOLDED))
    if args.json:
        print(json.dumps(report))
    else:
        _show(report, config, data, model, len(some))
    if silenced:
        discard(checkpoint)  # nothing continues from it
        floats, integers = layers["neurons"]["populations"][silenced[0]]["spikes_a_step"]
        who = quantize_report.shown_name(layers, silenced[0])
        raise WentSilent(
            f"{who} went silent: {integers:.2g} spikes per neuron and step, {floats:.2g} in floats",
            "nothing was written; the report says what to try",
        )
    beside_it = windows_file.path_of(args.output)
    verify = f"lnp verify {shlex.quote(str(args.output))} --board cortex-m4"
    note(f"written: {args.output} and {beside_it}    next: {verify}")
    return 0


def _refuse_another(output: Path, this: Config) -> None:
    """Raise ConfigError if the output holds the model of another task."""
    if not output.exists():
        return
    try:
        there = onnx_file.load(output).provenance.get("config")
    except LnpError:  # no model, or a damaged one
        return
    if isinstance(there, dict):
        _another.refuse(output, there, this)


def _quantized(
    config: Config, data: Split, network: Network, output: Path, checkpoint: Path
) -> tuple[QuantizedModel, float, NDArray]:
    """The model, decide.Fitted.changes or 0, and what the model says of the test windows."""
    epochs, changes = config.quantize.epochs, 0.0
    with bars() as progress:
        if epochs:
            training = progress.add_task("train in integers", total=epochs, info="")

        def show(done: int, total: int, now: dict) -> None:
            progress.update(training, completed=done, info=f"loss {now['loss']:.3f}")

        model, _ = pipeline.quantize(config, data, network, show, checkpoint)
        if config.quantize.decide:
            model, changes = _decides(config, data, network, model, output, progress)
        task = progress.add_task("check on held-out windows", total=len(data.test_windows), info="")
        predicted = predict.of_model(data, model, lambda: progress.update(task, advance=1))
        progress.update(task, completed=len(data.test_windows))
    return model, changes, predicted


def _proposals(config: Config, network: Network, layers: dict[str, Any]) -> list[str]:
    """What may bring the integers nearer to the floats, in sentences."""
    wanted, kinds = config.quantize, [p.neuron for p in network.populations]
    trains = trains_in_integers(kinds, network.w_skip is not None, network.readout, wanted.bits)
    return quantize_report.proposals(layers, wanted.bits, wanted.epochs, trains)


def _report(config: Config, data: Split, model: QuantizedModel, changes: float, predicted: NDArray) -> dict[str, Any]:
    """What --json prints of the model."""
    v_th = np.concatenate([p.params["v_th"] for p in model.populations[:-1]])
    return {
        "fingerprint": f"{model.fingerprint:08x}",
        "bits": config.quantize.bits,
        "epochs": config.quantize.epochs,
        "neurons": model.n,
        "synapses": {p.name: p.w.nnz for p in model.projections},
        "shifts": {p.name: p.shift for p in model.projections},
        "v_th": [int(v_th.min()), int(v_th.max())],
        "largest_state_bits": float(np.log2(max(max(model.bounds(p)) for p in model.populations[:-1]))),
        "table_bytes": table_bytes(model),
        "state_bytes": state_bytes(model),
        "decision": asdict(model.decision),
        "rule_warning": decide.warning(changes, config.stream),
        "measures": pipeline.measures(data, predicted),
    }


def _show(report: dict[str, Any], config: Config, data: Split, model: QuantizedModel, some: int) -> None:
    """Print what counts, and below it the layers. some : windows of the test whose layers were compared"""
    metric, layers, floats = data.test.metric, report["layers"], report["float_measures"]
    before = f", {floats[metric]:.3f} in floats" if floats else ""
    what = f"{metrics.title(metric)} on held-out data: {report['measures'][metric]:.3f} in integers{before}"
    out.print(Text(what, style="bold"), soft_wrap=True)
    warning, bits = report["rule_warning"], report["largest_state_bits"]
    tables, state = report["table_bytes"], report["state_bytes"]
    for sentence in [
        _of_neurons(config, model),
        f"{tables:,} B of tables in flash, {state:,} B of state in RAM. No sum overflows, whatever "
        f"the input: the largest may reach {bits:.1f} bits, and 31 are there.",
        _of_rule(model),
        f"The rule of decisions: {warning}." if warning else "",
        *report["proposals"],
    ]:
        if sentence:
            say(sentence)
    title = f"Floats and integers on {some} of {len(data.test_windows)} held-out windows"
    print_table(title, ["layer", "", "floats", "integers"], quantize_report.rows(layers))


def _of_neurons(config: Config, model: QuantizedModel) -> str:
    drawn = sum(layer.neurons for layer in config.network.layers)
    gone = f" ({drawn} were drawn, pruning removed {drawn - model.n})" if drawn > model.n else ""
    bits = f"weights of {config.quantize.bits} bits"
    return f"Model {model.fingerprint:08x}: {model.n} neurons{gone}, {model.synapses:,} synapses, {bits}."


def _of_rule(model: QuantizedModel) -> str:
    """The rule of decisions in words; "" where the largest read-out decides."""
    rule, said = model.decision, list[str]()
    if rule.lead:
        said.append(f"another class must lead by {rule.lead:,}")
    if rule.least:
        said.append(f"a margin below {rule.least:,} is unknown")
    if rule.ranged(model.window):
        said.append(f"more than {rule.outside} samples beyond the range of training are unknown")
    if rule.levels:
        said.append(f"the confidence is {rule.levels[0][1]} to {rule.levels[-1][1]} %")
    return f"Decisions: {'; '.join(said)}." if said else ""


def _decides(
    config: Config, data: Split, network: Network, model: QuantizedModel, output: Path, progress: rich.progress.Progress
) -> tuple[QuantizedModel, float]:
    """The model with a fitted rule of decisions, and decide.Fitted.changes.

    A stopped fit continues from files beside the output.
    """
    count = len(decide.parts(data.train))

    def shown(fold: int) -> EpochProgress:
        task = progress.add_task(f"fold {fold + 1} of {count}", total=None, info="")

        def show(done: int, total: int, now: dict) -> None:
            progress.update(task, completed=done, total=total, info=f"loss {now['loss']:.3f}")

        return show

    found = decide.rule(config, data, network, model, shown, lambda name: beside(output, name))
    return replace(model, decision=found.rule).check(), found.changes


def _checked(settings: QuantizeSettings) -> QuantizeSettings:
    """The settings, checked against the ranges of a configuration file."""
    if settings.bits not in BITS:
        hint = f"choose --bits from {', '.join(map(str, BITS))}"
        raise ConfigError(f"a weight has {settings.bits} bits", hint)
    if not 0 <= settings.epochs <= 100_000:
        raise ConfigError(f"--epochs is {settings.epochs}", "choose a number from 0 to 100000")
    return settings
