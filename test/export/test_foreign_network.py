# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A network of somebody else becomes a model that the robot runs, whatever its input is like."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ModelError
from vpr_ros.core.images import normalised, resized
from vpr_ros.export.foreign_network import Given, load_model, read_foreign
from vpr_ros.export.onnx_file import write_onnx
from vpr_ros.export.preparation import BYTES, IMAGENET, SIGNED, UNIT, expected, separation

SIZE = 32


CENTRED = {"before": UNIT, "scale": 1 / 0.225, "offset": -2.0}


def image(seed):
    """(40, 48, 3), blocks of colour, unlike one another."""
    colours = np.random.default_rng(seed).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    return np.kron(colours, np.ones((8, 8, 1), np.uint8))


PAIRS = [(image(n), np.roll(image(n), 1, axis=1)) for n in range(8)]
WEIGHTS = np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)
PROJECTION = np.random.default_rng(1).normal(size=(16 * 16, 12)).astype(np.float32)


def network(
    path, kind="float", nhwc=False, before=(), batch="batch", sides=(SIZE, SIZE), end="flat",
    unit=False, outputs=1, extra_input=False, domain="", shape=True,
):  # fmt: skip
    """Write an ONNX file: patches -> Relu -> projection; `before` are (operator, constant)."""
    types = {"float": TensorProto.FLOAT, "float16": TensorProto.FLOAT16,
             "uint8": TensorProto.UINT8, "int32": TensorProto.INT32}  # fmt: skip
    nodes, values, last = [], {"w": WEIGHTS, "p": PROJECTION}, "image"

    def step(operator, inputs=(), **attributes):
        nonlocal last
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(operator, [last, *inputs], [name], **attributes))
        last = name

    if kind != "float":
        step("Cast", to=TensorProto.FLOAT)
    if nhwc:
        step("Transpose", perm=[0, 3, 1, 2])
    for number, (operator, constant) in enumerate(before):
        values[f"c{number}"] = np.float32(constant)
        step(operator, [f"c{number}"])
    step("Conv", ["w"], strides=[8, 8], domain=domain)
    step("Relu")
    if end != "map":
        step("Flatten")
        step("MatMul", ["p"])
    if end == "constant":
        values["zero"], values["one"] = np.float32(0), np.ones(12, np.float32)
        step("Mul", ["zero"])
        step("Add", ["one"])
    if end == "nan":
        step("Sqrt")
    if unit:
        step("LpNormalization", axis=1, p=2)
    if end == "4d":
        values["shape"] = np.array([0, 12, 1, 1])
        step("Reshape", ["shape"])
    if kind == "float16":
        step("Cast", to=TensorProto.FLOAT16)
    dims = [batch, *sides, 3] if nhwc else [batch, 3, *sides]
    inputs = [helper.make_tensor_value_info("image", types[kind], dims if shape else None)]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    given = TensorProto.FLOAT16 if kind == "float16" else TensorProto.FLOAT
    names = [last, *(f"t{n}" for n in range(outputs - 1))]
    graph = helper.make_graph(
        nodes, "net", inputs, [helper.make_tensor_value_info(n, given, None) for n in names],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in values.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, str(path))
    return path


def by_hand(picture, before=IMAGENET, scale=1.0, offset=0.0):
    """The unit descriptor that the network should give, computed without onnxruntime."""
    pixels = normalised(resized(picture, SIZE, SIZE), before.mean, before.std) * scale + offset
    patches = pixels.reshape(3, 4, 8, 4, 8).transpose(1, 3, 0, 2, 4).reshape(16, -1)
    features = np.maximum(patches @ WEIGHTS.reshape(16, -1).T, 0).T.reshape(-1)
    vector = features @ PROJECTION
    return vector / np.linalg.norm(vector)


def adopted(path, tmp_path, **given):
    """(the robot's encoder of it, what was found in words)."""
    model, contract, words = read_foreign(path, load_model(path), Given(**given), PAIRS)
    write_onnx(model, contract, tmp_path / "out.onnx")
    return Encoder(tmp_path / "out.onnx"), words


@pytest.mark.parametrize(
    ("fields", "expected_by_hand"),
    [
        ({}, {}),
        ({"unit": True, "end": "4d", "batch": 1}, {}),
        ({"nhwc": True}, {}),
        ({"sides": ("h", "w")}, {}),
        ({"kind": "float16", "unit": True}, {}),
        ({"kind": "uint8", "nhwc": True}, {"before": BYTES}),
        # mean and deviation inside: of values to 1, to 255, and the two of TensorFlow
        ({"before": [("Sub", 0.45), ("Div", 0.225)]}, CENTRED),
        ({"before": [("Sub", 114.75), ("Div", 57.375)]}, CENTRED),
        ({"before": [("Mul", 1 / 127.5), ("Sub", 1.0)], "nhwc": True}, {"before": SIGNED}),
        ({"before": [("Sub", 120.0)]}, {"before": UNIT, "scale": 255, "offset": -120}),
    ],
)  # fmt: skip
def test_whatever_goes_in_the_robot_gets_the_network_s_unit_vector(
    tmp_path, fields, expected_by_hand
):
    path = network(tmp_path / "net.onnx", **fields)
    size = (SIZE, SIZE) if "sides" in fields else None
    encoder, words = adopted(path, tmp_path, size=size)
    contract = encoder.contract
    assert (contract.name, contract.descriptor_size, contract.sparsity_max) == ("net", 12, 0.0)
    assert (contract.input_height, contract.input_width) == (SIZE, SIZE)
    assert ("of unit length" in words) == fields.get("unit", False)
    for number in range(3):
        cosine = float(encoder.encode(image(number)) @ by_hand(image(number), **expected_by_hand))
        assert cosine > (0.999 if fields.get("kind") else 0.99999), words


