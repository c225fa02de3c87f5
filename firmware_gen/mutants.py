"""Small changes of C, one at a time: what a test of firmware must notice.

A change is of a token (a constant, a comparison, a sign, an operator, the width of a type) or of a statement (left
out, or swapped with the one after it). Comments, strings and what the preprocessor reads stay as they are, but for
the bodies of macros.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CODE = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)
SKIPPED = re.compile(r"\s*#\s*(?!define\s+\w+\()")  # a directive that is no macro with arguments
NUMBER = re.compile(r"(?<![\w.])(0[xX][0-9A-Fa-f]+|\d+)([uU]?)(?![\w.])")
TYPES = {"uint32_t": "uint8_t", "int32_t": "int16_t", "uint16_t": "uint8_t", "int16_t": "int8_t"}
WORDS = {"true": "false", "false": "true"} | TYPES
OPERATORS = {
    "<=": ("<",), ">=": (">",), "==": ("!=",), "!=": ("==",), "&&": ("||",), "||": ("&&",), "++": ("--",),
    "--": ("++",), "+=": ("-=",), "-=": ("+=",), "<<=": (">>=",), ">>=": ("<<=",), "&=": ("|=",), "|=": ("&=",),
    "^=": ("|=",), "<<": (">>",), ">>": ("<<",), "<": ("<=", ">"), ">": (">=", "<"), "+": ("-",), "-": ("+",),
    "*": ("+",), "/": ("*",), "%": ("/",), "&": ("|",), "|": ("&",), "^": ("|",), "!": ("",), "~": ("",),
}  # fmt: skip
TOKEN = re.compile(r"->|" + "|".join(sorted(map(re.escape, OPERATORS), key=len, reverse=True)) + r"|\b\w+\b")
STATEMENT = re.compile(r"\s*(?!return\b|else\b|case\b|typedef\b|extern\b|#)[A-Za-z_*(][^{}]*;\s*(\\?)\s*")
PROTOTYPE = re.compile(r"\s*(?:static |inline |const )*\w+ \**\w+\([^;]*\);")
ASSIGNED = re.compile(r"\s*(?:const )?(?:\w+ )?(\*?[\w.>\[\]-]+?)(?: [-+*/&|^<>]*= .*|\+\+|--);")
CALL = re.compile(r"\s*[\w()]+\(([^,()]*)[,)].*")
# What changes no result: hints to compilers, and what a compiler checks itself.
HINTS = re.compile(
    r"LNP_OPAQUE|LNP_IN_ORDER|__builtin_expect|LNP_NO_UNROLLING|LNP_ONCE|LNP_PHASE|LNP_APART|__attribute__|_Static_assert|_Alignas"
)
RETURNED = re.compile(r"\s*(?:LNP_ONCE |LNP_PHASE |LNP_APART |static |inline |const )*\w+ \**\w+\((?!\w+\)\()[^;]*$")
SIZED = re.compile(r"\s*(?:\w+ )+\w+\[[^\]]*\](?:;| = )")
DECLARED = re.compile(r"\s*(?:static |const |struct )*[A-Za-z_]\w*(?: const)? \**[A-Za-z_]\w*(?:\[[^=]*\])?(?: =.*|;)")


@dataclass(frozen=True)
class Mutant:
    """One change: in a line of a file, counted from 1, or in it and the next."""

    file: str
    line: int
    before: str
    after: str

    def of(self, text: str) -> str:
        """The file's text with the change."""
        lines = text.split("\n")
        count = self.before.count("\n") + 1
        assert "\n".join(lines[self.line - 1 : self.line - 1 + count]) == self.before
        lines[self.line - 1 : self.line - 1 + count] = self.after.split("\n")
        return "\n".join(lines)


