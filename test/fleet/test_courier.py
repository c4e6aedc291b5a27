# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Between a robot and the fleet: nothing waiting is lost, places are judged, trouble is told."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
from robots import RUN, MemoryFleet, features, item, view

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.errors import FleetError
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.fleet.courier import Courier, FleetConfig
from vpr_ros.fleet.fleet import weights_of
from vpr_ros.fleet.outbox import Outbox

OTHER = 9 << 23
CALIBRATION = Calibration(0.0, 0.5)


class World:
    """A courier of robot red, its outbox, a store, and what the courier said and found."""

    def __init__(self, tmp_path, **values):
        self.fleet, self.found, self.said = MemoryFleet(), [], []
        self.outbox = Outbox(tmp_path / "red.outbox", 100)
        config = FleetConfig(send_interval_s=0.1, ask_interval_s=0.1, map="office", **values)
        self.courier = Courier(
            lambda: self.fleet,
            "red",
            self.outbox,
            config,
            LoopConfig(),
            self.found.append,
            self.said.append,
        )
        self.courier.start()

    def drive(self, numbers, **changes):
        for number in numbers:
            self.courier.add(item(number, calibration=CALIBRATION, **changes).keyframe)

    def wait(self, condition):
        end = time.monotonic() + 40
        while not condition():
            assert time.monotonic() < end, (self.said, self.courier.trouble)
            time.sleep(0.02)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr("vpr_ros.fleet.courier.LONGEST_PAUSE_S", 0.5)
    world = World(tmp_path)
    yield world
    world.courier.finish()
    world.outbox.close()


def test_places_of_others_are_found_and_judged_as_at_home(world):
    world.fleet.put([view(n, robot="blue", run=OTHER) for n in range(1, 9)])
    # A second robot knows the same places; that they are the same is told by its links.
    green = [view(n, robot="green", run=11 << 23, links=(OTHER + n,)) for n in range(1, 9)]
    world.fleet.put(green)
    for number in range(1, 9):  # 4 has the descriptor of its place but shows something else
        shown = view(number if number != 4 else 99, aside_px=60.0)
        world.drive([number], features=shown.keyframe.features)
    world.wait(lambda: world.courier.asked == 8 and world.courier.sent == 8)
    closed = {c.query.id - RUN: c for c in world.found}
    assert set(closed) == {1, 2, 3, 5, 6, 7, 8}, world.said
    for number, found in closed.items():
        assert found.match.keyframe.id in (OTHER + number, (11 << 23) + number)
        assert found.match.robot in ("blue", "green")
        assert found.closure.verification.inliers > 100 and found.closure.confidence > 0.9


def test_an_outage_loses_nothing_and_is_told(world):
    world.fleet.down = "no route to host"
    world.drive(range(1, 70))
    world.drive([70], stamp_ns=30 * 10**9)
    world.wait(lambda: world.courier.trouble == "no route to host")
    assert len(world.outbox) == 70 and world.courier.unasked == 20
    world.fleet.down = ""
    # Newer than the questions that waited, but no clock is wrong.
    world.fleet.put([item(65, "blue", run=OTHER, stamp_ns=29 * 10**9)])
    world.wait(lambda: not world.courier.trouble and len(world.outbox) == 0)
    assert len(world.fleet.items) == 71
    world.wait(lambda: world.courier.asked == 50)  # the newest are asked about after all
    assert not world.courier.notices


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ([item(1, "red", run=OTHER, stamp_ns=10**12)], "another robot has its name"),
        ([item(1, "blue", run=OTHER, model_digest="cd" * 16)], "none of this robot's model"),
        ([item(1, "blue", stamp_ns=7)], "have their ids"),
        ([item(1, "blue", run=OTHER, stamp_ns=60 * 10**9)], "is at least 60 s ahead"),
    ],
)
def test_what_is_wrong_in_the_fleet_is_told_once(world, others, text):
    world.fleet.put(others)
    world.drive([1, 2])
    world.wait(lambda: world.courier.notices and world.courier.asked == 2)
    time.sleep(0.3)
    assert [line for line in world.said if text in line] == world.said
    assert len(world.said) == 1 and text in "".join(world.courier.notices.values())


def test_a_clock_that_is_set_right_is_not_complained_of_any_more(world, monkeypatch):
    monkeypatch.setattr("vpr_ros.fleet.courier.SURVEY_S", 0.1)
    ahead = item(1, "blue", run=OTHER, stamp_ns=60 * 10**9)
    world.fleet.put([ahead])
    world.drive([1])
    world.wait(lambda: world.courier.notices)
    time.sleep(0.5)
    assert world.courier.notices, "the keyframe is ahead still"
    world.drive([2], stamp_ns=80 * 10**9)
    world.wait(lambda: not world.courier.notices)
    assert len(world.said) == 1


def test_an_outbox_survives_and_is_bounded(tmp_path):
    path = tmp_path / "sub" / "red.outbox"
    outbox = Outbox(path, 1)
    for number in range(1, 6):
        outbox.add(item(number))
    numbers = list(outbox.first(100))
    outbox.add(item(2, links=(77,)))  # replaced while it was being sent
    outbox.remove(numbers)
    with pytest.raises(FleetError, match=r"locked.*fleet.outbox"):
        Outbox(path, 1)
    outbox.close()
    outbox = Outbox(path, 1)
    (left,) = outbox.first(100).values()
    assert len(outbox) == 1 and left.links == (77,) and outbox.sessions() == (RUN >> 23,)
    assert outbox.first(10, size=16) and not outbox.first(10, size=99)
    for number in range(100, 160):
        outbox.add(item(number, features=features(300, number)))
    assert outbox.dropped > 20 and outbox.megabytes <= 1
    ids = [i.keyframe.id - RUN for i in outbox.first(100).values()]
    assert ids == list(range(160 - len(outbox), 160))
    # A full disk
    before = len(outbox)
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count={pages}")
    outbox.max_mb = 100
    with pytest.raises(FleetError, match=r"outbox.*full.*vpr map push"):
        for number in range(200, 300):
            outbox.add(item(number, features=features(300, number)))
    assert len(outbox) >= before and len(outbox.first(1000)) == len(outbox)
    outbox.close()
    # Something else in its place is kept
    path.write_bytes(b"no outbox at all" * 1000)
    outbox = Outbox(path, 1)
    assert len(outbox) == 0 and "it is kept as" in outbox.note
    assert path.with_name("red.outbox.0").read_bytes().startswith(b"no outbox")
    outbox.close()


def test_an_outbox_that_cannot_be_made_says_the_way_out(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path, tmp_path / "file" / "red.outbox", Path("/proc/red.outbox")):
        with pytest.raises(FleetError, match=r"cannot be used.*Set fleet.outbox to another file"):
            Outbox(path, 10)


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(Exception, match="no name"):
        FleetConfig(robot="red robot")
    with pytest.raises(Exception, match="no name"):
        FleetConfig(map="")
    assert dataclasses.replace(FleetConfig(), robot="red").robot == "red"
    assert np.isfinite(FleetConfig().ask_interval_s)
    for model, digest in (("a\nb", ""), ("\u20ac" * 200, ""), ("m", "\x1b[31m")):
        with pytest.raises(FleetError, match="cannot keep"):
            weights_of(model, digest)
