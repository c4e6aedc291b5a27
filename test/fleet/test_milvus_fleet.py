# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes of several robots in one store: what is put is found, and bad input is told."""

import base64
import dataclasses
import json
import os
import zlib

import cv2
import numpy as np
import pytest
from robots import RUN, features, item

from vpr_ros.core.errors import ConfigError, FleetError
from vpr_ros.fleet.fleet import Where
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet, expression
from vpr_ros.fleet.payload import MAX_PAYLOAD, decode, encode


def equal(a, b):
    """Whether two keyframes of the fleet are the same, arrays included."""
    plain = [
        dataclasses.replace(
            x, keyframe=dataclasses.replace(x.keyframe, descriptor=None, features=None)
        )
        for x in (a, b)
    ]
    f, g = a.keyframe.features, b.keyframe.features
    return (
        plain[0] == plain[1]
        and np.allclose(a.keyframe.descriptor, b.keyframe.descriptor)
        and np.array_equal(f.keypoints, g.keypoints)
        and np.array_equal(f.descriptors, g.descriptors)
        and np.array_equal(f.camera_matrix, g.camera_matrix)
        and (f.sharpness, f.clipped) == (g.sharpness, g.clipped)
    )


def test_what_is_put_is_found_counted_read_and_deleted(fleet):
    assert fleet.health().ok and fleet.count(Where()) == 0 and not list(fleet.entries(Where()))
    assert fleet.find(item(1).keyframe.descriptor[None], 3, Where()) == [[]]
    red = [item(n) for n in range(1, 6)]
    blue = [item(n, "blue", run=9 << 23, links=(RUN + n,)) for n in range(3, 8)]
    assert fleet.put(red) == fleet.put(blue) == fleet.put(red) == []
    assert fleet.health().keyframes == fleet.count(Where(map="office")) == 10
    others = Where("office", model="ab" * 16, without_sessions=(5,))
    queries = np.stack([item(n).keyframe.descriptor for n in (4, 7)])
    first, second = fleet.find(queries, 2, others)
    assert [f.entry.id for f in (first[0], second[0])] == [(9 << 23) + 4, (9 << 23) + 7]
    assert first[0].score == pytest.approx(1.0, abs=1e-5) and first[0].entry.robot == "blue"
    assert [e.id for e in fleet.entries(Where(robot="red"))] == [i.keyframe.id for i in red]
    (back,) = fleet.get([blue[0].keyframe.id, 77])
    assert equal(back, blue[0])
    assert fleet.delete(Where("office", before_ns=1_004)) == 4
    assert fleet.count(Where()) == 6 and fleet.delete(Where(map="attic")) == 0
    with pytest.raises(FleetError, match="delete all"):
        fleet.delete(Where())


def test_bad_input_is_told_in_one_line(fleet):
    fleet.put([item(1)])
    with pytest.raises(FleetError, match=r"32 values.*have 16.*milvus.collection"):
        fleet.put([item(2, size=32)])
    with pytest.raises(FleetError, match="32 values"):
        fleet.find(np.ones((1, 32), np.float32), 3, Where())
    # An id that another robot, or another time of the same robot, has already
    assert fleet.put([item(1, "blue"), item(2, "blue")]) == [RUN + 1]
    assert fleet.put([item(1, stamp_ns=5)]) == [RUN + 1]
    assert fleet.get([RUN + 1])[0].robot == "red"
    with pytest.raises(ConfigError, match="no name"):
        fleet.put([item(3, 'x" or robot != "')])
    with pytest.raises(FleetError, match="id that the fleet cannot keep"):
        fleet.put([item(3, id=2**63)])
    fleet._client.drop_collection("vpr_keyframes")
    fleet._client.create_collection("vpr_keyframes", dimension=16)
    with pytest.raises(FleetError, match=r"does not answer|is not of vpr_ros"):
        fleet.put([item(1)])
    with pytest.raises(FleetError, match=r"not of vpr_ros.*milvus.collection"):
        fleet.put([item(1)])
    assert not fleet.health().ok


def test_a_payload_is_bounded_and_its_damage_is_told():
    many = item(1, features=features(1500))
    text = encode(many)
    back = decode(many.entry, text, many.keyframe.descriptor).keyframe.features
    assert 300 < len(back.keypoints) < 1500 and len(text) <= MAX_PAYLOAD
    assert np.array_equal(
        back.descriptors, many.keyframe.features.descriptors[: len(back.keypoints)]
    )
    assert decode(many.entry, text, many.keyframe.descriptor).keyframe.thumbnail is None  # no room
    bare = item(1, features=None, pose=None, thumbnail=None)
    back = decode(bare.entry, encode(bare), bare.keyframe.descriptor).keyframe
    assert back.features is None and back.pose is None and back.thumbnail is None
    other = dataclasses.replace(many.entry, model="other")
    for entry, payload in ((many.entry, text[:500]), (many.entry, "%"), (other, text)):
        with pytest.raises(FleetError, match=r"damaged.*vpr map push"):
            decode(entry, payload, many.keyframe.descriptor)
    with pytest.raises(FleetError, match="unit length"):
        decode(many.entry, text, 3 * many.keyframe.descriptor)


