"""lnp verify --report and --exhaustive: what they write and run."""

import hashlib
import json
import re
from html import unescape

import pytest
from conftest import need
from tiny import tiny_model, with_entry

from lnp_edge.cli import main
from lnp_edge.firmware_gen import generate as generator
from lnp_edge.interchange import onnx_file
from lnp_edge.stages import devices

MODEL = tiny_model()
pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path):
    need("cc")
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def text_of(page):
    return unescape(re.sub(r"<[^>]+>", " ", page.read_text()))


def test_the_report_has_fingerprints_checks_and_coverage(model, tmp_path, capsys):
    words = ["verify", str(model), "--board", "host", "--steps", "300", "--seed", "3"]
    assert main([*words, "--report", str(tmp_path / "r.html")]) == 0
    assert f"written: {tmp_path / 'r.json'} and {tmp_path / 'r.html'}" in capsys.readouterr().out
    told, page = json.loads((tmp_path / "r.json").read_text()), text_of(tmp_path / "r.html")
    assert told["ok"] and told["cause"] == ""
    of = told["of"]
    assert of["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert of["model"]["fingerprint"] == f"{MODEL.fingerprint:08x}"
    assert re.fullmatch(r"[0-9a-f]{64}", of["firmware"]["image"]) and of["firmware"]["compiler"]
    assert (of["board"]["name"], of["inputs"]["steps"], of["inputs"]["seed"]) == ("host", 300, 3)
    assert (told["steps"], told["state_words"]) == (300, 300 * MODEL.state_words)
    checks = {check["name"]: check["cases"] for check in told["selftest"]["checks"]}
    assert "m.onnx on host: verified" in page and "Likely cause" not in page
    for name, cases in checks.items():
        assert re.search(rf"{name} +{cases} +0 differences", page)
    for key in ("sha256", "fingerprint"):
        assert of["model"][key] in page
    part = told["coverage"]["neurons"][0]
    assert re.search(rf"{part['name']} +neurons that fired +{part['used']} +{part['all']}", page)
    assert main([*words, "--report", str(tmp_path / "again.json")]) == 0
    pages = [(tmp_path / name).read_text().partition("<h2>The line</h2>") for name in ("r.html", "again.html")]
    assert pages[0][0] == pages[1][0] and pages[0][1]  # a busy machine sends again


def test_the_report_of_a_wrong_image_has_the_first_difference_and_its_cause(model, tmp_path, monkeypatch, capsys):
    wrong = with_entry(MODEL, "hidden_c_mem", 17, 30000)
    of_wrong = generator.generate

    def other(_, board, *args, **kwargs):
        found = of_wrong(MODEL, board, *args, **kwargs)
        return found | {"lnp_net_tables.c": of_wrong(wrong, board, *args, **kwargs)["lnp_net_tables.c"]}

    monkeypatch.setattr(generator, "generate", other)
    assert main(["verify", str(model), "--board", "host", "--report", str(tmp_path / "r.json")]) == 1
    out = capsys.readouterr().out
    assert "likely cause: The image in flash is of another build or damaged" in out
    told, page = json.loads((tmp_path / "r.json").read_text()), text_of(tmp_path / "r.html")
    assert not told["ok"] and told["selftest"] is None and told["coverage"] is None
    assert told["table_differences"][0]["place"] == "neuron 17 of hidden"
    assert "m.onnx on host: NOT verified" in page and told["cause"] in page
    assert "table hidden_c_mem[17], neuron 17 of hidden: device 30000" in page


def test_another_ending_is_refused_before_anything_runs(model, capsys, monkeypatch):
    monkeypatch.setattr(devices, "device", None)
    assert main(["verify", str(model), "--report", "proof.txt"]) == 2
    assert "end it with .json or .html" in capsys.readouterr().err


@pytest.mark.parametrize("report", ["none/proof.json", "x" * 300 + ".html"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(model, capsys, monkeypatch, report):
    monkeypatch.setattr(devices, "device", None)
    assert main(["verify", str(model), "--report", report]) == 2
    what, hint = capsys.readouterr().err.splitlines()
    assert what.startswith("cannot write ") and hint == "  make room, or choose another --report"


def test_exhaustive_runs_every_count_and_says_what_stays_silent(tmp_path, capsys):
    need("cc")
    path = tmp_path / "s.onnx"
    onnx_file.save(with_entry(MODEL, "hidden_v_th", 3, 500_000), path)
    assert main(["verify", str(path), "--board", "host", "--steps", "300", "--exhaustive", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["generated"]["steps"] >= 65_536 and told["generated"]["ok"]
    assert told["cannot_fire"] == ["neuron 3 of hidden"]
    assert "neuron 3" in told["coverage"]["neurons"][0]["missing"]
