# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whole measurements: sparsities of map and query, files left behind, errors."""

import json

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model
from vpr_ros.evaluation import benchmark, retrieval
from vpr_ros.evaluation.benchmark import (
    Plan,
    cross_tables,
    recall_table,
    robustness_table,
    run_benchmark,
)
from vpr_ros.evaluation.descriptor_store import DescriptorStore
from vpr_ros.evaluation.image_changes import Change
from vpr_ros.evaluation.image_set import DatasetError, ImageSet
from vpr_ros.evaluation.methods import Method
from vpr_ros.evaluation.retrieval import measure
from vpr_ros.evaluation.sweep import run_sweep

VALUES = (10, 60, 110, 160)


class Turned(Method):
    """Describes a grey image by its value as an angle; any sparsity turns it by 50 degrees, to
    what its brighter neighbour is without.
    """

    name = "turned"
    sparsity_max = 0.6
    size = 2

    def learn(self, count, read):
        self.learned = count

    def describe(self, image, sparsity=0.0):
        angle = np.radians(float(image[0, 0, 0]) + 50 * (sparsity > 0))
        return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


@pytest.fixture
def grey(tmp_path):
    """Aligned folders of grey images, exact match only."""
    for folder in ("ref", "query"):
        (tmp_path / folder).mkdir()
        for i, value in enumerate(VALUES):
            image = np.full((8, 8, 3), value, np.uint8)
            cv2.imwrite(str(tmp_path / folder / f"{i}.png"), image)
    paths = [tuple(sorted((tmp_path / f).glob("*.png"))) for f in ("ref", "query")]
    positives = tuple(np.array([i]) for i in range(len(VALUES)))
    return ImageSet("grey", *paths, positives, "same", query_frames=np.arange(len(VALUES)))


def counting(ticks):
    return DescriptorStore(tick=lambda: ticks.append(1))


def test_map_and_query_at_their_own_sparsity(grey):
    ticks = []
    rows = measure(grey, Turned(), (0.0, 0.4), store=counting(ticks))
    recall = {(row.map_sparsity, row.query_sparsity): row.recall[1] for row in rows}
    # Turned queries find the next image (the last one finds itself), a turned map the one before.
    assert recall == {(0, 0): 1.0, (0, 0.4): 0.25, (0.4, 0): 0.25, (0.4, 0.4): 1.0}
    assert len(ticks) == 16
    assert {row.descriptor_bytes for row in rows} == {4}
    for row in rows:
        assert 0 < row.encode_p50_ms <= row.encode_p95_ms
        assert 0 < row.search_p50_ms <= row.search_p95_ms


def test_tables(grey):
    rows = measure(grey, Turned(), (0.0, 0.4), sequence=2)
    table = recall_table(grey, rows)
    assert [row[:4] for row in table.rows] == [
        ("turned", "1", "0", "100.0"),
        ("turned", "2", "0", "100.0"),
        ("turned", "1", "0.4", "100.0"),
        ("turned", "2", "0.4", "100.0"),
    ]
    assert table.markdown().count("\n\n") == 2  # title, table, one note
    cross = cross_tables(grey, rows)[0]
    assert cross.rows == (("0", "100.0", "25.0"), ("0.4", "25.0", "100.0"))
    assert "| map at | query at, 0 | query at, 0.4 |" in cross.markdown()


DIMMED = Change("dimmed", "the bright ones", lambda i: np.where(i > 100, i - 40, i))


def test_changed_queries_in_a_map_as_it_was(grey):
    ticks = []
    rows = measure(grey, Turned(), (0.0, 0.4), 2, [DIMMED], counting(ticks))
    assert len(ticks) == 24
    changed = [row for row in rows if row.change == "dimmed"]
    assert [(row.map_sparsity, row.query_sparsity, row.sequence) for row in changed] == [
        (0, 0, 0),
        (0.4, 0.4, 0),
    ]
    # 110 and 160 become 70 and 120, 10 degrees from a wrong one; 10 and 60 stay exact.
    for row in changed:
        assert (row.recall[1], row.recall_at_full_precision) == (0.5, 0.5)
    table = robustness_table(grey, rows, [DIMMED])
    assert table.rows == (
        ("turned", "0", "100.0 / 100.0", "50.0 / 50.0"),
        ("turned", "0.4", "100.0 / 100.0", "50.0 / 50.0"),
    )
    assert "dimmed: the bright ones." in table.markdown()
    # The other tables are about the images as they were taken.
    assert len(recall_table(grey, rows).rows) == 4
    assert cross_tables(grey, rows)[0].rows[0] == ("0", "100.0", "25.0")


