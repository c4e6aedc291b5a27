# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From files to batches: values, labels, repeatability, memory."""

import cv2
import numpy as np
import pytest
import torch

from vpr_ros.core.errors import ImageError
from vpr_ros.training.augment import AugmentConfig
from vpr_ros.training.loader import PlaceDataset, Share, make_loader, shrink
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.recipe import RunConfig
from vpr_ros.training.sampler import Item, SamplerConfig

PLAIN = AugmentConfig(
    viewpoint=0.0, occlusion=0.0, weather=0.0, light=0.0, night=0.0, blur=0.0, noise=0.0, jpeg=0.0
)
CONFIG = SamplerConfig(places=4, views=2, batches=3)


def run(**options):
    return RunConfig(height=32, width=48, **options)


@pytest.fixture
def files(tmp_path, picture):
    views = []
    for place in range(6):
        views.append([str(tmp_path / f"{place}_{view}.png") for view in range(2)])
        for view, path in enumerate(views[-1]):
            cv2.imwrite(path, picture(10 * place + view))
    return PlaceSet("files", views)


def test_a_batch_holds_the_pictures_of_its_labels(files, picture):
    loader, sampler = make_loader(
        [Share(files, 1.0, PLAIN)], CONFIG, RunConfig(height=96, width=128)
    )
    pixels, labels = next(iter(loader))
    assert pixels.shape == (8, 3, 96, 128)
    assert pixels.dtype == torch.float32
    for one, label, item in zip(pixels, labels, sampler.batch(0), strict=True):
        assert label == item.label
        wanted = picture(10 * item.place + item.view)[:, :, ::-1] / 255.0  # RGB
        wanted = (wanted - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        assert np.abs(one.numpy() - wanted.transpose(2, 0, 1)).max() < 1e-5


def test_batches_do_not_depend_on_workers_and_can_be_resumed(files):
    shares = [Share(files)]
    alone = list(make_loader(shares, CONFIG, run())[0])
    several = list(make_loader(shares, CONFIG, run(workers=2))[0])
    resumed, sampler = make_loader(shares, CONFIG, run())
    sampler.step = 1
    for one, other in zip(alone, several, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    for one, other in zip(alone[1:], resumed, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_views_are_augmented_each_in_its_own_way(picture):
    single = PlaceSet("single", [[picture(i)] for i in range(4)])
    pixels, labels = next(iter(make_loader([Share(single)], CONFIG, run())[0]))
    assert labels[0] == labels[1]
    assert not torch.equal(pixels[0], pixels[1])


def test_pictures_are_shrunk_and_kept_up_to_a_limit(tmp_path, picture):
    views = []
    for number in range(4):
        views.append([str(tmp_path / f"{number}.png")])
        cv2.imwrite(views[-1][0], picture(number, 700, 900))
    data = PlaceDataset([Share(PlaceSet("large", views), 1.0, PLAIN)], run(cache_mb=1))
    items = [Item(0, place, 0, place, seed=1) for place in range(4)]
    before = [data[item][0] for item in items]
    assert shrink(picture(0, 700, 900)).shape == (288, 370, 3)
    for path in tmp_path.iterdir():
        path.unlink()
    assert torch.equal(data[items[2]][0], before[2])  # from memory
    with pytest.raises(ImageError, match=r"3\.png cannot be read"):
        data[items[3]]
