"""One S3 call by botocore, answered by one of its own events in place of AWS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.botocore:BotocoreInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-botocore"
DDTRACE = "botocore"
REQUIRES = ("botocore",)


def prepare() -> Callable[[], object]:
    """Make a client."""
    import botocore.session
    from botocore.awsrequest import AWSResponse

    client = botocore.session.Session().create_client(
        "s3", region_name="eu-west-1", aws_access_key_id="id", aws_secret_access_key="key"
    )
    response = AWSResponse("", 200, {}, None)

    def answer(**_: Any) -> tuple[Any, Any]:
        return response, {"ResponseMetadata": {"HTTPStatusCode": 200, "RequestId": "1", "RetryAttempts": 0}}

    client.meta.events.register("before-call.s3", answer)
    return lambda: client.head_object(Bucket="bucket", Key="key")
