"""Opens the shop under the agent, lets visitors in for some seconds, and shows the traces that came of it."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

if not __package__:  # started as a file: the folder that holds the package `shop` belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from noops_agent import _core
from noops_agent._config import load
from shop.stage import HOST, ServiceFailed, Stage
from shop.visitors import Visitors

TICK_S = 0.1
LINE_EVERY_S = 2.0
BAR_WIDTH = 28


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="shop.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="how long visitors come (%(default)g)")
    parser.add_argument("--visitors", type=int, default=6, help="how many there are at a time (%(default)d)")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, leave)
    try:
        run(chosen.seconds, chosen.visitors)
        return show()
    except ServiceFailed as error:
        print(f"\nThe shop can't open: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def leave(number: int, frame: FrameType | None) -> None:
    """Leave by SIGTERM as by Ctrl-C: the services don't outlive us."""
    raise KeyboardInterrupt


def run(seconds: float, count: int) -> None:
    """Open the shop, drive load through it, close it."""
    why = f" ({_core.WHY})" if _core.WHY else ""
    print(f"Core of the agent: {_core.NAME}{why}")
    print("Opening the shop: payments, orders, worker, gateway, each under `noops-agent run` ...", flush=True)
    with Stage() as stage:
        visitors = Visitors(HOST, stage.ports["gateway"], count)
        visitors.enter()
        try:
            watch(visitors, seconds)
        finally:
            visitors.leave()
        visitors.buy()
        print("Closing the shop ...", flush=True)
    if not visitors.done["requests"]:
        raise ServiceFailed("no request was answered")


def watch(visitors: Visitors, seconds: float) -> None:
    """Draw the progress for as long as the visitors stay: a bar on a terminal, else a line now and then."""
    terminal = sys.stdout.isatty()
    began = time.monotonic()
    tick_s = TICK_S if terminal else LINE_EVERY_S
    elapsed_s = 0.0
    while elapsed_s < seconds:
        time.sleep(min(tick_s, seconds - elapsed_s))
        elapsed_s = min(seconds, time.monotonic() - began)
        if terminal:
            redraw(bar(elapsed_s, seconds, visitors.done))
        else:
            print(f"{elapsed_s:4.1f} s  {summary(visitors.done)}", flush=True)
    if terminal:
        print()


def bar(elapsed_s: float, seconds: float, done: Counter[str]) -> str:
    """One line: how far we are and what happened so far."""
    full, empty = ("█", "░") if "utf" in (sys.stdout.encoding or "").lower() else ("#", ".")
    filled = min(BAR_WIDTH, round(BAR_WIDTH * elapsed_s / seconds))
    return f"{full * filled}{empty * (BAR_WIDTH - filled)} {elapsed_s:4.1f} s  {summary(done)}"


def redraw(line: str) -> None:
    """Write over the current line of the terminal, cut to its width."""
    print("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], end="", flush=True)


def summary(done: Counter[str]) -> str:
    """What happened in the shop, in the order in which it matters."""
    parts = [f"{done[name]} {name}" for name in ("requests", "orders", "declined")]
    parts += [f"{done[name]} {name}" for name in ("sold out", "failed", "unanswered") if done[name]]
    return ", ".join(parts)


def show() -> int:
    """Print the newest traces, and how to look further."""
    settings = load()
    if "local" not in settings.exporters:
        target = settings.otlp_traces.endpoint if "otlp" in settings.exporters else ", ".join(settings.exporters)
        print(f"The traces went to: {target}")
        return 0
    print("\nThe newest traces:\n", flush=True)
    newest = [sys.executable, "-m", "noops_agent", "show", "--limit", "3"]
    code = subprocess.run(newest, check=False).returncode
    print(FURTHER.format(command=command()))
    return code


FURTHER = """
Look further:
  {command} show --errors          traces that failed
  {command} show <trace id>        one trace whole
  {command} doctor                 what is on, and where the records go
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make demo
                                   the same into your own collector"""


def command() -> str:
    """The agent's command as one types it here."""
    path = Path(sys.executable).parent / "noops-agent"
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
