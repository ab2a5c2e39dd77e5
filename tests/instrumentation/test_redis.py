"""Redis: commands, pipelines, transactions, scripts, publish/subscribe and clusters, against a real server."""

from __future__ import annotations

import asyncio
import gc
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import SpanKind, StatusCode

redis = pytest.importorskip("redis")
aioredis = pytest.importorskip("redis.asyncio")

PORT = 6379
SECRET = "correct horse battery staple"


@pytest.fixture
def key() -> str:
    """A key that no other test has."""
    return f"noops-test:{uuid.uuid4().hex}"


@pytest.fixture
def client(key: str) -> Iterator[Any]:
    """A connected client; the test's key is gone afterwards."""
    made = redis.Redis(host="127.0.0.1", port=PORT, db=3)
    try:
        made.ping()
    except redis.ConnectionError:
        pytest.skip("Redis does not answer at 127.0.0.1:6379; start it with: redis-server --port 6379")
    yield made
    made.delete(key)
    made.close()


@asynccontextmanager
async def connected() -> AsyncIterator[Any]:
    """An asyncio client of the same database."""
    made = aioredis.Redis(host="127.0.0.1", port=PORT, db=3)
    try:
        yield made
    finally:
        await (made.aclose() if hasattr(made, "aclose") else made.close())


# ---- commands --------------------------------------------------------------------------------------------


def test_a_command_is_a_client_span_without_its_arguments(observed: Any, client: Any, key: str) -> None:
    """Keys and values are the user's data, so the statement has a place for each and nothing else."""
    with observed("redis") as seen:
        client.set(key, SECRET)
    span = seen.span
    assert (span.name, span.kind) == ("SET", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "db.system.name": "redis",
        "db.operation.name": "SET",
        "db.namespace": "3",
        "db.query.text": "SET ? ?",
        "server.address": "127.0.0.1",
    }


def test_an_asyncio_command_says_the_same(observed: Any, client: Any, key: str) -> None:
    """Both flavours are one description."""

    async def both() -> None:
        async with connected() as other:
            await other.set(key, SECRET)

    with observed("redis") as seen:
        client.set(key, SECRET)
        asyncio.run(both())
    first, second = seen.spans
    assert (first.name, dict(first.attributes)) == (second.name, dict(second.attributes))


def test_a_command_is_a_child_of_the_current_span(observed: Any, client: Any) -> None:
    """A command belongs to what asked for it."""
    with observed("redis") as seen, seen.tracer.start_as_current_span("outer") as outer:
        client.ping()
    assert seen.named("PING").parent.span_id == outer.get_span_context().span_id


def test_a_duration_is_recorded_for_each_command(observed: Any, client: Any, key: str) -> None:
    """The histogram counts calls, and its attributes are few."""
    with observed("redis") as seen:
        client.set(key, "1")
        client.get(key)
        client.get(key)
        points = {
            point.attributes["db.operation.name"]: point.count
            for point in seen.metrics()["db.client.operation.duration"]
        }
    assert points == {"SET": 1, "GET": 2}


def test_a_port_that_is_not_the_default_is_said(observed: Any, cluster: int) -> None:
    """`server.port` is recorded only where it is not 6379, and never inside of the address."""
    with observed("redis") as seen, redis.Redis(port=cluster) as client:
        client.ping()
    assert seen.span.attributes["server.address"] == "localhost"
    assert seen.span.attributes["server.port"] == cluster


def test_an_error_of_the_server_has_its_prefix(observed: Any, client: Any, key: str) -> None:
    """The prefix of the error is both the status and the type of the error."""
    client.set(key, "text")
    with observed("redis") as seen, pytest.raises(redis.ResponseError):
        client.lpush(key, "item")
    span = seen.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["db.response.status_code"] == "WRONGTYPE"
    assert span.attributes["error.type"] == "WRONGTYPE"