def test_sparsities_are_cut_to_the_dial(grey):
    steps = {row.map_sparsity for row in measure(grey, Turned(), (0.0, 0.6, 0.9))}
    assert steps == {0.0, 0.6}
    with pytest.raises(ConfigError, match="Sparsity 1 is out of range"):
        measure(grey, Turned(), (1.0,))


def test_unanswerable_queries_count_as_missed_and_are_named(grey):
    positives = (np.zeros(0, dtype=int), *grey.positives[1:])
    holes = ImageSet("holes", grey.database, grey.queries, positives, "same")
    nobody = (np.zeros(0, dtype=int),) * len(VALUES)
    lost = ImageSet("lost", grey.database, grey.queries, nobody, "same")
    assert recall_table(lost, measure(lost, Turned(), (0.0,))).rows[0][7] == "-"  # R@100P
    rows = measure(holes, Turned(), (0.0,))
    assert rows[0].recall[20] == 0.75
    assert "1 queries have no right image" in recall_table(holes, rows).markdown()
    with pytest.raises(DatasetError, match="not made of drives"):
        measure(holes, Turned(), (0.0,), sequence=5)


def test_a_broken_image_is_left_out_and_too_many_are_refused(grey):
    grey.database[2].write_bytes(b"no image")
    grey.queries[0].write_bytes(b"")
    store = DescriptorStore()
    rows = measure(grey, Turned(), (0.0,), 2, store=store)
    # Of the three queries left, the one whose only answer is gone is unanswerable.
    assert [row.recall[1] for row in rows] == pytest.approx([2 / 3, 2 / 3])
    assert rows[0].recall_at_full_precision == 1.0
    left = grey.without(store.unreadable)
    assert (left.counted, left.unanswerable) == (3, 1)
    assert [path.parent.name for path in store.unreadable] == ["query", "ref"]
    grey.database[3].unlink()
    with pytest.raises(DatasetError, match=r"2 images of 4 cannot be read, the first: .*2\.png"):
        measure(grey, Turned(), (0.0,))


