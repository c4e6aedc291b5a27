# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A student that learns a teacher's descriptor, on views that are made on the device."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from students import SIDE, TINY, changed, column, cut_off, recipe_of, weights
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.networks.checkpoint import save_checkpoint
from vpr_ros.networks.heads import HEADS
from vpr_ros.networks.heads.pooling import QueryPool
from vpr_ros.training import device_views
from vpr_ros.training.descriptor_teacher import (
    DescriptorTeacher,
    OnnxDescriptors,
    normalised,
    pictures_of,
)
from vpr_ros.training.device_views import compressed, crops, mixed, movements, view
from vpr_ros.training.initial_network import make_network
from vpr_ros.training.loader import Share
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.recipe import TeacherConfig
from vpr_ros.training.sampler import SamplerConfig
from vpr_ros.training.stages import make_stage, match
from vpr_ros.training.stages.match import closing_mixture, closing_whitening, contrasted
from vpr_ros.training.teacher import load_teacher

VALUES = 12  # of the teacher's descriptor
GREY = 120.0  # subtracted by the teacher
MATCH = {"name": "match", "method": "match", "epochs": 2, "trained_blocks": 3, "decay": 1.0}
MATCH |= {
    "rate_heads": 2e-3,
    "rate_blocks": 2e-3,
    "batch": {"places": 4, "views": 2, "batches": 6},
}
MATCH |= {"match": {"fit": 2, "queue": 20}, "sparsity": {"low": 0.1, "start": 0.6, "high": 0.6}}


@pytest.fixture
def teacher_file(tmp_path):
    """An ONNX network from bytes (B, 32, 32, 3) to projected means of 4x4 cells."""
    weight = torch.randn(48, VALUES, generator=torch.Generator().manual_seed(1)).numpy()
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "grey"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["means"], kernel_shape=[8, 8], strides=[8, 8]
        ),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["descriptor"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["b", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["b", VALUES])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.float32(GREY), "grey"),
        ],
    )
    path = tmp_path / "teacher.onnx"
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


@pytest.fixture
def teacher(teacher_file):
    """teacher(): a fresh one of that file alone."""
    return lambda: DescriptorTeacher(OnnxDescriptors(teacher_file, (SIDE, SIDE)), None, 0.3, 4)


@pytest.fixture
def recipe(monkeypatch):
    """A student of three blocks under a head of as many values as the teacher has."""
    monkeypatch.setitem(HEADS, "queries", lambda dim, _: QueryPool(dim, size=VALUES))
    options = TINY | {"head": "queries", "selection": "nested"}
    return recipe_of(MATCH, options=options)


def test_the_teacher_is_fed_bytes(teacher_file):
    pictures = torch.rand(2, 3, SIDE, SIDE)
    weight = numpy_helper.to_array(onnx.load(teacher_file).graph.initializer[0]).copy()
    wanted = F.avg_pool2d((pictures * 255).round() - GREY, 8).flatten(1) @ torch.from_numpy(weight)
    found = OnnxDescriptors(teacher_file, (SIDE, SIDE))(pictures)
    torch.testing.assert_close(found, F.normalize(wanted, dim=1), atol=1e-5, rtol=0)


def test_a_file_that_cannot_teach_is_refused_with_the_reason(teacher_file, tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        OnnxDescriptors(tmp_path / "none.onnx", (SIDE, SIDE))
    with pytest.raises(ModelError, match="Give the 'side' that it takes"):
        OnnxDescriptors(teacher_file, (SIDE, 2 * SIDE))
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match="not a readable ONNX file"):
        OnnxDescriptors(tmp_path / "broken.onnx", (SIDE, SIDE))
    two = onnx.load(teacher_file)
    two.graph.input.append(helper.make_tensor_value_info("prompt", TensorProto.FLOAT, [4]))
    onnx.save(two, tmp_path / "two.onnx")
    with pytest.raises(ModelError, match=r"needs one, uint8 \(B, H, W, 3\)"):
        OnnxDescriptors(tmp_path / "two.onnx", (SIDE, SIDE))