@pytest.mark.parametrize(("command", "prefix"), [("NOSUCHCOMMAND", "ERR"), ("EVALSHA", "NOSCRIPT")])
def test_prefixes_that_the_library_takes_off_are_found(observed: Any, client: Any, command: str, prefix: str) -> None:
    """redis-py says some prefixes by the exception's class and cuts them off the message."""
    with observed("redis") as seen, pytest.raises(redis.ResponseError):
        client.execute_command(command, "0" * 40, 0)
    assert seen.span.attributes["db.response.status_code"] == prefix


def test_a_refused_connection_is_an_error_of_the_client(observed: Any) -> None:
    """Without an answer there is no status code, and the type is the exception's class."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        lonely = redis.Redis(host="127.0.0.1", port=port, retry=None)
        with observed("redis") as seen, pytest.raises(redis.ConnectionError):
            lonely.ping()
    assert seen.span.attributes["error.type"] == "redis.exceptions.ConnectionError"
    assert "db.response.status_code" not in seen.span.attributes


def test_commands_of_two_words_keep_both(observed: Any, client: Any) -> None:
    """`CONFIG GET` is one command's name; what follows it is an argument."""
    with observed("redis") as seen:
        client.config_get("maxmemory")
    assert seen.span.name == "CONFIG GET"
    assert seen.span.attributes["db.query.text"] == "CONFIG GET ?"


def test_arguments_written_into_the_command_are_no_part_of_its_name(observed: Any, client: Any, key: str) -> None:
    """redis-py splits the first argument at spaces, so it can hold the whole statement."""
    with observed("redis") as seen:
        client.execute_command(f"SET {key} secret")
    span = seen.span
    assert span.name == "SET"
    assert "secret" not in str(dict(span.attributes))


def test_a_script_names_its_digest(observed: Any, client: Any, key: str) -> None:
    """A script is a stored procedure; its arguments stay at home, its text was sent beforehand."""
    digest = client.script_load("return redis.call('SET', KEYS[1], ARGV[1])")
    with observed("redis") as seen:
        client.evalsha(digest, 1, key, SECRET)
    assert seen.span.attributes["db.stored_procedure.name"] == digest
    assert seen.span.attributes["db.query.text"] == "EVALSHA ? ? ? ?"


def test_many_arguments_are_cut_short(observed: Any, client: Any, key: str) -> None:
    """A statement of thousands of words is no longer than a few dozen places."""
    with observed("redis") as seen:
        client.rpush(key, *range(1000))
    assert seen.span.attributes["db.query.text"] == "RPUSH" + " ?" * 32 + " ..."


def test_a_blocking_command_lasts_as_long_as_it_waits(observed: Any, client: Any, key: str) -> None:
    """Waiting for an item is the command's work."""
    with observed("redis") as seen:
        assert client.blpop([key], timeout=0.05) is None
    span = seen.span
    assert span.name == "BLPOP"
    assert span.end_time - span.start_time >= 40_000_000


# ---- several commands ------------------------------------------------------------------------------------


def test_a_transaction_is_one_span(observed: Any, client: Any, key: str) -> None:
    """What is sent at once is one operation of so many commands."""
    with observed("redis") as seen, client.pipeline() as pipe:
        pipe.set(key, SECRET).get(key).expire(key, 5)
        assert pipe.execute() == [True, SECRET.encode(), True]
    span = seen.span
    assert span.name == "MULTI"
    assert span.attributes["db.operation.name"] == "MULTI"
    assert span.attributes["db.operation.batch.size"] == 3
    assert span.attributes["db.query.text"] == "SET ? ?; GET ?; EXPIRE ? ?"


def test_a_pipeline_of_one_command_names_it(observed: Any, client: Any, key: str) -> None:
    """Commands of one kind say which, and one text stands for all of them."""
    with observed("redis") as seen:
        pipe = client.pipeline(transaction=False)
        pipe.rpush(key, 1).rpush(key, 2).execute()
    span = seen.span
    assert span.name == "PIPELINE RPUSH"
    assert span.attributes["db.query.text"] == "RPUSH ? ?"
    assert span.attributes["db.operation.batch.size"] == 2


