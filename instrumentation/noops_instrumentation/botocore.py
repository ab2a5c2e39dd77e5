"""Calls of AWS by botocore, and what is built on it: boto3, aiobotocore.

One span for each API call; retries are inside of it, and the HTTP client beneath is left alone. Messages that are sent
by SQS and SNS carry the context in their attributes, as long as there is room among the ten that AWS allows;
`ReceiveMessage` asks for these, links to the senders, and hands over only what the program asked for. HTTP headers
are those that AWS itself understands (X-Ray), where their propagator is configured; they are added before signing.

Source: OpenTelemetry semantic conventions 1.44, docs/cloud-providers/aws-sdk.md, docs/object-stores/s3.md,
docs/db/dynamodb.md, docs/messaging/sqs.md, docs/messaging/sns.md, docs/rpc/rpc-spans.md and
docs/non-normative/compatibility/aws.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Setter

from noops_agent.instrument import (
    CLIENT,
    LEFT_ALONE,
    PRODUCER,
    Args,
    Attributes,
    Before,
    Call,
    Hook,
    Instrumentation,
    Kwargs,
    Quiet,
    http_client,
    messaging,
    rpc,
)
from noops_agent.instrument.urls import DEFAULT_PORTS, split

_MOST_ATTRIBUTES = 10  # of one message, by AWS
_MOST_KEYS = 32  # of a deletion, in its attribute

_TAKEN: dict[str, dict[str, str]] = {
    "S3": {
        "Bucket": "aws.s3.bucket",
        "Key": "aws.s3.key",
        "PartNumber": "aws.s3.part_number",
        "UploadId": "aws.s3.upload_id",
    },
    "DynamoDB": {
        "ConsistentRead": "aws.dynamodb.consistent_read",
        "ProjectionExpression": "aws.dynamodb.projection",
        "Limit": "aws.dynamodb.limit",
        "AttributesToGet": "aws.dynamodb.attributes_to_get",
        "IndexName": "aws.dynamodb.index_name",
        "Select": "aws.dynamodb.select",
        "ScanIndexForward": "aws.dynamodb.scan_forward",
        "Segment": "aws.dynamodb.segment",
        "TotalSegments": "aws.dynamodb.total_segments",
        "ExclusiveStartTableName": "aws.dynamodb.exclusive_start_table",
    },
    "SQS": {"QueueUrl": "aws.sqs.queue.url"},
    "SNS": {"TopicArn": "aws.sns.topic.arn"},
    "Kinesis": {"StreamName": "aws.kinesis.stream_name"},
    "SFN": {
        "stateMachineArn": "aws.step_functions.state_machine.arn",
        "activityArn": "aws.step_functions.activity.arn",
    },
}
"""Service -> parameter -> attribute."""

_SERIALISED = {
    "GlobalSecondaryIndexes": "aws.dynamodb.global_secondary_indexes",
    "LocalSecondaryIndexes": "aws.dynamodb.local_secondary_indexes",
    "AttributeDefinitions": "aws.dynamodb.attribute_definitions",
    "GlobalSecondaryIndexUpdates": "aws.dynamodb.global_secondary_index_updates",
}

_SENDING = {
    ("SQS", "SendMessage"): "",
    ("SQS", "SendMessageBatch"): "Entries",
    ("SNS", "Publish"): "",
    ("SNS", "PublishBatch"): "PublishBatchRequestEntries",
}
"""Calls that send messages -> the parameter that holds several."""

_MESSAGING = {
    "SendMessage": ("send", "send"),
    "SendMessageBatch": ("send", "send"),
    "Publish": ("publish", "send"),
    "PublishBatch": ("publish", "send"),
    "ReceiveMessage": ("receive", "receive"),
    "DeleteMessage": ("delete", "settle"),
    "DeleteMessageBatch": ("delete", "settle"),
}
"""Operation -> its name, and its type, of the messaging conventions."""

_ANSWERED = (
    ("RequestId", "aws.request_id"),
    ("HostId", "aws.extended_request_id"),
    ("HTTPStatusCode", "http.response.status_code"),
    ("RetryAttempts", "http.request.resend_count"),
)
"""What botocore reads from the headers of every response -> attribute."""

_SYSTEMS = {"SQS": "aws_sqs", "SNS": "aws.sns"}


# ---- a call ----------------------------------------------------------------------------------------------


def _api_call(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    operation = args[0] if args else kwargs.get("operation_name", "")
    given = args[1] if len(args) > 1 else kwargs.get("api_params")
    meta = client.meta
    url = meta.endpoint_url or ""
    if INSTRUMENTATION.options.excluded(url):
        return LEFT_ALONE
    service = meta.service_model.service_id
    name, known = _target(service, operation, meta.region_name, url)
    attributes = known.copy()
    call = Call(name, attributes, state=(service, operation, ()))
    if not isinstance(given, dict):
        return call  # botocore is about to refuse it
    taken = _TAKEN.get(service)
    if taken is not None:
        for parameter in given:
            attribute = taken.get(parameter)
            if attribute is not None:
                attributes[attribute] = given[parameter]
    special = _SPECIAL.get(service)
    if special is not None and (service != "S3" or operation in _S3_SPECIAL):
        http_client.attempted(partial(special, call, operation), given)
    return call


@lru_cache(maxsize=512)
def _target(service: str, operation: str, region: str | None, url: str) -> tuple[str, dict[str, Any]]:
    """Give the name, and the attributes, that all calls of an operation have in common."""
    scheme, host, port, _, _ = split(url)
    attributes: dict[str, Any] = {rpc.SYSTEM: "aws-api", rpc.METHOD: f"{service}/{operation}"}
    if region:
        attributes["cloud.region"] = region
    if host:
        attributes["server.address"] = host
        attributes["server.port"] = port or DEFAULT_PORTS.get(scheme, 443)
    if service == "DynamoDB":
        attributes["db.system.name"] = "aws.dynamodb"
        attributes["db.operation.name"] = operation
    elif service in _SYSTEMS and operation in _MESSAGING:
        attributes[messaging.SYSTEM] = _SYSTEMS[service]
        attributes[messaging.OPERATION_NAME], attributes[messaging.OPERATION_TYPE] = _MESSAGING[operation]
    return f"{service}.{operation}", attributes


def _response(call: Call, parsed: Any) -> Attributes | None:
    service, operation, fields = call.state
    known = _answered(parsed.get("ResponseMetadata") or {})
    if service == "DynamoDB":
        _dynamodb_response(known, parsed)
    elif "MessageId" in parsed:
        known[messaging.MESSAGE_ID] = parsed["MessageId"]
    elif operation == "ReceiveMessage" and service == "SQS":
        known.update(_received(fields, parsed))
    return known


def _answered(meta: dict[str, Any]) -> dict[str, Any]:
    return {attribute: value for field, attribute in _ANSWERED if (value := meta.get(field))}


def _failure(call: Call, error: BaseException) -> Attributes | None:
    """What AWS calls an error says more than the class of the exception, which most errors share."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    known = _answered(response.get("ResponseMetadata") or {})
    code = (response.get("Error") or {}).get("Code")
    if code:
        known["error.type"] = known[rpc.STATUS_CODE] = str(code)
    return known


