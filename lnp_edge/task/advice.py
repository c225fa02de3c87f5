"""What a user should do next, in words, from the scores of a network and of the baselines beside it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np

from lnp_edge.task.split import Split

FEW_GROUPS = 5
GAP = 0.1  # of a score between training and test: people differ, or the network has learnt by heart
FITS = 0.95  # on the training part, from which more training or neurons are not what is lacking
WORTH = 0.02  # a smaller difference decides nothing


@dataclass(frozen=True)
class Scores:
    """The main metric of the network on the test and the training part, and of each baseline on the test."""

    network: float
    training: float
    baselines: dict[str, float]
    interval: tuple[float, float] | None = None  # 95 %, of the network
    changed: tuple[float, float] | None = None  # accuracy on the training part as [augment] changes it, and as it is
    lower: bool = False  # whether less is better, as of an error

    @property
    def best(self) -> str:
        """The best baseline; "" if there is none."""
        return min(self.baselines, key=lambda name: self.size(self.baselines[name]), default="")

    def size(self, score: float) -> float:
        return score if self.lower else -score

    def better(self, a: float, b: float) -> bool:
        return self.size(a) < self.size(b)


def advice(data: Split, scores: Scores, task: str, rivals: dict[str, tuple[str, str]]) -> list[str]:
    """Sentences on how the network compares, why, and what to try.

    task : the name or the file of its configuration;  rivals : what builds a baseline, see stages.rival.of_baselines
    """
    found, best, task = list[str](), scores.best, shlex.quote(task)
    if best:
        other = scores.baselines[best]
        apart = abs(other - scores.network)
        inside = scores.interval and scores.interval[0] <= other <= scores.interval[1]
        if apart < WORTH or (inside and not scores.better(other, scores.network)):
            found.append(f"The network and {best} are level: {scores.network:.3f} and {other:.3f}.")
            if name := _able(best, rivals):
                found.append(
                    f"The simple one is often far cheaper: lnp baseline {task} --rivals {name} counts its cost."
                )
        elif scores.better(scores.network, other):
            tried = f" Tried: {', '.join(scores.baselines)}." if len(scores.baselines) > 1 else ""
            found.append(f"The network is better than {best}: {scores.network:.3f} and {other:.3f}.{tried}")
        else:
            found.append(f"{best} is better than the network: {other:.3f} and {scores.network:.3f}.")
            found += [*_remedies(data, scores), *_instead(scores, task, rivals)]
    gap = (scores.training - scores.network) * (-1 if scores.lower else 1)
    if gap > GAP and not (scores.interval and scores.interval[0] <= scores.training <= scores.interval[1]):
        found.append(
            f"The training part scores {scores.training:.3f}, the test {scores.network:.3f}: the network knows its "
            f"training {data.train.group_name} by heart. Record more of them, or try [train] dropout = 0.3, fewer "
            "neurons, or a stronger [augment]."
        )
    if scores.changed and scores.changed[0] - scores.changed[1] > GAP:
        found.append(
            f"In training the accuracy was {scores.changed[0]:.3f}, on the same recordings unchanged it is "
            f"{scores.changed[1]:.3f}: [augment] hides what tells the classes apart. Try [augment] speed = 0."
        )
    groups = len(set(data.test.groups.tolist()))
    if groups < FEW_GROUPS and not data.test.series and data.test.group_name != "part":
        every = groups + len(set(data.train.groups.tolist()))
        found.append(
            f"The test has {groups} of {every} {data.test.group_name}, too few for a sure figure: "
            f"lnp reproduce {task} --rows lnp --folds {min(5, every)} holds out each in turn."
        )
    return found


def _remedies(data: Split, scores: Scores) -> list[str]:
    """What to try if a baseline is better."""
    found = []
    if data.test.series:
        if scores.best == "persistence":
            return ["The past may not tell more than the present does: try another [data] ahead, or more channels."]
        found.append("Try a longer [data] window, more channels, or [train] epochs.")
        if data.task.front.kind != "slope" and not data.test.series.free_run:
            found.append('Or a linear path beside the spikes: [network] skip = true and [data] front = "slope".')
    else:
        plain, bands = (scores.baselines.get(f"ridge on statistics{more}", np.nan) for more in ("", " and bands"))
        if bands - plain > WORTH and not data.task.front.spectral:
            found.append('Frequencies tell the classes apart: try [data] front = "logdiff" with frame = 8.')
        elif scores.training < FITS and not scores.better(scores.training, scores.baselines[scores.best]):
            longer = "[stream] batches" if data.streaming else "[train] epochs"
            found.append(f"The network does not fit its own training part: try more {longer} or [network] neurons.")
    return found


def _able(baseline: str, rivals: dict[str, tuple[str, str]]) -> str:
    """The rival that builds a baseline of this task; "" if none can."""
    name, why = rivals.get(baseline, ("", ""))
    return "" if why else name


def _instead(scores: Scores, task: str, rivals: dict[str, tuple[str, str]]) -> list[str]:
    """How to take a baseline that is better: the best that can be built."""
    found, best = [], scores.best
    if best in rivals and not _able(best, rivals):
        found.append(f"lnp baseline cannot build {best}: {rivals[best][1]}.")
    better = {name: score for name, score in scores.baselines.items() if scores.better(score, scores.network)}
    if able := [name for name in sorted(better, key=lambda name: scores.size(better[name])) if _able(name, rivals)]:
        command = f"lnp baseline {task} --rivals {rivals[able[0]][0]}"
        found.append(f"Or take {able[0]}, which needs no network: {command} writes its C.")
    return found
