"""A configuration is right or refused with the key and what it may be."""

import codecs
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnp_edge import config
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.config import Config, DataSettings, LayerSettings, NetworkSettings
from lnp_edge.spec.plugins import get, names


def load(tmp_path, text):
    path = tmp_path / "c.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path)


def refusal(tmp_path, text):
    with pytest.raises(ConfigError) as e:
        load(tmp_path, text)
    assert str(tmp_path / "c.toml") in e.value.what
    return e.value


def test_an_empty_file_is_all_defaults(tmp_path):
    assert load(tmp_path, "") == Config()


def test_values_are_read_where_they_belong(tmp_path):
    found = load(tmp_path, 'seed = 7\n[network]\nneurons = 64\ntau_mem = 1\n[prune]\nmethod = "random"\nkeep = 0.5')
    assert (found.seed, found.network.neurons, found.prune.method, found.prune.keep) == (7, 64, "random", 0.5)
    assert (
        found.network.params == Config().network.params | {"tau_mem": 1.0}
        and type(found.network.params["tau_mem"]) is float
    )
    assert found.train == Config().train


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("sed = 1", "sed", "seed"),
        ("[netwerk]\nneurons = 3", "netwerk", "network"),
        ("[network]\nnurons = 3", "network.nurons", "network.neurons"),
        ("[network]\ntau_men = 3", "network.tau_men", "network.tau_mem"),
        ('[network]\nneuron = "adlif"\njum = 3', "network.jum", "network.jump"),
        ("[[network.layer]]\n[[network.layer]]\nnurons = 3", "network.layer[2].nurons", "network.layer[2].neurons"),
        ("[train]\nepoch = 3", "train.epoch", "train.epochs"),
        ("[prune]\nkeeep = 0.1", "prune.keeep", "prune.keep"),
        ('[data]\nfront = "delta"\nthreshhold = 1', "data.threshhold", "data.threshold"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path, text, key, near):
    e = refusal(tmp_path, text)
    assert f"unknown key '{key}'" in e.what
    assert f"did you mean {near}?" in e.try_next


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("seed = true", "seed"),
        ("seed = 1.0", "seed"),
        ('seed = "1"', "seed"),
        ("seed = -1", "seed"),
        ("seed = 4294967296", "seed"),
        ("seed = [1]", "seed"),
        ("seed = {a = 1}", "seed"),
        ("seed = 1979-05-27", "seed"),
        (f"seed = {'9' * 400}", "seed"),
        ("[network]\nneurons = 1", "network.neurons"),
        ("[network]\nneurons = 65536", "network.neurons"),
        ('[network]\nneuron = "adlif"\ntau_ad = 0', "network.tau_ad"),
        ('[network]\nneuron = "adlif"\npull = -0.1', "network.pull"),
        ("[network]\nneuron = 3", "network.neuron"),
        ("[network]\nskip = 1", "network.skip"),
        ("[network]\nlayer = 3", "network.layer"),
        ("[network]\nlayer = [3]", "network.layer[1]"),
        ("[[network.layer]]\nneurons = 1", "network.layer[1].neurons"),
        ("[[network.layer]]\n[[network.layer]]\nrecurrent = 1", "network.layer[2].recurrent"),
        ("[[network.layer]]\n[[network.layer]]\ntau_ad = '1'", "network.layer[2].tau_ad"),
        ("[[network.layer]]\n[[network.layer]]\ndensity = 0", "network.layer[2].density"),
        ("[[network.layer]]\n" * 16, "network.layer"),
        ("[network]\ntau_mem = nan", "network.tau_mem"),
        ("[network]\ntau_mem = inf", "network.tau_mem"),
        ("[network]\ntau_mem = -inf", "network.tau_mem"),
        ("[network]\ntau_mem = 0.0", "network.tau_mem"),
        ("[network]\ntau_mem = true", "network.tau_mem"),
        (f"[network]\ntau_mem = {'9' * 400}", "network.tau_mem"),
        ('[data]\nfront = "delta"\nthreshold = -0.1', "data.threshold"),
        ('[data]\nfront = "delta"\nthreshold = 101', "data.threshold"),
        ('[data]\nfront = "delta"\nthreshold = "1"', "data.threshold"),
        ('[data]\nfront = "delta"\nthreshold = nan', "data.threshold"),
        ("[data]\nfront = 3", "data.front"),
        ("[prune]\nkeep = 0", "prune.keep"),
        ("[prune]\nkeep = 1.01", "prune.keep"),
        ("[prune]\nmethod = 3", "prune.method"),
        ("[train]\ntrain_taus = 1", "train.train_taus"),
        ("[train]\nlr = 1e400", "train.lr"),
        ("train = 3", "train"),
        ("[[train]]\nlr = 1", "train"),
        ("[train.lr]\nx = 1", "train.lr"),
    ],
)
def test_a_value_of_wrong_type_or_range_is_refused_with_its_key(tmp_path, text, key):
    assert f": {key} is " in refusal(tmp_path, text).what


