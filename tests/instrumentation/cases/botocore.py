"""Calls of AWS, answered by botocore's own stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse

from . import Case


def client(name: str) -> Any:
    """Make a client that asks nobody for credentials."""
    return botocore.session.Session().create_client(
        name, region_name="eu-west-1", aws_access_key_id="id", aws_secret_access_key="key"
    )


@contextmanager
def cases() -> Iterator[list[Case]]:
    """An event of botocore's answers in place of AWS."""
    answers = client("s3")

    def answer(params: Any, **_: Any) -> tuple[Any, Any]:
        missing = "missing" in params["url_path"]
        error = {"Error": {"Code": "NoSuchKey", "Message": ""}} if missing else {}
        status = 404 if missing else 200
        return AWSResponse("", status, {}, None), {**error, "ResponseMetadata": {"HTTPStatusCode": status}}

    answers.meta.events.register("before-call.s3", answer)
    yield [
        Case(
            "botocore",
            call=lambda: answers.head_object(Bucket="bucket", Key="key"),
            fails=lambda: answers.head_object(Bucket="bucket", Key="missing"),
            excluded="amazonaws",
            many=500,
        )
    ]