def changed(item, **values):
    """The payload with other values; None: without them."""
    head, _, arrays = zlib.decompress(base64.b64decode(encode(item))).partition(b"\n")
    head = {k: v for k, v in (json.loads(head) | values).items() if v is not None}
    return base64.b64encode(zlib.compress(json.dumps(head).encode() + b"\n" + arrays)).decode()


def test_a_picture_travels_and_a_hostile_one_is_refused():
    sent = item(1)
    entry, row, jpeg = sent.entry, sent.keyframe.descriptor, sent.keyframe.thumbnail.jpeg
    assert equal(decode(entry, encode(sent), row), sent)
    # Of a collection made before keyframes had them
    before = decode(entry, changed(sent, thumbnail=None, provider=None), row).keyframe
    assert before.thumbnail is None and before.provider == "" and before.features is not None
    large = cv2.imencode(".jpg", np.zeros((1200, 1200, 3), np.uint8))[1].tobytes()
    written = base64.b64encode(jpeg).decode()
    for width, picture, text in (
        (640, base64.b64encode(b"GIF89a" * 10).decode(), "no JPEG"),
        (640, base64.b64encode(jpeg[:40]).decode(), "damaged"),
        (640, base64.b64encode(large).decode(), "1200"),
        (640, base64.b64encode(jpeg + b"0" * 70_000).decode(), "size of the thumbnail"),
        (640, "%" + written, "damaged"),
        (-640, written, "image width"),
        (float("inf"), written, "infinity"),
        ("wide", written, "damaged"),
    ):
        with pytest.raises(FleetError, match=text):
            decode(entry, changed(sent, thumbnail=[width, picture]), row)
    deep = base64.b64encode(zlib.compress(b"[" * 100_000)).decode()
    for damaged in (deep, changed(sent, sparsity=float("nan")), changed(sent, links=[1e400])):
        with pytest.raises(FleetError, match=r"damaged.*vpr map push"):
            decode(entry, damaged, row)


def test_a_server_out_of_reach_and_secrets(tmp_path):
    pytest.importorskip("pymilvus")
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    config = MilvusConfig(uri="http://127.0.0.1:9", user="root", secret_file=str(secret))
    health = MilvusFleet(config).health()
    assert not health.ok and "127.0.0.1:9" in health.message and "hunter2" not in health.message
    assert "hunter2" not in repr(config)
    for change in (
        {"uri": "http://root:hunter2@host:1"},
        {"uri": "ftp://host"},
        {"uri": "192.168.1.4:19530"},
        {"cert_file": "c.pem"},
        {"ca_file": "ca.pem"},
    ):
        with pytest.raises(ConfigError) as caught:
            MilvusConfig(**{"uri": "http://host:1"} | change)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="secret_file cannot be read"):
        MilvusFleet(MilvusConfig(secret_file=str(tmp_path / "none")))


def test_where_other_data_is_nothing_is_written(tmp_path):
    pytest.importorskip("milvus_lite")
    for name in ("photos", "photos.db"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"photo")
    for name in ("office.vprmap", "office.db"):
        (tmp_path / name).write_bytes(b"a map")
    os.mkfifo(tmp_path / "fifo.db")
    before = sorted(tmp_path.rglob("*"))
    for name in ("photos", "photos.db", "office.vprmap", "office.db", "fifo.db"):
        with pytest.raises(ConfigError, match=rf"{tmp_path / name}'.* ends in \.db"):
            MilvusFleet(MilvusConfig(uri=str(tmp_path / name))).count(Where())
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "own.db").mkdir()
    for path in (tmp_path / "own.db", f"{tmp_path}/own.db/", tmp_path / "new.db"):
        fleet = MilvusFleet(MilvusConfig(uri=str(path)))
        assert fleet.count(Where()) == 0
        fleet.close()


def test_an_expression_cannot_be_broken_out_of():
    where = Where("office", model='a" or id > 0 or "', without_sessions=(3,), ids=(1, 2))
    assert expression(where) == (
        'map == "office" and model == "a\\" or id > 0 or \\"" '
        "and session not in [3] and id in [1, 2]"
    )
    with pytest.raises(ConfigError, match="no name"):
        expression(Where(map='a" or "'))
