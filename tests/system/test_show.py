"""`noops-agent show`: the spans of all processes, joined and drawn."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from noops_agent._commands import traces as traces_module
from noops_agent._commands.terminal import cells
from noops_agent._commands.traces import Query, find_traces
from noops_agent._core import segment

from .store import START_NS, Process, make_span

SHOW = (sys.executable, "-m", "noops_agent", "show")


@pytest.fixture
def state() -> Path:
    """The state folder of this test."""
    return Path(os.environ["NOOPS_STATE_DIR"])


@pytest.fixture
def process(state: Path) -> Iterator[Callable[..., Process]]:
    """Makes processes; what they locked is let go at the end."""
    made: list[Process] = []

    def make(service: str = "shop", **options: Any) -> Process:
        made.append(Process(state, service, **options))
        return made[-1]

    yield make
    for each in made:
        each.end()


def show(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command, on 100 columns."""
    return subprocess.run(
        [*SHOW, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "100", "TZ": "UTC", **environ},
    )


def drawn(*words: str, **environ: str) -> list[str]:
    """The lines that the command prints, without trailing times and bars; their runs of spaces are one."""
    done = show(*words, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [re.sub(r"\s+\d[\d.]* (ns|µs|ms|s)(\s.*)?$", "", line) for line in done.stdout.splitlines()]
    return [re.sub(r"(?<=\S) +", " ", row).strip() for row in rows]


def objects(*words: str) -> list[dict[str, Any]]:
    """What the command prints as JSON."""
    found: list[dict[str, Any]] = json.loads(show("--json", *words).stdout)
    return found


def order(process: Callable[..., Process]) -> None:
    """One order that goes through three services."""
    process("gateway").write(
        make_span("POST /orders", number=1, took_ms=100, kind="server", http__response__status_code=201),
        make_span(
            "POST", number=2, parent=1, start_ms=5, took_ms=90, kind="client", url__full="http://orders:80/orders"
        ),
    )
    process("orders").write(
        make_span("POST /orders", number=3, parent=2, start_ms=10, took_ms=80, kind="server"),
        *[
            make_span("SELECT shop", parent=3, start_ms=20 + n, took_ms=1, kind="client", db__system__name="sqlite",
                      db__query__text="SELECT stars FROM reviews WHERE product = ?")
            for n in range(12)
        ],
        make_span("send pack", number=4, parent=3, start_ms=60, took_ms=1, kind="producer"),
    )  # fmt: skip
    process("worker").write(
        make_span("process pack", number=5, parent=4, start_ms=200, kind="consumer", exception=("app.Busy", "later"))
    )


# ---- what is found ---------------------------------------------------------------------------------------


def test_a_trace_is_joined_across_processes(process: Callable[..., Process]) -> None:
    """One tree, with each service named where it changes, and equal siblings on one line."""
    order(process)
    assert drawn(COLUMNS="120")[1:] == [
        "gateway POST /orders server 201",
        "└ POST client orders:80/orders",
        "orders └ POST /orders server",
        "├ 12 × SELECT stars FROM reviews WHERE product = ? sqlite",
        "└ send pack producer",
        "worker └ ✗ process pack consumer",
        "app.Busy: later",
    ]


def test_the_head_of_a_trace_tells_the_sum_of_it(process: Callable[..., Process]) -> None:
    """Identifier, moment, duration, spans, services, errors."""
    order(process)
    assert show(COLUMNS="120").stdout.splitlines()[0] == (
        f"● {1:032x} · 2023-11-14 22:13:20.000 · 210 ms · 17 spans · 3 services · 1 error"
    )


def test_a_single_trace_is_shown_whole(process: Callable[..., Process]) -> None:
    """Asked for by its identifier, nothing of it is folded."""
    order(process)
    assert sum("SELECT stars" in line for line in drawn(f"{1:032x}")) == 12
    assert sum("SELECT stars" in line for line in drawn("--all")) == 12


def test_all_attributes_can_be_listed(process: Callable[..., Process]) -> None:
    """Below the line of their span."""
    process().write(make_span("work", shop__customer="Ada", retries=2))
    assert drawn("--attributes")[2:] == ["retries = 2", "shop.customer = Ada"]


def test_the_newest_traces_are_shown_the_latest_last(process: Callable[..., Process]) -> None:
    """Where the eye is when the prompt comes back."""
    process().write(*[make_span(f"work {n}", trace=n, start_ms=n * 1000) for n in (3, 1, 5, 2, 4)])
    rows = [line for line in drawn("--limit", "2") if "work" in line]
    assert rows == ["shop work 4", "shop work 5"]
    assert "3 older traces here: --limit 0 shows all" in show("--limit", "2").stdout
    assert len(objects("--limit", "0")) == 5


def test_traces_are_chosen_by_errors_service_and_identifier(process: Callable[..., Process]) -> None:
    """Each alone and together."""
    process("shop").write(make_span("fine", trace=0xA1), make_span("failed", trace=0xA2, error="no"))
    process("bank").write(make_span("busy", trace=0xB1, error="no"))

    def names(*words: str) -> list[str]:
        return sorted(trace["spans"][0]["name"] for trace in objects(*words))

    assert names("--errors") == ["busy", "failed"]
    assert names("--service", "shop") == ["failed", "fine"]
    assert names("--service", "shop", "--errors") == ["failed"]
    assert names("0" * 30 + "a") == ["failed", "fine"]
    assert names("0" * 30 + "A1") == ["fine"]


def test_a_span_that_was_written_twice_is_one(process: Callable[..., Process]) -> None:
    """Records of errors may be written anew when room runs out."""
    span = make_span("work", number=7, error="no")
    process().write(span, span)
    process().write(span)
    (trace,) = objects()
    assert (len(trace["spans"]), trace["errors"]) == (1, 1)


def test_a_parent_that_is_not_here_is_said(process: Callable[..., Process]) -> None:
    """Its children hang together; nobody takes them for roots."""
    process().write(make_span("one", parent=0xBEEF, start_ms=1), make_span("two", parent=0xBEEF, start_ms=2))
    assert drawn()[1:] == ["parent 000000000000beef is not recorded here", "shop ├ one", "└ two"]


# ---- damage ----------------------------------------------------------------------------------------------


def test_torn_and_damaged_records_harm_nothing(process: Callable[..., Process], state: Path) -> None:
    """What stands around them is read."""
    shop = process()
    shop.write(make_span("before"))
    shop.tear(b"\x12\x05never")
    shop.put(b"\x12\xff\xff\xff\xff\x0fgarbage")
    shop.put(b"\xff" * 40)
    shop.write(make_span("after"))
    folder = Path(shop.folder.path)
    (folder / "00000009.seg").write_bytes(b"not a segment at all" * 20)
    (folder / "00000010.seg").write_bytes(b"")
    (folder / "00000011.seg").symlink_to(state / "gone")
    (trace,) = objects()
    assert [span["name"] for span in trace["spans"]] == ["before", "after"]


def test_a_segment_that_is_cut_anywhere_is_read_up_to_there(process: Callable[..., Process]) -> None:
    """A full disk, a copy that was broken off: whole records are shown, nothing raises."""
    shop = process()
    shop.write(*[make_span(f"work {n}") for n in range(5)])
    path = Path(shop.segments[0].path or "")
    data = path.read_bytes()[: shop.segments[0].used]
    shop.end()
    counts = []
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        found = find_traces(os.environ["NOOPS_STATE_DIR"], Query())
        counts.append(sum(len(trace.spans) for trace in found.traces))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 5)


