# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fleet's keyframes in Milvus: a server, a cluster, or a file, by one client."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.durable_file import absolute
from vpr_ros.core.errors import ConfigError, FleetError
from vpr_ros.fleet.fleet import (
    MAX_ID,
    MAX_WEIGHTS,
    Entry,
    FleetKeyframe,
    Found,
    Health,
    Where,
    check_name,
)
from vpr_ros.fleet.payload import MAX_PAYLOAD, decode, encode

TEXT_FIELDS = {"robot": 64, "map": 64, "model": MAX_WEIGHTS, "payload": MAX_PAYLOAD}  # bytes
COLUMNS = tuple(field.name for field in dataclasses.fields(Entry))
# AUTOINDEX is HNSW, which loses whole places (docs/fleet.md); each segment has so many lists.
INDEX = {"index_type": "IVF_FLAT", "metric_type": "COSINE", "params": {"nlist": 1024}}
CONNECT_S, FIND_S, PUT_S = 5.0, 5.0, 30.0
PAGE = 100  # keyframes with everything
PAGE_OF_ENTRIES = 5000
MAX_FOUND = 1000  # per descriptor
WAY_OUT = "give http://HOST:PORT, https://HOST:PORT or, for Milvus Lite, a path that ends in .db"


@dataclasses.dataclass(frozen=True)
class MilvusConfig(Config):
    """Which server, and how it is told who asks."""

    group: ClassVar[str] = "milvus"

    uri: str = param(
        "",
        "address of Milvus: http://HOST:19530, https:// with TLS, or a path that ends in .db "
        "(Milvus Lite, for one process); empty: keyframes wait in the outbox",
        read_only=True,
    )
    collection: str = param(
        "vpr_keyframes",
        "name of the collection, which is created if it is missing",
        read_only=True,
    )
    user: str = param("", "user name for the login; empty: none", read_only=True)
    secret_file: str = param(
        "",
        "file with the password of `user` or, if `user` is empty, with a token; only its owner "
        "should be able to read it",
        read_only=True,
    )
    ca_file: str = param(
        "",
        "certificate (PEM) of the authority that signed the server's certificate",
        read_only=True,
    )
    cert_file: str = param(
        "", "this robot's certificate (PEM), if the server asks for one", read_only=True
    )
    key_file: str = param("", "private key (PEM) of cert_file", read_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = urlsplit(self.uri)
        if parts.password is not None or parts.username is not None:
            raise ConfigError(
                "milvus.uri holds a name or password; put it into milvus.secret_file."
            )
        local = absolute(Path(self.uri)) if self.uri and not parts.scheme else None
        if parts.scheme not in ("", "http", "https") or (local and local.suffix != ".db"):
            raise ConfigError(f"milvus.uri is '{self.uri[:80]}'; {WAY_OUT}.")
        if local and not _is_lite(local):
            what = "holds other data than that of Milvus Lite, so nothing is written there"
            raise ConfigError(f"milvus.uri is '{self.uri[:80]}', which {what}; {WAY_OUT}.")
        if bool(self.cert_file) != bool(self.key_file):
            raise ConfigError("milvus.cert_file and milvus.key_file go together; give both.")
        if self.ca_file and parts.scheme != "https":
            raise ConfigError("milvus.ca_file needs TLS: let milvus.uri begin with https://.")

    def secret(self) -> str:
        """What secret_file holds; ConfigError if it cannot be read."""
        if not self.secret_file:
            return ""
        try:
            return Path(self.secret_file).expanduser().read_text().strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"milvus.secret_file cannot be read: {error}.") from None