@pytest.mark.parametrize(
    "text",
    [
        "seed = ",
        "= 1",
        "seed = 1\nseed = 2",
        b"\xff\xfe",
        b"seed = 1\x00",
        f"seed = 0x{'f' * 8000}",
        f"seed = {'9' * 8000}",
        f"seed = {'[' * 16000}",
        f"seed = {'{a=' * 5000}",
        f"seed{'.a' * 1000} = 1",
        f"# {'x' * 20000}",
    ],
    ids=range(11),
)
def test_a_file_that_is_no_toml_or_abuses_it_is_refused(tmp_path, text):
    refusal(tmp_path, text)


def test_text_in_place_of_a_number_is_told_from_the_number(tmp_path):
    for value, said in (('"60"', "'60'"), ("-60", "-60")):
        assert refusal(tmp_path, f"train.epochs = {value}").what.endswith(f"train.epochs is {said}")


def test_a_file_as_windows_saves_it_is_read_or_its_encoding_named(tmp_path):
    assert load(tmp_path, codecs.BOM_UTF8 + b"seed = 3\r\n").seed == 3
    assert "byte 0 of it is not UTF-8" in refusal(tmp_path, "seed = 3\r\n".encode("utf-16")).what
    assert "byte 12 of it is not UTF-8" in refusal(tmp_path, "seed = 3  # ü".encode("cp1252")).what


@pytest.mark.parametrize("path", ["nowhere.toml", ".", "/dev/zero"])
def test_what_is_no_regular_file_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=path):
        config.load(path)


@pytest.mark.parametrize("path", [config.SPAR, config.SPAR_QUICK])
def test_the_configurations_that_ship_load(path):
    assert config.load(path).data.name == "spar"


def test_json_gives_back_the_same_configuration(tmp_path):
    found = load(tmp_path, "seed = 3\n[augment]\nnoise = 0.5\n[train]\ntrain_taus = false")
    assert Config.from_json(found.to_json()) == found


SPIKING = [name for name in names("lnp_edge.neurons") if hasattr(get("lnp_edge.neurons", name), "drive_for")]


@pytest.mark.parametrize("neuron", SPIKING)
def test_the_keys_of_a_network_are_those_of_its_neuron(tmp_path, neuron):
    known = config.parameters(neuron)
    assert "tau_mem" in config.parameters("cuba_lif") and "v_th" not in known
    defaults = load(tmp_path, f'[network]\nneuron = "{neuron}"').network
    assert defaults.params == {name: p.default for name, p in known.items()}
    for name, parameter in known.items():
        value = min(max(0.25, parameter.low), parameter.high)
        found = load(tmp_path, f'[network]\nneuron = "{neuron}"\n{name} = {value}')
        assert found.network.params == defaults.params | {name: value}
        assert json.loads(found.to_json())["network"][name] == value
        assert Config.from_json(found.to_json()) == found


def test_a_parameter_of_another_neuron_is_refused_with_what_is_available(tmp_path):
    e = refusal(tmp_path, '[network]\nneuron = "adlif"\ntau_syn = 1')
    assert "unknown key 'network.tau_syn': adlif has no tau_syn" in e.what
    assert "tau_ad" in e.try_next and "neurons" in e.try_next and 'neuron = "cuba_lif"' in e.try_next
    assert "no tau_syn" in refusal(tmp_path, "[[network.layer]]\ntau_syn = 1").what
    with pytest.raises(ConfigError, match="cuba_lif has no parameter 'tau_ad'\n  available: tau_mem, tau_syn"):
        NetworkSettings("cuba_lif", params={"tau_ad": 1.0})