def test_two_teachers_make_one_target_with_their_shares_of_the_cosine(teacher_file):
    first = OnnxDescriptors(teacher_file, (SIDE, SIDE))
    second = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE**2, 30))
    both = DescriptorTeacher(first, second, 0.3, 30)
    pictures = torch.rand(40, 3, SIDE, SIDE)
    changes = torch.cat([both.first(pictures), both.first(0.5 * pictures)])
    both.fit(changes, torch.arange(40).repeat(2), both.second(pictures), 0.3)
    target = both.target(both.first(pictures), both.second(pictures))
    assert target.shape == (40, both.length) == (40, VALUES + 30)
    own = F.normalize(first(pictures) @ both.whitening, dim=1)
    other = F.normalize(second(normalised(pictures)) @ both.directions, dim=1)
    torch.testing.assert_close(
        target @ target.T, 0.7 * own @ own.T + 0.3 * other @ other.T, atol=1e-5, rtol=0
    )


def test_a_recipe_names_both_teachers(teacher_file, recipe):
    folder = teacher_file.parent
    with pytest.raises(ConfigError, match=r"second.pt does not exist"):
        load_teacher(TeacherConfig(checkpoint="second.pt", descriptors=teacher_file.name), folder)
    network = make_network(recipe, folder)
    save_checkpoint(folder / "second.pt", network)
    alone = TeacherConfig(descriptors=teacher_file.name, side=SIDE)
    assert load_teacher(alone, folder).length == VALUES
    both = load_teacher(dataclasses.replace(alone, checkpoint="second.pt", kept=5), folder)
    assert both.length == VALUES + 5
    pictures = torch.rand(3, 3, SIDE, SIDE)
    wanted = network.eval()(normalised(pictures), 0.0)
    torch.testing.assert_close(both.second(pictures), wanted)


def test_a_student_comes_nearer_to_its_teacher(start, recipe, teacher):
    run = start(recipe_of({**MATCH, "epochs": 8}, options=recipe.options), teacher=teacher())
    assert run.train()
    cosines = column(run, "cosine")
    assert len(cosines) == 48
    assert cosines[-12:].mean() > cosines[:12].mean() + 0.1


def test_an_efficientvpr_comes_nearer_to_its_teacher(start, teacher):
    options = {"patch_size": 8, "dim": 64, "depth": 2, "heads": 1, "position_grid": 4}
    options |= {"prompts": 8, "rows": 2, "projection": "compress", "size": VALUES}
    stage = {**MATCH, "epochs": 6, "trained_blocks": 0, "sparsity": {}}
    recipe = recipe_of(stage, network="efficientvpr", options=options)
    run = start(recipe, teacher=teacher())
    before = weights(run.network.vit)
    assert run.train()
    assert not changed(run.network.vit, before)
    cosines = column(run, "cosine")
    assert cosines[-12:].mean() > cosines[:12].mean() + 0.05
    with pytest.raises(ConfigError, match="EfficientVPR has none"):
        start(recipe_of(MATCH, network="efficientvpr", options=options), "x", teacher()).train()


def test_a_run_that_was_cut_off_gives_the_same_weights(start, recipe, teacher):
    cut_off(lambda folder: start(recipe, folder, teacher()))


def test_what_does_not_fit_the_stage_is_refused(start, recipe, teacher, teacher_file):
    with pytest.raises(ConfigError, match="ends in a linear map; GeMHead does not"):
        start(dataclasses.replace(recipe, options=TINY), teacher=teacher()).train()
    with pytest.raises(ConfigError, match="name an ONNX file in the teacher's 'descriptors'"):
        start(recipe, teacher=torch.nn.Identity()).train()
    second = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE**2, 30))
    first = OnnxDescriptors(teacher_file, (SIDE, SIDE))
    with pytest.raises(ConfigError, match="target has 16 values, the student's descriptor 12"):
        start(recipe, teacher=DescriptorTeacher(first, second, 0.3, 4)).train()
    elsewhere = {**MATCH, "match": {"whiten_on": "nowhere"}}
    with pytest.raises(ConfigError, match="'whiten_on' nowhere; give one of boxes"):
        start(recipe_of(elsewhere, options=recipe.options), teacher=teacher()).train()


