# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr`: what it prints, how it fails, and that its help comes at once."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vpr_ros import cli

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def vpr(monkeypatch, capsys):
    """Run `vpr ...` in this process: (exit code or message, standard output)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vpr", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().out

    return run


def test_help_needs_no_heavy_import():
    code = (
        "import sys; sys.argv = ['vpr', '--help']\n"
        "from vpr_ros import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'cv2', 'faiss', 'rich', 'scipy'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "heavy: []" in done.stdout, done.stderr
    assert "model-info" in done.stdout
    assert "export" in done.stdout


def test_each_verb_names_the_other(vpr, tmp_path):
    """`vpr evaluate DATASET` was one command with `vpr benchmark`; a bag has its own."""
    (tmp_path / "set" / "ref").mkdir(parents=True)
    (tmp_path / "pairs.csv").write_text("query,match\n")
    for path in (tmp_path / "set", tmp_path / "pairs.csv"):
        for verb in ("evaluate", "calibrate"):
            message, _ = vpr(verb, path)
            assert message == (
                f"vpr: {path} is not a bag. For a data set run: vpr benchmark {path}"
            )
    kitti, bag = tmp_path / "kitti" / "sequences" / "00", tmp_path / "bags" / "monday"
    for folder, file in ((kitti / "image_0", kitti / "times.txt"), (bag, bag / "metadata.yaml")):
        folder.mkdir(parents=True)
        file.touch()
    for folder, drive in ((kitti.parents[1], kitti), (kitti.parent, kitti), (bag.parent, bag)):
        message, _ = vpr("evaluate", folder)
        assert (
            message == f"vpr: {folder} is a folder of drives. Give one of them, such as {drive}."
        )
        assert "TUM, KITTI or EuRoC drive inside" in vpr("benchmark", folder)[0]
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").touch()
    for verb in ("benchmark", "sweep"):
        message, _ = vpr(verb, tmp_path / "bag")
        assert message.endswith(f"not a data set. Run: vpr evaluate {tmp_path / 'bag'}")


def test_a_recording_that_lost_its_metadata_is_still_a_bag(vpr, tmp_path):
    (tmp_path / "drive_0.mcap").touch()
    message, _ = vpr("evaluate", tmp_path)
    assert "has no metadata.yaml" in message and "ros2 bag reindex" in message


def test_model_info_prints_contract_and_cost(vpr):
    code, text = vpr("model-info", "mobilenetv2-gem")
    assert code == 0
    assert re.search(r"digest of the weights +│ [0-9a-f]{32} ", text)
    for part in ("mobilenetv2-gem, version 1", "1280 values", "resolution", "2.21 M", "4.5 MB"):
        assert part in text
    assert "BSD-3-Clause" in text
    assert len([line for line in text.splitlines() if " % " in line]) == 5  # sparsities


def test_export_and_model_info_of_a_checkpoint(vpr, tmp_path):
    torch = pytest.importorskip("torch")
    from vpr_ros.networks.checkpoint import save_checkpoint
    from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

    torch.manual_seed(0)
    config = TatVPRConfig(image_size=32, dim=64, depth=1, heads=1, head="cls")
    save_checkpoint(tmp_path / "tiny.pt", TatVPR(config))
    output = tmp_path / "tiny.onnx"
    code, text = vpr("export", tmp_path / "tiny.pt", output, "--precision", "fp16")
    assert (code, output.is_file()) == (0, True)
    assert "cosine to torch" in text
    code, text = vpr("model-info", output)
    assert "activations, sparsity 0 to 0.6" in text
    assert "token" in text
    assert "run vpr adopt" in text


def test_adopt_wants_images_and_overwrites_only_when_told(vpr, tmp_path):
    message, _ = vpr("adopt", "mobilenetv2-gem")
    assert message.startswith("vpr: Give --images: a bag, or a folder")
    target = tmp_path / "mine.onnx"
    target.write_bytes(b"precious")
    message, _ = vpr("adopt", "mobilenetv2-gem", target, "--images", tmp_path)
    assert message == f"vpr: {target} exists. Give another name, or --overwrite."
    message, _ = vpr("adopt", "mobilenetv2-gem", target, "--overwrite", "--images", tmp_path)
    assert "has no known layout" in message and target.read_bytes() == b"precious"
    message, _ = vpr("adopt", "mobilenetv2-gem", "--images", tmp_path, "--size", "big")
    assert message == "vpr: --size is 'big'; give HEIGHTxWIDTH in px, e.g. 322x322."


def test_known_errors_are_one_line_and_exit_code_1(vpr, tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("not a graph")
    for arguments in (["model-info", text], ["model-info", tmp_path / "no.onnx"]):
        message, _ = vpr(*arguments)  # a text: Python prints it and exits with 1
        assert message.startswith("vpr: ")
        assert "\n" not in message
    pytest.importorskip("torch")
    message, _ = vpr("export", text, tmp_path / "a.onnx")
    assert "not a readable checkpoint" in message
    assert "\n" not in message


def test_the_process_itself_ends_with_1_and_one_line(tmp_path):
    command = [sys.executable, "-m", "vpr_ros.cli", "model-info", str(tmp_path / "no.onnx")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("vpr: Model")
    assert len(done.stderr.splitlines()) == 1


def test_unknown_errors_keep_their_traceback(vpr, monkeypatch):
    from vpr_ros.core import model_files

    def broken(name):
        raise ZeroDivisionError

    monkeypatch.setattr(model_files, "find_model", broken)
    monkeypatch.setattr(sys, "argv", ["vpr", "model-info", "a"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_missing_package_is_named(vpr, monkeypatch):
    from vpr_ros.core import model_files

    def without_onnx(name):
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setattr(model_files, "find_model", without_onnx)
    message, _ = vpr("model-info", "a")
    assert message == "vpr: this needs onnx. Run: pip install onnx"


def test_a_graph_is_exported_and_nothing_is_overwritten(vpr, tmp_path):
    graph = tmp_path / "a.vprgraph"
    keyframe = "1500000000 0 1 2 0 0 0 0 1 1 3 0 0 0 0 1\n"
    graph.write_text(f"vpr_ros pose graph 1\nkeyframe 7 {keyframe}keyframe 8 {keyframe}")
    code, out = vpr("graph", "export", graph, tmp_path / "a.tum")
    assert not code and "2 keyframes" in out
    assert (tmp_path / "a.tum").read_text() == 2 * "1.500000000 1 3 0 0 0 0 1\n"
    for name, says in (
        ("a.tum", "exists"),
        ("a.txt", "neither .tum nor .g2o"),
        ("none/a.tum", "cannot be written"),
        ("none/a.g2o", "cannot be written"),
    ):
        message, _ = vpr("graph", "export", graph, tmp_path / name)
        assert says in message


def test_maps_are_shown_merged_and_thinned_and_nothing_is_overwritten(vpr, tmp_path):
    from bench.map_faults import sample_map
    from vpr_ros.core.map_file import read_map, write_map

    red, blue, both = (tmp_path / f"{name}.vprmap" for name in ("red", "blue", "both"))
    write_map(red, sample_map(20))
    write_map(blue, dataclasses.replace(sample_map(30, seed=1), ids=np.arange(1, 31, dtype="u8")))
    graph = "vpr_ros pose graph 1\nkeyframe 7 0 0 0 0 0 0 0 0 1\n"
    red.with_suffix(".vprgraph").write_text(graph)

    code, text = vpr("map", "info", red)
    assert code == 0 and "orb, sift" in text and "red.vprgraph" in text
    assert "1970-01-01 00:00" in text and "8 values, float16" in text
    code, text = vpr("map", "merge", red, blue, "-o", both)
    assert code == 0 and "50 keyframes of 50 in 2 files" in text
    assert f"are those of {red.with_suffix('.vprgraph')}" in text
    assert both.with_suffix(".vprgraph").read_text() == graph
    for extra in ([], ["--overwrite"]):  # no map but one of another graph is in the way
        small = tmp_path / "small.vprmap"
        small.with_suffix(".vprgraph").write_text("mine")
        message, _ = vpr("map", "merge", blue, "-o", small, "--max-keyframes", 9, *extra)
        assert message.startswith(f"vpr: {tmp_path}/small.vprgraph exists.")
        assert "move it away" in message
    before = blue.read_bytes()
    message, _ = vpr("map", "merge", red, "-o", blue, "--max-keyframes", 9)
    assert message == f"vpr: {blue} exists. Choose another name, or give --overwrite."
    assert blue.read_bytes() == before
    code, text = vpr("map", "merge", red, "-o", red, "--max-keyframes", 9, "--overwrite")
    assert code == 0 and len(read_map(red).ids) == 9
    code, _ = vpr("map", "merge", red, "-o", tmp_path / "all.vprmap", "--older-than", "inf")
    assert code == 0
    message, _ = vpr("map", "merge", red, "-o", tmp_path / "old.vprmap", "--older-than", 9)
    assert "All 9 keyframes" in message


def test_a_fleet_that_is_not_there_is_one_line_without_the_secret(vpr, tmp_path, monkeypatch):
    pytest.importorskip("pymilvus")
    (tmp_path / "secret").write_text("hunter2")
    monkeypatch.setenv("VPR_MILVUS_USER", "red")
    monkeypatch.setenv("VPR_MILVUS_SECRET_FILE", str(tmp_path / "secret"))
    message, text = vpr("map", "list", "--fleet", "http://127.0.0.1:9")
    assert "127.0.0.1:9" in message and "\n" not in message
    assert "hunter2" not in message + text
    monkeypatch.setenv("VPR_MILVUS_SECRET_FILE", str(tmp_path / "none"))
    message, _ = vpr("map", "pull", "office", "-o", tmp_path / "a.vprmap", "--fleet", "http://x")
    assert message.startswith("vpr: milvus.secret_file cannot be read")


def test_only_push_creates_a_fleet_in_a_file(vpr, tmp_path, monkeypatch):
    pytest.importorskip("milvus_lite")
    from bench.map_faults import sample_map
    from vpr_ros.core.map_file import write_map

    typo, file = tmp_path / "typo.db", tmp_path / "office.vprmap"
    pull = ["pull", "office", "-o", tmp_path / "pulled.vprmap"]
    for command in (["list"], pull):
        message, _ = vpr("map", *command, "--fleet", typo)
        assert message.startswith(f"vpr: {typo} does not exist. Give --fleet http")
    monkeypatch.setenv("VPR_MILVUS_URI", str(typo))
    assert "does not exist" in vpr("map", "list")[0] and not list(tmp_path.iterdir())
    write_map(file, dataclasses.replace(sample_map(20), ids=np.arange(1, 21, dtype="u8")))
    code, text = vpr("map", "push", file, "--robot", "red")
    assert code == 0 and f"{typo} does not exist yet; it will be created" in text and typo.exists()
    code, text = vpr("map", "list")
    assert code == 0 and " office " in text
