# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is written is what is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md")]


def test_generated_tables_and_parameter_file_are_up_to_date():
    pytest.importorskip("rclpy", reason="needs ROS 2; run `make test`")
    command = [sys.executable, "-m", "tools.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, page.name
    assert {"demo", "test"} <= set(re.findall(r"^ *make ([a-z-]+)", README, re.MULTILINE))


def test_every_module_that_is_run_exists():
    own = ("bench", "demo", "tools", "vpr_ros")
    for page in PAGES:
        for module in re.findall(r"python -m ([\w.]+)", page.read_text()):
            if module.split(".")[0] in own:
                path = ROOT / module.replace(".", "/")
                assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), (
                    f"{page.name}: {module}"
                )


def test_every_vpr_command_has_the_verb_and_the_options_that_are_named():
    pytest.importorskip("typer")
    from vpr_ros.cli import app

    options = {
        command.name or command.callback.__name__.replace("_", "-"): command.callback
        for command in app.registered_commands
    }
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            verb = command.name or command.callback.__name__.replace("_", "-")
            options[f"{group.name} {verb}"] = command.callback
    for page in PAGES:
        for verb, rest in re.findall(
            r"^ {4}vpr ((?:map|graph) [a-z]+|[a-z-]+)(.*)", page.read_text(), re.MULTILINE
        ):
            assert verb in options, f"{page.name}: vpr {verb}"
            known = {f"--{name.replace('_', '-')}" for name in options[verb].__annotations__}
            named = set(re.findall(r"(?<= )--[a-z-]+|(?<=\[)--[a-z-]+", rest.split("#")[0]))
            assert named <= known, f"{page.name}: vpr {verb} {named - known}"


def test_every_local_link_leads_somewhere():
    for page in PAGES:
        text = page.read_text()
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
        for link, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)", text):
            target = page.parent / link if link else page
            headings = re.findall(r"^#+ (.+)", target.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, f"{page.name}: {link}#{anchor}"


def test_versions_and_licences_agree():
    version = re.search(r'__version__ = "(.+)"', (ROOT / "vpr_ros/__init__.py").read_text())[1]
    assert f'version="{version}"' in (ROOT / "setup.py").read_text()
    for package in (ROOT, ROOT / "vpr_msgs"):
        text = (package / "package.xml").read_text()
        assert f"<version>{version}</version>" in text and "<license>Apache-2.0</license>" in text
        assert re.search(rf"^{re.escape(version)} ", (package / "CHANGELOG.rst").read_text(), re.M)
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_every_model_has_a_card_and_they_fit():
    models = list((ROOT / "models").glob("*.onnx"))
    assert models and all(model.with_suffix(".md").is_file() for model in models)
    assert sum(model.stat().st_size for model in models) < 100e6


def test_colcon_finds_and_has_built_both_packages():
    colcon = shutil.which("colcon")
    if colcon is None:
        pytest.skip("needs colcon; run `make test`")
    listed = subprocess.run([colcon, "list", "-n"], cwd=ROOT, capture_output=True, text=True)
    assert listed.stdout.split() == ["vpr_msgs", "vpr_ros"]
    share = ROOT / "install" / "vpr_ros" / "share" / "vpr_ros"
    for file in ("launch/vpr.launch.py", "config/vpr.yaml", "models/mobilenetv2-gem.onnx"):
        assert (share / file).is_file()
    scripts = {p.name for p in (ROOT / "install/vpr_ros/lib/vpr_ros").iterdir()}
    assert {"encoder", "database"} <= scripts
