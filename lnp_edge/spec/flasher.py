"""A flash tool: parses a file of boards/flashers and checks every value once.

A file is data: programs with lists of arguments, in which {words} stand for values that were checked. No shell
sees them, and no argument is ever split. What a file says:

    description   one line for lnp doctor
    install       the command that installs it, which lnp doctor --get runs: its second or third word is install; else
                  a sentence that says where to get it
    image         what it writes: bin, hex, uf2 or elf
    write         one or more commands, each a list: the program and its arguments
    read          optional: the command that reads the flash back, into the file {copy}
    identify      optional: the command that reads which chip is there, before anything is written
    identity      the text before the chip's number, in hexadecimal, in what that command prints
    version       the command that prints the tool's version
    verifies      whether the tool itself compares the flash with the image
    says          optional: a text that its output has if it succeeded
    says_not      optional: texts that its output has if it failed, whatever the exit code
    untouched     optional: texts that its output has if it failed before it wrote
    enter         optional: what makes the board enter its boot loader
    recover       what to do after it failed half-way; after `enter`, if there is that
    [parameters]  optional: those of a board's [tool.<name>], each with its kind and, if it need not be given, a
                  default; of an image of uf2 also family, a number, which its blocks name

{image} is the file, {origin} where the flash begins, {bytes} how many are written, {port} the serial port. Of a boot
loader {loader} is the port, where that is another than the program's, {drive} the folder that it is mounted at, {label}
its name. {register} is the address of the board's [identity], 8 hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnp_edge.base.errors import BoardError, ConfigError, told
from lnp_edge.base.files import listed, parse_toml, read_bounded
from lnp_edge.spec.board import MAX_BYTES, WORD, in_words

KINDS = {
    "word": WORD,
    "path": re.compile(r"/?[A-Za-z0-9][A-Za-z0-9_.-]{0,39}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,39}){0,9}"),
    "address": re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,60}:[0-9]{1,5}"),
}
NUMBER = "number"  # 0 to 2**32 - 1
FAMILY = "family"  # the parameter that an image of uf2 needs
IMAGES = ("bin", "hex", "uf2", "elf")
GIVEN = ("image", "origin", "bytes", "port", "loader", "drive", "copy", "register")
PLACE = re.compile(r"\{(\w+)\}")
Value = str | int


@dataclass(frozen=True)
class Parameter:
    kind: str
    default: Value | None = None

    def allows(self, value: object) -> bool:
        if self.kind == NUMBER:
            return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
        return isinstance(value, str) and bool(KINDS[self.kind].fullmatch(value))


@dataclass(frozen=True)
class Flasher:
    """The facts of one flash tool; the module says what each means."""

    name: str
    description: str
    install: str
    image: str
    write: tuple[tuple[str, ...], ...]
    version: tuple[str, ...]
    verifies: bool
    recover: str
    enter: str = ""
    read: tuple[str, ...] = ()
    identify: tuple[str, ...] = ()
    identity: str = ""
    says: str = ""
    says_not: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    parameters: dict[str, Parameter] = field(default_factory=dict)

    @property
    def again(self) -> str:
        """What to do after it failed half-way."""
        return f"{self.enter}, and {self.recover}" if self.enter else self.recover

    def asks(self, word: str) -> bool:
        """Whether a command has this word, such as port."""
        return any(f"{{{word}}}" in part for command in (*self.write, self.read, self.identify) for part in command)

    def check(self, values: Mapping[str, Value], place: str) -> None:
        """Raise BoardError, with the place, unless these are the parameters of a board for this tool."""
        for key, value in values.items():
            if key not in self.parameters:
                raise BoardError(
                    f"{place}: {self.name} has no parameter {key!r}", f"allowed: {', '.join(self.parameters) or 'none'}"
                )
            if not self.parameters[key].allows(value):
                raise BoardError(
                    f"{place}: {key} of {self.name} is {in_words(key, value)}",
                    f"allowed: a {self.parameters[key].kind}",
                )
        for key, parameter in self.parameters.items():
            if parameter.default is None and key not in values:
                raise BoardError(f"{place}: {self.name} needs {key}", f"write {key} = ... under [tool.{self.name}]")

    def chip(self, said: str, values: Mapping[str, Value]) -> int | None:
        """The number of the chip in what the command `identify` said."""
        (text,) = self.fill((self.identity,), values)
        found = re.search(rf"{re.escape(text)}[\s:]*(?:0x)?([0-9a-f]{{2,8}})\b", said, re.I)
        return int(found[1], 16) if found else None

    def fill(self, command: tuple[str, ...], values: Mapping[str, Value]) -> tuple[str, ...]:
        """A command with its values: as many arguments as it has parts."""
        known = self.whole(values)
        return tuple(PLACE.sub(lambda found: str(known[found[1]]), part) for part in command)

    def whole(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """These values, and the defaults of those that are missing."""
        return {k: p.default for k, p in self.parameters.items() if p.default is not None} | dict(values)


def load(path: Path) -> Flasher:
    """The tool of one file, named after it. Raises BoardError naming the key."""
    data = read_bounded(path, MAX_BYTES, BoardError, "boards/flashers/st-flash.toml is an example")
    try:
        return _Reader(path, parse_toml(data)).flasher()
    except (ValueError, RecursionError) as e:
        raise BoardError(f"{path}: {e}", "write it as TOML; boards/flashers/st-flash.toml is an example") from None


class _Reader:
    def __init__(self, path: Path, raw: dict[str, Any]):
        self.path, self.raw = path, raw

    def fail(self, key: str, allowed: str) -> BoardError:
        return BoardError(f"{self.path}: {key} is {told(self.raw.get(key))}", f"allowed: {allowed}")

    def flasher(self) -> Flasher:
        known = tuple(Flasher.__dataclass_fields__)[1:]
        for key in self.raw:
            if key not in known:
                raise BoardError(f"{self.path}: key is {told(key)}", f"allowed: {', '.join(known)}")
        if not WORD.fullmatch(self.path.stem):
            raise BoardError(f"{self.path}: the name of a tool is a word", "letters, digits and _ . -")
        parameters = self.parameters()
        words = {*GIVEN, *parameters}
        write = self.raw.get("write")
        if not (isinstance(write, list) and write):
            raise self.fail("write", "a list of commands, each a list of texts")
        if self.raw.get("image") not in IMAGES:
            raise self.fail("image", ", ".join(IMAGES))
        if self.raw["image"] == "uf2" and (FAMILY not in parameters or parameters[FAMILY].kind != NUMBER):
            raise BoardError(
                f"{self.path}: image is 'uf2' without a number {FAMILY}",
                f'write {FAMILY} = {{ kind = "{NUMBER}" }} under [parameters]',
            )
        if not isinstance(self.raw.get("verifies"), bool):
            raise self.fail("verifies", "true or false")
        return Flasher(
            name=self.path.stem,
            description=self.text("description"),
            install=self.text("install"),
            image=self.raw["image"],
            write=tuple(self.command("write", one, words - {"copy"}) for one in write),
            version=self.command("version", self.raw.get("version"), set()),
            verifies=self.raw["verifies"],
            recover=self.text("recover"),
            enter=self.text("enter") if "enter" in self.raw else "",
            read=self.command("read", self.raw["read"], words) if "read" in self.raw else (),
            identify=self.command("identify", self.raw["identify"], words - {"copy"}) if "identify" in self.raw else (),
            identity=self.known("identity", self.text("identity"), words - {"copy"}) if "identify" in self.raw else "",
            says=self.text("says") if "says" in self.raw else "",
            says_not=self.texts("says_not"),
            untouched=self.texts("untouched"),
            parameters=parameters,
        )

    def parameters(self) -> dict[str, Parameter]:
        found, kinds = dict[str, Parameter](), (*KINDS, NUMBER)
        raw = self.raw.get("parameters", {})
        for key, value in raw.items() if isinstance(raw, dict) else [("parameters", None)]:
            of = value if isinstance(value, dict) else {}
            if of.get("kind") in kinds and of.keys() <= {"kind", "default"} and re.fullmatch(r"[a-z]{1,20}", key):
                found[key] = Parameter(**of)
            if key not in found or key in GIVEN or ("default" in of and not found[key].allows(of["default"])):
                raise BoardError(
                    f"{self.path}: parameter {told(key)} is {told(value)}",
                    f"allowed: {{ kind = {' or '.join(kinds)}, default = of that kind }}",
                )
        return found

    def command(self, key: str, command: object, words: set[str]) -> tuple[str, ...]:
        if not (isinstance(command, list) and command and all(map(_is_line, command)) and WORD.fullmatch(command[0])):
            raise self.fail(key, "a list of texts, the first of them a program's name")
        return tuple(self.known(key, part, words) for part in command)

    def known(self, key: str, text: str, words: set[str]) -> str:
        """The text, in which each {word} is one of these."""
        for word in PLACE.findall(text):
            if word not in words:
                raise BoardError(
                    f"{self.path}: {key} has {{{word}}}, which is no value", f"allowed: {', '.join(sorted(words))}"
                )
        return text

    def text(self, key: str) -> str:
        if not _is_line(self.raw.get(key)):
            raise self.fail(key, "1 to 200 printable characters")
        return self.raw[key]

    def texts(self, key: str) -> tuple[str, ...]:
        found = self.raw.get(key, [])
        if not (isinstance(found, list) and all(map(_is_line, found))):
            raise self.fail(key, "a list of texts of 1 to 200 printable characters")
        return tuple(found)


def _is_line(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip()) and len(text) <= 200 and text.isprintable()


def names(folders: Iterable[Path]) -> dict[str, Path]:
    """The tools in some folders, sorted, with their files. Raises ConfigError if two have one name."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders for path in listed(folder, ".toml")):
        if path.stem in found:
            raise ConfigError(f"{path} has the name of {found[path.stem]}", "rename this file: a tool has one name")
        found[path.stem] = path
    return dict(sorted(found.items()))
