"""The paths of Qdrant's REST API, and what each does to the stand-in's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import qdrant_points as points
from pydantic import TypeAdapter
from qdrant_client import models
from qdrant_state import State

SLASH = "\0"  # of a name, in a path: the server keeps it apart from those between names
VERSION = "1.19.0"  # what the stand-in is like
C = "/collections/{name}"
POINTS = f"{C}/points"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    @property
    def name(self) -> str:
        return self.path["name"].replace(SLASH, "/")

    def read(self, kind: Any) -> Any:
        """The body as one of Qdrant's models, which is `kind`."""
        return TypeAdapter(kind).validate_json(self.body)


@dataclass(frozen=True, slots=True)
class Operation:
    """A path of the API. `update`: it answers with an UpdateResult."""

    name: str
    method: str
    path: str
    do: Callable[[State, Asked], Any]
    writes: bool = False
    update: bool = False


def reads(name: str, method: str, path: str, do: Callable[[State, Asked], Any]) -> Operation:
    return Operation(name, method, path, do)


def changes(name: str, method: str, path: str, do: Callable[[State, Asked], Any]) -> Operation:
    return Operation(name, method, path, do, writes=True)


def updates(name: str, method: str, path: str, do: Callable[[State, Asked], Any]) -> Operation:
    return Operation(name, method, path, do, writes=True, update=True)


def metrics(state: State) -> str:
    """A few lines of what Prometheus is told."""
    told = [
        (
            "app_info",
            "information about qdrant server",
            f'{{name="qdrant",version="{VERSION}"}}',
            1,
        ),
        ("app_status_recovery_mode", "features enabled in qdrant server", "", 0),
        ("collections_total", "number of collections", "", len(state.collections().collections)),
    ]
    return "".join(
        f"# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}\n"
        for name, help, labels, value in told
    )


def info(state: State, asked: Asked) -> dict[str, Any]:
    """With the fields that the server shows though they are not set."""
    found = state.info(asked.name)
    told: dict[str, Any] = found.model_dump(mode="json", exclude_none=True)
    told["config"].setdefault("quantization_config", None)
    empty = dict.fromkeys(models.OptimizersConfig.model_fields)
    told["config"]["optimizer_config"] = empty | told["config"]["optimizer_config"]
    for index in told["payload_schema"].values():
        if index["data_type"] == "integer" and "params" in index:
            index["params"] = dict.fromkeys(("lookup", "range", "is_principal")) | index["params"]
    return told


def scroll(state: State, asked: Asked) -> dict[str, Any]:
    found = points.scroll(state, asked.name, asked.read(models.ScrollRequest))
    return dict(found)  # the last page has an offset of null


