"""What counts where a C file is compiled once."""

import pytest
from compiled import Compiled, included, meant


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("RATE 9", "RATE 8", False),
        ("BAUD 5", "BAUD 4", False),  # RATE2 names it
        ("BUILD 1", "BUILD 2", True),
        ("// of a board", "// of another", True),
        ("int f(void);", "long f(void);", False),
    ],
)
def test_a_constant_counts_where_another_line_names_it(tmp_path, before, after, same):
    header = "// of a board\n#define RATE 9\n#define BAUD 5\n#define RATE2 (2 * BAUD)\n#define BUILD 1\nint f(void);\n"
    (tmp_path / "main.c").write_text('#include "a.h"\nint x = RATE + RATE2;\n')
    said = []
    for text in (header, header.replace(before, after)):
        (tmp_path / "a.h").write_text(text)
        said.append(meant(included(tmp_path, "main.c")))
    assert (said[0] == said[1]) == same


def test_a_constant_whose_name_is_made_of_parts_counts(tmp_path):
    (tmp_path / "main.c").write_text('#include "a.h"\nint x = SIZE(char);\n')
    said = []
    for size in (1, 2):
        (tmp_path / "a.h").write_text(f"#define SIZE_char {size}\n#define SIZE(type) SIZE_##type\n")
        said.append(meant(included(tmp_path, "main.c")))
    assert said[0] != said[1]


# Copies what it reads, as a compiler to an object, as a linker to an image, says who it is, and counts its calls.
CC = """#!/bin/sh
echo >> calls
while [ $# -gt 0 ]; do
    case $1 in -o) out=$2; shift;; *.c|*.o|*.ld) read="$read $1";; esac
    shift
done
cat $read > $out
echo "$0 $AS" >> $out
[ "$AS" != broken ]
"""


def test_an_image_is_made_anew_where_anything_that_makes_it_differs(tmp_path):
    (tmp_path / "kept").mkdir()
    for name in ("cc", "other"):
        (tmp_path / name).write_text(CC)
        (tmp_path / name).chmod(0o755)
    run = Compiled(tmp_path / "kept")

    def made(cc="cc", main="int x;", script="RAM", **environment):
        (tmp_path / "main.c").write_text(main)
        (tmp_path / "lnp.ld").write_text(script)
        command = [str(tmp_path / cc), "-T", "lnp.ld", "-o", "image", "main.c"]
        done = run(command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True)
        return done.returncode or (tmp_path / "image").read_bytes()

    first = made()
    others = [made(cc="other"), made(main="int y;"), made(script="FLASH"), made(AS="user")]
    assert made(AS="broken") == 1 and len({first, *others}) == 5
    calls = (tmp_path / "calls").read_text()
    assert [made(), made(cc="other"), made(script="FLASH"), made(HOME="/")] == [first, others[0], others[2], first]
    assert (tmp_path / "calls").read_text() == calls, "what is known is not made again"