@pytest.mark.parametrize(("package", "kind"), [
    ("datasets", "data set"), ("frontends", "front end"), ("layouts", "layout"), ("neurons", "neuron"),
    ("pruning", "pruning method"),
])  # fmt: skip
def test_an_unknown_plug_in_is_called_what_it_is_in_plain_words(package, kind):
    with pytest.raises(ConfigError, match=f"^no {kind} is called 'nosuch'"):
        get(f"lnp_edge.{package}", "nosuch")


def test_a_neuron_that_is_none_or_does_not_spike_is_refused(tmp_path):
    e = refusal(tmp_path, '[network]\nneuron = "cuba_lief"')
    assert "network.neuron: " in e.what and "did you mean 'cuba_lif'?" in e.try_next
    assert "network.layer[1].neuron: " in refusal(tmp_path, '[[network.layer]]\nneuron = "li"').what


@pytest.mark.parametrize("name", ["lif", "mean"])  # "lif" is nearest to the read-out "li"
def test_no_readout_is_offered_for_a_neuron(tmp_path, name):
    offered = set(
        re.findall(r"\w+", refusal(tmp_path, f'[network]\nneuron = "{name}"').try_next.replace("you mean", ""))
    )
    assert {"adlif", "cuba_lif"} <= offered and not {"li", "mean"} & offered


def test_the_ends_of_a_range_of_whole_numbers_are_written_whole(tmp_path):
    assert refusal(tmp_path, "seed = -1").try_next == "write a whole number from 0 to 4294967295"


LAYERS = """
[network]
neuron = "cuba_lif"
neurons = 100
tau_mem = 0.05
skip = true
[[network.layer]]
neurons = 40
recurrent = false
[[network.layer]]
neuron = "adlif"
density = 0.5
jump = 2
[[network.layer]]
tau_mem = 0.5
"""


def test_a_layer_takes_from_the_network_what_it_leaves_out(tmp_path):
    found = load(tmp_path, LAYERS)
    first, second, third = found.network.layers
    assert (first.neurons, first.neuron, first.density, first.recurrent) == (40, "cuba_lif", 0.3, False)
    assert first.params == {"tau_mem": 0.05, "tau_syn": 0.1}
    assert (second.neurons, second.neuron, second.density, second.recurrent) == (100, "adlif", 0.5, True)
    assert second.params == {"tau_mem": 0.05, "tau_ad": 0.4, "pull": 2.0, "jump": 2.0}
    assert third.params == {"tau_mem": 0.5, "tau_syn": 0.1}
    assert found.network.skip and found.network.total == 240
    assert Config.from_json(found.to_json()) == found


def test_without_layers_there_is_one_population_of_the_networks_own_values(tmp_path):
    network = load(tmp_path, "[network]\nneuron = 'cuba_lif'\nneurons = 64\ntau_syn = 0.5").network
    assert network.layers == (LayerSettings(64, "cuba_lif", 0.3, True, {"tau_mem": 0.2, "tau_syn": 0.5}),)
    assert network.total == 64


def test_too_many_neurons_in_all_layers_are_refused(tmp_path):
    e = refusal(tmp_path, "[network]\nneurons = 8000\n[[network.layer]]\n[[network.layer]]")
    assert "16000 neurons" in e.what and "15000" in e.try_next


def test_the_json_of_one_layer_has_the_keys_it_always_had():
    """Stored trainings are found by it."""
    assert json.loads(Config(network=NetworkSettings("cuba_lif")).to_json())["network"] == {
        "neuron": "cuba_lif", "neurons": 256, "density": 0.3, "heterogeneous": True, "clusters": 1,
        "tau_mem": 0.2, "tau_syn": 0.1, "tau_out": 4.0,
    }  # fmt: skip
    assert set(json.loads(Config().to_json())["data"]) == {"name", "root", "window", "hop", "limit"}


def test_the_encoder_is_affine_unless_the_configuration_says_otherwise(tmp_path):
    assert Config.from_json(Config().to_json()).data.encoder == load(tmp_path, "[data]").data.encoder == "affine"
    found = load(tmp_path, '[data]\nencoder = "clamped"')
    assert found.data.encoder == json.loads(found.to_json())["data"]["encoder"] == "clamped"
    assert Config.from_json(found.to_json()) == found