# ---- S3, DynamoDB, Lambda, Secrets Manager ---------------------------------------------------------------


_S3_SPECIAL = frozenset(("CopyObject", "DeleteObjects", "UploadPartCopy"))


def _s3(call: Call, operation: str, given: dict[str, Any]) -> None:
    source = given.get("CopySource")
    if source:
        if isinstance(source, dict):
            source = f"{source.get('Bucket')}/{source.get('Key')}"
        call.attributes["aws.s3.copy_source"] = source
    deleted = given.get("Delete")
    if deleted:
        objects = deleted.get("Objects") or []
        keys = ",".join(f"{{Key={one.get('Key')}}}" for one in objects[:_MOST_KEYS])
        call.attributes["aws.s3.delete"] = f"Objects=[{keys}],Quiet={str(deleted.get('Quiet', False)).lower()}"


def _dynamodb(call: Call, operation: str, given: dict[str, Any]) -> None:
    attributes = call.attributes
    table = given.get("TableName")
    tables = [table] if table else list(given.get("RequestItems") or ())
    if tables:
        attributes["aws.dynamodb.table_names"] = tables
        if len(tables) == 1:
            attributes["db.collection.name"] = tables[0]
    throughput = given.get("ProvisionedThroughput")
    if throughput:
        attributes["aws.dynamodb.provisioned_read_capacity"] = float(throughput.get("ReadCapacityUnits", 0))
        attributes["aws.dynamodb.provisioned_write_capacity"] = float(throughput.get("WriteCapacityUnits", 0))
    if operation in ("CreateTable", "UpdateTable"):
        for parameter, attribute in _SERIALISED.items():
            if given.get(parameter):
                attributes[attribute] = [json.dumps(one, default=str) for one in given[parameter]]


