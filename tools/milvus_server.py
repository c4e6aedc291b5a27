# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A real Milvus server from a wheel, for demo, measurements and tests: started, killed, restarted.

python -m tools.milvus_server FOLDER    start one on port 19530, until Ctrl-C
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from demo.processes import RUN, end_with_parent
from vpr_ros.core.errors import VprError
from vpr_ros.fleet.fleet import Health
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet

VENV = Path(__file__).parents[1] / "build" / "milvus"
WHEEL = ("milvus==2.3.5", "setuptools<70")  # newer ones ship no server
# Not the wheel's own launcher, which takes another port without a word while one lingers.
PREPARE = (
    "import json, sys, milvus; config = milvus.MilvusServerConfig(data_dir=sys.argv[1]); "
    "config.resolve(); milvus._initialize_data_files(config.base_data_dir); "
    "[config.set(*setting) for setting in json.loads(sys.argv[2]).items()]; config.write_config()"
)
# A server that was killed is remembered for so long, which the next one waits for.
SETTINGS = {"common.session.ttl": 5}
PATIENCE_S = 180.0


def install() -> None:
    """The wheel in an environment of its own, unless it is there; VprError if that fails."""
    if (VENV / "bin" / "milvus-server").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [VENV / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *WHEEL]
    if subprocess.run(pip).returncode:
        shutil.rmtree(VENV)
        raise VprError(f"{WHEEL[0]} cannot be installed; see above. It needs x86-64 Linux.")


def isolate() -> None:
    """Go on in a network of this program's own, as Milvus listens on all interfaces.

    Installs the wheel, then runs the program again under unshare(1); where the system forbids
    that, says so and returns.
    """
    install()
    mark, unshared = "VPR_OWN_NETWORK", ["unshare", "--map-root-user", "--net", "sh", "-c"]
    lo_up = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, "  # SIOCSIFFLAGS
    lo_up += "struct.pack('16sh14x', b'lo', 0x41))"  # IFF_UP, IFF_RUNNING
    script = f'"$0" -c "{lo_up}" && exec "$@"'
    if os.environ.get(mark):
        return
    if (
        not shutil.which("unshare")
        or subprocess.run(
            [*unshared, script, sys.executable, "true"], capture_output=True
        ).returncode
    ):
        print("Milvus listens on all interfaces of this host while this runs.")
        return
    os.environ[mark] = "1"
    os.execvp(unshared[0], [*unshared, script, sys.executable, *sys.orig_argv])


class MilvusServer:
    """A server with its data in a folder; it is installed where it is missing."""

    def __init__(self, folder: Path, port: int = 19530, **settings: str | int | bool) -> None:
        """`settings` of its configuration, such as authorization_enabled=True, tls_mode=1.

        Raises VprError if it cannot be installed.
        """
        self.uri, self._port = f"http://127.0.0.1:{port}", port
        self._folder = folder.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        install()
        self.configure(**settings)

    def configure(self, **settings: str | int | bool) -> None:
        """Other settings, from the next start on."""
        given = json.dumps(SETTINGS | {"proxy_port": self._port} | settings)
        command = [VENV / "bin" / "python", "-c", PREPARE, self._folder, given]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            why = done.stderr.strip().splitlines()[-1]
            raise VprError(f"Milvus cannot be set up in {self._folder}: {why}.")

    def start(self, config: MilvusConfig | None = None) -> Health:
        """Start; wait until it answers who asks as `config` says; VprError if it never does."""
        try:
            socket.create_server(("", self._port)).close()
        except OSError as error:
            raise VprError(f"Port {self._port} is taken ({error}); end what uses it.") from None
        binary = self._folder / "bin"
        environment = {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._port - 10_000),
            "MILVUS_RUN_DIR": str(self._folder / "run"),
        }
        # The library path is for the server alone, not for the Python before it.
        command = ["env", f"LD_LIBRARY_PATH={binary}", binary / "milvus", "run", "standalone"]
        dies_with_this = f"{end_with_parent(signal.SIGKILL)}; {RUN}"
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", dies_with_this, *command],
                cwd=self._folder,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE_S
        while not (health := self._health(config or MilvusConfig(uri=self.uri))).ok:
            if self._process.poll() is not None or time.monotonic() > end:
                raise VprError(f"Milvus did not start ({health.message}); see {self._folder}.")
            time.sleep(0.2)
        return health

    def kill(self) -> None:
        """kill -9, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def check(self) -> None:
        """VprError if it has ended by itself."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise VprError(
                f"Milvus has ended with status {status}, as it does if it gets no processor for "
                f"{SETTINGS['common.session.ttl']} s. Measure on a quieter machine."
            )

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    @staticmethod
    def _health(config: MilvusConfig) -> Health:
        fleet = MilvusFleet(config)
        try:
            return fleet.health()
        finally:
            fleet.close()


def main() -> int:
    """Run a server until Ctrl-C; 1 with the reason if it does not start."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.milvus_server", description="Run a Milvus server until Ctrl-C."
    )
    parser.add_argument("folder", type=Path, help="folder for its data; made if it is missing")
    folder = parser.parse_args().folder
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        try:
            server = MilvusServer(folder)
            stack.callback(server.kill)
            print(server.start().message, flush=True)
        except VprError as error:
            print(f"milvus_server: {error}", file=sys.stderr)
            return 1
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