def mutants(file: str, text: str) -> list[list[Mutant]]:
    """All mutants of a file, those of each line together."""
    lines, plain = text.split("\n"), _plain(text).split("\n")
    found = list[list[Mutant]]()
    for number, (line, code) in enumerate(zip(lines, plain, strict=True), 1):
        if SKIPPED.match(code) or HINTS.search(code):
            continue
        some = [Mutant(file, number, line, after) for after in _of_line(line, code)]
        if number < len(lines) and _order_matters(code, plain[number]):
            both = f"{line}\n{lines[number]}"
            some.append(Mutant(file, number, both, f"{lines[number]}\n{line}"))
        if some:
            found.append(some)
    return found


def drawn(files: dict[str, str], count: int, seed: int, tables: int = 20) -> list[Mutant]:
    """Mutants of these files, by name: seeded, each line as likely as any other, none twice.

    tables : lines of numbers alone that are taken of all files: they are most lines, and all alike
    """
    rng, code, data = np.random.default_rng(seed), list[list[Mutant]](), list[list[Mutant]]()
    for file, text in sorted(files.items()):
        for some in mutants(file, text):
            (data if re.fullmatch(r"[\s\d,{}u-]*", some[0].before.split("\n")[0]) else code).append(some)
    lines = code + [data[k] for k in rng.permutation(len(data))[:tables].tolist()]
    left = [[some[k] for k in rng.permutation(len(some)).tolist()] for some in lines]
    found = list[Mutant]()
    while len(found) < count and left:
        for k in rng.permutation(len(left)).tolist():
            found.append(left[k].pop())
        left = [some for some in left if some]
    return found[:count]


def _plain(text: str) -> str:
    """The text with blanks in place of comments, strings and characters."""
    return CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def _of_line(line: str, code: str) -> Iterator[str]:
    start = re.match(r"\s*#\s*define\s+\w+\([^)]*\)|", code)
    first, sized = start.end() if start else 0, bool(SIZED.match(code))
    if RETURNED.match(code):  # a narrower type of what a function returns holds what it returns
        first = max(first, code.index("("))
    parameters = ";" not in code and code.rstrip("\\ ").endswith((",", ")"))
    for token in TOKEN.finditer(code, first):
        word, (at, end) = token[0], token.span()
        # A parameter that is narrower is seldom a mistake, and seldom a difference: casts and variables are.
        if word in TYPES and parameters and not code[end:].startswith(")"):
            continue
        if number := NUMBER.fullmatch(word):
            value = int(number[1], 0)
            others = [str(value + by) + number[2] for by in ((-1,) if sized else (1, -1)) if value + by >= 0]
        elif word in WORDS:
            others = [WORDS[word]]
        else:
            others = list(OPERATORS.get(word, ()))
            if word in ("*", "&") and not _is_binary(code, at, end):
                others = []
        for other in others:
            yield line[:at] + other + line[end:]
    if _is_statement(code) and not DECLARED.fullmatch(code.rstrip("\\ ")):
        indent = re.match(r"\s*", line)
        yield (indent[0] if indent else "") + ";" + ("\\" if line.endswith("\\") else "")


def _is_binary(code: str, at: int, end: int) -> bool:
    """Whether an operator that may be a pointer's stands between two values. clang-format sets blanks around those."""
    before = code[:at].rstrip()
    return code[at - 1 : at] == " " and code[end : end + 1] == " " and bool(re.search(r"[\w)\]]$", before))


def _is_statement(code: str) -> bool:
    return bool(STATEMENT.fullmatch(code)) and code.count("(") == code.count(")") and not PROTOTYPE.match(code)


def _order_matters(first: str, second: str) -> bool:
    """Whether two statements may do something else in the other order: one assigns what the other names, or both call
    functions on one object, other than those that write a field."""
    if first == second or not (_is_statement(first) and _is_statement(second)):
        return False
    for one, other in ((first, second), (second, first)):
        if (found := ASSIGNED.match(one)) and re.search(rf"(?<![\w.>]){re.escape(found[1].lstrip('*'))}(?!\w)", other):
            return True
    calls = [CALL.match(code) for code in (first, second)]
    if not all(calls) or "_put_" in first or any(map(ASSIGNED.match, (first, second))):
        return False
    a, b = (call[1].strip() for call in calls if call)
    return bool(a and b) and (a.startswith(b) or b.startswith(a))
