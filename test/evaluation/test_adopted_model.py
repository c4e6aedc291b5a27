# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`vpr adopt` completes a fresh export, which then closes loops."""

import cv2
import numpy as np
import pytest

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.evaluation.bag_evaluation import run_evaluate
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.image_set import DatasetOptions
from vpr_ros.evaluation.params import settings_from
from vpr_ros.evaluation.replay import Request
from vpr_ros.evaluation.truth import LoopRule
from vpr_ros.export.adopt import run_adopt
from vpr_ros.export.foreign_network import Given


def wall():
    """A long textured wall that a camera drives along."""
    coarse = np.random.default_rng(0).integers(0, 255, (12, 300, 3)).astype(np.uint8)
    return cv2.resize(coarse, None, fx=20, fy=20, interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def two_laps(tmp_path, bag_writer):
    """A bag: twice along a wall, half a metre a step, with odometry."""
    path = tmp_path / "laps"
    with bag_writer(path, "mcap") as bag:
        for step in range(60):
            place, t_s = step % 30, 2.0 * step
            bag.odometry(t_s, 0.5 * place, 0.05 * (step // 30))
            bag.image(t_s + 0.001, wall()[:, 60 * place : 60 * place + 320])
    return path


def test_a_fresh_export_closes_loops_once_it_is_adopted(tmp_path, two_laps, capsys):
    """Export, adopt in place, the detector: without adopting it closes none and says why."""
    torch = pytest.importorskip("torch")
    from vpr_ros.export.export_checkpoint import export_checkpoint
    from vpr_ros.networks.checkpoint import save_checkpoint
    from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

    torch.manual_seed(0)
    config = TatVPRConfig(image_size=64, dim=64, depth=1, heads=1, head="gem")
    save_checkpoint(tmp_path / "tiny.pt", TatVPR(config))
    model = tmp_path / "tiny.onnx"
    export_checkpoint(tmp_path / "tiny.pt", model, "fp16")

    def right():
        settings = settings_from(None, str(model))
        request = Request(two_laps, settings, LoopRule(metres=1.0))
        run = run_evaluate(request, tmp_path / "results", baselines=False)
        return run.drive.count(Outcome.RIGHT), run.drive.answers[-1].message

    def adopt(overwrite=False, **given):
        run_adopt(str(model), model, Given(**given), [two_laps], DatasetOptions(), overwrite)

    closed, message = right()
    assert closed == 0 and message == "model 'tiny' has no thresholds; run `vpr adopt`"
    command = f"vpr adopt {model} {model} --overwrite --images YOUR_BAG"
    assert command in capsys.readouterr().out.replace("\n", "")
    before = Encoder(model)
    with pytest.raises(ModelError, match=r"exists\. Give another name, or --overwrite"):
        adopt()
    with pytest.raises(ConfigError, match="has a contract"):
        adopt(True, mean=(0.0, 0.0, 0.0))
    assert Encoder(model).contract == before.contract
    adopt(True, licence="MIT")
    after = Encoder(model)
    assert after.digest == before.digest and after.contract.licence == "MIT"
    assert len(after.contract.levels) == 2 and len(after.contract.calibration) == 4
    assert right()[0] >= 15
