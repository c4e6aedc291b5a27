# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From files to batches: values, labels, repeatability, memory."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vpr_ros.core.errors import ImageError
from vpr_ros.training.augment import AugmentConfig
from vpr_ros.training.loader import ImageCache, Share, make_loader
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.sampler import SamplerConfig

PLAIN = AugmentConfig(
    viewpoint=0.0, occlusion=0.0, weather=0.0, light=0.0, night=0.0, blur=0.0, noise=0.0, jpeg=0.0
)
CONFIG = SamplerConfig(places=4, views=2, batches=3)


@pytest.fixture
def files(tmp_path, picture):
    views = []
    for place in range(6):
        views.append([str(tmp_path / f"{place}_{view}.png") for view in range(2)])
        for view, path in enumerate(views[-1]):
            cv2.imwrite(path, picture(10 * place + view))
    return PlaceSet("files", views)


def test_a_batch_holds_the_pictures_of_its_labels(files, picture):
    loader, sampler = make_loader([Share(files, 1.0, PLAIN)], CONFIG, 96, 128)
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
    alone = list(make_loader(shares, CONFIG, 32, 48)[0])
    several = list(make_loader(shares, CONFIG, 32, 48, workers=2)[0])
    resumed, sampler = make_loader(shares, CONFIG, 32, 48)
    sampler.step = 1
    for one, other in zip(alone, several, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    for one, other in zip(alone[1:], resumed, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_views_are_augmented_each_in_its_own_way(picture):
    single = PlaceSet("single", [[picture(i)] for i in range(4)])
    pixels, labels = next(iter(make_loader([Share(single)], CONFIG, 32, 48)[0]))
    assert labels[0] == labels[1]
    assert not torch.equal(pixels[0], pixels[1])


def test_the_cache_shrinks_keeps_and_has_a_limit(tmp_path, picture):
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), picture(1, 300, 400))
    cache = ImageCache(limit_mb=1, short_side=150)
    assert cache.read(str(path)).shape == (150, 200, 3)
    path.unlink()
    assert cache.read(str(path)).shape == (150, 200, 3)  # from memory
    with pytest.raises(ImageError, match=r"other\.png is missing"):
        cache.read(str(tmp_path / "other.png"))


def test_a_set_is_read_ahead_only_if_it_fits(files):
    paths = [Path(view) for views in files.views for view in views]
    whole, small, frozen = ImageCache(limit_mb=1), ImageCache(limit_mb=0), ImageCache(limit_mb=1)
    frozen.freeze()
    for cache in (whole, small, frozen):
        cache.fill(files)
    for path in paths:
        path.unlink()
    assert all(whole.read(str(path)).shape == (96, 128, 3) for path in paths)
    for cache in (small, frozen):
        with pytest.raises(ImageError):
            cache.read(str(paths[-1]))
