"""Independent work in as many processes as there are cores, with reports on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from threading import Thread
from typing import Any

Report = Callable[..., None]


def run_all(work: Callable[[Any, Report], Any], items: list, report: Report, finished: Callable[[Any], None]) -> None:
    """work(item, report) for every item; `finished` gets what each returns as it ends, in any order.

    work and items go to other processes by pickle. `report` is called from a thread of its own, so that bars move
    while `finished` is at work.
    """
    workers = max(1, min(len(items), os.cpu_count() or 1))
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()

    def listen() -> None:
        for args in iter(queue.get, None):
            report(*args)

    listener = Thread(target=listen, daemon=True)
    listener.start()
    # Ctrl-C reaches every process of a terminal: the workers, which inherit this, leave it to their parent.
    asked = signal.signal(signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, context, initializer=_set_queue, initargs=(queue,))
    try:
        futures = [pool.submit(_reporting, work, item) for item in items]
        signal.signal(signal.SIGINT, asked)
        for future in as_completed(futures):
            finished(future.result())
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        queue.put(None)
        listener.join()
        signal.signal(signal.SIGINT, asked)


_queue: Any = None  # of a worker process


def _set_queue(queue: Any) -> None:
    global _queue
    _queue = queue
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its workers, and nobody waits for what they would find."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _reporting(work: Callable[[Any, Report], Any], item: Any) -> Any:
    return work(item, lambda *args: _queue.put(args))
