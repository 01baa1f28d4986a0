from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from nas.report import Check, Objective, ReportData
from nas.report.tables import front_table, network_table, proposals_table, verification_table
from search_spaces import SearchSpace


def text(table: Table, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_front_table_fits_with_many_objectives(run: ReportData) -> None:
    more = (*run.objectives, Objective("macs_m", "minimize"), Objective("memory_mb", "minimize"))
    wide = replace(run, objectives=more)
    shown = text(front_table(wide))
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for evaluation in wide.front:
        assert f"{100 * evaluation.metrics['accuracy']:.2f}" in shown


def test_front_table_marks_the_chosen_network(run: ReportData) -> None:
    assert run.chosen is not None
    lines = text(front_table(run)).splitlines()
    assert [run.chosen.architecture.key in line for line in lines if "★" in line] == [True]
    accuracies = [float(line.split("│")[2]) for line in lines if line.count("│") == 5]
    assert len(accuracies) == len(run.front)
    assert accuracies == sorted(accuracies, reverse=True)


def test_verification_table_says_the_result_in_words() -> None:
    shown = text(verification_table([Check("parity", True, "a [b]c", "d"), Check("[red]limit", False, "1 ms", "2 ms")]))
    assert "1 of 2 checks passed" in shown
    row = next(line for line in shown.splitlines() if "parity" in line)
    assert "passed" in row
    assert "a [b]c" in row  # not read as markup
    assert "FAILED" in next(line for line in shown.splitlines() if "[red]limit" in line)


@pytest.mark.parametrize("which", ["smallest", "largest"])
def test_network_table_lists_the_slots(space: SearchSpace, which: str) -> None:
    network = getattr(space, which)()
    shown = text(network_table(space, network))
    assert max(map(len, shown.splitlines())) <= 80
    rows = [line.split()[0] for line in shown.splitlines() if "%" in line]
    assert rows == list(space.variants(network))
    total = next(line.split() for line in shown.splitlines() if " total" in line)
    sums = [float(number) * {"k": 1e3, "M": 1e6}[unit] for number, unit in (total[1:3], total[3:5])]
    codes = space.codes([network])
    assert sums == pytest.approx([space.macs(codes)[0], space.parameters(codes)[0]], rel=0.005)


def test_proposals_table_says_what_was_expected_and_what_was_found(run: ReportData) -> None:
    best, *others = run.front
    proposal = {
        "source": "screened",
        "predicted": {"accuracy": 0.625},
        "deviation": {"accuracy": 0.0125},
        "among": 4321,
    }
    rest = [e for e in run.evaluations if e.number != best.number]
    shown = text(proposals_table(replace(run, evaluations=(replace(best, proposal=proposal), *rest))))
    row = next(line for line in shown.splitlines() if f" {best.number} " in line)
    assert "62.50 ± 1.25" in row
    assert f"{100 * best.metrics['accuracy']:.2f}" in shown
    assert "4,321" in shown.replace("\n", " ")
    assert shown.count("not said") == len(others)
    named = replace(best, proposal={**proposal, "surrogates": {"accuracy": "random_forest", "loss": "ridge_ensemble"}})
    wide = text(proposals_table(replace(run, evaluations=(named, *rest))), width=160)
    assert "screened: the best of 4,321 candidates by random forest and ridge ensemble" in wide
