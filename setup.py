# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ament_python package; also installs by plain pip."""

from glob import glob

from setuptools import find_packages, setup

NAME = "vpr_ros"

setup(
    name=NAME,
    version="0.1.0",
    description="Loop closure on the robot by visual place recognition, on a plain CPU.",
    license="Apache-2.0",
    maintainer="The vpr_ros authors",
    maintainer_email="vpr_ros@users.noreply.github.com",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={f"{NAME}.evaluation": ["*.html", "splits/*.csv"]},
    python_requires=">=3.10",
    install_requires=[
        "faiss-cpu",
        "numpy",
        "onnxruntime>=1.19",
        # cv_bridge, from apt and from pip, does not work with OpenCV 5.
        "opencv-python<5",
        "pyyaml",
        "setuptools",
    ],
    extras_require={
        "cli": ["typer", "rich", "onnx", "rosbags", "matplotlib"],
        "train": ["torch", "onnx"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*")),
        (f"share/{NAME}/models", glob("models/*")),
    ],
    zip_safe=True,
    entry_points={
        "console_scripts": [
            "encoder = vpr_ros.nodes.encoder_node:main",
            "database = vpr_ros.nodes.database_node:main",
            "governor = vpr_ros.nodes.governor_node:main",
            "vpr = vpr_ros.cli:main",
        ],
    },
)
