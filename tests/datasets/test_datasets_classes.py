"""The data sets with classes that are not in the package: synthetic files, and the real ones if present."""

import gzip
import hashlib
import itertools
import json

import numpy as np
import pytest
from conftest import need
from raw_data import beats, colours, write_binary, write_idx

from lnp_edge import config
from lnp_edge.base.errors import DataError
from lnp_edge.datasets import _files as files
from lnp_edge.datasets import cifar10, fashion_mnist, hapt, mitbih
from lnp_edge.task.dataset import check, windows


def real(module):
    """The data set itself, or skip."""
    try:
        return check(module.load())
    except DataError as e:
        if not e.what.startswith("no "):  # damaged, not absent
            raise
        pytest.skip(f"{e.what}: set {files.ROOT_VARIABLE} to the folder of the data")


def absent(module, monkeypatch, tmp_path):
    """What load() says where nothing is."""
    monkeypatch.delenv(files.ROOT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no ") as caught:
        module.load()
    return caught.value.try_next


# HAPT


def hapt_arrays(rng):
    """Two recordings of two users: labels, and counts that both forms hold exactly."""
    label = np.concatenate([np.repeat((-1, 5, 7, 4, 4), 40), np.repeat((1, -1, 1), 50)]).astype(np.int8)
    signal = rng.integers(-9000, 9000, (len(label), 6)).astype(np.int16)
    return {"signal": signal, "label": label, "length": np.int32([200, 150]), "user": np.int8([3, 24])}


def write_uci(folder, arrays):
    folder.mkdir(parents=True)
    ends = np.cumsum(arrays["length"])[:-1]
    rows = []
    for k, (signal, label, user) in enumerate(
        zip(np.split(arrays["signal"], ends), np.split(arrays["label"], ends), arrays["user"], strict=True), 1
    ):
        name = f"exp{k:02}_user{user:02}.txt"
        np.savetxt(folder / f"acc_{name}", signal[:, :3] / 8192)
        np.savetxt(folder / f"gyro_{name}", signal[:, 3:] / 2048)
        edges = [0, *(np.flatnonzero(np.diff(label)) + 1), len(label)]
        rows += [(k, user, label[a], a + 1, b) for a, b in itertools.pairwise(edges) if label[a] > 0]
    np.savetxt(folder / "labels.txt", rows, "%d")


def test_hapt_reads_the_same_from_its_npz_file_and_from_uci(tmp_path):
    arrays = hapt_arrays(np.random.default_rng(1))
    np.savez_compressed(tmp_path / hapt.FILE, **arrays)
    write_uci(tmp_path / "unzipped" / "HAPT" / "RawData", arrays)
    ours, theirs = check(hapt.load(tmp_path)), check(hapt.load(tmp_path / "unzipped"))
    signal = arrays["signal"]
    expected = [signal[40:80], signal[120:200], signal[200:250], signal[300:350]]
    for data in (ours, theirs):
        assert data.labels.tolist() == [4, 3, 0, 0] and data.groups.tolist() == [3, 3, 24, 24]
        assert all((a == b).all() for a, b in zip(data.recordings, expected, strict=True))
        first, second = data.streams  # a transition has no label
        assert (first.group, second.group) == (3, 24)
        assert first.labels.tolist() == [-1] * 40 + [4] * 40 + [-1] * 40 + [3] * 80
        assert second.labels.tolist() == [0] * 50 + [-1] * 50 + [0] * 50
        assert (np.concatenate([first.signal, second.signal]) == signal).all()


@pytest.mark.parametrize("change", ["no gyro", "short gyro", "nan", "label beyond", "other user", "too strong", "text"])
def test_a_damaged_uci_folder_is_refused(tmp_path, change):
    folder = tmp_path / "RawData"
    write_uci(folder, hapt_arrays(np.random.default_rng(1)))
    gyro, labels = folder / "gyro_exp02_user24.txt", folder / "labels.txt"
    lines = gyro.read_text().splitlines(keepends=True)
    if change == "no gyro":
        gyro.unlink()
    elif change == "short gyro":
        gyro.write_text("".join(lines[:-1]))
    elif change == "nan":
        gyro.write_text("".join(["nan nan nan\n", *lines[1:]]))
    elif change == "too strong":
        gyro.write_text("".join(["0 0 1e9\n", *lines[1:]]))
    elif change == "text":
        gyro.write_text("no numbers here\n")
    else:
        with labels.open("a") as f:
            f.write("2 24 1 100 151\n" if change == "label beyond" else "2 3 1 100 101\n")
    with pytest.raises(DataError, match="RawData is damaged"):
        hapt.load(tmp_path)


@pytest.mark.parametrize("change", [{"length": np.int32([200, 151])}, {"signal": np.zeros((350, 6))}, {"user": None}])
def test_a_damaged_hapt_file_is_refused(tmp_path, change):
    arrays = hapt_arrays(np.random.default_rng(1)) | change
    np.savez_compressed(tmp_path / hapt.FILE, **{k: a for k, a in arrays.items() if a is not None})
    with pytest.raises(DataError, match="damaged"):
        hapt.load(tmp_path)


def test_hapt_has_the_windows_of_its_users():
    data = real(hapt)
    others = set(data.groups.tolist()) - set(data.held_out)
    assert len(windows(data.of_groups(others), 2.56, 1.28)) == 7415
    assert len(windows(data.of_groups(data.held_out), 2.56, 1.28)) == 2996


# MIT-BIH


def test_mitbih_tells_the_rhythm_that_a_device_knows(tmp_path):
    arrays = beats(np.random.default_rng(1))
    np.savez_compressed(tmp_path / mitbih.FILE, **arrays)
    data = check(mitbih.load(tmp_path))
    kept = (arrays["y"] < 3) & (arrays["record"] != 102)
    assert (data.labels == arrays["y"][kept]).all()
    last = np.flatnonzero(kept)[-1]
    before = arrays["rr"][60:last, 0]  # of the last patient
    ms = 1000 * arrays["rr"][last]
    wanted = [ms[0], ms[0] / before.mean(), ms[0] / before[-8:].mean(), min(ms[1], 600)]
    assert (np.abs(data.recordings[-1, :, 2:] - wanted) <= 1).all()


def test_mitbih_scales_a_patients_beats_by_their_usual_height(tmp_path):
    arrays = beats(np.random.default_rng(1)) | {"y": np.zeros(90, np.uint8)}
    beat = np.r_[np.zeros(61), 600, 1200, -400, np.zeros(56)]
    arrays["x"][:30] = beat + 77
    arrays["x"][30:] = 2 * beat - 300
    arrays["x"][29] = beat * 1.5
    np.savez_compressed(tmp_path / mitbih.FILE, **arrays)
    ecg, slope = np.moveaxis(mitbih.load(tmp_path).recordings[:, :, :2].astype(float), 2, 0)
    assert (ecg[0] == np.rint(beat * 2000 / 1600)).all() and (ecg[30:] == ecg[0]).all()
    assert ecg[29].max() == np.rint(1800 * 2000 / (0.98 * 1600 + 0.02 * 2400))
    assert (slope[:, 1:] == np.diff(ecg)).all() and (slope[:, 0] == 0).all()


def test_mitbih_knows_nothing_of_the_future_or_of_other_patients(tmp_path):
    arrays = beats(np.random.default_rng(1))
    np.savez_compressed(tmp_path / mitbih.FILE, **arrays)
    data = mitbih.load(tmp_path)
    changed = arrays["rr"].copy()
    changed[15:60] = 0.7  # from within the first patient to the end of the second
    x = arrays["x"].copy()
    x[15:60] //= 2
    (tmp_path / "later").mkdir()
    np.savez_compressed(tmp_path / "later" / mitbih.FILE, **(arrays | {"rr": changed, "x": x}))
    other = mitbih.load(tmp_path / "later")
    early = int((arrays["y"][:15] < 3).sum())
    same = (data.recordings == other.recordings).all((1, 2))
    assert same[:early].all() and not same[early]
    assert same[data.groups == 234].all()


def test_the_first_beat_of_a_patient_has_no_past(tmp_path):
    arrays = beats(np.random.default_rng(1)) | {"y": np.zeros(90, np.uint8)}
    arrays["rr"][0, 0] = arrays["rr"][29, 1] = 0
    arrays["rr"][60, 0] = 100
    np.savez_compressed(tmp_path / mitbih.FILE, **arrays)
    data = mitbih.load(tmp_path)
    assert data.recordings[0, 0, 2:5].tolist() == [1000, 1000, 1000]
    assert data.recordings[29, 0, 5] == 600
    assert data.recordings[30, 0, 2:5].tolist() == [2000, 1000, 1000]


@pytest.mark.parametrize(
    "change",
    [
        {"rr": np.full((90, 2), np.nan, np.float32)},
        {"rr": np.full((90, 2), -1, np.float32)},
        {"x": np.zeros((90, 119), np.int16)},
        {"record": np.repeat(np.int16([234, 102, 101]), 30)},
        {"y": np.zeros(89, np.uint8)},
    ],
)
def test_damaged_beats_are_refused(tmp_path, change):
    np.savez_compressed(tmp_path / mitbih.FILE, **(beats(np.random.default_rng(1)) | change))
    with pytest.raises(DataError, match="damaged"):
        mitbih.load(tmp_path)


def test_mitbih_has_the_beats_of_its_patients():
    data = real(mitbih)
    parts = [data.of_groups(g) for g in (mitbih.DS1, mitbih.DS2)]
    counts = [np.bincount(part.labels).tolist() for part in parts]
    assert counts == [[45839, 943, 3788], [44236, 1837, 3220]]


# Images


def mirrored(data):
    """The recordings as data.mirror says."""
    order = np.array(data.mirror)
    return data.recordings[:, :, order - 1]


@pytest.fixture
def few(monkeypatch):
    for module in (cifar10, fashion_mnist):
        first, second = module.PARTS
        monkeypatch.setattr(module, "PARTS", {first: 50, second: 10})


def write_strips(root, images, labels):
    """Strips of up to 20 images; returns the manifest."""
    from PIL import Image

    folder = root / cifar10.LOSSLESS
    folder.mkdir(parents=True)
    manifest = {"classes": list(cifar10.CLASSES), "splits": {}}
    for part, at in (("train", range(50)), ("test", range(50, 60))):
        strips = []
        for k in range(0, len(at), 20):
            these = at[k : k + 20]
            name = f"{part}_{k:03}.webp"
            Image.fromarray(images[these].reshape(-1, 32, 3)).save(folder / name, lossless=True, exact=True)
            strips.append({"file": name, "labels": [[int(labels[i]), 1] for i in these]})
        raw, what = (a[at].astype(np.uint8).tobytes() for a in (images, labels))
        sums = {"sha256_raw": hashlib.sha256(raw).hexdigest(), "sha256_labels": hashlib.sha256(what).hexdigest()}
        manifest["splits"][part] = {"n": len(at), "files": strips} | sums
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def test_cifar10_reads_the_same_from_toronto_and_from_strips(tmp_path, few):
    need("PIL")
    images, labels = colours(np.random.default_rng(1))
    write_binary(tmp_path / "binary", images, labels)
    write_strips(tmp_path / "strips", images, labels)
    for root in (tmp_path / "binary", tmp_path / "strips"):
        data = check(cifar10.load(root))
        assert (data.recordings.reshape(images.shape) == images).all() and (data.labels == labels).all()
        assert (mirrored(data).reshape(images.shape) == images[:, :, ::-1]).all()
        assert np.bincount(data.groups).tolist() == [50, 10]


@pytest.mark.parametrize("change", ["pixel", "label", "bomb", "many", "outside", "format", "missing", "json", "part"])
def test_damaged_strips_are_refused(tmp_path, few, change):
    need("PIL")
    from PIL import Image

    manifest = write_strips(tmp_path, *colours(np.random.default_rng(1)))
    folder = tmp_path / cifar10.LOSSLESS
    first = manifest["splits"]["train"]["files"][0]
    path = folder / first["file"]
    if change == "pixel":
        strip = np.array(Image.open(path))
        strip[0, 0, 0] ^= 1
        Image.fromarray(strip).save(path, lossless=True, exact=True)
    elif change == "label":
        first["labels"][0][0] = (first["labels"][0][0] + 1) % 10
    elif change == "bomb":
        Image.new("RGB", (4000, 4000)).save(path)
    elif change == "many":
        first["labels"][0][1] = 10**9
    elif change == "outside":
        first["file"] = "../../etc/passwd"
    elif change == "format":
        Image.open(path).save(path, format="PNG")
    elif change == "missing":
        del manifest["splits"]["test"]
    elif change == "part":
        manifest["splits"]["train"]["files"].pop()
    (folder / "manifest.json").write_text("{" if change == "json" else json.dumps(manifest))
    with pytest.raises(DataError, match="damaged"):
        cifar10.load(tmp_path)


def test_a_short_or_mislabelled_batch_is_refused(tmp_path, few):
    images, labels = colours(np.random.default_rng(1))
    write_binary(tmp_path, images, labels + 10)
    with pytest.raises(DataError, match="label"):
        check(cifar10.load(tmp_path))
    path = tmp_path / cifar10.ORIGINAL / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3\.bin"):
        cifar10.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin"):
        cifar10.load(tmp_path)


def test_fashion_mnist_reads_idx_files(tmp_path, few):
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (60, 28, 28)), rng.integers(0, 10, 60)
    write_idx(tmp_path, images, labels)
    data = check(fashion_mnist.load(tmp_path))
    assert (data.recordings == images).all() and (data.labels == labels).all()
    assert (mirrored(data) == images[:, :, ::-1]).all() and np.bincount(data.groups).tolist() == [50, 10]


