# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tables show what they are given: units in brackets, and every digit on a narrow console."""

import io

import pytest
from rich.console import Console

from vpr_ros.evaluation.console import TextTable, show

TABLE = TextTable(
    "One [set]", ("method", "score\n[cosine]", "bytes"), (("my [b] model", "0.9043", "6912"),),
    ("A note in [brackets], longer than the table.",),
)  # fmt: skip


@pytest.fixture
def narrow():
    return Console(file=io.StringIO(), width=20)


def test_nothing_is_lost_on_a_narrow_console(narrow):
    TABLE.print(narrow)
    printed = narrow.file.getvalue()
    for part in ("One [set]", "my [b] model", "[cosine]", "0.9043", "6912", "[brackets]"):
        assert part in printed
    show(narrow, [("speed", "[m/s]")])
    assert "[m/s]" in narrow.file.getvalue()


def test_the_same_in_a_file_and_on_a_page():
    assert "| my [b] model | 0.9043 | 6912 |" in TABLE.markdown()
    assert "| method | score, [cosine] | bytes |" in TABLE.markdown()
    assert "<td>my [b] model</td><td class=n>0.9043</td>" in TABLE.html()
    assert "&lt;" in TextTable("", ("a",), (("<b>",),)).html()