def _dynamodb_response(known: dict[str, Any], parsed: dict[str, Any]) -> None:
    for field, attribute in (
        ("Count", "aws.dynamodb.count"),
        ("ScannedCount", "aws.dynamodb.scanned_count"),
    ):
        if field in parsed:
            known[attribute] = parsed[field]
    if isinstance(parsed.get("TableNames"), list):
        known["aws.dynamodb.table_count"] = len(parsed["TableNames"])
    capacity = parsed.get("ConsumedCapacity")
    if capacity:
        several = capacity if isinstance(capacity, list) else [capacity]
        known["aws.dynamodb.consumed_capacity"] = [json.dumps(one, default=str) for one in several]


def _lambda(call: Call, operation: str, given: dict[str, Any]) -> None:
    function = given.get("FunctionName")
    if operation.startswith("Invoke") and function:
        attributes = call.attributes
        attributes["faas.invoked_provider"] = "aws"
        attributes["faas.invoked_name"] = function.split(":")[6] if function.count(":") >= 6 else function
        if "cloud.region" in attributes:
            attributes["faas.invoked_region"] = attributes["cloud.region"]


def _secrets(call: Call, operation: str, given: dict[str, Any]) -> None:
    secret = given.get("SecretId", "")
    if secret.startswith("arn:"):
        call.attributes["aws.secretsmanager.secret.arn"] = secret


# ---- messages --------------------------------------------------------------------------------------------


def _messages(call: Call, operation: str, given: dict[str, Any]) -> None:
    place = given.get("QueueUrl") or given.get("TopicArn") or given.get("TargetArn")
    if place:
        call.attributes[messaging.DESTINATION_NAME] = place.replace(":", "/").rpartition("/")[2]
    service = call.state[0]
    several = _SENDING.get((service, operation))
    if several is not None:
        _send(call, operation, given, several)
    elif operation == "ReceiveMessage":
        _receive(call, operation, given)


def _send(call: Call, operation: str, given: dict[str, Any], several: str) -> None:
    """Send copies of the messages that carry the context; the program's stay as they are."""
    call.kind = PRODUCER
    if several:
        messages = [{**one} for one in given.get(several) or ()]
        call.attributes[messaging.BATCH_COUNT] = len(messages)
        sent = {**given, several: messages}
    else:
        sent = {**given}
        messages = [sent]
        if "PhoneNumber" in given:
            return  # what a short message carries is seen, and paid for
    carried = [attributes for one in messages if (attributes := _own_attributes(one)) is not None]

    def put(name: str, value: str) -> None:
        for attributes in carried:
            if name in attributes or len(attributes) < _MOST_ATTRIBUTES:
                attributes[name] = {"DataType": "String", "StringValue": value}

    call.inject = put
    call.args = (operation, sent)
    call.kwargs = {}


