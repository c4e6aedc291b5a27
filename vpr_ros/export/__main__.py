# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write mobilenetv2-gem from published weights; `vpr export` does it for checkpoints.

python -m vpr_ros.export mobilenetv2-gem --output models/mobilenetv2-gem.onnx
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vpr_ros.core.errors import VprError
from vpr_ros.export.mobilenet import export, mobilenetv2_gem


def main(arguments: list[str] | None = None) -> int:
    """Export the model named on the command line; 0 if it was written."""
    parser = argparse.ArgumentParser(prog="python -m vpr_ros.export", description=__doc__)
    parser.add_argument("model", choices=["mobilenetv2-gem"])
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--weights", type=Path, help="weights file; default: the installed one")
    options = parser.parse_args(arguments)
    try:
        difference = export(mobilenetv2_gem(options.weights), options.output)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    size_mb = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size_mb:.1f} MB, differs from torch by at most {difference:.1g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
