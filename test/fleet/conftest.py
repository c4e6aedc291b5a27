# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lets the tests of the fleet import robots.py, beside them, and gives them a store in a file."""

import sys
from pathlib import Path

import pytest

from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def fleet(tmp_path):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    fleet = MilvusFleet(MilvusConfig(uri=str(tmp_path / "fleet.db")))
    yield fleet
    fleet.close()
