"""What commands do with a run, compared with what its journal says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from cli_commands import TINY, Command
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import search_spaces
from latency_predictors.devices import repeatability
from nas.report.pareto import pareto_front


def journal(run: Path) -> list[dict[str, Any]]:
    """All evaluated networks, read with Optuna alone."""
    storage = JournalStorage(JournalFileBackend(str(run / "study.journal")))
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    return [
        {
            "number": trial.number,
            "values": json.loads(trial.user_attrs["architecture"])["values"],
            "feasible": all(value <= 0 for value in trial.constraints.values()),
            **trial.user_attrs["metrics"],
        }
        for trial in trials
        if trial.state.is_finished()
    ]


def test_run_that_is_complete_tells_all_again(finished: Path, command: Command) -> None:
    changed = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    found = command("run", TINY, "--set", f"directory={finished}", "--json", "--quiet")
    assert (found.code, found.err) == (0, "")
    assert found.data["run"] == str(finished)
    assert found.data["verification"]["passed"]
    trials = {trial["number"]: trial for trial in journal(finished)}
    assert len(trials) == 12
    for member in found.data["front"]:
        assert member["metrics"].items() <= trials[member["number"]].items()
    again = {path.name for path, time in changed.items() if path.stat().st_mtime_ns != time}
    assert again <= {"report.html", "config.yaml", "study.journal"}  # Optuna notes that it was opened


def test_paths_are_printed_in_one_piece(finished: Path, command: Command) -> None:
    assert len(str(finished)) > 30
    found = command("run", TINY, "--set", f"directory={finished}", "--quiet")
    lines = found.out.splitlines()
    assert f"network {finished / 'exports' / 'chosen'}" in lines
    assert f"report  {finished / 'report.html'}" in lines


def test_front_is_that_of_the_journal(finished: Path, command: Command) -> None:
    found = command("front", finished, "--json")
    assert found.code == 0
    kept = [trial for trial in journal(finished) if trial["feasible"]]
    values = [[trial["accuracy"], trial["latency_ms.local"]] for trial in kept]

    def dominated(a: list[float]) -> bool:
        return any(b[0] >= a[0] and b[1] <= a[1] and b != a for b in values)

    expected = [trial["number"] for trial, value in zip(kept, values, strict=True) if not dominated(value)]
    assert sorted(member["number"] for member in found.data["front"]) == expected
    assert found.data["objectives"] == ["accuracy", "latency_ms.local"]
    accuracies = [member["metrics"]["accuracy"] for member in found.data["front"]]
    assert accuracies == sorted(accuracies, reverse=True)
    table = command("front", finished)
    assert all(member["key"] in table.out for member in found.data["front"])


def test_front_with_the_bound_of_the_additive_model(finished: Path, command: Command) -> None:
    plain, found = command("front", finished, "--json").data, command("front", finished, "--json", "--bound").data
    assert found["bound"]["objective"] == "accuracy"
    assert (found["bound"]["costs"], found["bound"]["fitted_networks"]) == (["latency_ms.local"], 12)
    bounds = [member.pop("bound") for member in found["front"]]
    modelled = [member.pop("modelled") for member in found["front"]]
    assert found["front"] == plain["front"]
    assert all(bound >= value - 1e-6 for bound, value in zip(bounds, modelled, strict=True))
    table = command("front", finished, "--bound").out
    assert all(f"{bound:.2%}"[:-1] in table for bound in bounds)
    assert "not of the truth" in " ".join(table.split())


def test_export_picks_what_brute_force_picks(finished: Path, command: Command, tmp_path: Path) -> None:
    kept = [trial for trial in journal(finished) if trial["feasible"]]
    floor = sorted(trial["macs_m"] for trial in kept)[len(kept) // 2]
    fitting = [trial for trial in kept if trial["macs_m"] >= floor]
    expected = min(fitting, key=lambda trial: (trial["parameters_m"], -trial["accuracy"], trial["number"]))
    assert expected is not min(kept, key=lambda trial: trial["parameters_m"]), "the limit must matter"

    where = f"macs_m >= {floor!r}"
    found = command("export", finished, "--where", where, "--minimize", "parameters_m", "--to", "small")
    assert found.code == 0
    assert json.loads((tmp_path / "small" / "architecture.json").read_text())["values"] == expected["values"]
    manifest = json.loads((tmp_path / "small" / "manifest.json").read_text())
    assert manifest["trial"] == expected["number"]
    assert f"macs_m >= {floor!r}" in manifest["limits"]
    verified = command("verify", "small", "--json")
    checks = {check["name"]: check["passed"] for check in verified.data["checks"]}
    assert checks["limit on macs_m"]


def test_verify_tells_what_it_found(finished: Path, command: Command) -> None:
    found = command("verify", finished / "exports" / "chosen", "--json")
    assert found.code == 0
    assert found.data["passed"]
    assert found.data["device"] == "local"
    assert "accuracy on test images" in found.out


def test_verify_fails_with_a_reason(copied: Path, command: Command) -> None:
    bundle = copied / "exports" / "chosen"
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["limits"] = ["latency_ms.local <= 1e-6"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    found = command("verify", bundle, "--json")
    assert found.code == 1
    assert found.err.splitlines()[-1] == "error: failed: limit on latency_ms.local"
    assert not found.data["passed"]
    (bundle / "model.onnx").write_bytes(b"")
    found = command("verify", bundle)
    assert found.code == 1
    assert f"{bundle / 'model.onnx'} was changed after the export" in found.err


def test_profile_shows_ranges_when_limits_can_be_met(calibrated: Path, command: Command) -> None:
    found = command("profile", TINY, "--set", f"directory={calibrated}", "--json")
    assert found.code == 0
    assert "The limits can be met: macs_m <= " in found.out
    assert found.data["feasible"]
    space = search_spaces.get("convnet", **_options())
    ends = space.macs(space.codes([space.smallest(), space.largest()])) / 1e6
    figures = found.data["metrics"]["macs_m"]
    assert [figures["smallest"], figures["largest"]] == pytest.approx(ends.tolist())
    for name in ("macs_m", "parameters_m", "memory_mb", "latency_ms.local"):
        figures = found.data["metrics"][name]
        assert 0 < figures["min"] <= figures["smallest"] < figures["median"] < figures["largest"] <= figures["max"]
        assert name in found.out
    assert sorted(path.name for path in calibrated.iterdir()) == ["bank.jsonl", "calibration", "config.yaml", "locks"]


def _options() -> dict[str, Any]:
    from nas.config import load

    return load(TINY).space.options


@pytest.mark.parametrize("name", ["profile", "run"])
def test_hopeless_limit_is_found_before_training(calibrated: Path, command: Command, name: str) -> None:
    limit = "search.limits=[latency_ms.local <= 1e-6]"
    found = command(name, TINY, "--set", f"directory={calibrated}", "--set", limit, "--json")
    assert found.code == 1
    assert re.search(r"no network of the space keeps the limits: 'latency_ms.local <= 1e-06': .* has 0\.0", found.err)
    assert sorted(path.name for path in calibrated.iterdir()) == ["bank.jsonl", "calibration", "config.yaml", "locks"]
    if name == "profile":
        assert found.data["feasible"] is False
        assert "Range over the space" in found.out


def test_calibrate_measures_what_it_is_told(command: Command, tmp_path: Path) -> None:
    assert command("device", "add", "basic", "--option", "graph_optimization=basic").code == 0
    found = command("calibrate", TINY, "--device", "basic", "--samples", "4", "--holdout", "3", "--json")
    assert found.code == 0
    assert found.data["device"] == "basic"
    stored = json.loads((tmp_path / "runs" / "tiny" / "calibration" / "basic.json").read_text())
    assert (len(stored["reference"]), len(stored["holdout"])) == (4, 3)
    assert stored["device"]["options"]["graph_optimization"] == "basic"


def test_calibration_in_use_is_kept(copied: Path, command: Command) -> None:
    before = (copied / "calibration" / "local.json").read_bytes()
    found = command("calibrate", TINY, "--set", f"directory={copied}")
    assert found.code == 2
    assert "uses the present calibration" in found.err
    assert (copied / "calibration" / "local.json").read_bytes() == before


def test_devices_are_added_and_listed(command: Command, tmp_path: Path) -> None:
    added = command("device", "add", "two-threads", "--threads", "2")
    assert added.code == 0
    assert (tmp_path / "home" / "devices" / "two-threads.yaml").read_text() == (
        "backend: onnxruntime\noptions:\n  threads: 2\n"
    )
    listed = command("device", "list").out
    assert "local" in listed
    assert re.search(r"two-threads\W+onnxruntime\W+threads=2", listed)


def test_a_remote_device_is_added(command: Command, tmp_path: Path) -> None:
    options = ("--ssh", "pi@board:2222", "--identity", "key", "--python", "env/bin/python")
    added = command("device", "add", "pi", *options, "--option", "graph_optimization=basic")
    assert added.code == 0
    stored = yaml.safe_load((tmp_path / "home" / "devices" / "pi.yaml").read_text())
    assert stored == {
        "backend": "onnxruntime",
        "options": {"threads": 1, "graph_optimization": "basic"},
        "ssh": "pi@board:2222",
        "identity": str(Path("key").absolute()),
        "python": "env/bin/python",
    }
    assert "pi" in command("device", "list").out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--ssh", "-oProxyCommand=id"), "ssh takes user@host"),
        (("--ssh", "a@b", "--python", "x;id"), "python is the path of a program"),
        (("--option", "graph_optimization"), "--option takes KEY=VALUE"),
        (("--option", "graph_optimization=true"), "cannot be True"),
    ],
)
def test_wrong_devices_are_not_added(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    found = command("device", "add", "wrong", *arguments)
    assert found.code == 2
    assert sentence in found.err
    assert not (tmp_path / "home" / "devices" / "wrong.yaml").exists()


@pytest.mark.parametrize(("spearman", "error", "code"), [(0.99, 0.01, 0), (0.99, 0.2, 1), (0.5, 0.01, 1)])
def test_device_check_judges(
    command: Command, monkeypatch: pytest.MonkeyPatch, spearman: float, error: float, code: int
) -> None:
    def repeated(*_: object, **__: object) -> repeatability.Repeatability:
        return repeatability.Repeatability(spearman, error)

    monkeypatch.setattr(repeatability, "repeatability", repeated)
    found = command("device", "check")
    assert found.code == code
    assert f"{spearman:.3f}" in found.out
    assert ("does not repeat itself" in found.err) == bool(code)


def test_spaces_are_listed(command: Command) -> None:
    found = command("spaces")
    assert found.code == 0
    assert all(name in found.out for name in search_spaces.names())


def test_space_is_described(command: Command) -> None:
    space = search_spaces.get("convnet")
    found = command("spaces", "convnet")
    assert found.code == 0
    words = [*space.options, *(choice.name for choice in space.choices), f"{space.size:.4g}", "smallest", "largest"]
    assert [word for word in words if word not in found.out] == []


def test_report_is_written_where_asked(finished: Path, command: Command, tmp_path: Path) -> None:
    found = command("report", finished, "--to", "page.html")
    assert found.code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "page.html").read_bytes() == (finished / "report.html").read_bytes()


def test_stages_alone_make_the_run(calibrated: Path, command: Command) -> None:
    short = ["--set", f"directory={calibrated}", "--set", "training.epochs=1", "--set", "search.evaluations=4"]
    assert "no trained supernet yet" in command("search", TINY, *short).err
    assert command("train", TINY, *short).code == 0
    assert (calibrated / "supernet.safetensors").exists()
    assert not (calibrated / "study.journal").exists()
    found = command("search", TINY, *short)
    assert found.code == 0
    assert "of 4 evaluated" in found.out
    assert [trial["number"] for trial in journal(calibrated)] == [0, 1, 2, 3]


def test_pareto_front_of_the_report_agrees(finished: Path) -> None:
    """Guards the brute force above: it must tell apart some networks."""
    kept = [trial for trial in journal(finished) if trial["feasible"]]
    front = pareto_front([[t["accuracy"], t["latency_ms.local"]] for t in kept], ["maximize", "minimize"])
    assert 0 < front.sum() < len(kept)
