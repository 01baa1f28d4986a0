from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.report import Evaluation, Objective, ReportData, labels, plots
from nas.report.importance import NotEnoughData, choice_importance
from nas.report.network import stages
from search_spaces import SearchSpace


def trace(figure: object, name: str) -> object:
    return next(trace for trace in figure.data if trace.name == name)  # type: ignore[attr-defined]


def test_front_figure_shows_every_evaluation_once(run: ReportData) -> None:
    (pair,) = plots.front_pairs(run)
    figure = plots.front_figure(run, *pair)
    groups = [trace(figure, name) for name in ("misses a limit", "dominated", "on the front")]
    numbers = [text.split("</b>")[0].split()[-1] for group in groups for text in group.hovertext]
    assert sorted(map(int, numbers)) == [evaluation.number for evaluation in run.evaluations]
    assert sorted(groups[2].x) == sorted(e.metrics["latency_ms.local"] for e in run.front)
    assert sorted(groups[2].y) == pytest.approx(sorted(100 * e.metrics["accuracy"] for e in run.front))
    limit = run.limits["latency_ms.local"]
    assert max(groups[1].x) <= limit < min(groups[0].x)
    assert [shape.x0 for shape in figure.layout.shapes] == [limit]


def test_front_line_stays_on_the_dominated_side(run: ReportData) -> None:
    """Between two members the best known accuracy is that of the faster one."""
    (pair,) = plots.front_pairs(run)
    line = trace(plots.front_figure(run, *pair), "best trade-off")
    assert line.line.shape == "hv"
    assert (np.diff(line.x) > 0).all()
    assert (np.diff(line.y) > 0).all()
    flipped = plots.front_figure(run, Objective("latency_ms.local", "maximize"), pair[1])
    assert trace(flipped, "best trade-off").line.shape == "vh"


def test_hover_holds_what_is_known_of_a_network(run: ReportData) -> None:
    (pair,) = plots.front_pairs(run)
    best = run.front[0]
    texts = trace(plots.front_figure(run, *pair), "on the front").hovertext
    text = next(text for text in texts if f"evaluation {best.number}<" in text)
    assert f"Accuracy: {100 * best.metrics['accuracy']:.2f} %" in text
    assert f"stage2: width {best.architecture.values['stage2_width']}" in text


def test_limited_metrics_that_are_no_objective_get_a_figure(run: ReportData) -> None:
    single = replace(run, objectives=run.objectives[:1])
    assert [(x.name, y.name) for x, y in plots.front_pairs(single)] == [("latency_ms.local", "accuracy")]


def test_progress_is_a_share_of_the_box(run: ReportData) -> None:
    (line,) = plots.progress_figure(run).data
    assert len(line.y) == len(run.evaluations)
    assert (np.diff(line.y) >= 0).all()
    assert 0 < line.y[0] < line.y[-1] < 100
    twins = replace(run, evaluations=(run.front[0],), chosen=None)
    assert plots.progress_figure(twins).data[0].y[-1] == pytest.approx(100)


def test_calibration_figure_draws_the_intervals(run: ReportData) -> None:
    calibration = run.calibrations[0]
    points = trace(plots.calibration_figure(calibration), "held out, with 90 % interval")
    assert points.y + points.error_y.array == pytest.approx(calibration.holdout_high)
    assert points.y - points.error_y.arrayminus == pytest.approx(calibration.holdout_low)


def test_importance_finds_the_choices_that_decide(space: SearchSpace) -> None:
    """For a sum of independent effects the importance is the effect's share of the variance."""
    architectures = space.sample(400, seed=3)
    codes = space.codes(architectures)
    names = [choice.name for choice in space.choices]
    width, depth = codes[:, names.index("stage1_width")], codes[:, names.index("stage2_depth")]
    found = choice_importance(space, architectures, 3.0 * width + 1.0 * depth)
    assert [choice.choice for choice in found.choices[:2]] == ["stage1_width", "stage2_depth"]
    assert found.choices[0].mean == pytest.approx(0.9, abs=0.08)
    assert found.choices[1].mean == pytest.approx(0.1, abs=0.04)
    assert all(abs(choice.mean) < 0.02 for choice in found.choices[2:])
    assert found.explained > 0.97


def test_importance_of_noise_explains_nothing(space: SearchSpace) -> None:
    noise = np.random.default_rng(0).normal(size=100)
    assert choice_importance(space, space.sample(100, seed=3), noise).explained < 0.1