class MilvusFleet:
    """A Fleet in one collection of Milvus; connects when it is first asked, and again if lost."""

    def __init__(self, config: MilvusConfig) -> None:
        self.config = config
        self._secret = config.secret()
        self._client: Any = None
        self._size = 0  # values of a descriptor; 0: there is no collection yet

    def put(self, keyframes: Sequence[FleetKeyframe]) -> list[int]:
        """As in Fleet."""
        if not keyframes:
            return []
        rows = {k.keyframe.id: _row(k) for k in keyframes}
        with self._said("keyframes were not sent"):
            client = self._ready(keyframes[0].keyframe.descriptor.size)
            for row in rows.values():
                self._check_size(len(row["descriptor"]))
            known = self._query(Where(ids=tuple(rows)), ("id", "robot", "stamp_ns"))
            taken = [
                k["id"]
                for k in known
                if any(k[name] != rows[k["id"]][name] for name in ("robot", "stamp_ns"))
            ]
            left = [row for id, row in rows.items() if id not in taken]
            if left:
                client.upsert(self.config.collection, left, timeout=PUT_S)
        return taken

    def find(
        self, descriptors: npt.NDArray[np.float32], count: int, where: Where
    ) -> list[list[Found]]:
        """As in Fleet."""
        with self._said("nothing was found"):
            client = self._ready()
            if not len(descriptors) or not self._size:
                return [[] for _ in descriptors]
            self._check_size(descriptors.shape[1])
            answers = client.search(
                self.config.collection,
                data=descriptors.tolist(),
                limit=min(count, MAX_FOUND),
                filter=expression(where),
                output_fields=list(COLUMNS),
                timeout=FIND_S,
            )
            return [
                [Found(_entry(hit["entity"] | {"id": hit["id"]}), hit["distance"]) for hit in hits]
                for hits in answers
            ]

    def entries(self, where: Where) -> Iterator[Entry]:
        """As in Fleet."""
        with self._said("nothing was read"):
            # An iterator does not wait for what was put before; counting does.
            if not self.count(where):
                return
            pages = self._client.query_iterator(
                self.config.collection,
                batch_size=PAGE_OF_ENTRIES,
                filter=expression(where) or "id >= 0",
                output_fields=list(COLUMNS),
                timeout=PUT_S,
            )
            while rows := pages.next():
                yield from map(_entry, rows)
            pages.close()

    def get(self, ids: Sequence[int]) -> list[FleetKeyframe]:
        """As in Fleet."""
        found = []
        with self._said("nothing was read"):
            wanted = sorted({id for id in ids if 0 <= id < MAX_ID})
            for start in range(0, len(wanted), PAGE):
                page = Where(ids=tuple(wanted[start : start + PAGE]))
                columns = (*COLUMNS, "descriptor", "payload")
                # What was found is there at once; to wait for the newest takes 0.2 to 0.4 s.
                rows = self._query(page, columns, "Bounded")
                if len(rows) < len(page.ids):
                    rows = self._query(page, columns)
                for row in rows:
                    try:
                        item = decode(_entry(row), row["payload"], row["descriptor"])
                    except FleetError as error:
                        logging.getLogger(__name__).warning("%s", error)
                    else:
                        found.append(item)
        return sorted(found, key=lambda item: item.keyframe.id)

    def delete(self, where: Where) -> int:
        """As in Fleet."""
        condition = expression(where)
        if not condition:
            raise FleetError("This would delete all keyframes of the fleet; say which.")
        with self._said("nothing was deleted"):
            count = self.count(where)
            if count:
                self._client.delete(self.config.collection, filter=condition, timeout=PUT_S)
        return count

    def count(self, where: Where) -> int:
        """As in Fleet."""
        with self._said("nothing was counted"):
            self._ready()
            rows = self._query(where, ("count(*)",))
            return int(rows[0]["count(*)"]) if rows else 0

    def health(self) -> Health:
        """As in Fleet."""
        try:
            count = self.count(Where())
        except FleetError as error:
            return Health(False, str(error))
        return Health(True, f"{count} keyframes in {self._place}", count)

    def close(self) -> None:
        """As in Fleet."""
        client, self._client, self._size = self._client, None, 0
        if client is not None:
            client.close()

    @property
    def _place(self) -> str:
        return f"collection '{self.config.collection}' at {self.config.uri}"

    def _ready(self, size: int = 0) -> Any:
        """The client; the collection is made for descriptors of `size` values if it is missing."""
        if self._client is None:
            self._client = self._connected()
        if not self._size and self._client.has_collection(
            self.config.collection, timeout=CONNECT_S
        ):
            self._size = self._check_collection()
        elif not self._size and size:
            self._make(size)
            self._size = size
        return self._client

    def _connected(self) -> Any:
        config = self.config
        if not config.uri:
            raise FleetError("milvus.uri is empty: say where the fleet's Milvus is.")
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise FleetError(
                f"The fleet needs pymilvus ({error}): pip install 'vpr_ros[fleet]', or "
                "pip install pymilvus."
            ) from None
        login = (
            {"user": config.user, "password": self._secret}
            if config.user
            else {"token": self._secret}
        )
        tls = {
            "secure": config.uri.startswith("https://"),
            "ca_pem_path": config.ca_file if config.cert_file else "",
            "server_pem_path": "" if config.cert_file else config.ca_file,
            "client_pem_path": config.cert_file,
            "client_key_path": config.key_file,
        }
        given = {key: value for key, value in {**login, **tls}.items() if value}
        for name in ("pymilvus", "milvus_lite"):  # their errors are said from here
            logging.getLogger(name).setLevel(logging.CRITICAL)
        uri = config.uri if "://" in config.uri else str(absolute(Path(config.uri)))
        return MilvusClient(uri=uri, timeout=CONNECT_S, **given)

    def _check_collection(self) -> int:
        """The size of a descriptor in the collection; FleetError if somebody else made it."""
        described = self._client.describe_collection(self.config.collection, timeout=CONNECT_S)
        fields = {field["name"]: field for field in described["fields"]}
        wanted = {*COLUMNS, "descriptor", "payload"}
        if set(fields) != wanted or not fields["id"].get("is_primary"):
            raise FleetError(
                f"The {self._place} is not of vpr_ros (its fields are {', '.join(fields)[:200]}); "
                "set milvus.collection to another name."
            )
        self._client.load_collection(self.config.collection, timeout=PUT_S)
        return int(fields["descriptor"]["params"]["dim"])

    def _make(self, size: int) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for name in (*COLUMNS, "payload"):
            if name in TEXT_FIELDS:
                schema.add_field(name, DataType.VARCHAR, max_length=TEXT_FIELDS[name])
            else:
                schema.add_field(name, DataType.INT64, is_primary=name == "id")
        schema.add_field("descriptor", DataType.FLOAT_VECTOR, dim=size)
        indexed = self._client.prepare_index_params()
        indexed.add_index("descriptor", **INDEX)
        self._client.create_collection(
            self.config.collection,
            schema=schema,
            index_params=indexed,
            consistency_level="Bounded",
            timeout=PUT_S,
        )

    def _check_size(self, size: int) -> None:
        if size != self._size:
            raise FleetError(
                f"A descriptor has {size} values, but those in the {self._place} have "
                f"{self._size}. Run the fleet's model, or set milvus.collection to another name."
            )

    def _query(
        self, where: Where, fields: tuple[str, ...], consistency: str = "Strong"
    ) -> list[dict[str, Any]]:
        client = self._ready()
        if not self._size:
            return []
        rows: list[dict[str, Any]] = client.query(
            self.config.collection,
            filter=expression(where),
            output_fields=list(fields),
            consistency_level=consistency,
            timeout=FIND_S,
        )
        return rows

    @contextmanager
    def _said(self, consequence: str) -> Iterator[None]:
        """Whatever the client raises becomes a FleetError of one line without the secret."""
        try:
            yield
        except FleetError:
            raise
        except Exception as error:
            self.close()  # a new connection is made next time
            text = " ".join(str(error).split())
            if self._secret:
                text = text.replace(self._secret, "***")
            raise FleetError(
                f"The {self._place} does not answer as it should, so {consequence}: {text[:200]}. "
                "Check that Milvus runs there (Milvus Lite: in one process alone), and "
                "milvus.uri, user, password and certificates."
            ) from None


