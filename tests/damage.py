"""What a disk or a line does to a file."""


def cut(data, every):
    """The file cut off at every so many bytes."""
    return (data[:at] for at in range(0, len(data), every))


def flipped(data, every, start=0, stop=None):
    """The file with one bit flipped: of each byte from start to stop, or of one in so many, another bit."""
    for at in range(start, len(data) if stop is None else stop, every):
        yield data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