@pytest.fixture
def pictures(tmp_path):
    """Aligned folders of three pictures with corners."""
    for folder in ("ref", "query"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for i in range(3):
            blocks = np.random.default_rng(i).integers(0, 256, (12, 16, 3), dtype=np.uint8)
            image = cv2.resize(blocks, (160, 120), interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(tmp_path / "set" / folder / f"{i}.png"), image)
    return tmp_path / "set"


def test_benchmark_leaves_tables_and_numbers(pictures, tmp_path, capsys):
    results = tmp_path / "results"
    plan = Plan(pictures, sparsities=(0.0, 0.6), results=results)
    rows = run_benchmark(plan, sequence=2, robustness=True)
    models = {DEFAULT_MODEL, "mobilenetv2-gem"}
    assert {row.method for row in rows} == {*models, "thumbnail", "orb-bow"}
    metrics = json.loads((results / "latest" / "metrics.json").read_text())
    assert metrics["dataset"] == "set" and metrics["peak_memory_mb"] > 10
    assert metrics["rows"][0]["recall"]["1"] == 1.0
    assert "| orb-bow |" in (results / "latest" / "tables.md").read_text()
    written = [row["change"] for row in metrics["rows"] if row["method"] == "thumbnail"]
    assert written == ["as taken", "as taken", "darker", "brighter", "blurred", "turned"]
    assert "| thumbnail | 0 | 100.0 / 100.0 |" in (results / "latest" / "tables.md").read_text()
    printed = capsys.readouterr().out
    assert "mobilenetv2-gem" in printed and "Peak memory" in printed and "…" not in printed
    gates = metrics["all_gates"][DEFAULT_MODEL]
    table = (results / "latest" / "tables.md").read_text()
    share = f"{100 * gates['right'] / 3:.1f}, {gates['wrong']} wrong"
    assert f"| {DEFAULT_MODEL}, all gates | - | 0 | - | - | - | - | {share} |" in table
    page = (results / "latest" / "report.html").read_text()
    assert f"<h1>{gates['right']} of 3 answerable queries closed" in page
    assert "all gates" in page and "src='data:image/jpeg" in page and "Report: " in printed


def test_models_of_one_name_are_told_apart_by_their_files(pictures, tmp_path):
    copy = tmp_path / "other.onnx"
    copy.write_bytes(find_model("mobilenetv2-gem").read_bytes())
    models = ["mobilenetv2-gem", str(copy)]
    plan = Plan(pictures, models, (0.0,), baselines=False, results=tmp_path / "results")
    rows = run_benchmark(plan, robustness=True)
    names = list(dict.fromkeys(row.method for row in rows))
    assert [name.rpartition("/")[2] for name in names] == ["mobilenetv2-gem.onnx", "other.onnx"]
    table = (tmp_path / "results" / "latest" / "tables.md").read_text()
    assert table.count(f"| {copy} | 0 |") == 1  # the line of its own among the changed queries


@pytest.mark.parametrize("error", [KeyboardInterrupt, VprError])
def test_nothing_is_left_after_an_end_before_the_end(pictures, tmp_path, monkeypatch, error):
    def stopped(*_):
        raise error("stopped")

    monkeypatch.setattr(benchmark, "recall_table", stopped)
    with pytest.raises(error):
        run_benchmark(Plan(pictures, sparsities=(0.0,), results=tmp_path / "results"))
    assert list((tmp_path / "results").iterdir()) == []


def test_sweep(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(retrieval, "TIMED_RUNS", 2)
    results = tmp_path / "results"
    counted = {0.0: 600_000_000, 0.4: 350_000_000}
    plan = Plan(pictures, ["mobilenetv2-gem"], (0.4,), results=results)
    points = run_sweep(plan, lambda path, steps: (counted, {s: 2 * counted[s] for s in steps}))
    assert [(p.model, p.sparsity) for p in points] == [
        ("mobilenetv2-gem", 0.0),
        ("mobilenetv2-gem", 0.4),
        ("thumbnail", 0.0),
        ("orb-bow", 0.0),
    ]
    assert [p.gflop for p in points] == pytest.approx([1.2, 0.7, np.nan, np.nan], nan_ok=True)
    assert [p.published_gflop for p in points[:2]] == pytest.approx([2.4, 1.4])
    assert points[0].ms > 0 and points[0].mb == pytest.approx(4.5, abs=0.1)
    assert points[0].recall_per_mb == pytest.approx(100 / points[0].mb)
    assert cv2.imread(str(results / "latest" / "sweep.png")) is not None
    table = (results / "latest" / "tables.md").read_text()
    assert "| thumbnail | 0 | - | - | - | - | - |" in table


def test_sweep_without_a_counter_says_why(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(retrieval, "TIMED_RUNS", 2)
    run_sweep(Plan(pictures, ["mobilenetv2-gem"], (0.0,), False, results=tmp_path))
    assert "pip install onnx" in capsys.readouterr().out


def test_another_model_is_measured_beside_the_baseline_network(pictures, tmp_path):
    copy = tmp_path / "other.onnx"
    copy.write_bytes(find_model("mobilenetv2-gem").read_bytes())
    rows = run_benchmark(Plan(pictures, [str(copy)], (0.0,), results=tmp_path / "results"))
    found = {row.method.rpartition("/")[2]: row.recall for row in rows}
    assert set(found) == {"other.onnx", "mobilenetv2-gem.onnx", "thumbnail", "orb-bow"}
    assert found["other.onnx"] == found["mobilenetv2-gem.onnx"]
