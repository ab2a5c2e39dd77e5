"""Calls of AWS, answered by botocore's own stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse

from . import Case

SESSION = botocore.session.Session()


def answer(**_: Any) -> tuple[Any, Any]:
    """Answer in place of AWS."""
    return AWSResponse("", 200, {}, None), {"ResponseMetadata": {"HTTPStatusCode": 200}}


@contextmanager
def cases() -> Iterator[list[Case]]:
    """An event of botocore's answers; a call without its parameters is refused."""
    client = SESSION.create_client("s3", region_name="eu-west-1", aws_access_key_id="id", aws_secret_access_key="key")
    client.meta.events.register("before-call.s3", answer)
    yield [
        Case(
            "botocore",
            call=lambda: client.head_object(Bucket="bucket", Key="key"),
            fails=lambda: client.head_object(Bucket="bucket"),
            excluded="amazonaws",
            many=500,
        )
    ]
