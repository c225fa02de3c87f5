"""Rows of a task's table: the front, the row that is recommended, and the picture of both."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import need

from lnp_edge import config
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main, parser
from lnp_edge.commands import reproduce
from lnp_edge.config import Augmentation, Config, DataSettings, NetworkSettings, StreamSettings, TrainSettings
from lnp_edge.experiments import figures, rivals
from lnp_edge.experiments.rivals import Rivals, RivalTrial
from lnp_edge.experiments.rows import Costs, Row, difference, front, notes, recommended
from lnp_edge.stages.rival import Measured
from lnp_edge.task import metrics
from lnp_edge.task.dataset import Dataset, Series

PNG = b"\x89PNG\r\n\x1a\n"
ABOUT = {"dt": 0.1, "channels": ("a",), "labels": np.zeros(2, np.int64), "groups": np.array([1, 2]), "held_out": (2,)}
RECORDINGS = [np.zeros((99, 1), np.int16)] * 2
CLASSES = Dataset("two", classes=("x", "y"), recordings=RECORDINGS, **ABOUT)
SERIES = Dataset(
    "series", classes=(), recordings=RECORDINGS, series=Series((0,), 1, 1.0, "m"), metric="rmse_ratio", **ABOUT
)


def sums_of(right, windows=50):
    """Units of `windows` windows each, so many right of each: [U, 4]."""
    right = np.array(right)
    return np.stack([right, windows - right, np.zeros(len(right)), np.zeros(len(right))], axis=1)


def classes(name, cost, *seeds, network=False):
    """A row with the number of right windows of 50 in each unit, for each seed."""
    sums = [sums_of(right) for right in seeds]
    values = [float(s[:, 0].sum() / s.sum()) for s in sums]
    result = {"measures": {"accuracy": 0.0}, "float_measures": {"accuracy": 0.0}, "history": [], "warning": ""}
    config = json.loads(Config().to_json())
    trials = [result | {"measures": {"accuracy": v}, "config": config} for v in values] if network else []
    return Row(
        name, trials=trials, measured=[] if network else [measured(name, v) for v in values],
        costs=Costs(cost, 1000, 2000), interval=metrics.interval_of_mean(CLASSES, sums), sums=sums,
        units=f"{len(sums[0])} recordings",
    )  # fmt: skip


def measured(name, value, metric="accuracy"):
    return Measured(name, name, metric, value, 0.0, 1.0, "", [], 1.0, 1, 1.0, 1, 1, 1, 0, "cortex-m4")


def test_a_difference_is_paired_by_seed_and_folds_of_a_seed_are_averaged():
    """Differences of 0.1, 0 and 0.2: their deviation is 0.1, and t of 2 degrees of freedom 4.303."""
    one, other, alone = (
        Row(name, measured=[measured(name, v) for v in values])
        for name, values in (("a", [0.5, 0.6, 0.7]), ("b", [0.6, 0.6, 0.9]), ("c", [0.6]))
    )
    assert difference(other, one, "accuracy", 3) == "+0.100 ± 0.248"
    assert difference(one, one, "accuracy", 3) == difference(alone, one, "accuracy", 3) == ""
    assert difference(one, other, "accuracy", 1) == "-0.100"  # three folds of a seed


def test_the_interval_is_over_units_and_over_seeds():
    units = metrics.interval_of_mean(CLASSES, [sums_of([40, 45, 50] * 10)])
    assert 0.86 < units[0] < 0.9 < units[1] < 0.94
    steady = [sums_of([45] * 30)] * 3
    assert metrics.interval_of_mean(CLASSES, steady) == pytest.approx((0.9, 0.9))
    seeds = metrics.interval_of_mean(CLASSES, [sums_of([right] * 30) for right in (40, 45, 50)])
    assert seeds == pytest.approx((0.8, 1.0))  # one seed three times
    assert classes("a", 5, [45] * 30).cells("accuracy", [])[3] == "0.90–0.90"
    assert Row("closed loop", simple=[{"accuracy": 0.5}]).cells("accuracy", [])[3] == ""
    assert Row("of folds", sums=[sums_of([45] * 30)], units="15 recordings").drawn == "30 recordings"


RNG = np.random.default_rng(1)
GOOD = [RNG.integers(40, 50, 30) for _ in range(3)]
SAME = [np.clip(right + np.resize([2, -3, 1, -1], 30), 0, 50) for right in GOOD]  # less by 0.005
WORSE = [right - 4 for right in GOOD]


def test_the_front_has_the_rows_that_none_beats():
    rows = [classes("dear", 9, [40]), classes("cheap", 1, [20]), classes("beaten", 5, [29]), classes("mid", 4, [30])]
    assert [row.name for row in front(rows, "accuracy")] == ["cheap", "mid", "dear"]
    assert [row.name for row in front([*rows, classes("equal but dearer", 10, [40])], "accuracy")][-1] == "dear"


def test_the_cheapest_row_that_is_not_surely_worse_is_recommended():
    best = classes("dense", 9, *GOOD, network=True)
    assert recommended([best, classes("as good", 3, *SAME)], CLASSES).name == "as good"
    assert recommended([best, classes("worse by 0.08", 3, *WORSE)], CLASSES).name == "dense"
    # Units that differ much hide no difference that each of them shows: rows are paired.
    far = [np.tile([10, 50], 15) for _ in range(3)]
    assert recommended([classes("best", 9, *far), classes("behind", 3, *[f - 2 for f in far])], CLASSES).name == "best"


def test_the_difference_to_the_best_rival_is_paired_by_unit_and_seed():
    units = [np.tile([10, 50], 15), np.tile([8, 40], 15)]
    rows = [classes("ours", 3, *[u - 2 for u in units], network=True), classes("theirs", 9, *units)]
    want = "Less the best rival, theirs: ours -0.040 (95% -0.040 to -0.040); paired by seed and unit."
    assert notes([*rows, classes("worse", 5, *[u - 4 for u in units])], CLASSES)[1] == want
    assert len(notes([rows[0], replace(rows[0], name="other")], CLASSES)) == 3  # without rivals


def test_seeds_that_differ_hide_a_difference():
    unsteady = [np.full(30, right) for right in (48, 36, 48)]
    assert (
        recommended([classes("best", 9, *[np.full(30, 45)] * 3), classes("other", 3, *unsteady)], CLASSES).name
        == "other"
    )


def test_a_row_that_another_beats_is_not_recommended():
    """Though it is not surely worse than the best, as its seeds differ."""
    rows = [
        classes("best", 9, *[np.full(30, 47)] * 3),
        classes("beaten", 5, *[np.full(30, right) for right in (48, 36, 48)]),
        classes("cheaper, better and steady", 3, *[np.full(30, 45)] * 3),
    ]
    assert recommended(rows, CLASSES).name == "best"


def series(name, cost, errors):
    """Squared errors of each unit, beside 10 of persistence."""
    sums = np.stack([np.array(errors, float), np.full(len(errors), 10.0), np.full(len(errors), 5.0)], axis=1)
    value = float(np.sqrt(sums[:, 0].sum() / sums[:, 1].sum()))
    return Row(name, measured=[measured(name, value, "rmse_ratio")], costs=Costs(cost, 1, 1), sums=[sums], units="9 y")


def test_a_smaller_error_is_better():
    rows = [series("small", 9, range(1, 9)), series("large", 3, range(2, 10)), series("equal", 4, range(1, 9))]
    assert [row.name for row in front(rows, "rmse_ratio")] == ["large", "equal"]
    assert recommended(rows, SERIES).name == "equal"
    assert metrics.redrawn(SERIES, rows[0].sums[0], np.array([[0, 0], [3, 3]])) == pytest.approx([0.1**0.5, 0.4**0.5])


def test_what_is_recommended_is_said_with_its_reason():
    rows = [
        classes("dense", 9000, *GOOD, network=True),
        classes("no recurrence", 5000, *SAME, network=True),
        classes("ridge", 3.5, *SAME),
        classes("majority", 1, *[right // 4 for right in GOOD]),
    ]
    within, beside, said, surely = notes(rows, CLASSES)
    assert beside.startswith("Less the best rival, ridge: dense +0.006 (95% -0.008 to +0.020); no recurrence +0.000 (")
    steps = [f"from {cost} {name} (0." for cost, name in (("1", "majority"), ("3.5", "ridge"), ("9 k", "dense"))]
    assert within.startswith("Best within a budget of instructions a second: from 1 majority (0.")
    assert [step in within for step in steps] == [True] * 3 and within.count("from") == 3
    assert said.startswith("Recommended: ridge (0.") and " at 3.5 instructions a second), the cheapest row that" in said
    assert f"not surely worse than {front(rows, 'accuracy')[-1].name}" in said
    assert " Of the networks: no recurrence (0." in said and said.endswith("at 5 k instructions a second).")
    assert (
        "corrected for 3 comparisons, of networks 1, from" in surely
        and "over 3 seeds and 30 recordings. Groups (people) may differ" in surely
    )
    assert "corrected for 1 comparison, from" in notes(rows[2:], CLASSES)[2]
    assert notes(rows[:1], CLASSES) == []
    assert notes([Row("closed loop", trials=rows[0].trials, costs=rows[0].costs)] * 2, CLASSES) == []


def test_a_better_baseline_whose_cost_is_unknown_is_not_left_out():
    rows = [classes("dense", 9000, [40] * 9, network=True), classes("no recurrence", 5000, [40] * 9, network=True)]
    bands, bad = Row("ridge on bands", simple=[{"accuracy": 0.974}]), Row("ridge", simple=[{"accuracy": 0.8002}])
    said = notes(rows, CLASSES, [(bands, "ridge_bands"), (bad, "ridge_statistics")])[1]
    assert said.endswith(" ridge on bands is better (0.974), its cost not measured: --rivals ridge_bands.")
    assert notes(rows, CLASSES, [(bands, "")])[1].endswith("its cost not measured.")
    errors = [series("a", 9, range(1, 9)), series("b", 3, range(2, 10))]
    worse, better = (Row("ar", simple=[{"rmse_ratio": value}]) for value in (0.99, 0.1))
    assert "is better" not in notes(errors, SERIES, [(worse, "autoregression")])[1]
    assert "ar is better (0.100)" in notes(errors, SERIES, [(better, "autoregression")])[1]


def test_a_baseline_that_a_rival_of_the_table_computes_is_measured():
    rows = [Row("ridge on statistics"), Row("ridge on statistics and bands"), Row("echo state network of 300")]
    found = reproduce._unmeasured(config.named("spar"), rows, ["ridge_bands"])
    assert found == [(rows[0], "ridge_statistics"), (rows[2], "")]
    assert reproduce._unmeasured(config.named("spar-stream"), rows[:1], []) == [(rows[0], "")]


def test_rows_in_unlike_units_are_not_paired():
    rows = [classes("dense", 9000, [40] * 12, network=True), classes("ridge", 3, [39] * 11)]
    (said,) = notes(rows, CLASSES)
    assert said.endswith("in unlike units: dense by 12 recordings, ridge by 11 recordings.")
    same = [rows[0], replace(rows[0], name="other", units="12 people")]
    assert "unlike units" in notes(same, CLASSES)[0]


def test_the_warning_of_a_result_is_the_stored_one_or_that_of_its_settings():
    """Batches of a stream make epochs of 20, whatever [train] epochs says."""
    streaming = Config(train=TrainSettings(epochs=60, patience=4), stream=StreamSettings(batches=400))
    falling = [{"loss": 0.9 ** min(k, 12)} for k in range(20)]  # flat after 20 epochs: too late for 20, not for 60
    trial = {"history": falling, "config": json.loads(streaming.to_json())}
    want = "the loss was still falling when the rate had to fall: raise [stream] batches, now 400"
    assert Row("old", trials=[trial]).warnings == [want]
    assert Row("new", trials=[trial | {"warning": "as stored"}]).warnings == ["as stored"]
    assert Row("new", trials=[trial | {"warning": ""}]).warnings == []


# ---- the picture


def names_of(monkeypatch, rows, metric):
    """The names in a picture with their boxes, and the bytes of its file."""
    found = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: found.append(figure))
    figures.pareto(rows, metric, "title", None)
    (figure,) = found
    texts = figure.axes[0].texts
    return figure, {text.get_text(): text.get_window_extent() for text in texts}


def test_every_row_is_named_in_the_picture_and_no_name_covers_another(monkeypatch):
    rng = np.random.default_rng(3)
    rows = [classes(f"a row of the table {k}", 1e4 * 2**k, [int(rng.integers(38, 46))] * 5) for k in range(8)]
    rows += [classes(f"network {k}", 7e5 + k, [42 + k // 2] * 5, network=True) for k in range(4)]
    figure, boxes = names_of(monkeypatch, [*rows, classes("nothing", 6, [1])], "accuracy")
    assert set(boxes) == {row.name for row in rows} | {"nothing: 0.020 at 6"}
    figure.draw_without_rendering()
    places = [(box.x0, box.y0, box.x1, box.y1) for box in boxes.values()]
    for k, (a, b, c, d) in enumerate(places):
        for e, f, g, h in places[:k]:
            assert min(c, g) - max(a, e) <= 1 or min(d, h) - max(b, f) <= 1
    assert figure.axes[0].get_xlim()[0] > 6  # the row that is no use does not take half of the picture


def test_a_seed_far_below_its_row_is_in_the_picture(monkeypatch):
    rows = [
        classes(name, 10.0**k, [right], [right]) for k, (name, right) in enumerate((("a", 45), ("b", 45), ("c", 46)))
    ]
    spread = classes("d", 2000, [47], [38])
    figure, _ = names_of(monkeypatch, [*rows, spread], "accuracy")
    assert figure.axes[0].get_ylim()[0] < min(spread.scores("accuracy"))


def test_smaller_errors_are_drawn_higher(monkeypatch):
    figure, _ = names_of(monkeypatch, [series("a", 1, [5, 6]), series("b", 9, [1, 2])], "rmse_ratio")
    low, high = figure.axes[0].get_ylim()
    assert high < low


@pytest.mark.parametrize("rows", [
    [classes("a", 5, [40]), classes("b", 5, [40])],
    [classes("a", 5, [40], [40]), classes("b", 6, [0], [0])],
])  # fmt: skip
def test_rows_that_are_alike_have_a_picture_too(tmp_path, rows):
    figures.pareto(rows, "accuracy", "title", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(PNG)


# ---- rivals on disk

WORDS = ["baseline", "spar", "--rivals", "majority,ridge_statistics", "--windows", "5", "--jobs", "1", "--json"]


def test_what_was_measured_is_kept_and_what_was_stopped_goes_on(tmp_path, capsys, monkeypatch):
    need("ziglang", "unicorn")
    asked, measure = [], rivals.rival.measure

    def stopping(name, *rest):
        asked.append(name)
        if name == "ridge_statistics" and asked.count(name) == 1:
            raise KeyboardInterrupt
        return measure(name, *rest)

    monkeypatch.setattr(rivals.rival, "measure", stopping)
    words = [*WORDS, "-o", str(tmp_path)]
    assert main(words) == 130
    assert {path.name.rpartition("-")[0] for path in tmp_path.iterdir()} == {"spar-majority"}
    assert main(words) == 0
    first = capsys.readouterr().out
    assert asked == ["majority", "ridge_statistics", "ridge_statistics"]
    assert main(words) == 0
    assert len(asked) == 3 and capsys.readouterr().out == first
    assert [row["name"] for row in json.loads(first)] == ["ridge_statistics", "majority"]
    assert main([word for word in words if word != "--json"]) == 0
    said = capsys.readouterr().out
    for name in ("majority", "ridge_statistics"):
        (folder,) = (path for path in tmp_path.glob(f"spar-{name}-*") if path.is_dir())
        assert f"C of {name}: {folder}\n" in said
        assert "lnp_rival_scores(" in (folder / "lnp_rival.c").read_text()
        assert '// scores[0] is of "' in (folder / "lnp_rival.h").read_text()
    assert main([*words, "--windows", "4"]) == 0 and len(asked) == 3  # five were compared
    assert main([*words, "--windows", "9", "--rivals", "majority"]) == 0 and asked[3:] == ["majority"]
    assert main([*words, "--seed", "2"]) == 0 and len(asked) == 4  # neither draws


def test_without_a_value_all_rivals_that_suit_are_taken():
    found = reproduce.asked_rivals(config.named("wind"), "all")
    assert {"autoregression", "persistence"} <= set(found) and "ridge_bands" not in found
    assert reproduce.asked_rivals(config.named("spar"), None) == []
    with pytest.raises(ConfigError, match="persistence cannot take spar"):
        reproduce.asked_rivals(config.named("spar"), "majority, persistence")
    with pytest.raises(ConfigError, match="judged on streams, but rivals on windows") as e:
        reproduce.asked_rivals(config.named("spar-stream"), "all")
    assert "lnp stream TASK" in e.value.try_next
    words = parser().parse_args(["reproduce", "spar", "--rivals", "--seeds", "3"])
    assert (words.rivals, words.tasks) == ("all", ["spar"])


def test_a_damaged_result_of_a_rival_is_refused(tmp_path, capsys):
    trial = RivalTrial("majority", Config(), 1)
    Rivals(tmp_path).path(trial).write_text('{"name": "majority"}')
    with pytest.raises(ConfigError, match="cannot read"):
        Rivals(tmp_path).load(trial)


def test_the_key_of_a_rival_is_what_its_result_depends_on():
    base = RivalTrial("majority", Config(), 1)
    same = [
        Config(network=NetworkSettings(neurons=9)), Config(train=TrainSettings(epochs=3)),
        Config(data=DataSettings(frame=4, front="logdiff")),
    ]  # fmt: skip
    assert {RivalTrial("majority", config, 1).key for config in same} == {base.key}
    other = [
        RivalTrial("ridge_bands", Config(), 1), RivalTrial("majority", Config(seed=2), 2),
        RivalTrial("majority", Config(), 1, (3,)),
        RivalTrial("majority", Config(data=DataSettings(limit=3)), 1),
        RivalTrial("majority", Config(augment=Augmentation(noise=0.0)), 1),
        RivalTrial("majority", Config(train=TrainSettings(balance=0.5)), 1),
    ]  # fmt: skip
    assert len({base.key, *(one.key for one in other)}) == 7
    assert RivalTrial("majority", Config(), 2).key == base.key  # it draws nothing, but a rocket does
    assert RivalTrial("rocket", Config(), 2).key != RivalTrial("rocket", Config(), 1).key
    assert RivalTrial("majority", Config(), 1, None, 5).key == base.key  # the windows compared: see Rivals.load
