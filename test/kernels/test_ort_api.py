# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The places that ort_api.hpp knows by number are those of ONNX Runtime's own header.

The header is part of ONNX Runtime's releases and of the package libonnxruntime-dev. Name it with
VPR_ORT_HEADER=.../onnxruntime_c_api.h if it is not in /usr/include.
"""

import os
import re
from pathlib import Path

import onnxruntime
import pytest

from vpr_ros.kernels import build

OURS = (build.SOURCES / "ort_api.hpp").read_text()
NAME = "onnxruntime_c_api.h"


def places():
    body = re.search(r"enum Place .*?\{(.*?)\};", OURS, re.DOTALL).group(1)
    return {name: int(number) for name, number in re.findall(r"(\w+) = (\d+),", body)}


def members(header):
    """The members of `OrtApi` in order."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", header, flags=re.DOTALL)
    body = re.search(r"struct OrtApi \{(.*?)\n\};", text, re.DOTALL).group(1)
    # Status functions and releases come as macros, other functions as pointers.
    found = re.findall(
        r"ORT_API2_STATUS\(\s*(\w+)|ORT_CLASS_RELEASE\(\s*(\w+)|\(ORT_API_CALL\*\s*(\w+)\)", body
    )
    return [
        status or (release and f"Release{release}") or other for status, release, other in found
    ]


def test_members_are_read_in_order():
    header = """
    struct OrtApi {
      OrtStatus*(ORT_API_CALL* CreateStatus)(OrtErrorCode code, const char* msg);  // first
      /* ORT_API2_STATUS(NotThere); */
      ORT_API2_STATUS(Run, _Inout_ OrtSession* session, void(ORT_API_CALL callback)(void*));
      ORT_CLASS_RELEASE(Status);
    };
    """.replace("\n    ", "\n")
    assert members(header) == ["CreateStatus", "Run", "ReleaseStatus"]


def test_no_place_is_beyond_the_oldest_supported_version():
    assert max(places().values()) < 275  # of version 16
    assert "constexpr std::uint32_t api_version = 16;" in OURS
    assert tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 19)


def test_places_are_those_of_the_header():
    given = os.environ.get("VPR_ORT_HEADER")
    found = [Path(given)] if given else sorted(Path("/usr/include").rglob(NAME))
    if not found:
        pytest.skip(f"{NAME} is not installed; see this module's docstring")
    theirs = members(found[0].read_text())
    assert {name: theirs.index(name) for name in places()} == places()
