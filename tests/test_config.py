"""A configuration is right or refused with the key and what it may be."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnp_edge import config
from lnp_edge.base.errors import ConfigError
from lnp_edge.config import Config


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
    assert (found.network.tau_mem, type(found.network.tau_mem)) == (1.0, float)
    assert found.train == Config().train


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("sed = 1", "sed", "seed"),
        ("[netwerk]\nneurons = 3", "netwerk", "network"),
        ("[network]\nnurons = 3", "network.nurons", "network.neurons"),
        ("[train]\nepoch = 3", "train.epoch", "train.epochs"),
        ("[prune]\nkeeep = 0.1", "prune.keeep", "prune.keep"),
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
        ("[network]\ntau_mem = nan", "network.tau_mem"),
        ("[network]\ntau_mem = inf", "network.tau_mem"),
        ("[network]\ntau_mem = -inf", "network.tau_mem"),
        ("[network]\ntau_mem = 0.0", "network.tau_mem"),
        ("[network]\ntau_mem = true", "network.tau_mem"),
        (f"[network]\ntau_mem = {'9' * 400}", "network.tau_mem"),
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["seed", "train", "lr", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=200)
@given(JSON)
def test_any_json_is_a_configuration_or_refused(value):
    try:
        assert isinstance(Config.from_json(json.dumps(value)), Config)
    except ConfigError as e:
        assert e.what and e.try_next
