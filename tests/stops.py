"""What stops work: a user, a bug in a worker, the system. Workers import this file, so it imports nothing large."""

import multiprocessing
import os
import time


class Stopped(Exception):
    pass


def stopping_at(point):
    """A progress that stops the work it watches at this epoch, or this share of it."""

    def progress(done, *rest):
        if done >= point:
            raise Stopped

    return progress


def crash(item, tell):
    raise RuntimeError(f"worker {item}")


def killed(item, tell):
    os.kill(os.getpid(), 9)


def begin_late():
    """A worker that begins its work only when its parent has been killed."""
    from lnp_edge.experiments import executors

    print("ready", flush=True)
    multiprocessing.parent_process().join()
    executors._begin(None, None)
    time.sleep(1000)
