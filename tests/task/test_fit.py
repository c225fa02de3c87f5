"""Settings that a configuration of own data leaves open fit its steps and recordings; what does not fit is told."""

import re
import sys

import numpy as np
import pytest
from conftest import need
from nets import tiny_network

from lnp_edge import config
from lnp_edge.base.errors import ConfigError, DataError, LnpError, ModelError
from lnp_edge.cli import main
from lnp_edge.config import Config
from lnp_edge.experiments.trial import Trial
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.quantization.quantize import quantize
from lnp_edge.spec.layout import state_bytes, table_bytes
from lnp_edge.stages import pipeline
from lnp_edge.task import fit
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import load_data, split

SLOW = 600.0  # s, ten-minute values


def own(tmp_path, settings, lengths=(400, 390, 410, 400), dt=0.02, what="ab"):
    """A TOML file beside recordings of the classes a, b, a, b, ... of two people."""
    need("pandas")
    rng = np.random.default_rng(1)
    for k, length in enumerate(lengths):
        x = rng.integers(-500, 500, (length, 3))
        np.savetxt(tmp_path / f"{what[k % 2]}-p{k // 2}-{k}.csv", x, "%d", ",", header="ax,ay,az")
    path = tmp_path / "my.toml"
    path.write_text(f'[data]\npath = "{{what}}-{{who}}-{{n}}.csv"\nrate = {1 / dt}\n{settings}')
    return path


CLASSES = 'label = "what"\ngroup = "who"\n'
SERIES = f'target = "ax"\nahead = {SLOW * 6}\n'


def test_what_is_open_fits_classes(tmp_path):
    found = configuration(str(own(tmp_path, CLASSES)))
    assert (found.data.window, found.data.hop) == (2.0, 1.0)
    assert (
        found.network.params == {"tau_mem": 0.1, "tau_ad": 0.2, "pull": 2.0, "jump": 1.5}
        and found.network.tau_out == 2.0
    )
    assert found.train.epochs >= 1000 and found.derive == ()
    assert split(found, load_data(found)).task.window == 100


def test_what_is_open_fits_ten_minute_values(tmp_path):
    found = configuration(str(own(tmp_path, SERIES, dt=SLOW)))
    assert found.data.window == 50 * SLOW and found.data.hop == SLOW and found.augment.noise == 0.03
    assert all(SLOW <= found.network.params[tau] <= found.data.window for tau in ("tau_mem", "tau_ad"))
    data = split(found, load_data(found))
    assert pipeline.new_network(found, data).dt == SLOW


def test_windows_that_take_more_memory_than_the_network_are_told_with_a_hop_that_takes_less(tmp_path):
    def told(settings):
        found = configuration(str(own(tmp_path, SERIES + settings, dt=SLOW)))
        return [text for text in fit.remarks(found, load_data(found)) if "windows open" in text]

    network = "\n[network]\nneurons = 128\n[prune]\nkeep = 0.3\n"
    (said,) = told(network)
    assert "a decision every 600 s keeps 50 windows open, whose states take about 51.2 kB of RAM" in said
    hop, left = re.findall(r"hop = (\d+) keeps (\d+) open", said)[0]
    assert int(left) * 1024 <= 1000 * float(re.findall(r"the network ([\d.]+) kB", said)[0])
    assert told(f"hop = {hop}.0\n{network}") == []
    found = configuration(str(own(tmp_path, CLASSES)))
    assert "windows open" not in "".join(fit.remarks(found, load_data(found)))