def test_a_pipeline_with_a_single_command_is_a_single_operation(observed: Any, client: Any, key: str) -> None:
    """By the convention one command is no batch, whichever way it was sent."""
    with observed("redis") as seen:
        client.pipeline().get(key).execute()
    assert seen.span.name == "GET"
    assert "db.operation.batch.size" not in seen.span.attributes


def test_an_empty_pipeline_is_nothing(observed: Any, client: Any) -> None:
    """Nothing was sent."""
    with observed("redis") as seen:
        assert client.pipeline().execute() == []
    assert seen.spans == []


def test_an_asyncio_pipeline_says_the_same(observed: Any, client: Any, key: str) -> None:
    """Both flavours are one description."""

    async def pipelined() -> None:
        async with connected() as other, other.pipeline() as pipe:
            await pipe.set(key, "1").get(key).execute()

    with observed("redis") as seen:
        client.pipeline().set(key, "1").get(key).execute()
        asyncio.run(pipelined())
    first, second = seen.spans
    assert (first.name, dict(first.attributes)) == (second.name, dict(second.attributes))


def test_an_error_in_a_pipeline_is_the_servers(observed: Any, client: Any, key: str) -> None:
    """The library wraps the message; the prefix is found behind it."""
    client.set(key, "text")
    with observed("redis") as seen, pytest.raises(redis.ResponseError):
        client.pipeline(transaction=False).lpush(key, 1).get(key).execute()
    assert seen.span.attributes["error.type"] == "WRONGTYPE"


def test_no_argument_leaves_with_an_error(observed: Any, client: Any, key: str) -> None:
    """The library and the server write them into their messages."""
    client.set(key, "text")
    with observed("redis") as seen:
        with pytest.raises(redis.ResponseError, match=SECRET):
            client.pipeline(transaction=False).lpush(key, SECRET).get(key).execute()
        with pytest.raises(redis.ResponseError, match=SECRET):
            client.execute_command("NOSUCHCOMMAND", SECRET)
    for span in seen.spans:
        (event,) = span.events
        assert event.attributes["exception.stacktrace"].endswith(event.attributes["exception.message"])
        assert SECRET not in f"{dict(event.attributes)} {span.status.description} {dict(span.attributes)}"


def test_a_lost_race_for_a_watched_key_is_no_error(observed: Any, client: Any, key: str) -> None:
    """An optimistic transaction is told by WatchError that it has to try again."""
    with observed("redis") as seen, client.pipeline() as pipe:
        pipe.watch(key)
        client.set(key, "other")
        pipe.multi()
        pipe.set(key, "mine").get(key)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert [span.name for span in seen.spans] == ["WATCH", "SET", "MULTI"]
    assert all(span.status.status_code is StatusCode.UNSET for span in seen.spans)


# ---- what is no operation --------------------------------------------------------------------------------


def test_waiting_for_messages_makes_no_spans(observed: Any, client: Any, key: str) -> None:
    """A subscriber polls for as long as it lives; a trace for each look would drown everything else."""
    with observed("redis") as seen, client.pubsub() as subscriber:
        subscriber.subscribe(key)
        assert subscriber.get_message(timeout=1)["type"] == "subscribe"
        assert subscriber.get_message(timeout=0.01) is None
        client.publish(key, SECRET)
        assert subscriber.get_message(timeout=1)["data"] == SECRET.encode()
    assert [span.name for span in seen.spans] == ["PUBLISH"]


