"""What counts where a C file is compiled once."""

import pytest
from compiled import included, meant


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