@pytest.mark.parametrize("change", ["bomb", "short", "shape", "label", "no gzip", "truncated"])
def test_damaged_idx_files_are_refused(tmp_path, few, change):
    images, labels = np.zeros((60, 28, 28)), np.zeros(60)
    labels[0] = 10 if change == "label" else 0
    write_idx(tmp_path, images[:, :, :27] if change == "shape" else images, labels)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    if change == "bomb":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(10**8)))
    elif change == "short":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    elif change == "no gzip":
        path.write_bytes(b"no gzip at all")
    elif change == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        fashion_mnist.load(tmp_path)


@pytest.mark.parametrize(("module", "each"), [(cifar10, [5000, 1000]), (fashion_mnist, [6000, 1000])])
def test_the_real_images_are_all_there(module, each):
    data = real(module)
    for group, count in enumerate(each):
        assert np.bincount(data.labels[data.groups == group]).tolist() == [count] * 10


@pytest.mark.parametrize(
    ("module", "what"),
    [(hapt, "archive.ics.uci.edu"), (mitbih, "PhysioNet"), (cifar10, "toronto"), (fashion_mnist, "apt-get")],
)
def test_absent_data_is_an_error_that_says_where_to_get_it(monkeypatch, tmp_path, module, what):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "none")
    assert what in absent(module, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("hapt", 128), ("mitbih", 120), ("cifar10", cifar10.SIDE), ("fashion_mnist", fashion_mnist.SIDE)],
)
def test_the_configuration_of_each_takes_its_windows(name, steps):
    settings = config.load(config.FOLDER / f"{name}.toml").data
    dt = {"hapt": 0.02, "mitbih": 1 / 120}.get(name, 0.01)
    assert settings.name == name and round(settings.window / dt) == steps
    assert round(settings.hop / dt) == (64 if name == "hapt" else steps)
