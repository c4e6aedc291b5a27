# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The digest of a model changes with what descriptors depend on, and with nothing else."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.contract import Contract
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ModelError
from vpr_ros.core.model_digest import model_digest, model_text, same_model


def digest(path):
    metadata = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    return model_digest(path, Contract.from_metadata(metadata, "model"))


def changed(path, change):
    model = onnx.load(path)
    change(model)
    other = path.with_name("other.onnx")
    onnx.save(model, str(other))
    return digest(other)


def permute(model):
    (weights,) = model.graph.initializer
    values = numpy_helper.to_array(weights)
    weights.CopyFrom(numpy_helper.from_array(values[:, ::-1].copy(), weights.name))


def least_bit(model):
    (weights,) = model.graph.initializer
    values = numpy_helper.to_array(weights).copy()
    values.view(np.uint32)[0, 0] ^= 1
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def another_operator(model):
    model.graph.node[2].op_type = "Tanh"


def another_producer(model):
    model.producer_name, model.doc_string, model.model_version = "me", "saved again", 7


@pytest.mark.parametrize(
    ("change", "same"),
    [(permute, False), (least_bit, False), (another_operator, False), (another_producer, True)],
)
def test_the_graph_and_its_weights_count(make_model, change, same):
    path = make_model()
    assert (changed(path, change) == digest(path)) is same


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        ("name", "renamed", True),
        ("version", "2", True),
        ("calibration", (Calibration(0.0, 0.9),), True),
        ("levels", (0.1, 0.2), True),
        ("change", 0.1, True),
        ("licence", "MIT", True),
        ("mean", (0.1, 0.25, 0.25), False),
        ("std", (2.0, 1.0, 1.0), False),
        ("input_width", 10, False),
    ],
)
def test_of_the_contract_only_the_preprocessing_counts(make_model, field, value, same):
    first = digest(make_model())
    assert (digest(make_model(**{field: value})) == first) is same


def test_weights_beside_the_file_count(make_model):
    path = make_model()
    digests = []
    for factor in (1.0, 2.0):
        model = onnx.load(path)
        (weights,) = model.graph.initializer
        values = numpy_helper.to_array(weights) * np.float32(factor)
        weights.CopyFrom(numpy_helper.from_array(values, weights.name))
        outside = path.with_name("outside.onnx")
        onnx.save(
            model, str(outside), save_as_external_data=True, location="weights.bin",
            size_threshold=0,
        )  # fmt: skip
        digests.append(digest(outside))
        path.with_name("weights.bin").rename(path.with_name(f"{factor}.bin"))
    assert digests[0] != digests[1]
    with pytest.raises(ModelError, match="cannot be read"):
        digest(outside)


def test_the_encoder_knows_its_digest(make_model):
    path = make_model()
    encoder = Encoder(path)
    assert encoder.digest == digest(path) and len(encoder.digest) == 32


@pytest.mark.parametrize("content", [b"", b"\x0b", b"\x3a\xff\xff\x03ab", b"\x08"])
def test_what_is_no_model_is_refused(make_model, tmp_path, content):
    contract = Encoder(make_model()).contract
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{path} cannot be read"):
        model_digest(path, contract)


def test_names_stand_in_where_a_digest_is_missing():
    assert same_model("a", "1", "b", "1") and not same_model("a", "1", "a", "2")
    assert same_model("a", "", "a", "2") and not same_model("a", "", "b", "2")
    assert model_text("a", "1234567890") == "a (weights 12345678)" and model_text("a", "") == "a"