def _own_attributes(message: dict[str, Any]) -> dict[str, Any] | None:
    """Give a message attributes of its own; None where what it has is none, and will be refused."""
    given = message.get("MessageAttributes")
    if given is not None and not isinstance(given, dict):
        return None
    own = message["MessageAttributes"] = dict(given or {})
    return own


def _receive(call: Call, operation: str, given: dict[str, Any]) -> None:
    """Ask for the attributes that the context travels in, beside those that the program asked for."""
    asked = given.get("MessageAttributeNames") or []
    if isinstance(asked, (list, tuple)) and "All" not in asked and ".*" not in asked:
        fields = sorted(_fields(propagate.get_global_textmap()).difference(asked))
        call.args = (operation, {**given, "MessageAttributeNames": [*asked, *fields]})
        call.kwargs = {}
        call.state = ("SQS", operation, fields)


def _received(fields: list[str], parsed: dict[str, Any]) -> dict[str, Any]:
    """Link to the senders, and take out what the program didn't ask for."""
    messages = parsed.get("Messages") or []
    carriers = [
        {name: one.get("StringValue") for name, one in (message.get("MessageAttributes") or {}).items()}
        for message in messages
    ]
    span = trace.get_current_span()
    for link in messaging.links(carriers):
        span.add_link(link.context)
    for message in messages:
        attributes = message.get("MessageAttributes") or {}
        ours = [field for field in fields if attributes.pop(field, None)]
        if ours:
            message.pop("MD5OfMessageAttributes", None)  # of all of them, also of those that are gone
            if not attributes:
                del message["MessageAttributes"]
    return {messaging.BATCH_COUNT: len(messages)}


# ---- HTTP headers ----------------------------------------------------------------------------------------


class _Supported(Setter[Any]):
    """Writes the headers that AWS understands."""

    def set(self, carrier: Any, key: str, value: str) -> None:
        """Write one of them; others would be ignored, and signed all the same."""
        if key.lower() == "x-amzn-trace-id":
            carrier[key] = value


_SUPPORTED = _Supported()


@lru_cache(maxsize=4)
def _fields(propagator: Any) -> frozenset[str]:
    return frozenset(propagator.fields)


def _signed(client: Any, args: Args, kwargs: Kwargs) -> None:
    if "X-Amzn-Trace-Id" in _fields(propagate.get_global_textmap()):
        propagate.inject(args[1]["headers"], setter=_SUPPORTED)


# ---- putting it together ---------------------------------------------------------------------------------

_SPECIAL: dict[str, Callable[[Call, str, dict[str, Any]], None]] = {
    "S3": _s3,
    "DynamoDB": _dynamodb,
    "Lambda": _lambda,
    "Secrets Manager": _secrets,
    "SQS": _messages,
    "SNS": _messages,
}


def _hook(target: str, optional: bool = False) -> Hook:
    return Hook(
        target,
        CLIENT,
        _api_call,
        result=_response,
        error=_failure,
        duration=rpc.CLIENT_DURATION,
        layer=http_client.LAYER,
        optional=optional,
    )


INSTRUMENTATION = Instrumentation(
    "botocore",
    distribution="botocore",
    versions=">=1.20",
    hooks=(
        _hook("botocore.client:BaseClient._make_api_call"),
        _hook("aiobotocore.client:AioBaseClient._make_api_call", optional=True),
        Before("botocore.client:BaseClient._make_request", _signed),
        Before("aiobotocore.client:AioBaseClient._make_request", _signed, optional=True),
        Quiet("botocore.utils:IMDSFetcher._get_request"),
        Quiet("botocore.utils:IMDSFetcher._fetch_metadata_token"),
    ),
)
