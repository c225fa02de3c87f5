"""A user who stops what runs."""


class Stopped(Exception):
    pass


def stopping_at(point):
    """A progress that stops the work it watches at this epoch, or this share of it."""

    def progress(done, *rest):
        if done >= point:
            raise Stopped

    return progress
