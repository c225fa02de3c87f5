"""What the names of folders and files may say: which part is the class, which the person or machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lnp_edge.recordings.find import FILE, FOLDER, NAME, template_of

MANY = 50  # classes
LABEL = re.compile(r"label|class|klasse|activit|aktivit|gesture|geste|exercise|state|event|kind|behaviou?r|^y$", re.I)
GROUP = re.compile(
    r"person|subject|proband|user|wearer|participant|patient|machine|maschine|device|unit|session|^id$", re.I
)
WHO = re.compile(r"(u|s|p|sub|subj|subject|user|person|participant|m|machine|id)\W?\d{1,4}", re.I)
NUMBERED = re.compile(r"[^\W\d_]+\d+")
# Words that classes are often called, and people and machines are not: they only break a tie, with the structure alone.
CLASS = re.compile(
    r"\w*(walk|run|jump|squat|swip|clap|wav(e|ing)|shak|circl|sitt|stand|lying|driv|cycl|stair|climb|sleep|typing)\w*"
    r"|sit|lie|tap|ride|bike|push|pull|twist|turn|fall|fell|up|down|left|right|still|rest|idle|none|other|on|off|open"
    r"|closed|gehen|laufen|sitzen|stehen|liegen|treppe|fahren|ruhe|springen|hinlegen"
    r"|ok|okay|good|bad|normal|healthy|worn|new|old|fault\w*|broken|defekt|gut|schlecht|unbalance\w*|anomal\w*|error",
    re.I,
)
_TOKEN = re.compile(r"[^\W\d_]+\d+|[^\W\d_]+|\d+")


@dataclass(frozen=True)
class Parts:
    """A template of the places of files, with the values of its label and of its person."""

    template: str
    labels: Counter[str]
    people: Counter[str]
    label: str = "label"  # its name in the template
    person: str = "person"
    sure: bool = True  # whether the part that is the person looks like one
    told_apart: bool = True  # whether the words themselves, or the user, say which part is which

    @property
    def swapped(self) -> str:
        return NAME.sub(lambda m: {"{label}": "{person}", "{person}": "{label}"}.get(m[0], m[0]), self.template)

    @property
    def names(self) -> list[str]:
        return NAME.findall(self.template)

    def called(self, part: str, name: str) -> str:
        """The template with another name for a part."""
        return NAME.sub(lambda m: f"{{{name}}}" if m[1] == part else m[0], self.template)


def as_told(places: Sequence[str], template: str, label: str, group: str) -> Parts:
    """The parts of a template that the user wrote: where it is not said which is which, their names tell it.

    Raises ConfigError for a name that is none.
    """
    form = template_of(template)
    rows = [match.groupdict() for place in places if form and (match := form.fullmatch(place))]
    values = {name: Counter(row[name] for row in rows) for name in (form.groupindex if form else ())}
    label = label or next((name for name in values if LABEL.search(name)), "")
    group = group or next((name for name in values if GROUP.search(name) and name != label), "")
    return Parts(template, values.get(label, Counter()), values.get(group, Counter()), label, group)


def parts(places: Sequence[str], has_label: bool = True, taken: str = "") -> Parts | None:
    """A template of the places if all are made alike, with one part as the label and another as the person.

    has_label : whether a part may be the label; else a column of the files is it
    taken : FOLDER or FILE, of which no part is to be used, since the user uses the whole
    """
    rows = [_TOKEN.findall(Path(p).with_suffix("").as_posix()) for p in places]
    shapes = {_TOKEN.sub("\0", Path(p).with_suffix("").as_posix()) for p in places}
    if len(shapes) != 1 or len(places) < 2:
        return None
    between = shapes.pop().split("\0")
    columns = [Counter(column) for column in zip(*rows, strict=True)]
    above, _, own = places[0].rpartition("/")
    folders = len(_TOKEN.findall(above))
    no_use = range(len(_TOKEN.findall(above.rpartition("/")[0])), folders) if taken == FOLDER else range(0)
    no_use = range(folders, len(columns)) if taken == FILE else no_use
    varies = [k for k, c in enumerate(columns) if len(c) > 1 and k not in no_use]
    several = [k for k in varies if len(columns[k]) < len(places)]
    words = [k for k in several if len(columns[k]) <= MANY and all(not t[-1].isdigit() for t in columns[k])]
    who = [k for k in several if all(WHO.fullmatch(t) for t in columns[k])]
    numbered = [k for k in several if k < folders and all(NUMBERED.fullmatch(t) for t in columns[k])]
    label, told_apart = _label(words, rows, columns, folders) if words and has_label else (-1, False)
    told_apart |= bool(who) and len(words) == 1
    likely = who or [k for k in words if k != label] or numbered
    person = likely[0] if likely else -1
    if label < 0 and person < 0:
        return None
    template, number = between[0], 0
    for k, column in enumerate(columns):
        if k in (label, person):
            part = "{label}" if k == label else "{person}"
        elif len(column) == 1:
            part = next(iter(column))
        else:
            number += 1
            part = "{n}" if number == 1 else f"{{n{number}}}"
        template += part + between[k + 1]
    labels = columns[label] if label >= 0 else Counter[str]()
    people = columns[person] if person >= 0 else Counter[str]()
    sure = bool(who) or (has_label and person in words)
    return Parts(template + Path(own).suffix, labels, people, sure=sure, told_apart=told_apart)


def _label(words: list[int], rows: list[list[str]], columns: list[Counter[str]], folders: int) -> tuple[int, bool]:
    """The part that is the label, and whether its words say so and those of no other part."""
    known = {k: sum(bool(CLASS.fullmatch(t)) for t in columns[k]) / len(columns[k]) for k in words}
    best = max(words, key=lambda k: known[k])
    if known[best] >= 0.5 and all(known[k] < 0.5 for k in words if k != best):
        return best, True

    def likely(k: int) -> tuple:
        # Each person of one class alone: then the class is the part that the other decides.
        decided = [
            len({(row[o], row[k]) for row in rows}) == len(columns[o]) > len(columns[k]) for o in words if o != k
        ]
        small = not all(t[0].isupper() for t in columns[k])
        return known[k] >= 0.5, any(decided), small, k < folders, k

    return max(words, key=likely), False
