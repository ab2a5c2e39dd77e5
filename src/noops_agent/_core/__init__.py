"""Chooses the core: native where it was built, else its Python twin.

`NOOPS_CORE=native` or `NOOPS_CORE=python` asks for one of them; it is the only variable read at import.
"""

from __future__ import annotations

import importlib
import os
from typing import Any


def choose(asked: str, native: str = ".native", python: str = ".python") -> tuple[Any, str]:
    """Load a core: (the module, why it is not the native one).

    Args:
        asked: "native", "python", or nothing.
        native: The module of the native core.
        python: The module of its Python twin.

    Raises:
        ImportError: The native core was asked for and can't be loaded.
    """
    why = "NOOPS_CORE=python asks for it"
    if asked != "python":
        try:
            return importlib.import_module(native, __name__), ""
        except ModuleNotFoundError:
            why = "the native core was not built for this interpreter"
            if asked == "native":
                raise
        except ImportError as error:
            why = f"the native core can't be loaded: {error}"
            if asked == "native":
                raise
    return importlib.import_module(python, __name__), why


_asked = os.environ.get("NOOPS_CORE", "").strip().lower()
chosen, WHY = choose(_asked)

NAME: str = chosen.NAME
Activation = chosen.Activation
Attachment = chosen.Attachment
ProcessorList = chosen.ProcessorList
Recorder = chosen.Recorder
Span = chosen.Span
Tracer = chosen.Tracer
Tracing = chosen.Tracing
clock_ns = chosen.clock_ns
collect = chosen.collect
encode_attributes = chosen.encode_attributes
format_traceparent = chosen.format_traceparent
guard_signal = chosen.guard_signal
parse_traceparent = chosen.parse_traceparent
process_mark = chosen.process_mark
random_ids = chosen.random_ids
remote_parent = chosen.remote_parent
suppressed = chosen.suppressed

# The calls of observed libraries: a part of the native core, and beside the Python one.
calling = chosen if NAME == "native" else importlib.import_module(".course", __name__)

Call = calling.Call
Course = calling.Course
Enabled = calling.Enabled
Pairs = calling.Pairs
labels_of = calling.labels_of
plain_header = calling.plain_header
speaks = calling.speaks

# The metrics stand on the core above, in a module of their own.
measuring, MEASURING_WHY = choose(_asked, ".metrics", ".aggregation")

Adding = measuring.Adding
Bound = measuring.Bound
Recording = measuring.Recording
Setting = measuring.Setting
Stream = measuring.Stream
