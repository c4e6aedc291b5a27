# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fetch public image sets, checked, for tables that anybody can make again.

python -m tools.fetch_data                      which sets there are, and their licences
python -m tools.fetch_data ../data corridor     one of them, or several
python -m tools.shared_sets ../sets --data ../data     what `vpr benchmark` reads

Each is one folder of one commit, whose hash is that of the content: Git checks it.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from vpr_ros.core.errors import VprError

REVISITS = Path(__file__).parent / "rtabmap_revisits.csv"  # verified by hand, for this project


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A folder of a commit, and what is measured on it."""

    url: str
    commit: str
    folder: str
    licence: str
    command: str  # {}: the folder
    more: tuple[tuple[Path, str], ...] = ()  # files of ours that belong to it, and their names

    def fetch(self, target: Path) -> None:
        """Get that folder only, as `target`."""
        with tempfile.TemporaryDirectory(prefix="vpr_data-") as place:
            _git(place, "init", "-q")
            _git(place, "sparse-checkout", "set", "--no-cone", f"/{self.folder}/*")
            _git(place, "remote", "add", "origin", self.url)
            _git(place, "fetch", "-q", "--depth=1", "--filter=blob:none", "origin", self.commit)
            _git(place, "checkout", "-q", "FETCH_HEAD")
            shutil.copytree(Path(place, self.folder), target)
        for file, name in self.more:
            shutil.copy2(file, target / name)


GITHUB = "https://github.com"
SETS = {
    "rtabmap_samples": DataSet(
        f"{GITHUB}/introlab/rtabmap",
        "5fad2d29c347e21f5ececb1701148c72d0c4dbb8",
        "data/samples",
        "BSD-3-Clause",
        "vpr benchmark ../sets/rtabmap_samples",
        ((REVISITS, "revisits.csv"),),
    ),
    "corridor": DataSet(
        f"{GITHUB}/MubarizZaffar/VPR-Bench",
        "77ad30f3684476717188c67d7f3f66be19f832af",
        "datasets/corridor",
        "MIT; cite Milford, IJRR 2013",
        "vpr benchmark {} --frames 2",
    ),
    "campus_robot": DataSet(
        f"{GITHUB}/ToshikiNakamura0412/visual_place_recognition_ros",
        "025849b24296df55508503d6309b05a5d979dae5",
        "dataset",
        "MIT",
        "vpr benchmark ../sets/campus_robot",
    ),
}


def fetch(name: str, data: Path) -> Path:
    """The folder of a set, whole or not at all; one that is there is left alone."""
    target = data.resolve() / name
    if target.exists():
        return target
    draft = target.with_name(f".{name}.part")
    try:
        data.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        SETS[name].fetch(draft)
        draft.rename(target)
    except OSError as error:
        raise VprError(f"{name} cannot be fetched: {error}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _git(place: str, *arguments: str) -> None:
    done = subprocess.run(["git", "-C", place, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip() or f"git {arguments[0]} failed")


def main() -> int:
    """Fetch, or list; 1 with the reason if that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fetch_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, nargs="?", help="folder to fetch into")
    parser.add_argument("sets", nargs="*", metavar="set", help=", ".join(SETS))
    arguments = parser.parse_args()
    if unknown := set(arguments.sets) - set(SETS):
        parser.error(f"no set is named {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    if not arguments.sets:
        for name, one in SETS.items():
            print(f"{name}: {one.url} ({one.licence})")
        return 0
    try:
        for name in arguments.sets:
            folder = fetch(name, arguments.data)
            print(f"{folder} ({SETS[name].licence})\n  {SETS[name].command.format(folder)}")
    except VprError as error:
        print(f"fetch_data: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