def test_a_run_starts_from_a_checkpoint_whose_head_may_differ(tmp_path, recipe):
    torch.manual_seed(5)
    earlier = make_network(recipe_of(options=recipe.options | {"head": "gem"}), tmp_path)
    save_checkpoint(tmp_path / "earlier.pt", earlier)
    network = make_network(dataclasses.replace(recipe, start_from="earlier.pt"), tmp_path)
    for name, value in earlier.backbone.state_dict().items():
        torch.testing.assert_close(network.backbone.state_dict()[name], value, msg=name)
    shallow = recipe_of(options=recipe.options | {"depth": 2})
    save_checkpoint(tmp_path / "shallow.pt", make_network(shallow, tmp_path))
    with pytest.raises(ConfigError, match="Give a checkpoint with the same backbone options"):
        make_network(dataclasses.replace(recipe, start_from="shallow.pt"), tmp_path)


def test_the_closing_whitening_weighs_places_and_everything_alike():
    torch.manual_seed(0)
    loud = torch.logspace(0, 1, 6)
    places = torch.randn(400, 1, 6) * loud.flip(0)
    found = (places + torch.randn(400, 3, 6) * loud).flatten(0, 1)
    labels = torch.arange(400).repeat_interleave(3)
    within = torch.cov(
        (found.view(400, 3, 6) - found.view(400, 3, 6).mean(1, True)).flatten(0, 1).T
    )
    total = torch.cov(found.T)
    both = within / within.trace() + total / total.trace()
    variances, directions = torch.linalg.eigh(both + 0.3 * both.trace() / 6 * torch.eye(6))
    wanted = directions * variances.rsqrt() @ directions.T
    matrix = closing_whitening(found, labels, found + 5.0)
    torch.testing.assert_close(matrix / matrix.norm(), wanted / wanted.norm(), atol=1e-3, rtol=0)
    assert closing_whitening(found[::3].repeat_interleave(3, 0), labels, found) is None


