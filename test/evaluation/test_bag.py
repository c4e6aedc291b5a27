# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of every kind give the same frames, and bad ones one clear line."""

import numpy as np
import pytest

from vpr_ros.evaluation.bag import (
    Bag,
    BagError,
    Topics,
    bag_images,
    cameras,
    choose_topics,
    pictures,
)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["mcap", "db3", "bag"])
def test_every_kind_gives_the_same_frames(lap_bag, picture, kind, compressed):
    with Bag(lap_bag(kind, compressed)) as bag:
        topics = choose_topics(bag)
        assert topics.odometry == "/odom"
        assert topics.image == "/camera/image_raw" + ("/compressed" if compressed else "")
        assert bag.duration_s == pytest.approx(46.001, abs=0.001)
        found = list(bag_images(bag, topics))
    assert [image.number for image in found] == list(range(24))
    assert found[13].frame.stamp_ns == 1_780_000_000_000_000_000 + 26_001_000_000
    assert found[13].frame.frame == "camera"
    assert found[13].frame.pose.x == 2.0
    assert (found[13].frame.decode() == picture(1)).all()


def test_a_file_without_its_folder(lap_bag):
    (file,) = lap_bag("mcap").glob("*.mcap")
    with Bag(file) as bag:
        assert bag.counts["/odom"] == 24


def test_pictures_are_found_again(lap_bag, picture):
    with Bag(lap_bag()) as bag:
        found = list(bag_images(bag, choose_topics(bag)))
        times = {found[3].recorded_ns, found[17].recorded_ns}
        again = pictures(bag, "/camera/image_raw", times)
    assert (again[found[17].recorded_ns] == picture(5)).all()
    assert set(again) == times


def test_the_fullest_image_topic_is_taken_and_depth_passed_over(tmp_path, bag_writer, picture):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(6):
            bag.image(k, picture(k), "/camera/depth/image")
            bag.image(k, picture(k), f"/camera{k % 3 // 2}/image")
    with Bag(tmp_path / "b") as bag:
        assert choose_topics(bag) == Topics("/camera0/image", "", "")
        assert choose_topics(bag, "/camera1/image").image == "/camera1/image"
        with pytest.raises(BagError, match="'/nope' is not in the bag"):
            choose_topics(bag, "/nope")


def test_colour_comes_before_grey_and_grey_before_heat(tmp_path, bag_writer, picture):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(20):
            bag.image(k, picture(k), "/thermal/image_raw")
            bag.compressed(k, picture(k)[..., 0], "/left/compressed")
            if k % 2:
                bag.compressed(k, picture(k), "/front/compressed")
            if k == 0:
                bag.image(k, picture(k), "/snapshot")
                bag.write("/off", "sensor_msgs/msg/CompressedImage", k, header=bag.header(k),
                          format="jpeg", data=np.zeros(0, np.uint8))  # fmt: skip
    with Bag(tmp_path / "b") as bag:
        found = ["/front/compressed", "/left/compressed", "/thermal/image_raw"]
        assert sorted(cameras(bag)[3:]) == ["/off", "/snapshot"]
        assert cameras(bag)[:3] == found


@pytest.mark.parametrize("kind", ["mcap", "db3"])
def test_a_channel_that_cannot_be_understood_is_skipped_and_named(
    tmp_path, lap_bag, monkeypatch, kind
):
    """Also as the only one, and asked for by name."""
    path = lap_bag(kind)
    for file in path.glob(f"*.{kind}"):
        data = file.read_bytes()
        old, new = (
            b"geometry_msgs/TwistWithCovariance twist",
            b"geometry_msgs/Twist<=WithCovaria] twist",
        )
        assert old in data and len(old) == len(new)
        file.write_bytes(data.replace(old, new))
    with Bag(path) as bag:
        assert list(bag.unreadable) == ["/odom"]
        assert "nav_msgs/msg/Odometry cannot be parsed" in bag.unreadable["/odom"]
        assert choose_topics(bag) == Topics("/camera/image_raw")
        assert len(list(bag_images(bag, choose_topics(bag)))) == 24
        with pytest.raises(BagError, match="'/odom' cannot be read: the definition of nav_msgs"):
            choose_topics(bag, odometry="/odom")


def test_a_folder_without_its_metadata_is_told_the_way_out(lap_bag, tmp_path):
    path = lap_bag("mcap")
    (path / "metadata.yaml").unlink()
    with pytest.raises(BagError, match=r"no metadata\.yaml.*`ros2 bag reindex .*or give a file"):
        Bag(path)
    (tmp_path / "old").mkdir()
    lap_bag("bag").rename(tmp_path / "old" / "a.bag")
    with pytest.raises(BagError, match=r"ROS 1 bags. Give one of them, such as .*a\.bag"):
        Bag(tmp_path / "old")


def test_frames_know_only_what_had_arrived(tmp_path, bag_writer, picture):
    """As on the robot: odometry that comes after an image does not place it."""
    with bag_writer(tmp_path / "b", "mcap") as bag:
        bag.image(0.0, picture(0))
        bag.odometry(0.05, 7, 0)
        bag.image(0.1, picture(1))
        bag.image(9.0, picture(2))
    with Bag(tmp_path / "b") as bag:
        poses = [image.frame.pose for image in bag_images(bag, choose_topics(bag))]
    assert (poses[0], poses[1].x, poses[2]) == (None, 7.0, None)


def test_without_images(tmp_path, bag_writer):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        bag.odometry(0, 0, 0)
    with (
        Bag(tmp_path / "b") as bag,
        pytest.raises(BagError, match=r"no images of a camera. Its topics: /odom"),
    ):
        choose_topics(bag)


def test_empty(tmp_path, bag_writer):
    for kind in ("mcap", "db3", "bag"):
        path = tmp_path / f"b.{kind}"
        with bag_writer(path, kind):
            pass
        with pytest.raises(BagError) as error, Bag(path) as bag:
            choose_topics(bag)
        assert "\n" not in str(error.value)


def test_broken_ones_are_one_line(tmp_path, lap_bag):
    (whole,) = lap_bag("mcap").glob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    noise = np.random.default_rng(0).bytes(1000)
    for name in ("noise.mcap", "noise.db3", "noise.bag"):
        (tmp_path / name).write_bytes(noise)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "metadata.yaml").write_text("a: [")
    (tmp_path / "bare").mkdir()
    for name in ("cut.mcap", "noise.mcap", "noise.db3", "noise.bag", "folder", "bare", "none.bag"):
        with pytest.raises(BagError) as error, Bag(tmp_path / name):
            pass
        assert "\n" not in str(error.value)
        assert name in str(error.value)


def test_damage_in_the_middle_is_told_too(tmp_path, lap_bag):
    (file,) = lap_bag("mcap").glob("*.mcap")
    data = bytearray(file.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = b"\xff" * third
    file.write_bytes(data)
    with pytest.raises(BagError, match="cannot be read"), Bag(file) as bag:
        for image in bag_images(bag, choose_topics(bag)):
            image.frame.decode()
