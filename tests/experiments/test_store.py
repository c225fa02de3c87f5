"""Experiments: the same results from every executor, nothing run twice, nothing left running."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lnp_edge.base.console import bars
from lnp_edge.base.errors import ConfigError
from lnp_edge.experiments.executors import for_jobs, in_process, processes
from lnp_edge.experiments.store import Store, run


@dataclass(frozen=True)
class Draw:
    """Numbers drawn with a seed: the smallest experiment."""

    name: str
    seed: int

    @property
    def key(self):
        return f"draw-{self.seed}"

    def valid(self, found):
        return "numbers" in found


DRAWS = [Draw("first", 3), Draw("second", 1), Draw("third", 2)]


def draw(item, progress):
    progress(0.5, f"half of {item.name}")
    return {"numbers": np.random.default_rng(item.seed).random(4).tolist()}


def fail_at_2(item, progress):
    if item.seed == 2:
        raise ConfigError("seed is 2", "take another")
    return draw(item, progress)


def pid_then_sleep(item, progress):
    progress(os.getpid())
    if item:
        time.sleep(30)  # until it is ended
        print("nobody ended it", flush=True)
        os._exit(1)
    return item


def elsewhere(work, items, tell):
    """As a cluster: everything goes by pickle, the last ends first, and nobody is told of progress."""
    work, items = pickle.loads(pickle.dumps((work, list(items))))
    for item in reversed(items):
        yield pickle.loads(pickle.dumps(work(item, lambda *args: None)))


EXECUTORS = [in_process, processes, partial(processes, jobs=1), elsewhere]


@pytest.mark.parametrize("executor", EXECUTORS, ids=["in_process", "processes", "one process", "elsewhere"])
def test_every_executor_gives_the_same_results_in_the_order_of_the_items(tmp_path, executor):
    found = run(DRAWS, draw, Store(tmp_path), executor)
    assert found == [{"numbers": np.random.default_rng(seed).random(4).tolist()} for seed in (3, 1, 2)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["draw-1.json", "draw-2.json", "draw-3.json"]


def test_what_is_stored_is_not_run_again_and_equal_items_once(tmp_path, capsys):
    ran = []

    def work(item, progress):
        ran.append(item.seed)
        return draw(item, progress)

    first = run(DRAWS[:2], work, Store(tmp_path), in_process)
    again = run([*DRAWS, DRAWS[0]], work, Store(tmp_path), in_process, "draws")
    assert ran == [3, 1, 2] and again[:2] == first and again[3] == again[0]
    assert f"2 of 3 draws are already in {tmp_path}" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("executor", EXECUTORS[:2], ids=["in_process", "processes"])
def test_an_error_of_one_ends_all_and_what_was_finished_is_kept(tmp_path, executor):
    with pytest.raises(ConfigError, match="seed is 2\n  take another"):
        run(DRAWS[:2], draw, Store(tmp_path), executor)
        run(DRAWS, fail_at_2, Store(tmp_path), executor)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["draw-1.json", "draw-3.json"]


@pytest.mark.parametrize("executor", EXECUTORS[:2], ids=["in_process", "processes"])
def test_progress_comes_back_from_the_worker(tmp_path, executor):
    with bars() as shown:
        run(DRAWS, draw, Store(tmp_path), executor, "draws", shown)
        rows = {task.description: (task.completed, task.total, task.fields["info"]) for task in shown.tasks}
    assert rows["draws"] == (3, 3, "")
    assert {name: rows[name] for name in ("first", "third")} == {
        "first": (50, 100, "half of first"), "third": (50, 100, "half of third"),
    }  # fmt: skip


def running(pid):
    """Is this a process that has not ended? One that nobody waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_closing_ends_work_that_still_runs_and_gives_ctrl_c_back(capfd):
    told, before = [], signal.getsignal(signal.SIGINT)
    found = partial(processes, jobs=2)(pid_then_sleep, [0, 1], told.append)
    assert next(found) == 0
    found.close()
    assert told and not any(map(running, told)) and capfd.readouterr().out == ""
    assert signal.getsignal(signal.SIGINT) is before


PARENT = """
import signal
from functools import partial
from test_store import pid_then_sleep, processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have left it ignored
for _ in partial(processes, jobs=1)(pid_then_sleep, [1], lambda pid: print(pid, flush=True)): pass
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_workers_end_with_their_parent(end):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=pipe, stderr=pipe, text=True, env=environment)
    worker = int(parent.stdout.readline())
    parent.send_signal(end)
    assert parent.stdout.read() == ""  # it ends when every process that could write there has ended
    _, said = parent.communicate()
    assert not running(worker)
    assert parent.returncode == -end and (end == signal.SIGKILL or "KeyboardInterrupt" in said)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_number_of_jobs_is_from_one(text):
    with pytest.raises(ConfigError, match=f"--jobs is '{text}'"):
        for_jobs(text)


def test_one_job_starts_no_process():
    assert for_jobs("1") is in_process
    assert list(for_jobs("2")(pid_then_sleep, [0], lambda pid: None)) == [0]
