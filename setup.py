# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ament_python package; also installs by plain pip."""

from __future__ import annotations

import importlib
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))
from vpr_ros.kernels.build import LIBRARY, SOURCES, build_or_note

NAME = "vpr_ros"
NODES = ("encoder", "database", "graph", "relocalizer", "bridge", "fleet", "nodes")


class BuildOperators(build_ext):
    """Compiles the operators into the package; without a compiler it installs without them."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split(".")[:-1]) / LIBRARY)

    def build_extension(self, ext: Extension) -> None:
        print(build_or_note(Path(self.get_ext_fullpath(ext.name)).parent))

    def copy_extensions_to_source(self) -> None:  # where the package runs from its sources
        print(build_or_note(SOURCES))


def wheel_commands() -> dict[str, type]:
    """A wheel for this kind of machine and any Python 3: the library does not know Python."""
    for module in ("setuptools.command.bdist_wheel", "wheel.bdist_wheel"):
        try:
            base = importlib.import_module(module).bdist_wheel
        except ImportError:  # older setuptools, or no wheels here at all
            continue

        class OnePythonFitsAll(base):
            def get_tag(self) -> tuple[str, str, str]:
                return "py3", "none", super().get_tag()[2]

        return {"bdist_wheel": OnePythonFitsAll}
    return {}


def node_scripts() -> list[str]:
    """The nodes, where `ros2 run` looks for them: colcon calls `install` or `develop`.

    pip, which makes a wheel instead, would put them on PATH, where nobody looks for them.
    """
    if {"install", "develop"}.isdisjoint(sys.argv):
        return []
    return [f"{node} = {NAME}.nodes.start:{node}" for node in NODES]


setup(
    name=NAME,
    version="0.1.0",
    description="Loop closure for robots by visual place recognition, on an ordinary CPU.",
    license="Apache-2.0",
    maintainer="The vpr_ros authors",
    maintainer_email="vpr_ros@users.noreply.github.com",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    ext_modules=[Extension(f"{NAME}.kernels.operators", sources=[], optional=True)],
    cmdclass={"build_ext": BuildOperators, **wheel_commands()},
    package_data={
        f"{NAME}.evaluation": ["*.html"],
        f"{NAME}.training": ["recipes/*.yaml"],
        # Where no compiler was, `python -m vpr_ros.kernels.build` makes the library later.
        f"{NAME}.kernels": ["*.cpp", "*.hpp", "*.map"],
    },
    python_requires=">=3.10",
    install_requires=[
        "faiss-cpu",
        "numpy",
        "onnxruntime>=1.19",
        # Newer wheels of OpenCV require NumPy 2, with which cv_bridge from apt ends the process.
        # Headless, since a robot may lack OpenGL.
        "opencv-python-headless>=4.8,<4.12",
        "pyyaml",
        "setuptools",
    ],
    extras_require={
        "test": ["pytest", "pytest-timeout"],  # by which `colcon test` knows that it is pytest
        # Of what onnx needs, newer ml_dtypes require NumPy 2.
        "cli": ["typer", "rich", "onnx", "ml_dtypes<0.6", "rosbags", "matplotlib", "scipy"],
        "graph": ["gtsam>=4.3"],
        "rerun": ["rerun-sdk"],  # 170 MB; Python 3.11, NumPy 2
        "fleet": ["pymilvus>=2.4.15"],
        "train": [
            "torch",
            "onnx",
            "pytorch-metric-learning",
            "accelerate",
            "safetensors",
            "matplotlib",
        ],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*")),
        (f"share/{NAME}/models", glob("models/*")),
    ],
    zip_safe=False,
    entry_points={"console_scripts": ["vpr = vpr_ros.cli:main", *node_scripts()]},
)
