"""Count how many small changes of the firmware lnp verify notices.

Draws mutants of the generated and the hand-written C of a model: each has another
constant, comparison, sign or operator, a narrower type, or a statement that is
missing or swapped with the next. lnp builds each for this computer and verifies
it as lnp verify does, within a minute. A mutant with the object code of the
original is equivalent and does not count. Those that survive are listed. Exit
code 1 if fewer than --least per cent are noticed. With --resume, FILE records
the results: after a kill the same command continues, also with another -n. FILE
is removed once as many mutants are tried as the largest -n asked for."""

import argparse
import json
from collections import Counter
from contextlib import nullcontext

from lnp_edge.base import system
from lnp_edge.base.console import bars, out, say
from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import alone, read_result, refuse_unwritable, write_result
from lnp_edge.commands import _given, _own_boards
from lnp_edge.interchange import onnx_file, windows_file

HELP = "count the changes of the firmware that lnp verify notices"
EXAMPLE = """  lnp mutate model.onnx -n 100
  lnp mutate model.onnx -n 40 --seed 2 --file lnp_state.h --json"""
MOST = 100_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_given.path, help="a model.onnx written by lnp quantize")
    _own_boards.argument(parser)
    parser.add_argument("-n", type=int, default=50, help="number of mutants (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draw (default: 1)")
    parser.add_argument("--file", type=_given.text, help="mutate this file of the generated folder alone")
    parser.add_argument(
        "--resume", type=_given.path, metavar="FILE", help="keep what is found in FILE, and go on from there"
    )
    parser.add_argument("--least", type=float, default=98.0, help="per cent to be noticed (default: 98)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    system.need_unix("lnp mutate")
    from lnp_edge.commands import _mutation
    from lnp_edge.commands._mutation import CAUGHT, EQUIVALENT, INVALID, SURVIVED
    from lnp_edge.runtime.journal import ELSEWHERE, FULL

    if not 1 <= args.n <= MOST:
        raise ConfigError(f"-n is {args.n}", f"choose a number from 1 to {MOST}")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}", "choose 0 or more")
    if not 0 <= args.least <= 100:
        raise ConfigError(f"--least is {args.least:g}", "choose from 0 to 100 per cent")
    if args.resume:
        refuse_unwritable(args.resume, ELSEWHERE)
    model = onnx_file.load(args.model)
    windows = windows_file.load(model, args.model)
    real = [] if windows is None else list(model.rows(windows[:8]))
    found = []
    own = alone(args.resume, f"wait for it, or {ELSEWHERE}") if args.resume else nullcontext()
    with own, bars() as progress:
        key = f"mutants of {_mutation.key(model)}, seed {args.seed}, file {args.file or 'any'}"
        known, most = _known(args, key)
        task = progress.add_task("mutants", total=args.n, info="0 survive")
        for result in _mutation.results(model, args.n, args.seed, real, args.file or "", known):
            found.append(result)
            if args.resume and len(found) > len(known):
                pairs = [[one.fate, one.how] for one in found]
                write_result(args.resume, {"mutation": key, "most": most, "fates": pairs}, FULL)
            alive = sum(one.fate == SURVIVED for one in found)
            progress.update(task, advance=1, info=f"{alive} survive")
    if args.resume and not len(found) == args.n < most:  # a file may have fewer than were asked for
        args.resume.unlink(missing_ok=True)
    fates = Counter(one.fate for one in found)
    counted = fates[CAUGHT] + fates[SURVIVED]
    score = 100 * fates[CAUGHT] / counted if counted else 0.0
    good = counted > 0 and score >= args.least
    if args.json:
        print(json.dumps({"ok": good, "score": score, "seed": args.seed, **{
            fate: fates[fate] for fate in (CAUGHT, SURVIVED, EQUIVALENT, INVALID)
        }, "mutants": [one.as_dict() for one in found]}))  # fmt: skip
        return 0 if good else 1
    for one in found:
        if one.fate == SURVIVED:
            m = one.mutant
            out.print(f"survives: {m.file}:{m.line}", soft_wrap=True, markup=False)
            for sign, text in (("-", m.before), ("+", m.after)):
                for line in text.split("\n"):
                    out.print(f"  {sign} {line.strip()}", soft_wrap=True, markup=False, highlight=False)
    text = (
        f"{score:.1f} % of {counted} mutants are noticed (seed {args.seed}); "
        f"{fates[EQUIVALENT]} others have the same object code, {fates[INVALID]} do not compile"
    )
    say(text)
    return 0 if good else 1


def _known(args: argparse.Namespace, key: str) -> tuple[list[tuple[str, str]], int]:
    """Fates and what caught them, of the mutants that were tried before; and the largest -n so far."""
    from lnp_edge.commands import _mutation
    from lnp_edge.runtime.journal import HINT

    def valid(table: dict) -> bool:
        fates, most = table.get("fates"), table.get("most")
        return (
            isinstance(fates, list)
            and type(most) is int
            and len(fates) <= most <= MOST
            and all(
                isinstance(one, list) and len(one) == 2 and one[0] in _mutation.FATES and isinstance(one[1], str)
                for one in fates
            )
        )

    found = read_result(args.resume, valid, HINT) if args.resume else None
    if found is None:
        return [], args.n
    if found.get("mutation") != key:
        raise ConfigError(f"{args.resume} is of other mutants: {found.get('mutation')}", f"{HINT}; these are {key}")
    return [(fate, how) for fate, how in found["fates"]], max(args.n, found["most"])
