"""Which of the installed libraries are instrumented: asked of a program that imports them all.

`python -m noops_agent._commands.libraries` is that program; it prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Iterator

from noops_instrumentation import LIBRARIES

from ..instrument import installed, registry
from ..instrument.registry import Report

SKIPPED = registry.SKIPPED


def found() -> Iterator[str]:
    """Name the libraries of the list that are installed."""
    for library, triggers in LIBRARIES.items():
        if any(is_installed(trigger.partition(".")[0]) for trigger in triggers):
            yield library


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # one that took its own place among the modules
        return True


def bring_in(library: str) -> str:
    """Import all that an integration patches; gives why that does not work, or nothing."""
    missing = ""
    for trigger in LIBRARIES[library]:
        try:
            importlib.import_module(trigger)
        except ModuleNotFoundError:
            continue
        except BaseException as error:
            missing = f"importing {trigger} fails: {error!r}"
    for report in registry.reports():
        if report.library == library:
            for target in report.targets:
                with contextlib.suppress(BaseException):  # a part that needs more packages, or another platform
                    importlib.import_module(target.partition(":")[0])
    return missing


def survey() -> list[Report]:
    """Instrument each installed library in this process, and tell how that went."""
    import noops_agent

    noops_agent.init()
    failed = {library: bring_in(library) for library in list(found())}
    reports = {report.library: report for report in registry.reports()}
    others = {entry.name for entry in installed.entries(installed.OURS)}
    for library in sorted(others):
        with contextlib.suppress(BaseException):
            importlib.import_module(library)
    reports |= {report.library: report for report in registry.reports()}
    told = [reports[library] for library in sorted(reports) if library in failed or library in others]
    told += [Report(library, "", SKIPPED, why, {}) for library, why in failed.items() if why and library not in reports]
    return told


def main() -> None:
    """Print the survey; whatever the libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    print(json.dumps(survey()), file=answers, flush=True)
    os._exit(0)  # some of the libraries have threads and hooks by now


def read(line: str) -> list[Report]:
    """Read what `main` printed."""
    return [Report(*row) for row in json.loads(line)]


if __name__ == "__main__":
    main()