def test_importance_says_what_is_missing(space: SearchSpace) -> None:
    with pytest.raises(NotEnoughData, match="19 evaluations are too few"):
        choice_importance(space, space.sample(19, seed=0), np.arange(19.0))
    with pytest.raises(NotEnoughData, match="same value"):
        choice_importance(space, space.sample(30, seed=0), np.full(30, 2.0))


def test_training_figure_keeps_losses_apart(run: ReportData) -> None:
    rows = [*run.training, replace(run.training[-1], step=5000, losses={"largest": 0.05})]
    largest, smallest = plots.training_figure(rows).data
    assert largest.x[-1] == 5000
    assert len(smallest.x) == len(run.training)
    assert largest.line.dash != smallest.line.dash


def test_comparison_figure_has_a_curve_for_every_method() -> None:
    figure = plots.comparison_figure({"a<b": [(1.0, 50.0), (4.0, 70.0)], "c": [(2.0, 60.0)]}, "ms", "accuracy, %")
    assert [list(zip(curve.x, curve.y, strict=True)) for curve in figure.data] == [
        [(1.0, 50.0), (4.0, 70.0)],
        [(2.0, 60.0)],
    ]
    assert [curve.name for curve in figure.data] == ["a&lt;b", "c"]
    assert figure.layout.xaxis.type == "log"
    assert len({(curve.line.color, curve.line.dash, curve.marker.symbol) for curve in figure.data}) == 2


def test_network_figure_adds_up(space: SearchSpace) -> None:
    network = space.sample(1, seed=5)[0]
    figure = plots.network_figure(space, network)
    bars = {axis: sum(sum(bar.x) for bar in figure.data if bar.xaxis == axis) for axis in ("x2", "x3")}
    assert bars == pytest.approx({"x2": 100, "x3": 100})
    drawn = [annotation.text for annotation in figure.layout.annotations]
    assert all(any(f"<b>{slot}</b>" in text for text in drawn) for slot in space.variants(network))


def test_stages_agree_with_the_network_itself(space: SearchSpace) -> None:
    network = space.sample(1, seed=5)[0]
    found = stages(space, network)
    built = space.build(network)
    assert [stage.name for stage in found] == [name for name, _ in built.named_children()]
    assert [stage.parameters for stage in found] == [sum(p.numel() for p in m.parameters()) for m in built.children()]
    assert sum(stage.macs for stage in found) == space.workload(network).macs
    assert found[0].details == "k3 1→16 8x8"
    assert found[-1].channels == 10


@pytest.mark.parametrize(
    ("name", "value", "text", "shown"),
    [
        ("accuracy", 0.93417, "Accuracy", "93.42 %"),
        ("latency_ms.local", 0.12345, "Latency (local)", "0.123 ms"),
        ("latency_low_ms.pi", 12.345, "Latency low (pi)", "12.3 ms"),
        ("macs_m", 1234.5, "MACs", "1,234 M"),
        ("memory_mb", 0.0, "Memory", "0 MB"),
        ("perplexity", 17.32, "Perplexity", "17.3"),
    ],
)
def test_metrics_read_as_people_write_them(name: str, value: float, text: str, shown: str) -> None:
    metric = labels.metric(name)
    assert metric.text == text
    assert metric.show(value) == shown


def test_counts_are_short() -> None:
    assert [labels.count(n) for n in (7, 1500, 2_340_000, 5e9)] == ["7", "1.50 k", "2.34 M", "5.00 G"]


def test_choices_without_effect_are_left_out(space: SearchSpace) -> None:
    (lines,) = labels.compact(space, [space.smallest()])
    assert lines[0] == "resolution: 8"
    assert lines[1] == "stage1: width 16, depth 1, block1_kind mbconv, block1_kernel 3, block1_expansion 2"
    assert "block2" not in " ".join(lines)


def test_a_missing_metric_is_named(run: ReportData) -> None:
    broken = Evaluation(7, run.space.smallest(), {"accuracy": 0.5}, True)
    with pytest.raises(ValueError, match=r"evaluation 7 has no metric 'latency_ms\.local'"):
        replace(run, evaluations=(broken,))


def test_estimates_are_on_no_front(run: ReportData) -> None:
    member = run.front[0]
    networks = tuple(replace(one, complete=one is not member) for one in run.evaluations)
    data = replace(run, evaluations=networks, chosen=None)
    assert member.number not in {one.number for one in data.front}
    (pair,) = plots.front_pairs(data)
    marks = {trace.name: trace for trace in plots.front_figure(data, *pair).data}
    assert len(marks["stopped early, estimated"].x) == 1
    assert len(marks["on the front"].x) == len(data.front)
    assert "stopped early, estimated" not in {trace.name for trace in plots.front_figure(run, *pair).data}