@pytest.mark.parametrize(("share", "contrast"), [(0.0, 0), (0.5, 0), (0.5, 3)])
def test_the_last_layer_ends_in_whitening_or_mixture(
    start, recipe, teacher, picture, share, contrast, monkeypatch
):
    monkeypatch.setattr(match, "CONTRASTED", SamplerConfig(places=4, views=3, batches=2))
    stages = [{**MATCH, "match": {**MATCH["match"], "whiten_rows": share, "contrast": contrast}}]
    recipe = recipe_of(*stages, options=recipe.options)
    run = start(recipe, teacher=teacher())
    walk = PlaceSet(
        "walk", [[picture(3 * place + view) for view in range(3)] for place in range(8)]
    )
    setting = dataclasses.replace(run._setting, shares=[Share(walk)])
    stage = make_stage(setting, recipe.stages[0])
    found, labels = stage._as_they_are(stage._shares)
    assert not torch.allclose(found[0], found[1])
    if share:
        fed, _ = stage._as_they_are(stage._shares, rows=True)
        weight = stage._project.weight.detach()
        lessons = stage._lessons() if contrast else []
        assert all(rows.isfinite().all() for rows, _ in lessons)
        monkeypatch.setattr(stage, "_lessons", lambda: lessons)
        last = closing_mixture(weight, fed, labels, fed, share, lessons, contrast)
        wanted = F.normalize(fed @ last.T, dim=1)
    else:
        wanted = F.normalize(found @ closing_whitening(found, labels, found), dim=1)
    stage.finish()
    torch.testing.assert_close(stage._as_they_are(stage._shares)[0], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_the_closing_mixture_gives_either_part_its_share_of_the_inner_product(share):
    torch.manual_seed(0)
    places = torch.randn(60, 1, 6) * torch.logspace(1, 0, 6)
    rows = F.normalize((places + torch.randn(60, 3, 6)).flatten(0, 1), dim=1)
    labels = torch.arange(60).repeat_interleave(3)
    project = torch.randn(9, 6)  # more values than rows, so that nothing is left out
    taught = F.normalize(rows @ project.T, dim=1)
    parts = (
        rows @ (closing_whitening(taught, labels, taught) @ project).T,
        rows @ closing_whitening(rows, labels, rows).T,
    )
    first, second = (part @ part.T / part.square().sum(1).mean() for part in parts)
    found = rows @ closing_mixture(project, rows, labels, rows, share).T
    wanted = (1 - share) * first + share * second
    torch.testing.assert_close(found @ found.T, wanted, atol=1e-4, rtol=0)
    few = rows @ closing_mixture(project[:4], rows, labels, rows, share).T
    assert few.shape == (180, 4)
    assert closing_mixture(project, rows, torch.arange(180), rows, share) is None


def test_contrast_tells_places_apart_that_differ_where_the_rows_hardly_vary():
    torch.manual_seed(0)
    small = torch.tensor([0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0])  # places, then nuisance

    def batch():
        own = torch.randn(40, 1, 4).expand(40, 3, 4)
        rows = torch.cat([own, torch.randn(40, 3, 4)], dim=2) * small
        return rows.flatten(0, 1), torch.arange(40).repeat_interleave(3)

    def right(layer, rows, labels):
        found = F.normalize(rows @ layer.T, dim=1)
        best = (found @ found.T).fill_diagonal_(-2).argmax(dim=1)
        return (labels[best] == labels).float().mean()

    lessons, unseen = [batch() for _ in range(4)], batch()
    everything = torch.cat([rows for rows, _ in lessons])
    layer = torch.eye(8)
    assert torch.equal(contrasted(layer, lessons, everything, 0), layer)
    assert right(layer, *unseen) < 0.3
    taught = contrasted(layer, lessons, everything, 200)
    assert right(taught, *unseen) > right(layer, *unseen) + 0.2
    assert (taught - layer).norm() < layer.norm()


def test_pictures_survive_normalisation():
    pictures = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(pictures_of(normalised(pictures)), pictures, atol=1e-6, rtol=0)


def test_the_identity_shows_the_picture_and_a_mirrored_crop_its_mirror_image():
    pictures = torch.rand(2, 3, 24, 32)
    identity = torch.eye(3).expand(2, 3, 3)
    torch.testing.assert_close(view(pictures, identity, (24, 32), fine=1), pictures)
    maps = crops(pictures, torch.tensor([False, True]), 0.5, whole=1.0)
    seen = view(pictures, maps, (24, 32), fine=1)
    torch.testing.assert_close(seen[0], pictures[0])
    torch.testing.assert_close(seen[1], pictures[1].flip(2))


def test_movement_of_no_strength_is_zoom_alone():
    torch.manual_seed(0)
    maps = movements(torch.rand(50, 3, 8, 8), 1.0, 0.0)
    zoom = maps[:, 0, 0]
    assert (zoom > 1 / 1.21).all() and (zoom < 1 / 0.89).all()
    torch.testing.assert_close(maps, torch.diag_embed(torch.stack([zoom, zoom, zoom**0], 1)))
    still = movements(torch.rand(50, 3, 8, 8), 0.0, 1.0)
    torch.testing.assert_close(still, torch.eye(3).expand(50, 3, 3))


def test_light_is_changed_within_range_and_structure_stays():
    torch.manual_seed(0)
    pictures = F.avg_pool2d(torch.rand(48, 3, 32, 40), 5, 1, 2)
    seen = device_views.changed(pictures)
    assert seen.shape == pictures.shape and seen.min() >= 0 and seen.max() <= 1
    assert (seen - pictures).abs().amax(dim=(1, 2, 3)).median() > 0.05
    torch.testing.assert_close(seen * 255, (seen * 255).round(), atol=1e-3, rtol=0)


def test_compression_rounds_more_the_stronger_it_is():
    pictures = F.avg_pool2d(torch.rand(2, 3, 28, 42), 5, 1, 2)  # not whole blocks of JPEG
    gone = [
        float((compressed(pictures, torch.full((2,), strength)) - pictures).abs().mean())
        for strength in (0.01, 1.0, 4.0)
    ]
    assert gone[0] < 2e-3 < gone[1] < gone[2]


def test_a_part_of_another_picture_comes_into_the_given_share():
    torch.manual_seed(0)
    pictures = torch.rand(200, 3, 16, 16)
    torch.testing.assert_close(mixed(pictures, 0.0), pictures)
    differ = (mixed(pictures, 0.5) != pictures).flatten(1).any(dim=1).float().mean()
    assert 0.3 < float(differ) < 0.7
