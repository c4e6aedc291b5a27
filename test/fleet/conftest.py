# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A store in a file."""

import pytest

from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet


@pytest.fixture
def fleet(tmp_path):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    fleet = MilvusFleet(MilvusConfig(uri=str(tmp_path / "fleet.db")))
    yield fleet
    fleet.close()