def expression(where: Where) -> str:
    """A condition in the language of Milvus; "" for none."""
    equal: dict[str, str] = {"map": where.map, "robot": where.robot, "model": where.model}
    for name in ("map", "robot"):
        if equal[name]:
            check_name(name, equal[name])
    parts = [f"{name} == {_quoted(value)}" for name, value in equal.items() if value]
    numbers: dict[str, int | None] = {
        "session ==": where.session,
        "stamp_ns >=": where.since_ns,
        "stamp_ns <": where.before_ns,
    }
    parts += [f"{name} {int(value)}" for name, value in numbers.items() if value is not None]
    if where.without_sessions:
        parts.append(f"session not in {[int(number) for number in where.without_sessions]}")
    if where.ids:
        parts.append(f"id in {[int(id) for id in where.ids]}")
    return " and ".join(parts)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _row(item: FleetKeyframe) -> dict[str, Any]:
    check_name("robot", item.robot)
    check_name("map", item.map)
    if not 0 < item.keyframe.id < MAX_ID:
        raise FleetError(f"Keyframe {item.keyframe.id} has an id that the fleet cannot keep.")
    entry = dataclasses.asdict(item.entry)
    return entry | {"descriptor": item.keyframe.descriptor.tolist(), "payload": encode(item)}


def _entry(row: Mapping[str, Any]) -> Entry:
    make: Callable[..., Entry] = Entry
    return make(**{name: row[name] for name in COLUMNS})


def _is_lite(path: Path) -> bool:
    """Whether Milvus Lite has its data there, or may begin to.

    Version 3 keeps a folder, and writes into any; before, it was an SQLite file.
    """
    try:
        if path.is_dir():
            return (path / "collections").is_dir() or not any(path.iterdir())
        if not path.is_file():
            return not path.exists()
        with path.open("rb") as file:
            return file.read(16) in (b"", b"SQLite format 3\0")
    except OSError as error:
        raise ConfigError(f"milvus.uri: {path} cannot be read ({error.strerror}).") from None
