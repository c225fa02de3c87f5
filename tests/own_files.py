"""Files of a user's own, and the data set that they become."""

from lnp_edge import config
from lnp_edge.recordings.load import load


def loaded(tmp_path, files, settings):
    """The data set and the report of files {place: text} in a folder with a TOML file."""
    for place, text in files.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "my.toml").write_text(f"[data]\n{settings}\n")
    return load(config.load(tmp_path / "my.toml").data)


def lines(header, rows):
    return header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def two_people(rows=40):
    return {f"{who}/{what}_1.csv": lines("t,a", [(0.1 * k, k % 7) for k in range(rows)])
            for who in ("anna", "bert", "carla") for what in ("run", "walk")}  # fmt: skip


PATH = 'path = "{person}/{what}_{n}.csv"\ntime = "t"\nlabel = "what"\ngroup = "person"'
