"""Firmware that is compiled once, for all tests and processes of a session."""

import hashlib
import re
import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

# Compiled for what it does and not for how fast: in half to two thirds of the time.
EASE = {"cc": {"-O3": "-O0"}, "arm-none-eabi-gcc": {"-O3": "-O0"}, "zig": {"-O3": "-O0"}}
PLACES = {"PATH", "HOME", "TMPDIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"}  # where, not what
asked = {"level": False}  # whether the test that runs has the mark usual_level


class Compiled:
    """In place of subprocess.run for build(): a C file that is compiled again with the same words, environment and
    headers is the object of before. Without the mark usual_level it optimises less."""

    def __init__(self, kept: Path):
        self.kept = kept

    def __call__(self, command, **more):
        if "-o" not in command or "-c" in command:
            return subprocess.run(command, **more)
        if not asked["level"]:
            less = EASE.get(Path(command[0]).name, {})
            command = [less.get(word, word) for word in command]
        folder, at = Path(more["cwd"]), command.index("-o")
        words = list(command)
        for k, name in enumerate(command):
            if k > at and name.endswith(".c"):
                found = self.place([*command[:at], name], meant(included(folder, name)), more).with_suffix(".o")
                if not found.exists():
                    done = subprocess.run([*command[:at], "-c", name, "-o", str(found)], **more)
                    if done.returncode:
                        return done
                words[k] = str(found)
        scripts = [(folder / word).read_bytes() for word in words if word.endswith((".ld", ".o"))]
        image = self.place(words[:at] + words[at + 2 :], scripts, more)
        if not image.exists():
            done = subprocess.run(words, **more)
            if done.returncode:
                return done
            shutil.copy(folder / command[at + 1], image)
        shutil.copy(image, folder / command[at + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    def place(self, words, texts, more) -> Path:
        """The file of what these words make of these texts. Debug information names no folder."""
        words = [word for word in words if not word.startswith("-fdebug-prefix-map=")]
        where = {key: value for key, value in more["env"].items() if key not in PLACES}
        return self.kept / hashlib.sha256(repr((words, where, texts)).encode()).hexdigest()


def included(folder: Path, name: str) -> set[Path]:
    """A file of this folder and those that it includes."""
    found, todo = set(), [name]
    while todo:
        path = folder / todo.pop()
        if path.exists() and path not in found:
            found.add(path)
            todo += re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE)
    return found


@cache
def words(text: str) -> tuple[set[str], set[str]]:
    """Those of a text, and those that it has more than once."""
    found = Counter(re.findall(r"\w+", text))
    return set(found), {word for word, times in found.items() if times > 1}


def meant(paths: set[Path]) -> list[str]:
    """What C files say, without comments on lines of their own and constants that no other line names: those of a board
    that only its driver needs, or the number of a build."""
    texts = [re.sub(r"^//.*", "", path.read_text(), flags=re.MULTILINE) for path in sorted(paths)]
    constant, found = re.compile(r"^#define (\w+) .*", re.MULTILINE), []
    for text in texts:
        if "##" in text:  # it may make the name of a constant out of parts
            found.append(text)
            continue
        named = words(text)[1].union(*(words(other)[0] for other in texts if other is not text))
        found.append(constant.sub(lambda line, named=named: line[0] if line[1] in named else "", text))
    return found


def shared(kept: Path) -> SimpleNamespace:
    """In place of the module subprocess for build(): what any process compiled into this folder is there for all."""
    return SimpleNamespace(**vars(subprocess) | {"run": Compiled(kept)})