def test_what_redis_py_measures_itself_is_measured_once(
    observed: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py 8 records the same histogram when asked to; a command still makes one point."""
    observability = pytest.importorskip("redis.observability")
    # A pool that is collected while redis-py makes its instruments would wait for a lock that is held beneath it.
    gc.collect()
    gc.disable()
    try:
        with observed("redis") as seen:
            provider: MeterProvider = seen.meter_provider
            monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: provider)
            otel = observability.get_observability_instance()
            otel.init(observability.OTelConfig(metric_groups=list(observability.MetricGroup)))
            client.ping()
            points = seen.metrics()["db.client.operation.duration"]
    finally:
        observability.reset_observability_instance()
        monkeypatch.setattr("redis.observability.recorder._metrics_collector", None)
        gc.enable()
    assert len(seen.spans) == 1
    assert [point.count for point in points] == [1]


def test_after_disable_nothing_is_recorded(observed: Any, client: Any) -> None:
    """The library is as it was."""
    original = redis.Redis.execute_command
    with observed("redis") as seen:
        assert redis.Redis.execute_command is not original
    assert redis.Redis.execute_command is original
    client.ping()
    assert seen.spans == []


# ---- clusters --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a cluster of one node, started for these tests."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("the program redis-server is not installed; it comes with the package redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = str(tmp_path_factory.mktemp("redis"))
    arguments = ["--port", str(port), "--cluster-port", str(spare_port()), "--cluster-enabled", "yes"]
    arguments += ["--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    try:
        make_cluster(port)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def spare_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def make_cluster(port: int) -> None:
    """Give a node all slots, and wait until it says that the cluster is well."""
    node = redis.Redis(host="127.0.0.1", port=port)
    for _ in range(500):
        try:
            node.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.02)
    node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
    for _ in range(500):
        if node.cluster("info")["cluster_state"] == "ok":
            break
        time.sleep(0.02)
    node.close()


def test_a_command_to_a_cluster_is_one_span(observed: Any, cluster: int) -> None:
    """The map of the cluster that the client fetches for itself is none of the application's business."""
    with observed("redis") as seen, redis.RedisCluster(host="127.0.0.1", port=cluster) as client:
        client.set("key", SECRET)
    span = seen.span
    assert span.name == "SET"
    assert span.attributes["db.query.text"] == "SET ? ?"
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("127.0.0.1", cluster)


def test_a_pipeline_to_a_cluster_is_one_span(observed: Any, cluster: int) -> None:
    """However many nodes it goes to."""
    with redis.RedisCluster(host="127.0.0.1", port=cluster) as client, observed("redis") as seen:
        client.pipeline().set("a", 1).get("b").execute()
    assert seen.span.name == "PIPELINE"
    assert seen.span.attributes["db.operation.batch.size"] == 2


def test_asyncio_clusters_say_the_same(observed: Any, cluster: int) -> None:
    """Commands and pipelines, in the other flavour."""
    if not hasattr(aioredis, "RedisCluster"):
        pytest.skip("redis-py has no asyncio clusters before 4.3")

    async def run() -> None:
        async with aioredis.RedisCluster(host="127.0.0.1", port=cluster) as client:
            await client.set("key", SECRET)
            await client.pipeline().set("a", 1).get("b").execute()

    with observed("redis") as seen:
        asyncio.run(run())
    single, batch = seen.spans
    assert (single.name, batch.name) == ("SET", "PIPELINE")
    assert single.attributes["server.port"] == cluster
    assert batch.attributes["db.operation.batch.size"] == 2


def test_a_watched_transaction_on_a_cluster_has_a_span_for_each_trip(observed: Any, cluster: int) -> None:
    """WATCH goes to the server at once; MULTI takes the rest."""
    if not hasattr(redis.cluster, "TransactionStrategy"):
        pytest.skip("redis-py has no transactions on clusters before 6.1")
    with redis.RedisCluster(host="127.0.0.1", port=cluster) as client, observed("redis") as seen:
        pipe = client.pipeline(transaction=True)
        pipe.watch("a")
        pipe.multi()
        pipe.set("a", 1).get("a")
        pipe.execute()
    assert [span.name for span in seen.spans] == ["WATCH", "MULTI"]
