"""Regular expressions of routes, written as a reader of `http.route` wants them."""

from __future__ import annotations

from functools import lru_cache

MARKS = frozenset(".^$*+?{}[]|()")


@lru_cache(maxsize=1024)
def template(pattern: str) -> str:
    r"""Turn a route's regular expression into a template: `/users/(?P<id>\d+)$` is `/users/{id}`.

    A group without a name is `{}`. What is an expression outside of groups stays as it is: it is the route still.
    """
    text = pattern.removeprefix("^").removesuffix("\\Z")
    if text.endswith("$") and not text.endswith("\\$"):
        text = text[:-1]
    parts: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\" and at + 1 < len(text):
            if text[at + 1].isalnum():
                return text
            parts.append(text[at + 1])
            at += 2
        elif character == "(":
            end = group_end(text, at)
            if end is None:
                return text
            parts.append(placeholder(text[at + 1 : end]))
            at = end + 1
            while at < len(text) and text[at] in "?*+":
                at += 1
        elif character in MARKS:
            return text
        else:
            parts.append(character)
            at += 1
    return "".join(parts)


def group_end(text: str, start: int) -> int | None:
    """Find the bracket that closes the group that begins at *start*."""
    depth, at, listed = 0, start, False
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif listed:
            listed = character != "]"
        elif character == "[":
            listed = True
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None


def placeholder(group: str) -> str:
    """Write a group as a placeholder; one that captures nothing stands for what it says."""
    if group.startswith("?P<"):
        return "{" + group[3:].partition(">")[0] + "}"
    return "{}"
