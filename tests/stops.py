"""What stops work: a user, a bug in a worker, the system. Workers import this file, so it imports nothing large."""

import os


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