def test_the_memory_of_open_windows_is_about_that_of_the_model(tmp_path):
    """Its front end has states, its inputs are features, and each neuron has parameters: all count."""
    layers = "\n[[network.layer]]\nneurons = 20\nrecurrent = false\n[[network.layer]]\nneurons = 10"
    for network in ("\n[network]\nneurons = 30\nreadout = 'mean'", "\n[network]\nneuron = 'cuba_lif'" + layers):
        text = CLASSES + 'front = "logdiff"\nframe = 16\nwindow = 1.92\nhop = 0.02\n[prune]\nkeep = 1\n' + network
        found = configuration(str(own(tmp_path, text)))
        data = split(found, load_data(found))
        model = quantize(pipeline.new_network(found, data), data.task)
        (said,) = [one for one in fit.remarks(found, load_data(found)) if "windows open" in one]
        windows, state, flash = re.findall(r"keeps (\d+) .* about ([\d.]+) kB of RAM, the network ([\d.]+) kB", said)[0]
        # Beside the estimate: read-outs and spikes; starts of rows, biases, encoder.
        assert 0.8 < 1000 * float(state) / int(windows) / state_bytes(model) < 1.0
        assert 0.6 < 1000 * float(flash) / table_bytes(model) < 1.1


def test_what_is_written_stays(tmp_path):
    text = CLASSES + "window = 1.5\nhop = 0.5\n[network]\ntau_mem = 0.3\n[train]\nepochs = 70\nbalance = 1.0"
    found = configuration(str(own(tmp_path, text)))
    assert (found.data.window, found.data.hop, found.train.epochs, found.train.balance) == (1.5, 0.5, 70, 1.0)
    assert found.network.params["tau_mem"] == 0.3 and found.network.tau_out == 1.5


@pytest.mark.parametrize(("text", "speed"), [
    ("", 0.1), ('front = "bands"\nframe = 4\n', 0.0), ('front = "logdiff"\nframe = 4\n', 0.0),
    ('front = "bands"\nframe = 4\n[augment]\nspeed = 0.1\n', 0.1), ('front = "delta"\nframe = 4\n', 0.1),
])  # fmt: skip
def test_own_data_keeps_its_speed_where_the_front_end_measures_frequencies(tmp_path, text, speed):
    said = []
    assert configuration(str(own(tmp_path, CLASSES + text)), said.append).augment.speed == speed
    assert [one for one in said if one.startswith("[augment] speed is 0: ")] == said[: speed == 0]


def test_who_needs_no_network_is_told_nothing_of_one(tmp_path):
    path, said, plain = str(own(tmp_path, CLASSES + "[network]\ntau_mem = 900.0")), [], []
    configuration(path, said.append)
    configuration(path, plain.append, network=False)
    assert any(one.startswith("tau_mem is 900 s") for one in said) and plain == []


def test_a_built_in_task_keeps_its_speed():
    """Its results are published."""
    hapt = configuration("hapt")
    assert (hapt.data.front, hapt.augment.speed) == ("logdiff", 0.1)


def test_layers_fit_too(tmp_path):
    text = CLASSES + '[[network.layer]]\nneurons = 8\n[[network.layer]]\nneuron = "adlif"\nneurons = 8\ntau_ad = 0.7'
    first, second = configuration(str(own(tmp_path, text))).network.layer
    assert first.params["tau_mem"] == 0.1 and second.params["tau_ad"] == 0.7 and second.params["tau_mem"] == 0.1


def test_trials_of_one_length_are_windows(tmp_path):
    assert configuration(str(own(tmp_path, CLASSES, [130] * 8))).data.window == pytest.approx(2.6)


def test_a_window_is_a_whole_number_of_steps(tmp_path):
    found = configuration(str(own(tmp_path, CLASSES + "frame = 8\n", [90, 95, 99, 97])))
    assert round(found.data.window / 0.02) % 8 == 0


STREAM = "[stream]\nbatches = 9\n"


def test_a_hop_of_streams_is_a_whole_number_of_steps(tmp_path):
    found = configuration(str(own(tmp_path, CLASSES + "frame = 4\n" + STREAM)))
    assert (found.data.window, found.data.hop) == (2.0, 0.96)


