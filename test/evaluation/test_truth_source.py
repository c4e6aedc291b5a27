# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth from topics, tf and files."""

import math

import numpy as np
import pytest

from vpr_ros.evaluation.bag import Bag, BagError
from vpr_ros.evaluation.truth import LoopRule, Trajectory, TruthError
from vpr_ros.evaluation.truth_source import find_truth, require_truth

S = 10**9
START_S = 1_780_000_000
RULE = LoopRule()


def stamps(*seconds):
    return np.array([START_S * S + round(t * S) for t in seconds], np.int64)


def positions(source, *seconds, numbers=None):
    numbers = np.arange(len(seconds)) if numbers is None else np.array(numbers)
    return source.of(stamps(*seconds), numbers).trajectory.positions


def planar(rows):
    return np.array([(x, y, 0, 0, 0, math.sin(a / 2), math.cos(a / 2)) for x, y, a in rows])


def test_between_two_poses():
    path = Trajectory.of([0, S // 10], planar([(0, 0, 0), (1, 2, math.pi / 2)]), "test")
    at = path.at(np.array([0, S // 20, S // 10, 3 * S // 10, 4 * S // 10], np.int64))
    assert at.positions[:4, 0] == pytest.approx([0, 0.5, 1, 1])
    assert at.pose(1).yaw == pytest.approx(math.pi / 4)
    assert np.isnan(at.positions[4]).all()  # 0.3 s after the last


def test_over_a_gap_nothing_is_invented():
    path = Trajectory.of([0, 10 * S], planar([(0, 0, 0), (10, 0, 0)]), "test")
    at = path.at(np.array([S // 10, 5 * S, 10 * S - S // 10], np.int64))
    assert at.positions[[0, 2], 0] == pytest.approx([0, 10])
    assert np.isnan(at.positions[1]).all()


def test_unordered_invalid_and_doubled_poses():
    rows = planar([(3, 0, 0), (1, 0, 0), (math.nan, 0, 0), (2, 0, 0)])
    path = Trajectory.of([3, 1, 2, 1], rows, "test")
    assert path.stamps_ns.tolist() == [1, 3]
    assert path.positions[:, 0].tolist() == [2, 3]  # the last of equal stamps
    with pytest.raises(TruthError, match="no valid pose"):
        Trajectory.of([1], np.zeros((1, 7)), "test")  # an unset quaternion


def test_a_topic_that_calls_itself_truth_comes_first(tmp_path, bag_writer):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(3):
            bag.odometry(k, 10 * k, 0)
            bag.pose_stamped(k, 20 * k, 0)
    with Bag(tmp_path / "b") as bag:
        source = find_truth(bag, "", RULE, "/odom")
        assert source.text == "topic /ground_truth"
        assert positions(source, 1)[0, 0] == 20
        odometry = find_truth(bag, "/odom", RULE)
        assert positions(odometry, 1)[0, 0] == 10
        assert "where it drifts" in odometry.text
        with pytest.raises(BagError, match="'/nope' is not in the bag"):
            find_truth(bag, "/nope", RULE)
        with pytest.raises(TruthError, match="neither a file nor a topic"):
            find_truth(bag, "poses.txt", RULE)


@pytest.mark.parametrize("kind", ["mcap", "bag"])
def test_tf_is_followed_to_its_root(tmp_path, bag_writer, kind):
    """map -> odom (at x = 100, turned left) -> base_link (drives forward) = up in the map."""
    path = tmp_path / f"b.{kind}"
    with bag_writer(path, kind) as bag:
        bag.transform(0, "map", "odom", 100, 0, math.pi / 2)
        for k in range(21):
            bag.transform(0.1 * k, "odom", "base_link", 0.1 * k, 0)
        bag.transform(0, "base_link", "camera", 0.5, 0, topic="/tf_static")
    with Bag(path) as bag:
        source = find_truth(bag, "", RULE)
        assert source.text == "topic /tf (map -> base_link)"
        assert positions(source, 0, 2) == pytest.approx(np.array([(100, 0, 0), (100, 2, 0)]))
        camera = find_truth(bag, "/tf", RULE, frame="camera")
        assert positions(camera, 2)[0] == pytest.approx([100, 2.5, 0])
        with pytest.raises(TruthError, match="No frame of base"):
            find_truth(bag, "/tf", RULE, frame="base")


def test_a_frame_of_tf_is_looked_for_in_tf_alone(tmp_path, bag_writer):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        bag.transform(0, "base_link", "camera", 0.5, 0, topic="/tf_static")
        bag.odometry(0, 0, 0)
        for k in range(2):
            bag.transform(k, "odom", "base_link", k, 0)
    with Bag(tmp_path / "b") as bag:
        found = find_truth(bag, "", RULE, "/odom", "base_link")
        assert found.text == "topic /tf (odom -> base_link)"
        with pytest.raises(TruthError, match="No frame of base is"):
            find_truth(bag, "", RULE, "/odom", "base")
        with pytest.raises(TruthError, match="base names a frame of tf, which /odom does not"):
            find_truth(bag, "/odom", RULE, "", "base")


@pytest.fixture
def empty_bag(tmp_path, bag_writer, picture):
    """A bag of one image and nothing else."""
    with bag_writer(tmp_path / "b", "mcap") as bag:
        bag.image(0, picture(0))
    with Bag(tmp_path / "b") as bag:
        yield bag


def test_no_truth_is_told_with_the_way_out(empty_bag):
    source = find_truth(empty_bag, "", RULE)
    assert source.of(stamps(0, 1), np.arange(2)).missing == source.missing
    with pytest.raises(TruthError, match=r"no odometry, pose or tf\. For precision .* --truth"):
        require_truth(source)


def test_what_was_not_asked_for_and_does_not_fit_is_no_error(tmp_path, bag_writer, picture):
    """tf of nothing but mounts; odometry of another clock. Asked for, both are errors."""
    with bag_writer(tmp_path / "b", "mcap") as bag:
        bag.image(0, picture(0))
        bag.transform(0, "lidar", "camera", 0.5, 0, topic="/tf_static")
    with Bag(tmp_path / "b") as bag:
        assert "No frame of base_link" in find_truth(bag, "", RULE).missing
        with pytest.raises(TruthError, match="No frame of base_link"):
            find_truth(bag, "/tf_static", RULE)
    with bag_writer(tmp_path / "c", "mcap") as bag:
        bag.odometry(-1000, 0, 0)
    with Bag(tmp_path / "c") as bag:
        found = find_truth(bag, "", RULE, "/odom").of(stamps(0), np.arange(1))
        assert "No keyframe has a pose" in found.missing
        with pytest.raises(TruthError, match="No keyframe has a pose"):
            find_truth(bag, "/odom", RULE).of(stamps(0), np.arange(1))


@pytest.mark.parametrize("extra", ["", ",0,0,0,0,0,0,0,0,0"])  # Vicon's, and the estimated state
def test_euroc_file(empty_bag, tmp_path, extra):
    file = tmp_path / "data.csv"
    lines = [f"{START_S * S + k * S // 10 + 1},{k},2,3,0.6,0,0,0.8{extra}\n" for k in range(2)]
    file.write_text("#timestamp [ns],p_RS_R_x [m],...\n" + "".join(lines))
    source = find_truth(empty_bag, str(file), RULE)
    assert source.trajectory.stamps_ns[0] == START_S * S + 1  # no nanosecond lost
    assert positions(source, 0.05)[0] == pytest.approx([0.5, 2, 3], abs=1e-6)
    assert source.trajectory.rotations[0] == pytest.approx([0, 0, 0.8, 0.6])  # w was first


def test_tum_file(empty_bag, tmp_path):
    file = tmp_path / "tum.txt"
    file.write_text(
        "# timestamp tx ty tz qx qy qz qw\n"
        f"{START_S}.000000001 1 2 3 0 0 0 1\n{START_S}.1 2 2 3 0 0 0 1\n"
    )
    source = find_truth(empty_bag, str(file), RULE)
    assert source.trajectory.stamps_ns[0] == START_S * S + 1  # no nanosecond lost
    assert positions(source, 0.05)[0] == pytest.approx([1.5, 2, 3])
    with pytest.raises(TruthError, match=r"No keyframe has a pose within 0.2 s"):
        source.of(stamps(7), np.array([0]))


@pytest.mark.parametrize("stamp", [f"{START_S}000000001", f"{START_S}000", "nan", "inf", "9e30"])
@pytest.mark.parametrize("comma", [" ", ","])
def test_tum_stamps_that_are_no_seconds_are_named(empty_bag, tmp_path, stamp, comma):
    """In nanoseconds or milliseconds, and out of every range; commas and nanoseconds are EuRoC."""
    file = tmp_path / "tum.txt"
    file.write_text(comma.join([stamp, *"1230001"]) + "\n")
    if comma == "," and len(stamp) == 19:
        assert find_truth(empty_bag, str(file), RULE).text.startswith("EuRoC")
        return
    with pytest.raises(TruthError, match=f"has the stamp {stamp}; TUM's stamps are seconds"):
        find_truth(empty_bag, str(file), RULE)


def test_kitti_file(empty_bag, tmp_path):
    """One line an image: the image's number counts, not its stamp."""
    file = tmp_path / "kitti.txt"
    turned = "0 -1 0 5 1 0 0 6 0 0 1 7"  # 90 degrees to the left at (5, 6, 7)
    flipped = "-1 0 0 1 0 -1 0 1 0 0 1 1"  # 180 degrees, where the trace is -1
    file.write_text(f"1 0 0 0 0 1 0 0 0 0 1 0\n{turned}\n{flipped}\n")
    source = find_truth(empty_bag, str(file), RULE)
    truth = source.of(stamps(0, 1, 2, 3), np.array([0, 1, 2, 9]))
    assert truth.trajectory.positions[1] == pytest.approx([5, 6, 7])
    assert [truth.trajectory.pose(k).yaw for k in (1, 2)] == pytest.approx([math.pi / 2, math.pi])
    assert truth.known.tolist() == [True, True, True, False]  # the file has no line 9


def test_pairs_file(empty_bag, tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("query,match,note\n5,1,a\n5,3,b\n6,,c\n")
    truth = find_truth(empty_bag, str(file), LoopRule(frames=0)).of(
        stamps(*range(4)), np.array([1, 3, 5, 6])
    )
    assert truth.places[2].tolist() == [0, 1]
    assert truth.known.tolist() == [True, True, True, False]
    file.write_bytes(b"\xef\xbb\xbfquery , match\r\n5, 1\r\n")
    source = find_truth(empty_bag, str(file), RULE)
    assert source.pairs == {5: [1]}
    with pytest.raises(TruthError, match=r"No query in pairs of .* numbers 0 to 3"):
        source.of(stamps(0, 1), np.array([1, 3]))  # as of another bag, or stamps
    for text, message in (("five,1", "has the line five,1"), ("5", "has the line 5;")):
        file.write_text(f"query,match\n{text}\n")
        with pytest.raises(TruthError, match=message):
            find_truth(empty_bag, str(file), RULE)


def test_other_files_are_refused(empty_bag, tmp_path):
    for name in ("~no_such_user/x", "x" * 300):
        with pytest.raises(TruthError, match="neither a file nor a topic"):
            find_truth(empty_bag, name, RULE)
    for text in ("", "1 2 3\n", "some words\n", "query,matches\n1,2\n"):
        (tmp_path / "x.txt").write_text(text)
        with pytest.raises(TruthError, match="neither TUM"):
            find_truth(empty_bag, str(tmp_path / "x.txt"), RULE)
