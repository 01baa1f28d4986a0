"""The configuration: what is wrong is said before any work is done."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nas.config
import search_spaces
from nas.config import RunConfig, load, packaged, parse
from nas.errors import UsageError

ROOT = Path(__file__).parents[2]
SHIPPED = [*sorted((ROOT / "nas" / "configs").glob("*.yaml")), *sorted((ROOT / "experiments").glob("*/config.yaml"))]


def write(folder: Path, text: str) -> Path:
    path = folder / "my-run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("seeds: 1", "seeds", "seed"),
        ("training: {epoch: 3}", "training.epoch", "epochs"),
        ("training: {strategy: {option: {}}}", "training.strategy.option", "options"),
        ("training: {process: 2}", "training.process", "processes"),
        ("search: {limit: []}", "search.limit", "limits"),
        ("task: {augmentation: {flipp: true}}", "task.augmentation.flipp", "flip"),
        ("task: {augmentation: {trivialaugment: true}}", "task.augmentation.trivialaugment", "trivial_augment"),
        ("task: {cut_mix: 1.0}", "task.cut_mix", "cutmix"),
        ("space: {option: {}}", "space.option", "options"),
        ("calibration: {sample: 3}", "calibration.sample", "samples"),
        ("export: {maximise: accuracy}", "export.maximise", "maximize"),
    ],
)
def test_unknown_key_names_the_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(write(tmp_path, text))
    assert f"unknown key {key!r} (did you mean {near!r}?); known here: " in str(caught.value)
    assert "my-run.yaml" in str(caught.value)


def test_an_unknown_key_that_is_near_to_nothing_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'zzz'; known here: name, directory, seed, .*, export$"):
        load(write(tmp_path, "zzz: 1"))


@pytest.mark.parametrize(
    ("text", "key", "takes"),
    [
        ("seed: one", "seed", "valid integer"),
        ("seed: 1.5", "seed", "valid integer"),
        ("seed: true", "seed", "valid integer"),
        ("name: 5", "name", "valid string"),
        ("name: a/b", "name", "match pattern"),
        ("name: ..", "name", "match pattern"),
        ("engine: rai", "engine", "'local' or 'ray'"),
        ("devices: local", "devices", "valid list"),
        ("devices: []", "devices", "at least 1 item"),
        ("devices: [1]", "devices.0", "valid string"),
        ("training: 5", "training", "valid dictionary"),
        ("training: {learning_rate: fast}", "training.learning_rate", "valid number"),
        ("training: {learning_rate: 0}", "training.learning_rate", "greater than 0"),
        ("training: {learning_rate: .inf}", "training.learning_rate", "finite number"),
        ("training: {learning_rate: .nan}", "training.learning_rate", "finite number"),
        ("training: {precision: float16}", "training.precision", "'float32' or 'bfloat16'"),
        ("training: {channels_last: often}", "training.channels_last", "'auto', True or False"),
        ("training: {device: gpu}", "training.device", "'auto', 'cpu' or 'cuda'"),
        ("training: {epochs: 0}", "training.epochs", "greater than 0"),
        ("training: {ema: 1.0}", "training.ema", "less than 1"),
        ("training: {largest_share: -1}", "training.largest_share", "greater than or equal to 0"),
        ("training: {processes: 0}", "training.processes", "greater than 0"),
        ("training: {strategy: sandwich}", "training.strategy", "valid dictionary"),
        ("task: {augmentation: {flip: 1}}", "task.augmentation.flip", "valid boolean"),
        ("task: {validation: 1.0}", "task.validation", "less than 1"),
        ("task: {mixup: -0.1}", "task.mixup", "greater than or equal to 0"),
        ("task: {cutmix: .inf}", "task.cutmix", "finite number"),
        ("task: {class_weights: equal}", "task.class_weights", "'none' or 'balanced'"),
        ("task: {mean: 0.5}", "task.mean", "valid list"),
        ("task: {mean: [0.5, 1.5]}", "task.mean.1", "less than or equal to 1"),
        ("task: {std: [0.0]}", "task.std.0", "greater than 0"),
        ("task: {std: []}", "task.std", "at least 1 item"),
        ("search: {objectives: [accuracy]}", "search.objectives", "at least 2 items"),
        ("space: {options: {when: 2020-01-01}}", "space.options", "finite numbers, texts"),
        ("space: {options: {image: !!binary aGk=}}", "space.options", "finite numbers, texts"),
        ("space: {options: &a {b: *a}}", "space.options", "finite numbers, texts"),
    ],
)
def test_wrong_value_names_the_key_and_what_it_takes(tmp_path: Path, text: str, key: str, takes: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(write(tmp_path, text))
    message = str(caught.value)
    assert f"my-run.yaml: {key!r} is " in message
    assert takes in message


def test_missing_file(tmp_path: Path) -> None:
    for source in (tmp_path / "none.yaml", tmp_path, "quickstrat", ""):
        with pytest.raises(UsageError, match=r"there is no configuration .*quickstart"):
            load(source)


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1",
        b"a: b: c",
        b"\x89PNG\r\n\x1a\n\x00\x01",
        b"\xff\xfe\x00",
        b"a: \x07",
        b"a: 2001-99-99",
        b"? [a]\n: 1",
        b"a: !!int x",
        b"a: !!bool x",
        b"a: !!timestamp x",
        b"a: !!python/object:os.system x",
        b"[" * 5000,
        b"a\n---\nb",
    ],
)
def test_what_is_not_yaml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.yaml is not readable YAML: ."):
        load(path)


@pytest.mark.parametrize("text", ["", "# nothing", "- a\n- b", "just words", "5", "null"])
def test_what_is_not_keys_and_values(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"my-run\.yaml must hold keys and values"):
        load(write(tmp_path, text))


@pytest.mark.parametrize("text", ["1: 2", "null: 1", "training: {3: 4}", "? true\n: x"])
def test_keys_that_are_no_text(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"my-run\.yaml"):
        load(write(tmp_path, text))


def test_overrides_take_yaml_values(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\ntraining: {epochs: 5, batch_size: 8}")
    config = load(
        path,
        [
            "seed=3",
            "name=other",
            "training.epochs=7",
            "training.weight_decay=1e-3",
            "search.limits=['macs_m <= 5', \"accuracy >= 0.5\"]",
            "space.options.widths=[[16], [32, 64]]",
            "task.augmentation.flip=true",
            "export.maximize=null",
            "task.data=a=b.npz",
        ],
    )
    assert (config.seed, config.name) == (3, "other")
    assert (config.training.epochs, config.training.batch_size, config.training.weight_decay) == (7, 8, 1e-3)
    assert config.search.limits == ["macs_m <= 5", "accuracy >= 0.5"]
    assert config.space.options == {"widths": [[16], [32, 64]]}
    assert config.task.augmentation is not None
    assert config.task.augmentation.flip
    assert config.export.maximize is None
    assert config.task.data == "a=b.npz"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.evaluations", "--set takes key=value"),
        ("=5", "--set takes key=value"),
        ("", "--set takes key=value"),
        ("seed.deep=5", "'seed' is not a section"),
        ("seed=[", "not readable YAML"),
        ("seed=five", "'seed' is 'five'"),
        ("search.evaluation=5", r"unknown key 'search.evaluation' \(did you mean 'evaluations'\?\)"),
        ("serch.evaluations=5", r"unknown key 'serch' \(did you mean 'search'\?\)"),
        ("search..evaluations=5", r"unknown key 'search\.'"),
    ],
)
def test_wrong_overrides(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(write(tmp_path, "seed: 1"), [override])


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E3", 1000.0), ("5.e-1", 0.5), ("2e+0", 2.0), (".5e0", 0.5)]
)
def test_numbers_with_an_exponent_are_numbers(tmp_path: Path, text: str, value: float) -> None:
    """YAML 1.1, which PyYAML reads, takes 1e-4 for a text."""
    assert load(write(tmp_path, f"training: {{weight_decay: {text}}}")).training.weight_decay == value


def test_name_and_directory(tmp_path: Path) -> None:
    config = load(write(tmp_path, "seed: 1"))
    assert (config.name, config.run_directory) == ("my-run", Path("runs/my-run"))
    assert load(write(tmp_path, "name: a\ndirectory: b/c")).run_directory == Path("b/c")


def test_packaged_quickstart() -> None:
    assert load("quickstart").name == "quickstart"
    assert load("quickstart", ["search.evaluations=5"]).search.evaluations == 5


def test_a_file_comes_before_a_packaged_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart").write_text("name: mine")
    assert load("quickstart").name == "mine"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_configurations_load_and_their_spaces_build(path: Path) -> None:
    config = load(path)
    space = search_spaces.get(config.space.name, **config.space.options)
    assert space.size > config.search.evaluations
    assert parse(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize("text", ["training: {epochs: 1, warmup_epochs: 1}", "training: {warmup_epochs: 31}"])
def test_a_learning_rate_that_only_rises(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"'training.warmup_epochs' is .* the learning rate would rise in all of the"):
        load(write(tmp_path, text))


def test_a_run_is_its_configuration_wherever_it_was_moved_to(tmp_path: Path) -> None:
    run = tmp_path / "elsewhere"
    run.mkdir()
    (run / "config.yaml").write_text(load("quickstart", ["seed=5"]).to_yaml())
    config = load(run, ["search.evaluations=7"])
    assert (config.name, config.seed, config.search.evaluations, config.run_directory) == ("quickstart", 5, 7, run)


def test_a_directory_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"there is no configuration .* give a YAML file, a run or one of: language, quickstart"
    ):
        load(tmp_path)


def test_all_packaged_are_shipped() -> None:
    assert set(packaged().values()) <= set(SHIPPED)
    assert len(SHIPPED) >= 2


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["1e5", "1e-4", "yes", "null", "~", "0x1", "1:30", "2020-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), plain, max_size=3),
    name=st.sampled_from(["a", "1e5", "1", "true", "null", "1.5", "a.b-c_d"]),
    rate=st.floats(1e-12, 1e12),
    limits=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=3),
)
def test_yaml_round_trip(tmp_path: Path, options: dict[str, Any], name: str, rate: float, limits: list[str]) -> None:
    config = parse(
        {
            "name": name,
            "space": {"options": options},
            "training": {"learning_rate": rate},
            "search": {"limits": limits},
            "task": {"augmentation": {"flip": True}},
        }
    )
    assert load(write(tmp_path, config.to_yaml())) == config


keys = [*RunConfig.model_fields, *nas.config.TrainingConfig.model_fields, "options", "augmentation", "flip", "limits"]
fragments = st.sampled_from(
    [*keys, ": ", ":\n", "\n", "\n  ", "- ", "[", "]", "{", "}", ", ", "1", "0.1", "1e9", "-", "&a ", "*a", "!!", "!!int ", "!!set ",
     "!!binary ", "!!timestamp ", "!!float ", "!!bool ", "? ", "|", ">", "'", '"', "2001-13-45", "1:99", ".inf", "<<", "=", "---\n",
     "null", "true", "\\ud800", "\t", "#", "%YAML 9.9\n", "local", "accuracy", "0o9", "0b2", "_"]
)  # fmt: skip


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40) | st.lists(fragments, max_size=14).map("".join) | st.builds(yaml.dump, plain))
def test_any_text_is_a_configuration_or_a_usage_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        config = load(path)
    except UsageError:
        return
    assert load(write(tmp_path, config.to_yaml())) == config


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20) | st.lists(fragments | st.just("."), max_size=8).map("".join))
def test_any_override_is_taken_or_a_usage_error(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, "seed: 1\ntraining: {epochs: 3}")
    with suppress(UsageError):
        assert isinstance(load(path, [override]), RunConfig)
