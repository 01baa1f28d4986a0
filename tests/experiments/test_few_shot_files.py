"""Tables from files and banks, and what is joined to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pytest
from few_shot_tables import fbnet_table, write

import search_spaces
from experiments.few_shot_latency import files
from experiments.few_shot_latency.adaptors import ADAPTORS, labelled_rows, plain_columns, rated_columns
from experiments.few_shot_latency.dataset import load
from latency_predictors import Bank
from latency_predictors.shipped import write_shipped
from search_spaces import SearchSpace
from search_spaces.tabular import nasbench201


@pytest.fixture
def more(fbnet_space: SearchSpace) -> pyarrow.Table:
    return fbnet_table(fbnet_space, seed=9, devices=("watch",))


@pytest.mark.parametrize("key", ["arch_idx", "ops"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_rows_are_joined_by_key_whatever_their_order(
    fbnet_file: Path, tmp_path: Path, more: pyarrow.Table, key: str, suffix: str
) -> None:
    order = np.random.default_rng(0).permutation(len(more))
    shuffled = more.take(order).select([key, "watch"])
    path = tmp_path / f"more.{suffix}"
    pyarrow.csv.write_csv(shuffled, path) if suffix == "csv" else write(shuffled, path)
    data = load("fbnet", str(fbnet_file), [str(path)])
    np.testing.assert_allclose(data.latency_ms["watch"], more["watch"].to_numpy(), rtol=1e-6)
    assert set(data.latency_ms) == {"board", "camera", "drone", "phone", "watch"}


def test_without_a_key_rows_are_joined_in_their_order(fbnet_file: Path, tmp_path: Path, more: pyarrow.Table) -> None:
    path = write(more.select(["watch"]), tmp_path / "more.parquet")
    data = load("fbnet", str(fbnet_file), [str(path)])
    np.testing.assert_array_equal(data.latency_ms["watch"], more["watch"].to_numpy())


def test_a_device_measured_on_some_rows_is_empty_on_the_others(
    fbnet_file: Path, tmp_path: Path, more: pyarrow.Table
) -> None:
    path = write(more.slice(10, 20), tmp_path / "more.parquet")
    watch = load("fbnet", str(fbnet_file), [str(path)]).latency_ms["watch"]
    assert np.flatnonzero(~np.isnan(watch)).tolist() == list(range(10, 30))
    np.testing.assert_array_equal(watch[10:30], more["watch"].to_numpy()[10:30])


def renamed(table: pyarrow.Table, **names: str) -> pyarrow.Table:
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def test_rows_that_do_not_match_raise(fbnet_file: Path, tmp_path: Path, more: pyarrow.Table) -> None:
    swapped = more["ops"].to_pylist()
    swapped[:2] = swapped[1::-1]
    n = len(more)
    wrong = {
        "138 rows and the table 140: .* a column arch_idx or ops": more.select(["watch"]).slice(2),
        "140 rows of .* are not in the table, such as arch_idx 0": more.set_column(0, "arch_idx", [np.arange(n)]),
        "rows with the same arch_idx": more.set_column(0, "arch_idx", [np.full(n, 3990)]),
        "the rows of .* are others: arch_idx is the same where ops is": more.set_column(1, "ops", [swapped]),
        "column 'board' of .* with other values": renamed(more, watch="board"),
    }
    for message, table in wrong.items():
        path = write(table, tmp_path / "more.parquet")
        with pytest.raises(ValueError, match=message):
            load("fbnet", str(fbnet_file), [str(path)])


def test_what_is_no_table_raises(fbnet_file: Path, tmp_path: Path, more: pyarrow.Table) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(ValueError, match=r"bad\.parquet cannot be read as a parquet file"):
        load("fbnet", str(tmp_path / "bad.parquet"))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load("fbnet", str(tmp_path / "none.parquet"))
    with pytest.raises(ValueError, match=r"expected a file \*.parquet or \*.csv"):
        load("fbnet", str(tmp_path / "table.xlsx"))
    with pytest.raises(ValueError, match="is no table of 'fbnet': it has no column ops"):
        load("fbnet", str(write(more.select(["watch"]), tmp_path / "t.parquet")))
    with pytest.raises(ValueError, match="is no architecture of NAS-Bench-201"):
        load("nasbench201", str(fbnet_file))
    with pytest.raises(ValueError, match=r"no search space 'fbnt' \(did you mean 'fbnet'"):
        load("fbnt", str(fbnet_file))
    with pytest.raises(ValueError, match="how a table writes architectures of 'convnet' is not known"):
        load("convnet", str(fbnet_file))
    with pytest.raises(ValueError, match="phase"):
        load("fbnet", str(fbnet_file), phase="decode")


@pytest.mark.parametrize("latency_ms", [0.0, -2.0, np.inf])
def test_impossible_latencies_raise(fbnet_file: Path, latency_ms: float) -> None:
    data = load("fbnet", str(fbnet_file))
    data.latency_ms["phone"][5] = latency_ms
    data.matrix(["board"])
    with pytest.raises(ValueError, match=r"phone has .* in row 5: not a positive number of ms"):
        data.matrix(["board", "phone"])


def test_a_csv_keeps_the_zeros_of_an_architecture(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "arch_idx,ops,macs_m,acc_cifar10_test,phone\n4,012340,10.5,91.2,3\n7,000001,9.5,90,4\n"
    )
    data = load("nasbench201", str(tmp_path / "t.csv"))
    assert nasbench201.ops_of(data.codes) == ["012340", "000001"]
    assert data.index.tolist() == [4, 7]
    assert {name: column.tolist() for name, column in data.latency_ms.items()} == {"phone": [3.0, 4.0]}


@pytest.mark.parametrize("name", ["ofa-mobilenetv3", "mobilenetv3"])
def test_once_for_all(tmp_path: Path, name: str) -> None:
    twenty = "_".join(["3"] * 20)
    (tmp_path / "t.csv").write_text(f"ks,e,d,r,macs_w10_m,v100_1\n{twenty},{twenty},2_2_2_2_2,128,60,1.5\n")
    data = load(name, str(tmp_path / "t.csv"))
    assert data.space.architectures(data.codes) == [data.space.smallest()]
    assert {device: column.tolist() for device, column in data.latency_ms.items()} == {"v100_1": [1.5]}


def test_images_per_second_become_ms() -> None:
    table = pyarrow.table({"macs_m": [5.0], "latency_chip_ms": [4.0], "throughput_gpu_imgps": [500.0], "e": ["1"]})
    found = {name: column.tolist() for name, column in rated_columns(table, "inference").items()}
    assert found == {"latency_chip_ms": [4.0], "throughput_gpu_imgps": [2.0]}
    assert plain_columns(table, "inference")["throughput_gpu_imgps"].tolist() == [500.0]


def test_rows_of_devices_and_tasks_become_columns() -> None:
    table = pyarrow.table(
        {
            "task": ["en-de", "en-fr", "en-de"],
            "device": ["pi", "pi", "gpu"],
            "latency_encoder_ms": [1.0, 2.0, 3.0],
            "latency_decoder_ms": [4.0, 5.0, 6.0],
        }
    )
    found = labelled_rows(table, "decoder")
    nan = np.nan
    expected = {"gpu:en-de": [nan, nan, 6.0], "pi:en-de": [4.0, nan, nan], "pi:en-fr": [nan, 5.0, nan]}
    assert set(found) == set(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)


def test_every_adaptor_is_of_a_space() -> None:
    for adaptor in ADAPTORS.values():
        assert search_spaces.get(adaptor.space, **adaptor.options).name == adaptor.space


def test_a_bank_is_a_table(tmp_path: Path) -> None:
    shipped = load("convnet", "shipped")
    assert shipped.help is None
    records = Bank.shipped().records()
    write_shipped(tmp_path / "pool.jsonl.gz", records)
    Bank(tmp_path / "pool.jsonl").append(records)
    for name in ("pool.jsonl.gz", "pool.jsonl"):
        data = load("convnet", str(tmp_path / name))
        np.testing.assert_array_equal(data.codes, shipped.codes)
        np.testing.assert_array_equal(data.latency_ms["tract"], shipped.latency_ms["tract"])
    tract = [record for record in records if record.device == "tract"]
    rows = {tuple(code): row for row, code in enumerate(shipped.codes.tolist())}
    for record in tract[:5]:
        architecture = search_spaces.Architecture("convnet", tuple(record.architecture.items()))
        row = rows[tuple(shipped.space.codes([architecture])[0].tolist())]
        same = [one.latency_ms for one in tract if one.architecture == record.architecture]
        assert shipped.latency_ms["tract"][row] == np.median(same)


def test_a_bank_that_does_not_fit_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no latencies of 'fbnet'"):
        load("fbnet", "shipped")
    with pytest.raises(ValueError, match="cannot be joined to a bank"):
        load("convnet", "shipped", ["more.parquet"])
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.jsonl"):
        load("convnet", str(tmp_path / "none.jsonl"))


def test_reading_does_not_change_numbers(fbnet_file: Path) -> None:
    table = files.read(fbnet_file)
    data = load("fbnet", str(fbnet_file))
    np.testing.assert_allclose(data.space.macs(data.codes) / 1e6, table["macs_m"].to_numpy(), rtol=1e-6)