OPERATIONS = (
    reads("collections", "GET", "/collections", lambda s, a: s.collections()),
    reads("exists", "GET", f"{C}/exists", lambda s, a: s.exists(a.name)),
    reads("metrics", "GET", "/metrics", lambda s, a: metrics(s)),
    reads("info", "GET", C, info),
    reads("peers", "GET", "/cluster", lambda s, a: s.peers.status()),
    reads("cluster", "GET", f"{C}/cluster", lambda s, a: s.cluster(a.name)),
    changes("create", "PUT", C, lambda s, a: s.create(a.name, a.read(models.CreateCollection))),
    changes("update", "PATCH", C, lambda s, a: s.update(a.name, a.read(models.UpdateCollection))),
    changes("drop", "DELETE", C, lambda s, a: s.delete_collection(a.name)),
    reads("aliases", "GET", "/aliases", lambda s, a: s.aliases()),
    reads("aliases", "GET", f"{C}/aliases", lambda s, a: s.aliases(a.name)),
    changes(
        "change_aliases",
        "POST",
        "/collections/aliases",
        lambda s, a: s.change_aliases(a.read(models.ChangeAliasesOperation).actions),
    ),
    updates(
        "create_index",
        "PUT",
        f"{C}/index",
        lambda s, a: s.create_index(a.name, a.read(models.CreateFieldIndex)),
    ),
    updates(
        "delete_index",
        "DELETE",
        f"{C}/index/{{field}}",
        lambda s, a: s.delete_index(a.name, a.path["field"]),
    ),
    updates(
        "create_vector_name",
        "PUT",
        f"{C}/vectors/{{vector}}",
        lambda s, a: s.create_vector_name(
            a.name, a.path["vector"], a.read(models.DenseVectorNameConfig)
        ),
    ),
    updates(
        "delete_vector_name",
        "DELETE",
        f"{C}/vectors/{{vector}}",
        lambda s, a: s.delete_vector_name(a.name, a.path["vector"]),
    ),
    changes("snapshot", "POST", f"{C}/snapshots", lambda s, a: s.snapshot(a.name)),
    reads("snapshots", "GET", f"{C}/snapshots", lambda s, a: s.snapshots(a.name)),
    updates(
        "upsert",
        "PUT",
        POINTS,
        lambda s, a: points.upsert(s, a.name, a.read(models.PointInsertOperations)),
    ),
    updates(
        "delete",
        "POST",
        f"{POINTS}/delete",
        lambda s, a: points.delete(s, a.name, a.read(models.PointsSelector)),
    ),
    updates(
        "set_payload",
        "POST",
        f"{POINTS}/payload",
        lambda s, a: points.set_payload(s, a.name, a.read(models.SetPayload)),
    ),
    updates(
        "overwrite_payload",
        "PUT",
        f"{POINTS}/payload",
        lambda s, a: points.overwrite_payload(s, a.name, a.read(models.SetPayload)),
    ),
    updates(
        "delete_payload",
        "POST",
        f"{POINTS}/payload/delete",
        lambda s, a: points.delete_payload(s, a.name, a.read(models.DeletePayload)),
    ),
    updates(
        "clear_payload",
        "POST",
        f"{POINTS}/payload/clear",
        lambda s, a: points.clear_payload(s, a.name, a.read(models.PointsSelector)),
    ),
    updates(
        "update_vectors",
        "PUT",
        f"{POINTS}/vectors",
        lambda s, a: points.update_vectors(s, a.name, a.read(models.UpdateVectors)),
    ),
    updates(
        "delete_vectors",
        "POST",
        f"{POINTS}/vectors/delete",
        lambda s, a: points.delete_vectors(s, a.name, a.read(models.DeleteVectors)),
    ),
    updates(
        "batch",
        "POST",
        f"{POINTS}/batch",
        lambda s, a: points.batch(s, a.name, a.read(models.UpdateOperations).operations),
    ),
    reads(
        "retrieve",
        "POST",
        POINTS,
        lambda s, a: points.retrieve(s, a.name, a.read(models.PointRequest)),
    ),
    reads(
        "retrieve",
        "GET",
        f"{POINTS}/{{point}}",
        lambda s, a: points.point(s, a.name, a.path["point"]),
    ),
    reads("scroll", "POST", f"{POINTS}/scroll", scroll),
    reads(
        "count",
        "POST",
        f"{POINTS}/count",
        lambda s, a: points.count(s, a.name, a.read(models.CountRequest)),
    ),
    reads(
        "facet",
        "POST",
        f"{C}/facet",
        lambda s, a: points.facet(s, a.name, a.read(models.FacetRequest)),
    ),
    reads(
        "query",
        "POST",
        f"{POINTS}/query",
        lambda s, a: points.query(s, a.name, a.read(models.QueryRequest)),
    ),
    reads(
        "query_batch",
        "POST",
        f"{POINTS}/query/batch",
        lambda s, a: points.query_batch(s, a.name, a.read(models.QueryRequestBatch).searches),
    ),
    reads(
        "query_groups",
        "POST",
        f"{POINTS}/query/groups",
        lambda s, a: points.query_groups(s, a.name, a.read(models.QueryGroupsRequest)),
    ),
)
