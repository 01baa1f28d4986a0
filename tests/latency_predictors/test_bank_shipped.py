"""Measurements that ship with the project."""

from __future__ import annotations

import configparser
import gzip
import json
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from bank_records import marks, record

import latency_predictors
import search_spaces
from latency_predictors import Bank, Record
from latency_predictors.metrics import spearman
from latency_predictors.shipped import SHIPPED, Shipped, write_shipped
from search_spaces import SearchSpace


def of_devices(space: SearchSpace, devices: int, networks: int) -> list[Record]:
    rng = np.random.default_rng(0)
    return [
        record(
            space,
            device=f"device{device}",
            architecture=architecture.values,
            latency_ms=float(rng.uniform(1, 9)),
            median_ms=float(rng.uniform(1, 9)),
            samples_ms=tuple(rng.uniform(1, 9, 36).tolist()),
            fingerprint=marks(flags=[f"flag{number}" for number in range(100)]),
        )
        for device in range(devices)
        for architecture in space.sample(networks, seed=0)
    ]


def test_samples_alone_are_left_out(tmp_path: Path, tiny: SearchSpace) -> None:
    records = [record(tiny, seed) for seed in range(3)]
    write_shipped(tmp_path / "a.jsonl.gz", records)
    write_shipped(tmp_path / "b.jsonl.gz", [record(tiny, device="other"), records[0]])
    found = Shipped(tmp_path).records()
    assert sorted(found, key=lambda one: one.latency_ms or 0)[2:] == [
        replace(one, samples_ms=()) for one in records[1:]
    ]
    assert len(found) == 4
    assert [device.name for device in Shipped(tmp_path).devices()] == ["board", "other"]


def test_a_user_who_has_the_same_measurements_has_them_once(tmp_path: Path, tiny: SearchSpace) -> None:
    write_shipped(tmp_path / "a.jsonl.gz", [record(tiny)])
    bank = Bank(tmp_path / "bank.jsonl")
    bank.append([record(tiny)])
    assert bank.append(Shipped(tmp_path).records()) == 0


def test_spaces_are_matched_by_fingerprint(tmp_path: Path, tiny: SearchSpace, convnet: SearchSpace) -> None:
    write_shipped(tmp_path / "a.jsonl.gz", [record(tiny), record(convnet, 1)])
    assert tiny.name == convnet.name
    assert Shipped(tmp_path).latencies(tiny).latency_ms.tolist() == [[1.0]]
    assert Shipped(tmp_path).latencies(convnet).latency_ms.tolist() == [[2.0]]


def test_ten_devices_and_sixty_networks_are_small(tmp_path: Path, convnet: SearchSpace) -> None:
    records = of_devices(convnet, 10, 60)
    path = tmp_path / "pool.jsonl.gz"
    write_shipped(path, records)
    assert path.stat().st_size < 100_000
    found = Shipped(tmp_path).latencies(convnet)
    assert found.latency_ms.shape == (60, 10)
    assert not np.isnan(found.latency_ms).any()
    before = path.read_bytes()
    write_shipped(path, [*reversed(records), records[0]])
    assert path.read_bytes() == before


def test_public_tools_read_it(tmp_path: Path, tiny: SearchSpace) -> None:
    pandas = pytest.importorskip("pandas")
    records = [record(tiny, seed) for seed in range(3)]
    write_shipped(tmp_path / "a.jsonl.gz", records)
    table = pandas.read_json(tmp_path / "a.jsonl.gz", lines=True)
    assert sorted(table.latency_ms) == [1, 2, 3]
    lines = gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).decode().splitlines()
    assert all(json.loads(line)["samples_ms"] == [] for line in lines)


@pytest.mark.parametrize("damage", ["cut", "text", "byte"])
def test_damaged_files_are_named(tmp_path: Path, tiny: SearchSpace, damage: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    write_shipped(path, [record(tiny, seed) for seed in range(9)])
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[:-20], "text": b"{}\n", "byte": content[:200] + b"\0\0\0\0" + content[204:]}[damage]
    )
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz cannot be read.*install Nasmyth anew"):
        Shipped(tmp_path).records()


def test_damaged_lines_are_named(tmp_path: Path, tiny: SearchSpace) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((record(tiny).to_json() + "\n{}\n").encode()))
    with pytest.raises(ValueError, match=r"line 2 of .*a\.jsonl\.gz is damaged"):
        Shipped(tmp_path).records()


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a file NAME\.jsonl\.gz"):
        write_shipped(tmp_path / "a.jsonl", [])


def test_what_ships_can_be_read_and_is_packed() -> None:
    assert isinstance(Bank.shipped().devices(), list)
    package = Path(latency_predictors.__file__).parent
    assert package / "data" == SHIPPED
    setup = configparser.ConfigParser()
    setup.read(package.parent / "setup.cfg")
    patterns = setup["options.package_data"]["latency_predictors"].replace(" ", "").split(",")
    assert any(fnmatch("data/pool.jsonl.gz", pattern) for pattern in patterns)
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.jsonl.gz")) < 500_000


def test_the_shipped_devices_measured_the_default_convnet_space() -> None:
    """A space whose networks have changed needs measurements of its own: `python -m experiments.device_pool --ship`."""
    space = search_spaces.get("convnet")
    found = Bank.shipped().latencies(space)
    assert found.latency_ms.shape == (60, 11)
    assert np.isfinite(found.latency_ms).all()
    assert {name.partition("@")[0] for name in found.devices} >= {
        "onnxruntime",
        "openvino",
        "mnn",
        "ncnn",
        "tract",
        "torch",
    }
    wanted = space.codes(space.sample(60, seed=0))
    np.testing.assert_array_equal(found.codes, np.unique(wanted, axis=0))
    macs = space.macs(found.codes)
    assert all(spearman(macs, column) > 0.6 for column in found.latency_ms.T)


def test_one_file_is_a_bank_too(convnet: SearchSpace, tmp_path: Path) -> None:
    for device in ("board", "phone"):
        write_shipped(tmp_path / f"{device}.jsonl.gz", [record(convnet, device=device)])
    assert [one.name for one in Shipped(tmp_path / "phone.jsonl.gz").devices()] == ["phone"]
    with pytest.raises(ValueError, match=r"none\.jsonl\.gz cannot be read"):
        Shipped(tmp_path / "none.jsonl.gz").devices()
