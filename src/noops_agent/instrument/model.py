"""What an integration can say: one call, one duration, one library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _core

if TYPE_CHECKING:
    from .._core.course import Call as Call
    from .live import Live
    from .patch import Patch
else:
    Call = _core.Call

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Attributes = Mapping[str, Any]


LEFT_ALONE = Call("", {})
"""What a describer gives for a call that the user excludes: calls of its layer inside it are left alone too. (With
None, as for a call that means nothing, the next one beneath would speak.)"""

Describe = Callable[[Any, Args, Kwargs], "Call | None"]
"""(instance, args, kwargs) -> what the call means; None: it is left alone."""

Result = Callable[[Call, Any], "Attributes | BaseException | None"]
"""(call, what was returned) -> attributes known only now; `error.type` among them makes the call a failure. Or, where
the call swallows what was raised inside it, that exception, which is then treated like one that came out."""

Failure = Callable[[Call, BaseException], "Attributes | None"]
"""(call, exception) -> attributes of the failure; `NOT_AN_ERROR` where it is none. `exception.message` among them is
recorded in place of the exception's own text, where that holds the user's data."""

NOT_AN_ERROR: Attributes = {}
"""What a `Failure` gives for an exception that is control flow; told by identity."""


class Measure:
    """A counter or histogram that is taken from the same calls as a `Duration`, with the same attributes."""

    __slots__ = ("bounds", "description", "name", "unit", "value")

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        value: Callable[[Attributes], float | None],
        bounds: Sequence[float] = (),
    ) -> None:
        """
        Args:
            name: Name of the instrument.
            unit: Unit of the values.
            description: What it measures.
            value: Reads the value from the attributes of a call; None: this call has none.
            bounds: Upper edges of the buckets of a histogram, in *unit*; none: it is a counter.
        """
        self.name = name
        self.unit = unit
        self.description = description
        self.value = value
        self.bounds = tuple(bounds)


class Duration:
    """A histogram of seconds that follows from calls, whether their spans are sampled or not."""

    __slots__ = ("also", "bounds", "description", "keys", "name", "unit")

    def __init__(
        self,
        name: str,
        description: str,
        keys: Sequence[str] = (),
        bounds: Sequence[float] = (),
        unit: str = "s",
        also: Sequence[Measure] = (),
    ) -> None:
        """
        Args:
            name: Name of the instrument.
            description: What it measures.
            keys: The attributes of a call that become attributes of its measurement.
            bounds: Upper edges of the buckets that the convention advises, in *unit*.
            unit: Unit of the values.
            also: What else is measured of the same calls.
        """
        self.name = name
        self.description = description
        self.keys = tuple(keys)
        self.bounds = tuple(bounds)
        self.unit = unit
        self.also = tuple(also)


class Options:
    """The options in force for one library: those of the settings, and those given to `enable`."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)
        self.request_hook: Callable[..., object] | None = given.get("request_hook")
        """Called with (span, request) once a span has started."""
        self.response_hook: Callable[..., object] | None = given.get("response_hook")
        """Called with (span, request, response) before a span ends."""
        self.excluded: Callable[[str], bool] = given.get("excluded", _none_excluded)
        """Whether the settings exclude a URL."""

    def get(self, name: str, default: Any = None) -> Any:
        """Give any option by its name."""
        return self._given.get(name, default)

    def headers(self, side: str, part: str) -> tuple[str, ...]:
        """Give the names, or patterns, of the headers to record.

        Args:
            side: "server" or "client".
            part: "request" or "response".
        """
        given = self._given.get(f"{part}_headers")
        return tuple(self._given.get(f"{side}_{part}_headers", ()) if given is None else given)


def _none_excluded(url: str) -> bool:
    return False


class Instrumentation:
    """One library: where to patch it, and what its calls mean."""

    def __init__(
        self,
        library: str,
        *,
        distribution: str | tuple[str, ...] = "",
        versions: str = "",
        hooks: Sequence[Patch] = (),
        setup: Callable[[Live], Callable[[], object]] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """
        Args:
            library: Name of the integration: that of its file.
            distribution: The distribution whose version counts, or several of which the first installed one does;
                empty: the standard library.
            versions: Lower bound, such as ">=4.2"; newer versions are taken on trust and checked target by target.
            hooks: What is patched.
            setup: For registrations that are no patches; gives what undoes them.
            options: Names of the options of its own that `enable` takes.
        """
        self.library = library
        self.distributions = (distribution,) if isinstance(distribution, str) else distribution
        self.versions = versions
        self.hooks = tuple(hooks)
        self.setup = setup
        self.own_options = tuple(options)
        self.options = Options({})
        """Those in force; replaced when the library is enabled."""
