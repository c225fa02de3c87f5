"""Pruning with a progress bar; it continues where it was stopped."""

from pathlib import Path

from lnp_edge.base.console import bars
from lnp_edge.base.files import beside
from lnp_edge.config import Config
from lnp_edge.network import Network
from lnp_edge.stages import pipeline
from lnp_edge.task.split import Split

PRUNING = "pruning"  # name of the file beside the output; removed when that is written


def pruned(settings: Config, data: Split, dense: Network, output: Path) -> Network:
    """The pruned network; continues a stopped pruning. output : the file the command will write"""
    with bars() as progress:
        task = progress.add_task(f"prune by {settings.prune.method}", total=100, info="")

        def show(share: float, what: str) -> None:
            progress.update(task, completed=round(100 * share), info=what)

        return pipeline.prune(settings, data, dense, show, beside(output, PRUNING))