@pytest.mark.parametrize(
    "more, what", [("window = 0.5\nframe = 8\n", "a window of 25"), (f"hop = 0.52\nframe = 8\n{STREAM}", "a hop of 26")]
)
def test_what_is_no_whole_number_of_steps_is_refused_before_the_files_are_read(
    tmp_path, capsys, monkeypatch, more, what
):
    path = own(tmp_path, CLASSES + more)
    assert main(["data", str(path)]) == 0
    assert f"{what} samples is not a whole number of steps of 8 samples" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(fit, "load_data", None)
    with pytest.raises(ConfigError, match=what):
        configuration(str(path))


def test_unequal_classes_are_weighed_and_measured_by_macro_f1(tmp_path):
    path = own(tmp_path, CLASSES, [300, 100, 300, 100])
    assert load_data(configuration(str(path))).metric == "macro_f1"
    assert configuration(str(path)).train.balance == fit.BALANCE


def test_recordings_shorter_than_the_window_are_counted(tmp_path):
    said = []
    configuration(str(own(tmp_path, CLASSES + "window = 4.0\n", [300, 300, 50, 300, 300, 300, 300, 300])), said.append)
    assert said[0] == "1 of 8 recordings are shorter than the window of 4 s and left out"


def test_a_class_that_vanishes_is_refused_with_the_longest_window(tmp_path):
    with pytest.raises(DataError, match=r"no recording of b is as long as a window of 4 s") as e:
        configuration(str(own(tmp_path, CLASSES + "window = 4.0\n", [300, 90, 300, 110])))
    assert "window = 1.8" in e.value.try_next


def test_time_constants_that_do_not_fit_are_told(tmp_path):
    said = []
    configuration(str(own(tmp_path, SERIES + "[network]\ntau_mem = 0.2", dt=SLOW)), said.append)
    assert any("tau_mem is 0.2 s, a step 600 s" in sentence for sentence in said)


def test_few_steps_of_the_optimiser_are_told(tmp_path):
    said = []
    configuration(str(own(tmp_path, CLASSES + "[train]\nepochs = 60")), said.append)
    assert any("60 epochs are 60 steps" in sentence for sentence in said)


def test_built_in_tasks_are_as_their_files_say():
    for name in config.names():
        assert config.named(name).derive == ()


def test_a_fitted_configuration_survives_its_file(tmp_path):
    found = configuration(str(own(tmp_path, CLASSES + 'where = {who = ["p0", "p1"]}\n[data.scale.ax]\nunit = "g"')))
    assert Config.from_json(found.to_json()) == found


def test_neither_a_path_nor_a_folder_enters_a_model(tmp_path):
    found = configuration(str(own(tmp_path, CLASSES + 'vectors = [["ax", "ay", "az"]]\n')))
    data = split(found, load_data(found))
    model, _ = pipeline.quantize(found, data, pipeline.new_network(found, data))
    assert str(tmp_path) not in str(model.provenance)
    assert [quantity.zero for quantity in model.quantities] == [0, 0, 0]


# --- data sets of other people's code

MODULE = """
import numpy as np
from lnp_edge.task.dataset import Dataset
def load(root=None):
    x = tuple(np.arange(60, dtype=np.int16)[:, None] * (k + 1) for k in range(4))
    return Dataset("mine", 0.1, ("a",), ("u", "v"), x, np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), (1,))
"""


def test_a_module_beside_the_configuration(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "my.toml").write_text('[data]\nmodule = "./mine.py"')
    found = configuration(str(tmp_path / "my.toml"))
    assert found.data.name == "my" and found.data.window == 6.0
    assert load_data(found).classes == ("u", "v")


@pytest.mark.parametrize(("text", "what"), [
    ("1 / 0", "mine.py:1: ZeroDivisionError"), ("def load(root): return 3", "returns int"), ("x = 1", "TypeError"),
    ("def load(root):\n    return nosuch", "mine.py:2: NameError"), ("def (", "mine.py:1: SyntaxError"),
])  # fmt: skip
def test_a_module_that_fails_is_told_with_its_line(tmp_path, text, what):
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "my.toml").write_text('[data]\nmodule = "./mine.py"')
    with pytest.raises(ConfigError, match=what):
        configuration(str(tmp_path / "my.toml"))