def test_what_others_write_on_the_screen_is_harmless(process: Callable[..., Process]) -> None:
    """Names and messages come from requests: no escape sequence and no line break of theirs is obeyed."""
    evil = "\x1b[2J\x1b]0;owned\x07\r\nline\u202e"
    process("shop" + evil).write(make_span("GET " + evil, exception=("Error" + evil, evil), http__route=evil))
    done = show()
    assert done.returncode == 0
    assert not set("\x1b\x07\r\u202e") & set(done.stdout)
    assert len(done.stdout.splitlines()) == 3


def test_records_of_a_killed_process_are_shown() -> None:
    """`SIGKILL` between two spans: what had ended is there."""
    code = (
        "import noops_agent, time; noops_agent.init()\n"
        "with noops_agent.span('ended'): pass\n"
        "with noops_agent.span('open'): print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        alive = objects()
        program.send_signal(signal.SIGKILL)
    assert [span["name"] for trace in alive for span in trace["spans"]] == ["ended"]
    assert objects() == alive


def test_the_lock_of_a_living_process_is_not_touched(process: Callable[..., Process]) -> None:
    """It goes on to own its folder and to write while others look."""
    shop = process()
    shop.write(make_span("one", number=1))
    before = {path.name: path.stat().st_mtime_ns for path in Path(shop.folder.path).iterdir()}
    assert len(objects()) == 1
    assert {path.name: path.stat().st_mtime_ns for path in Path(shop.folder.path).iterdir()} == before
    code = f"from noops_agent._core.segment import Folder; print(Folder.adopt({shop.folder.path!r}))"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout == "None\n"
    shop.write(make_span("two", parent=1))
    assert len(objects()[0]["spans"]) == 2


# ---- large stores ----------------------------------------------------------------------------------------


def test_old_segments_are_not_read(process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends where the newest traces are known to be whole."""
    clock = iter(range(START_NS, START_NS * 2, 10**9))
    monkeypatch.setattr(segment.time, "time_ns", lambda: next(clock))  # type: ignore[attr-defined]
    shop = process(segment_bytes=4096)
    for second in range(50):
        shop.write(make_span(f"work {second}", trace=second + 1, start_ms=second * 1000, took_ms=1))
        shop.begin()
    found = find_traces(os.environ["NOOPS_STATE_DIR"], Query(limit=3))
    assert [next(iter(trace.spans.values())).name for trace in found.traces] == ["work 47", "work 48", "work 49"]
    assert found.unread_segments > 40


def test_a_segment_that_was_made_early_tells_nothing_of_the_one_before(
    process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next segment is made while the current one is written: what is newest may still stand in the older file."""
    created_s = 0
    monkeypatch.setattr(segment.time, "time_ns", lambda: START_NS + created_s * 10**9)  # type: ignore[attr-defined]
    shop = process("shop")
    created_s = 1
    spare = segment.FileSegment.create(shop.folder.path, 2, 1 << 16, segment.LOCAL)
    shop.write(make_span("newest", trace=1, start_ms=90_000, took_ms=10_000))
    shop.segments.append(spare)
    created_s = 101
    shop.begin()
    process("other").write(make_span("older", trace=2, start_ms=50_000, took_ms=10_000))
    found = find_traces(os.environ["NOOPS_STATE_DIR"], Query(limit=1))
    assert [next(iter(trace.spans.values())).name for trace in found.traces] == ["newest"]


def test_memory_is_bounded(process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the cap the oldest traces are given up, and the spans of one endless trace are counted only."""
    monkeypatch.setattr(traces_module, "MOST_SPANS", 100)
    monkeypatch.setattr(traces_module, "MOST_SPANS_OF_TRACE", 30)
    shop = process()
    for n in range(10):
        for _ in range(40):
            shop.write(make_span("work", trace=n + 1, start_ms=n * 1000))
        shop.begin()
    found = find_traces(os.environ["NOOPS_STATE_DIR"], Query(limit=2))
    assert [trace.trace_id for trace in found.traces] == [f"{9:032x}", f"{10:032x}"]
    assert [(len(trace.spans), trace.omitted) for trace in found.traces] == [(30, 10)] * 2
    assert found.given_up


# ---- the terminal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(process: Callable[..., Process], columns: int) -> None:
    """Long names, deep trees, wide characters."""
    order(process)
    process("数据库" * 10).write(make_span("日本語" * 40, trace=2, exception=("名", "前" * 100)))
    deep = [make_span("d" * 50, trace=3, number=n, parent=n - 1 if n > 1 else 0) for n in range(1, 60)]
    process().write(*deep)
    lines = show(COLUMNS=str(columns)).stdout.splitlines()
    assert len(lines) > 60
    assert max(map(cells, lines)) <= columns


def test_colours_are_for_terminals(process: Callable[..., Process]) -> None:
    """A pipe gets none, a terminal does, and NO_COLOR is heard."""
    order(process)
    assert "\x1b" not in show().stdout
    assert "\x1b[" in on_terminal({})
    assert "\x1b[" not in on_terminal({"NO_COLOR": "1"})
    assert "\x1b[" not in on_terminal({"TERM": "dumb"})


def on_terminal(environ: dict[str, str]) -> str:
    """What the command prints on a terminal."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    code = subprocess.Popen(SHOW, stdout=follower, env={**os.environ, "TERM": "xterm", **environ})
    os.close(follower)
    printed = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        printed += data
    os.close(leader)
    assert code.wait(60) == 0
    return printed.decode()


def test_a_terminal_of_ascii_gets_ascii(process: Callable[..., Process]) -> None:
    """Lines and blocks have plain forms; what others wrote is escaped."""
    order(process)
    process().write(make_span("größer", trace=2))
    done = show(PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "gr\\xf6\\xdfer" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(process: Callable[..., Process]) -> None:
    """`noops-agent show | head -1`."""
    process().write(*[make_span("work", trace=n) for n in range(1, 500)])
    command = f"{' '.join(SHOW)} --limit 0 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    others = "; ".join(
        f"{sys.executable} -m noops_agent {words} | true" for words in ("run --help", "config", "--help")
    )
    assert subprocess.run(others, shell=True, capture_output=True, text=True, check=True).stderr == ""


# ---- machines, and nothing to show -----------------------------------------------------------------------


def test_the_form_for_machines_is_stable(process: Callable[..., Process]) -> None:
    """Scripts rely on these names."""
    span = make_span("GET /", number=2, parent=9, took_ms=1.5, kind="server", exception=("Error", "no"), tries=3)
    span.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8)
    process().write(span)
    (trace,) = objects()
    (found,) = trace.pop("spans")
    assert trace == {
        "trace_id": f"{1:032x}",
        "start_ns": START_NS,
        "end_ns": START_NS + 1500000,
        "duration_ns": 1500000,
        "services": ["shop"],
        "errors": 1,
        "omitted_spans": 0,
    }
    assert found == {
        "span_id": f"{2:016x}",
        "parent_span_id": f"{9:016x}",
        "parent_recorded": False,
        "name": "GET /",
        "kind": "server",
        "service": "shop",
        "pid": os.getpid(),
        "scope": "store",
        "start_ns": START_NS,
        "end_ns": START_NS + 1500000,
        "duration_ns": 1500000,
        "status": "error",
        "status_message": "",
        "attributes": {"tries": 3},
        "events": [
            {"name": "exception", "time_ns": 0, "attributes": {"exception.type": "Error", "exception.message": "no"}}
        ],
        "links": [{"trace_id": "01" * 16, "span_id": "02" * 8, "attributes": {}}],
        "resource": {"service.name": "shop"},
    }


def test_an_empty_store_says_what_to_do(state: Path) -> None:
    """And the status tells scripts."""
    done = show()
    assert done.returncode == 1
    assert f"Nothing is recorded in {state} yet." in done.stderr
    assert "noops-agent run" in done.stderr
    assert (show("--json").returncode, show("--json").stdout) == (1, "[]\n")


def test_a_search_without_result_says_what_there_is(process: Callable[..., Process]) -> None:
    """So that a misspelt name is seen."""
    process("shop").write(make_span("fine"))
    process("bank").write(make_span("fine", trace=2))
    assert "among those recorded: bank, shop" in show("--service", "shpo").stderr
    assert "None of the 2 traces" in show("--errors").stderr
    assert "begins with dead" in show("dead").stderr
    assert show("nothex").returncode == 2


def test_another_folder_can_be_read(process: Callable[..., Process], tmp_path: Path) -> None:
    """A copy of another machine's state folder, say."""
    process().write(make_span("work"))
    assert show("--state-dir", os.environ["NOOPS_STATE_DIR"], NOOPS_STATE_DIR=str(tmp_path / "other")).returncode == 0
    assert show(NOOPS_STATE_DIR=str(tmp_path / "other")).returncode == 1
