# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A real Milvus server: login, TLS, a kill; skipped unless `make demo-fleet` has installed it."""

import shutil
import subprocess
import sys

import pytest
from robots import item

pytest.importorskip("pymilvus")
from tools.milvus_server import VENV, MilvusServer
from vpr_ros.fleet.fleet import Where
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet

PORT = 19930
ASK = (
    "import sys; from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet; "
    "print(MilvusFleet(MilvusConfig(**eval(sys.argv[1]))).health())"
)
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(
    not VENV.exists() or not shutil.which("openssl"), reason="no Milvus in build/milvus"
)
def test_login_and_tls_are_checked_and_a_kill_loses_nothing(tmp_path):
    for ca in ("ca", "other"):
        request = ("-x509", *EC, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
        openssl(tmp_path, "req", *request)
    request = (*EC, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    openssl(tmp_path, "req", *request)
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl(tmp_path, "x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    (tmp_path / "secret").write_text("Milvus\n")
    (tmp_path / "wrong").write_text("hunter2hunter2\n")
    good = {
        "uri": f"https://localhost:{PORT}",
        "user": "root",
        "secret_file": str(tmp_path / "secret"),
        "ca_file": str(tmp_path / "ca.pem"),
    }
    server = MilvusServer(
        tmp_path / "milvus",
        PORT,
        authorization_enabled=True,
        tls_mode=1,
        server_pem_path=str(tmp_path / "server.pem"),
        server_key_path=str(tmp_path / "server.key"),
    )
    try:
        server.start(MilvusConfig(**good))
        fleet = MilvusFleet(MilvusConfig(**good))
        assert fleet.put([item(n) for n in range(1, 101)]) == []
        assert len(fleet.get([item(n).keyframe.id for n in range(1, 101)])) == 100  # at once
        assert len(list(fleet.entries(Where("office")))) == 100
        # Each in a process of its own: within one, pymilvus shares connections.
        for change in (
            {"secret_file": str(tmp_path / "wrong")},
            {"ca_file": str(tmp_path / "other.pem")},
            {"uri": f"http://localhost:{PORT}", "ca_file": ""},
        ):
            command = [sys.executable, "-c", ASK, repr(good | change)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert "ok=False" in done.stdout and "user, password and cert" in done.stdout
            assert done.stdout.count("\n") == 1 and "hunter2" not in done.stdout + done.stderr
        server.kill()
        server.start(MilvusConfig(**good))
        assert fleet.count(Where("office")) == 100
        fleet.close()
    finally:
        server.kill()