def test_a_network_that_needs_other_pixels_is_found_out_or_told(tmp_path):
    """Values of ImageNet's scale drown in the first layer's offset; those up to 255 do not."""
    model = onnx.load(network(tmp_path / "net.onnx"))
    model.graph.initializer.append(numpy_helper.from_array(np.full(16, -300, np.float32), "bias"))
    model.graph.node[0].input.append("bias")
    model.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(np.abs(PROJECTION), model.graph.initializer[1].name)
    )
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ModelError, match="gives nothing but zeros"):
        adopted(tmp_path / "net.onnx", tmp_path, mean=IMAGENET.mean, std=IMAGENET.std)
    encoder, words = adopted(tmp_path / "net.onnx", tmp_path)
    assert "values from 0 to 255 (tells places apart" in words
    assert encoder.contract.std == BYTES.std


def test_what_the_constants_in_front_expect():
    assert expected(1 / 0.225, -2.0) is UNIT  # (x - 0.45) / 0.225
    assert expected(2.0, -1.0) is UNIT
    assert expected(1 / 255, 0.0) is BYTES
    assert expected(1.0, -120.0) is BYTES
    assert expected(1 / 58, -2.0) is BYTES


def test_separation_counts_deviations():
    eye = np.eye(4)
    assert separation(eye, eye) > 1e3
    assert abs(separation(np.roll(eye, 1, axis=0), eye)) < 1.0


@pytest.mark.parametrize(
    ("fields", "given", "message"),
    [
        ({"end": "map"}, {}, "is 1 x 16 x 4 x 4 for one image, not one vector"),
        ({"outputs": 2}, {}, "has 2 outputs; give the descriptor's with --output: t"),
        ({}, {"output": "x"}, "has no output 'x', but t3"),
        ({"extra_input": True}, {}, r"has 2 inputs \(image, mask\)"),
        ({"shape": False}, {}, "has a dynamic rank"),
        ({"kind": "int32"}, {}, "is of type int32"),
        ({"batch": 4}, {}, "takes 4 images at once"),
        ({}, {"size": (64, 64)}, "takes images of 32x32 px .* not 64x64"),
        ({"sides": ("h", "w")}, {"size": (40, 40)}, "cannot run on images of 40x40 px"),
        ({"end": "constant"}, {}, r"the same vector for every image \(cosine at least 1.0"),
        ({"end": "nan"}, {}, "gives values that are not finite"),
        ({"domain": "com.acme"}, {}, "does not run on onnxruntime .*com.acme"),
    ],
)
def test_what_cannot_be_adopted_is_one_line(tmp_path, fields, given, message):
    path = network(tmp_path / "net.onnx", **fields)
    with pytest.raises(ModelError, match=message) as caught:
        adopted(path, tmp_path, **given)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx"]


def test_one_of_two_outputs(tmp_path):
    path = network(tmp_path / "net.onnx", outputs=2)
    encoder, _ = adopted(path, tmp_path, output="t3")
    assert float(encoder.encode(image(0)) @ by_hand(image(0))) > 0.99999
    assert len(onnx.load(tmp_path / "out.onnx").graph.output) == 1


def test_weights_beside_the_file_come_along_and_others_do_not(tmp_path):
    (tmp_path / "a").mkdir()
    plain = onnx.load(network(tmp_path / "plain.onnx"))
    path = tmp_path / "a" / "net.onnx"
    onnx.save(plain, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    encoder, _ = adopted(path, tmp_path)
    assert float(encoder.encode(image(0)) @ by_hand(image(0))) > 0.99999
    (tmp_path / "a" / "w.bin").rename(tmp_path / "w.bin")
    with pytest.raises(ModelError, match=r"weights in w.bin, which is not a file in its folder"):
        load_model(path)
    moved = onnx.load(path, load_external_data=False)
    for tensor in moved.graph.initializer:
        tensor.external_data[0].value = "../w.bin"
    onnx.save(moved, str(path))
    with pytest.raises(ModelError, match=r"weights in ../w.bin, which is not"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x08\x08"])
def test_what_is_no_onnx_file(tmp_path, content):
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="is not an ONNX file"):
        load_model(tmp_path / "net.onnx")
