# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The papers' recipes from published files to a loop closure, in tiny sizes, on made images."""

import cv2
import numpy as np
import pytest
import torch
import yaml
from published_networks import dinov2_state, under_hugging_face_names
from safetensors.torch import save_file

from vpr_ros import cli
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.frontend import Frame, Frontend
from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.image_files import read_image
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.training.recipe import RECIPES

SIDE, STEPS = 56, 24


def wall(seed):
    """A long textured wall, seen from a place on it: shot(place, 0.8) is darker."""
    random = np.random.default_rng(seed)
    texture = cv2.resize(
        random.integers(0, 255, (12, 300, 3)).astype(np.uint8), None, fx=20, fy=20
    )
    return lambda place, light=1.0: cv2.convertScaleAbs(
        texture[:, 60 * place : 60 * place + 320], alpha=light
    )


@pytest.fixture
def data(tmp_path):
    """GSV-Cities and MSLS in their published layouts and names, and a drive of the robot."""
    for number, (city, ending) in enumerate((("PRG", "JPG"), ("OSL", "jpg"))):
        shot, rows = wall(number), []
        images = tmp_path / "gsv_cities/Images" / city
        images.mkdir(parents=True)
        for place in range(6):
            for view in range(4):
                year, month, north, pano = 2010 + view, view + 1, 90 * view, f"p_-{view}"
                rows.append(f"{place},{year},{month},{north},{city},50.0875,14.4213,{pano}")
                name = f"{city}_{place:07d}_{year}_{month:02d}_{north:03d}_50.0875_14.4213_{pano}"
                image = images / f"{name}.{ending}"
                cv2.imwrite(str(image), shot(4 * place, 0.7 + 0.1 * view))
        table = tmp_path / "gsv_cities/Dataframes" / f"{city}.csv"
        table.parent.mkdir(exist_ok=True)
        header = "place_id,year,month,northdeg,city_id,lat,lon,panoid"
        table.write_text("\n".join([header, *rows]) + "\n")
    for side, light in (("database", 1.0), ("query", 0.9)):
        folder = tmp_path / "msls_val/train_val/cph" / side
        (folder / "images").mkdir(parents=True)
        for place in range(6):
            cv2.imwrite(str(folder / f"images/{side}{place}.jpg"), wall(2)(4 * place, light))
        keys = [f"{i},{side}{i},{100 * i},0" for i in range(6)]
        (folder / "postprocessed.csv").write_text("\n".join([",key,easting,northing", *keys]))
        panoramas = [f"{i},{side}{i},False" for i in range(6)]
        (folder / "raw.csv").write_text("\n".join([",key,pano", *panoramas]))
    (tmp_path / "msls_val/train_val/sf").symlink_to(tmp_path / "msls_val/train_val/cph")
    (tmp_path / "drive").mkdir()
    for step in range(STEPS):
        cv2.imwrite(str(tmp_path / f"drive/{step}.png"), wall(3)(step))
    return tmp_path


def tiny_recipe(name, folder, options):
    """A shipped recipe in sizes and lengths for a test; all else as shipped."""
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    values["options"] |= options
    size = {"height": SIDE, "width": SIDE, "precision": "no", "workers": 0, "threads": 1}
    values["run"] |= {**size, "chunk": 5}
    if name == "efficientvpr":  # a random head learns nothing in two steps
        values["start_batches"] = 2
    for stage in values["stages"]:
        stage["epochs"] = 1
        stage["batch"] |= {"places": 4, "batches": 2}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def closures(model, drive):
    """Right and all closures of a second lap along the drive."""
    frontend = Frontend(
        Encoder(model), KeyframeGate(GateConfig(interval_s=1.0)), FeatureExtractor(FeatureConfig())
    )
    detector = LoopDetector(LoopConfig(), Database(DatabaseConfig()))
    right = closed = 0
    for step in range(2 * STEPS):
        image = drive / f"{step % STEPS}.png"
        frame = Frame(10**9 * (1 + 4 * step), lambda image=image: read_image(image), "camera")
        keyframe = frontend.process(frame, 0.0)
        if keyframe is None:
            continue
        closure = detector.process(keyframe).closure
        if closure is not None:
            closed += 1
            right += abs((keyframe.stamp_ns - closure.match.stamp_ns) / 4e9 - STEPS) <= 1
    return right, closed


@pytest.mark.parametrize("name", ["efficientvpr", "tat-vpr"])
def test_from_published_files_to_a_closure(name, data):
    torch.manual_seed(0)
    if name == "efficientvpr":
        options = {"dim": 24, "depth": 2, "heads": 2, "prompts": 4, "rows": 4}
        given = {"backbone": data / "model.safetensors"}
        save_file(under_hugging_face_names(dinov2_state(24, 2)), given["backbone"])
    else:
        options = {"image_size": SIDE, "patch_size": 14, "dim": 32, "depth": 2, "heads": 2}
        options["head"] = "gem"
        given = {"teacher": data / "dinov2_12288.pth"}
        state = {
            f"backbone.dino.{k}": v for k, v in dinov2_state(24, 2).items() if k[:4] != "norm"
        }
        torch.save(state | {"aggregator.fc.weight": torch.zeros(16, 64)}, given["teacher"])
    checkpoints, model = data / "checkpoints", data / "mine.onnx"
    cli.train(name, tiny_recipe(name, data, options), data, checkpoints, **given)
    cli.export(checkpoints / name / "best.pt", model, "fp16")
    drive = data / "drive"
    assert closures(model, drive) == (0, 0)
    cli.adopt(str(model), model, [drive], overwrite=True)
    right, closed = closures(model, drive)
    assert right == closed >= 5
