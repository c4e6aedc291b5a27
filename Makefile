# Two commands for a fresh machine: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
IN_ROS := tools/in_ros.sh

.PHONY: demo demo-fleet test bench bench-kernels lint setup setup-torch tables wheels clean

setup:
	@$(PYTHON) tools/setup_workspace.py

setup-torch:
	@$(PYTHON) tools/setup_workspace.py --torch

demo: setup  ## drive a rendered route, correct it, wake up in its map; results/latest
	@$(IN_ROS) python -m demo

demo-fleet: setup  ## three robots share a real Milvus server and close loops with one another
	@test -d results/demo/closures || $(IN_ROS) python -m demo
	@$(IN_ROS) python -m demo.fleet_demo

test: setup-torch lint  ## everything that is checked
	@$(IN_ROS) python -m pytest -q

lint: setup
	@$(IN_ROS) ruff format --check .
	@$(IN_ROS) ruff check .
	@$(IN_ROS) mypy

bench: setup-torch  ## the nodes, then the networks, as ratios (some minutes)
	@$(IN_ROS) python -m bench
	@$(IN_ROS) python -m bench.networks

bench-kernels: setup-torch  ## the compiled operators against stock onnxruntime
	@$(IN_ROS) python -m bench.kernels

tables: setup  ## regenerate docs/interfaces.md and config/vpr.yaml from the code
	@$(IN_ROS) python -m tools.generate

wheels:  ## for x86-64 and aarch64, with the compiled operators, into dist/ (needs no ROS)
	@$(PYTHON) -m tools.wheels

clean:
	rm -rf .venv build dist install log results