@pytest.mark.parametrize(("old", "new", "what"), [
    ("np.int16", "np.int32", "expected int16, got int32\n  fix .*mine.py"),
    ("[0, 1, 0, 1]", "[0, 1, 0, 2]", "recording 3 has label 2\n  fix .*mine.py"),
    ("x, np.array", "3, np.array", "mine.py: TypeError"),
])  # fmt: skip
def test_a_module_whose_data_are_wrong_is_told_as_the_file_to_fix(tmp_path, old, new, what):
    (tmp_path / "mine.py").write_text(MODULE.replace(old, new, 1))
    (tmp_path / "my.toml").write_text('[data]\nmodule = "./mine.py"')
    with pytest.raises(LnpError, match=what) as e:
        configuration(str(tmp_path / "my.toml"))
    assert "lnp_edge/datasets" not in str(e.value)


def test_an_entry_point_of_another_package(tmp_path, monkeypatch):
    (tmp_path / "their_data.py").write_text(MODULE)
    info = tmp_path / "their-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lnp_edge.datasets]\ntheirs = their_data:load\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "my.toml").write_text('[data]\nname = "theirs"')
    assert load_data(configuration(str(tmp_path / "my.toml"))).dt == 0.1


def test_a_network_file_runs_no_code_outside_the_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "my.toml").write_text('[data]\nmodule = "mine.py"')
    found = configuration(str(tmp_path / "my.toml"))
    network_file.save(NetworkFile(tiny_network(), found, {}), tmp_path / "n.safetensors")
    with pytest.raises(ModelError, match="outside this folder"):
        network_file.load(tmp_path / "n.safetensors")
    monkeypatch.chdir(tmp_path)
    assert network_file.load(tmp_path / "n.safetensors").config == found


@pytest.mark.parametrize(("text", "what"), [
    ('files = "*.csv"\nmodule = "a.py"', "both given"),
    ('files = "*.csv"\nname = "a/b"', "data.name is"),
    ('files = 3', "data.files is"), ('channels = 3', "data.channels is"), ('channels = [3]', "data.channels is"),
    ('vectors = ["a"]', "data.vectors is"), ('vectors = [["a", "b"]]', "data.vectors is"),
    ("where = 3", "data.where is"),
    ('where = {a = []}\nmissing = ["x"]', "data.missing is"), ('scale = {a = {unit = 3}}', "data.scale.a.unit is"),
    ('scale = {a = {scale = 0}}', "data.scale.a.scale is"), ('scale = {a = {nosuch = 0}}', "unknown key"),
    ('time_unit = "h"', "data.time_unit is"), ('rate = -1', "data.rate is"),
])  # fmt: skip
def test_a_wrong_setting_of_own_data_is_refused_with_its_key(tmp_path, text, what):
    (tmp_path / "my.toml").write_text(f"[data]\n{text}")
    with pytest.raises(ConfigError, match=what):
        config.load(tmp_path / "my.toml")


def test_stored_results_are_of_the_files_as_they_were(tmp_path):
    path = str(own(tmp_path, CLASSES))
    first = configuration(path)
    assert first == configuration(path) == Config.from_json(first.to_json()) and len(first.data.checksum) == 16
    some = next(tmp_path.rglob("*.csv"))
    some.write_text(some.read_text().replace("1", "2", 1))
    assert Trial("x", configuration(path)).key != Trial("x", first).key
    assert "checksum" not in configuration("spar").to_json()
    with pytest.raises(ConfigError, match="checksum"):
        configuration(str(own(tmp_path, CLASSES + 'checksum = "x"\n')))
