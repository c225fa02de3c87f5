"""Train a network with surrogate gradients; its synapses stay where they are.

Given CONFIG.toml or TASK, draws the network, prunes it as [prune] says and
trains it. A method that prunes a trained network, such as "activity", trains
it before the pruning too. A file written by lnp prune is trained as it is.
[train] epochs is the number of epochs. With patience = K it is the maximum:
training ends soon after its loss has stopped falling within K epochs. lnp says
so if a training plainly has not converged.

To continue a stopped training, run the same command again."""

import argparse
import json
import shlex
from pathlib import Path

from lnp_edge import config
from lnp_edge.base.console import bars, note, say
from lnp_edge.base.errors import LnpError
from lnp_edge.base.files import beside, discard, refuse_unwritable
from lnp_edge.commands import _after, _another, _given
from lnp_edge.commands._pruned import PRUNING, pruned
from lnp_edge.config import Config, DataSettings, NetworkSettings, names, neurons
from lnp_edge.experiments import predict
from lnp_edge.experiments.trial import dense
from lnp_edge.network import Network
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.spec import frontend, plugins
from lnp_edge.stages import pipeline
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import Split, data_for, load_data, split

OUTPUT = Path("trained.safetensors")


def _line(key: str, value: str, known: list[str]) -> str:
    """A line of the example, with the other names that the key may have."""
    return f'{key} = "{value}"'.ljust(20) + f"# or {', '.join(name for name in known if name != value)}"


HELP = "train a network (given a TOML file, draws and prunes it first)"
EXAMPLE = f"""  lnp train demo.toml -o trained.safetensors

  # demo.toml: every key has a default
  seed = 1
  [data]
  name = "spar"
  window = 4.0        # s
  {_line("front", DataSettings.front, plugins.names(frontend.PACKAGE))}: features of each frame
  frame = 4           # samples that one step takes
  [network]
  {_line("neuron", NetworkSettings.neuron, neurons(spiking=True))}
  neurons = 244
  {_line("readout", NetworkSettings.readout, neurons(spiking=False))}
  [prune]
  method = "lnp"
  keep = 0.1
  [train]
  epochs = 60
  # docs/network.md explains them; config.py lists every key with its range"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="CONFIG.toml|TASK|NETWORK.safetensors", help="lnp reproduce --help lists the tasks"
    )
    parser.add_argument("-o", "--output", type=_given.path, default=OUTPUT, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print measures and learning curve as JSON")


def run(args: argparse.Namespace) -> int:
    refuse_unwritable(args.output)
    _refuse_another(args.source, args.output)
    pipeline.require_torch()  # fail before the pruning, not after it
    before, checkpoint = beside(args.output, "before"), beside(args.output, "checkpoint")
    file = _start(args.source, args.output, before)
    data = data_for(file.config, file.network)
    trained, curve = _train("train", file.config, data, file.network, checkpoint)
    predicted = predict.of_network(file.config, data, trained)
    warning = pipeline.warning(file.config, curve)
    history = {"train": curve, "float_measures": pipeline.measures(data, predicted), "warning": warning}
    network_file.save(NetworkFile(trained, file.config, file.history | history), args.output)
    discard(before, checkpoint, beside(args.output, PRUNING))
    found = _after.results(file.config, data, trained, predicted, _task(args.source, file.config), curve)
    found["warning"] = warning
    if args.json:
        print(json.dumps(found | {"train": curve}))
    else:
        _after.show(data, found)
        if found["warning"]:
            say(f"not converged: {found['warning']}")
    model = args.output.with_suffix(".onnx") if args.output.name != OUTPUT.name else args.output.parent / "model.onnx"
    note(f"written: {args.output}    next: {shlex.join(['lnp', 'quantize', str(args.output), '-o', str(model)])}")
    return 0


def _refuse_another(source: str, output: Path) -> None:
    """Raise ConfigError if the output holds the network of another task."""
    if not output.exists():
        return
    try:
        there = network_file.load(output).config
    except LnpError:  # no network, or a damaged one
        return
    this = network_file.load(Path(source)).config if network_file.is_one(source) else config.named(source)
    _another.refuse(output, json.loads(there.to_json()), this)


def _task(source: str, settings: Config) -> str:
    """How other commands name the task of a source; a network file knows its data set alone."""
    if not network_file.is_one(source):
        return source
    name = settings.data.name
    return f"{name}.toml" if settings.data.own or name not in names() else name


def _start(source: str, output: Path, before: Path) -> NetworkFile:
    """The network to train. before : checkpoint of the training before the pruning, if any"""
    if network_file.is_one(source):
        return network_file.load(Path(source))
    settings = configuration(source, note)
    data = split(settings, load_data(settings))
    network = pipeline.new_network(settings, data)
    if pipeline.after_training(settings):
        network, _ = _train("train before pruning", dense(settings), data, network, before)
    return NetworkFile(pruned(settings, data, network, output), settings, {})


def _train(what: str, settings: Config, data: Split, network: Network, checkpoint: Path) -> tuple[Network, list]:
    with bars() as progress:
        task = progress.add_task(what, total=pipeline.train_settings(settings).epochs, info="")

        def show(done: int, total: int, now: dict) -> None:
            progress.update(
                task, completed=done, total=total, info=" ".join(f"{name} {value:.3f}" for name, value in now.items())
            )

        return pipeline.train(settings, data, network, show, checkpoint)
