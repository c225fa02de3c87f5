"""Executors run the work of experiments, in this process, in others or on a cluster.

An executor is a generator function

    executor(work, items, tell) -> yields work(item, tell) for each item, as each ends, in any order

Work, items and results are pickled to reach other processes or machines. The generator raises what
work raises. `tell` passes values from the worker to the observer; an executor may call it from a
thread or drop it. Closing the generator ends work that is still running. A cluster needs nothing
else, for example with Dask:

    def cluster(work, items, tell):
        with Client(address) as client:
            for future in as_completed(client.map(work, items, tell=silent)):
                yield future.result()
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from lnp_edge.base import stopping, system
from lnp_edge.base.errors import ConfigError

Tell = Callable[..., None]
Work = Callable[[Any, Tell], Any]
Executor = Callable[[Work, Sequence, Tell], Generator[Any, None, None]]


def in_process(work: Work, items: Sequence, tell: Tell) -> Generator[Any, None, None]:
    """Run the items one after the other, in this process."""
    for item in items:
        yield work(item, tell)


def processes(work: Work, items: Sequence, tell: Tell, jobs: int | None = None) -> Generator[Any, None, None]:
    """Run the items in `jobs` processes of this computer; None: one per processor."""
    context = multiprocessing.get_context("spawn")
    try:
        lock = context.Lock()
    except OSError as e:  # there is no /dev/shm
        raise ConfigError(f"cannot start other processes: {e.strerror}", "mount /dev/shm, or add --jobs 1") from None
    reader, writer = context.Pipe(duplex=False)

    def listen() -> None:
        while True:
            try:
                args = reader.recv()
            except (EOFError, OSError):  # all writers have ended, perhaps within a message
                return
            tell(*args)

    listener = Thread(target=listen, daemon=True)
    listener.start()
    workers = max(1, min(len(items), jobs or system.processors()))
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(writer, lock))
    try:
        with _blocked():
            futures = [pool.submit(_telling, work, item) for item in items]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise ConfigError(
            "a worker process was killed, perhaps for want of memory",
            "run the command again, which keeps what is finished, with fewer --jobs",
        ) from None
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        writer.close()
        listener.join()


@contextmanager
def _blocked() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: those that begin here are deaf to it, and this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def for_jobs(text: str) -> Executor:
    """The executor for the value of --jobs; 1 starts no other process."""
    if not text.isdecimal() or len(text) > 6 or int(text) < 1:
        raise ConfigError(f"--jobs is {text[:20]!r}", "give a number of processes, from 1")
    return in_process if int(text) == 1 else partial(processes, jobs=int(text))


_writer: Any = None  # connection of a worker process, and the lock that keeps messages whole


def _begin(writer: Connection, lock: Any) -> None:
    global _writer
    _writer = writer, lock
    stopping.end_with_parent()
    parent = multiprocessing.parent_process()
    if parent and not parent.is_alive():  # it was killed while this worker started
        os._exit(1)


def _telling(work: Work, item: Any) -> Any:
    writer, lock = _writer

    def tell(*args: Any) -> None:
        with lock:
            writer.send(args)

    return work(item, tell)