def test_a_network_in_steps_divides_the_time_constants_alone():
    network = NetworkSettings(
        neuron="adlif", params={"tau_mem": 0.3}, layer=(LayerSettings(neuron="cuba_lif", params={"tau_syn": 0.2}),)
    )
    found = network.in_steps(0.1)
    assert found.params == {"tau_mem": 3.0, "tau_ad": 4.0, "pull": 2.0, "jump": 1.5} and found.tau_out == 40.0
    assert found.layer[0].params == {"tau_mem": 2.0, "tau_syn": 2.0}


KEYS = st.sampled_from(["seed", "train", "lr", "network", "layer", "neuron", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=8,
)


@settings(max_examples=200)
@given(JSON)
def test_any_json_is_a_configuration_or_refused(value):
    try:
        assert isinstance(Config.from_json(json.dumps(value)), Config)
    except ConfigError as e:
        assert e.what and e.try_next


STACK = "[[network.layer]]\nneurons = 8\n[[network.layer]]\nneurons = 8\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((f"[quantize]\nbits = {bits}", f"quantize.bits is {bits}") for bits in range(9, 16)),
    ],
)
def test_bits_that_no_model_has_are_refused(tmp_path, text, said):
    assert said in refusal(tmp_path, text).what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STACK + "[quantize]\nepochs = 2", "8 bits and adlif and adlif"),
        ("[network]\nskip = true\n[quantize]\nepochs = 1", "8 bits and adlif and a skip"),
        ("[quantize]\nepochs = 1\nbits = 16", "16 bits and adlif"),
        ('[network]\nreadout = "mean"\n[quantize]\nepochs = 1', "8 bits and adlif and mean"),
    ],
)
def test_a_training_in_integers_that_cannot_be_is_refused_before_the_first_training(tmp_path, text, said, capsys):
    (tmp_path / "c.toml").write_text(text)
    assert main(["prune", str(tmp_path / "c.toml"), "-o", str(tmp_path / "p.safetensors")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "p.safetensors").exists()


def test_a_trained_network_keeps_a_configuration_that_its_command_line_can_mend():
    changed = json.loads(Config().to_json())
    changed["quantize"] |= {"epochs": 3, "bits": 9}
    assert Config.from_json(json.dumps(changed)).quantize.bits == 9


@pytest.mark.parametrize(("text", "said"), [
    ("threshold = 1", "unknown key 'data.threshold'"),
    ('front = "logdiff"\nthreshold = 1', "unknown key 'data.threshold'"),
    ('front = "delta"\nparams = {threshold = 1}', "unknown key 'data.params'"),
    ('front = "nosuch"', "data.front: no front end is called 'nosuch'"),
])  # fmt: skip
def test_a_setting_that_the_front_end_does_not_take_is_refused(tmp_path, text, said):
    assert said in refusal(tmp_path, f"[data]\n{text}").what


@pytest.mark.parametrize(("front", "params", "known"), [
    ("delta", {"threshhold": 9.0}, "available: threshold"), ("stack", {"threshold": 0.1}, "leave params out"),
])  # fmt: skip
def test_nor_does_python_pass_over_a_setting_that_the_front_end_does_not_take(front, params, known):
    with pytest.raises(ConfigError, match=f"front end {front} has no setting {next(iter(params))!r}") as e:
        DataSettings(front=front, params=params)
    assert e.value.try_next == known


def test_settings_of_a_front_end_are_keys_of_data_and_stay_with_it(tmp_path):
    """Older results, which lack them, keep their keys."""
    found = load(tmp_path, '[data]\nfront = "delta"\nthreshold = 2')
    assert found.data.params == {"threshold": 2.0}
    assert json.loads(found.to_json())["data"]["threshold"] == 2.0
    assert Config.from_json(found.to_json()) == found
    default = load(tmp_path, '[data]\nfront = "delta"')
    assert default.data.params == {"threshold": get("lnp_edge.frontends", "delta").SETTINGS["threshold"][0]}
    assert replace(found, data=replace(found.data, front="stack", params={})) == Config()
    assert set(json.loads(Config().to_json())["data"]) == {"name", "root", "window", "hop", "limit"}
