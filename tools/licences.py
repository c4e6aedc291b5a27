# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Licences of everything this package runs with: python -m tools.licences

The packages are those that setup.py and tools/requirements.txt name, and what these need in turn.
The models are the files in models/, whose contracts name licence and data.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import onnx
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from vpr_ros.core.contract import Contract

ROOT = Path(__file__).resolve().parents[1]
Row = tuple[str, str, str, str]  # name, version, licence, why it is here

VAGUE = {"", "UNKNOWN", "Other/Proprietary License"}


def dependencies() -> Iterator[Row]:
    """Each package once, with who needs it first."""
    lines = (ROOT / "tools" / "requirements.txt").read_text().splitlines()
    wanted = [(line, "vpr_ros") for line in metadata.requires("vpr-ros") or ()]
    wanted += [
        (line, "vpr_ros, to build or test") for line in lines if line.strip() and line[0] != "#"
    ]
    seen: set[str] = set()
    while wanted:
        line, by = wanted.pop(0)
        requirement = Requirement(line)
        applies = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra})
            for extra in (("", "cli", "train") if by == "vpr_ros" else ("",))
        )
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if not applies or name in seen:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # an extra, or another build of the same
            yield requirement.name, "", "not installed", by
            continue
        yield package.metadata["Name"], package.version, licence(package.metadata), by
        wanted += [(line, package.metadata["Name"]) for line in package.requires or ()]


def licence(about: metadata.PackageMetadata) -> str:
    """What a package says of it: an SPDX expression, else a classifier, else a first line."""
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier", []) if "License" in c]
    stated = [about.get("License-Expression"), ", ".join(classifiers), about.get("License")]
    stated = [line.strip().splitlines()[0] for line in stated if line and line.strip()]
    ros = Path(sys.prefix, "share", re.sub(r"^ros-(jazzy-)?", "", about["Name"]).replace("-", "_"))
    if (manifest := ros / "package.xml").is_file():
        stated += [tag.text or "" for tag in ElementTree.parse(manifest).iter("license")]
    return next((line for line in stated if line not in VAGUE), "not stated")


def models() -> Iterator[Row]:
    """Each shipped model, with what it was trained on."""
    for path in sorted((ROOT / "models").glob("*.onnx")):
        properties = onnx.load(path, load_external_data=False).metadata_props
        about = Contract.from_metadata({p.key: p.value for p in properties}, str(path))
        yield about.name, about.version, about.licence, about.training_data


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(prog="python -m tools.licences", description=__doc__).parse_args()
    for title, last, rows in (
        ("Packages", "needed by", sorted(dependencies(), key=lambda row: row[0].lower())),
        ("Models", "trained on", list(models())),
    ):
        table = Table("name", "version", "licence", last, title=title)
        for row in rows:
            table.add_row(*row)
        Console().print(table)


if __name__ == "__main__":
    main()
