"""Calls of AWS: by botocore's own stand-in, by moto's model of the services, and over a real socket."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError
from botocore.stub import Stubber
from opentelemetry import propagate
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import Observe
from .http_origin import free_port, serve

if importlib.util.find_spec("moto"):
    import moto  # its stand-ins are part of the sessions that are made afterwards

SESSION = botocore.session.Session()


def client(name: str, **given: Any) -> Any:
    """Make a client that asks nobody for credentials."""
    return SESSION.create_client(
        name, region_name="eu-west-1", aws_access_key_id="id", aws_secret_access_key="key", **given
    )


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Model the services in this process."""
    pytest.importorskip("moto", reason="moto is not installed: pip install 'moto[dynamodb,s3,sns,sqs]'")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    with moto.mock_aws():
        yield


def sent_to(asked: Any, operation: str, answer: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Answer in place of AWS; gives the parameters of each call as they were before they were written down."""
    sent: list[dict[str, Any]] = []
    service = asked.meta.service_model.service_id.hyphenize()

    def take(params: dict[str, Any], **_: Any) -> None:
        sent.append(json.loads(json.dumps(params, default=str)))

    def reply(**_: Any) -> Any:
        return AWSResponse("", 200, {}, None), {"ResponseMetadata": {"HTTPStatusCode": 200}, **(answer or {})}

    asked.meta.events.register(f"before-parameter-build.{service}.{operation}", take)
    asked.meta.events.register(f"before-call.{service}.{operation}", reply)
    return sent


# ---- any call ----------------------------------------------------------------------------------------------


def test_a_call_is_a_client_span_named_by_service_and_operation(observed: Observe) -> None:
    """All that is known before the call, and what the answer tells."""
    s3 = client("s3")
    meta = {"RequestId": "id-1", "HostId": "id-2", "HTTPStatusCode": 200, "RetryAttempts": 2}
    sent_to(s3, "GetObject", {"ResponseMetadata": meta})
    with observed("botocore") as seen:
        s3.get_object(Bucket="bucket", Key="key")
        (point,) = seen.metrics()["rpc.client.call.duration"]
    span = seen.span
    assert (span.name, span.kind, span.status.status_code) == ("S3.GetObject", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "rpc.system.name": "aws-api",
        "rpc.method": "S3/GetObject",
        "cloud.region": "eu-west-1",
        "server.address": "s3.eu-west-1.amazonaws.com",
        "server.port": 443,
        "aws.s3.bucket": "bucket",
        "aws.s3.key": "key",
        "aws.request_id": "id-1",
        "aws.extended_request_id": "id-2",
        "http.response.status_code": 200,
        "http.request.resend_count": 2,
    }
    assert point.attributes["rpc.method"] == "S3/GetObject"


def test_an_error_of_aws_is_told_by_its_code(observed: Observe) -> None:
    """Most of them are of one class of exception."""
    s3 = client("s3")
    with observed("botocore") as seen, Stubber(s3) as stub:
        stub.add_client_error("get_object", "NoSuchKey", "no such key", 404)
        with pytest.raises(ClientError):
            s3.get_object(Bucket="bucket", Key="key")
    span = seen.span
    assert span.attributes["error.type"] == span.attributes["rpc.response.status_code"] == "NoSuchKey"
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code is StatusCode.ERROR


def test_what_botocore_refuses_is_an_error_too(observed: Observe) -> None:
    """However often: what is wrong with the program must not switch us off."""
    wrong = {
        "s3": ("delete_objects", {"Bucket": "bucket", "Delete": 42}),
        "sqs": ("send_message", {"QueueUrl": 42, "MessageAttributes": 42}),
        "sns": ("publish_batch", {"PublishBatchRequestEntries": [42]}),
        "dynamodb": ("create_table", {"TableName": 42, "ProvisionedThroughput": 42}),
        "lambda": ("invoke", {"FunctionName": 42}),
        "secretsmanager": ("get_secret_value", {"SecretId": 42}),
    }
    with observed("botocore") as seen:
        for service, (operation, parameters) in wrong.items():
            with pytest.raises(BotoCoreError):
                getattr(client(service), operation)(**parameters)
        assert len(seen.spans) == len(wrong)
        assert seen.handle is not None
        assert seen.handle.live._failures == {}
    assert {span.status.status_code for span in seen.spans} == {StatusCode.ERROR}


def test_the_client_beneath_is_left_alone(observed: Observe) -> None:
    """One span for the call, whatever carries it; retries are inside; AWS ignores headers that it doesn't know."""
    with serve() as origin, observed("botocore", "urllib3", "http_client") as seen:
        s3 = client("s3", endpoint_url=origin.url, config=Config(retries={"max_attempts": 0}))
        s3.head_bucket(Bucket="status")
    assert [span.name for span in seen.spans] == ["S3.HeadBucket"]
    assert seen.span.attributes["server.port"] == origin.port
    assert origin.headers("traceparent") == []


def test_a_refused_connection_is_told_by_its_class(observed: Observe) -> None:
    """There was no answer to tell of."""
    with observed("botocore") as seen:
        s3 = client("s3", endpoint_url=f"http://127.0.0.1:{free_port()}", config=Config(retries={"max_attempts": 0}))
        with pytest.raises(EndpointConnectionError):
            s3.head_bucket(Bucket="bucket")
    assert seen.span.attributes["error.type"] == "botocore.exceptions.EndpointConnectionError"


def test_a_header_that_aws_knows_is_added_before_signing(observed: Observe) -> None:
    """Where its propagator is configured: what is added later breaks the signature."""
    from opentelemetry.propagators.aws import AwsXRayPropagator

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(AwsXRayPropagator())
    try:
        with serve() as origin, observed("botocore") as seen:
            client("s3", endpoint_url=origin.url).head_bucket(Bucket="status")
    finally:
        propagate.set_global_textmap(before)
    (header,) = origin.headers("x-amzn-trace-id")
    assert f"{seen.span.get_span_context().span_id:016x}" in header
    (signature,) = origin.headers("authorization")
    assert "x-amzn-trace-id" not in signature  # one of the headers that botocore never signs, as proxies change it


def test_excluded_endpoints_make_nothing(observed: Observe) -> None:
    """No span and no measurement."""
    s3 = client("s3")
    sent_to(s3, "GetObject")
    with observed("botocore", excluded_urls=("amazonaws",)) as seen:
        s3.get_object(Bucket="bucket", Key="key")
        assert seen.spans == []
        assert "rpc.client.call.duration" not in seen.metrics()


# ---- services ----------------------------------------------------------------------------------------------


def test_s3_tells_what_is_copied_and_deleted(observed: Observe) -> None:
    """Names of objects, never what is in them."""
    s3 = client("s3")
    sent_to(s3, "*")
    with observed("botocore") as seen:
        s3.copy_object(Bucket="b", Key="k", CopySource={"Bucket": "from", "Key": "there"})
        s3.upload_part(Bucket="b", Key="k", PartNumber=3, UploadId="u", Body=b"s3cr3t")
        s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "x"}, {"Key": "y"}], "Quiet": True})
    copied, uploaded, deleted = (span.attributes for span in seen.spans)
    assert copied["aws.s3.copy_source"] == "from/there"
    assert (uploaded["aws.s3.part_number"], uploaded["aws.s3.upload_id"]) == (3, "u")
    assert deleted["aws.s3.delete"] == "Objects=[{Key=x},{Key=y}],Quiet=true"
    assert "s3cr3t" not in repr([dict(span.attributes) for span in seen.spans])


def test_dynamodb_tells_of_tables_and_counts(aws: None, observed: Observe) -> None:
    """The items themselves stay at home."""
    db = client("dynamodb")
    with observed("botocore") as seen:
        db.create_table(
            TableName="T",
            KeySchema=[{"AttributeName": "a", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "a", "AttributeType": "S"}],
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 2},
        )
        db.put_item(TableName="T", Item={"a": {"S": "s3cr3t"}}, ReturnConsumedCapacity="TOTAL")
        db.scan(TableName="T", Limit=3)
        db.batch_get_item(RequestItems={"T": {"Keys": [{"a": {"S": "s3cr3t"}}]}})
    created, put, scanned, several = (span.attributes for span in seen.spans)
    assert {span.attributes["db.system.name"] for span in seen.spans} == {"aws.dynamodb"}
    assert {span.attributes["aws.dynamodb.table_names"] for span in seen.spans} == {("T",)}
    assert created["aws.dynamodb.provisioned_write_capacity"] == 2.0
    assert json.loads(put["aws.dynamodb.consumed_capacity"][0])["TableName"] == "T"
    assert (scanned["aws.dynamodb.limit"], scanned["aws.dynamodb.count"]) == (3, 1)
    assert several["db.collection.name"] == "T"
    assert "s3cr3t" not in repr([dict(span.attributes) for span in seen.spans])


def test_other_services_tell_what_they_were_asked_for(observed: Observe) -> None:
    """Functions, secrets and streams by their names."""
    asked = {
        "lambda": ("invoke", {"FunctionName": "arn:aws:lambda:eu-west-1:1:function:f"}, "faas.invoked_name", "f"),
        "secretsmanager": (
            "get_secret_value",
            {"SecretId": "arn:aws:secretsmanager:eu-west-1:1:secret:x"},
            "aws.secretsmanager.secret.arn",
            "arn:aws:secretsmanager:eu-west-1:1:secret:x",
        ),
        "kinesis": ("describe_stream", {"StreamName": "s"}, "aws.kinesis.stream_name", "s"),
    }
    with observed("botocore") as seen:
        for service, (operation, parameters, attribute, value) in asked.items():
            made = client(service)
            sent_to(made, "*")
            getattr(made, operation)(**parameters)
            assert seen.spans[-1].attributes[attribute] == value


# ---- messages ----------------------------------------------------------------------------------------------


def test_a_message_carries_the_context_to_its_receiver(aws: None, observed: Observe) -> None:
    """The receiver links to the senders, and sees only the attributes that it asked for."""
    sqs = client("sqs")
    queue = sqs.create_queue(QueueName="orders")["QueueUrl"]
    mine = {"mine": {"DataType": "String", "StringValue": "m"}}
    entry = {"Id": "1", "MessageBody": "two", "MessageAttributes": mine}
    with observed("botocore") as seen:
        sqs.send_message(QueueUrl=queue, MessageBody="one")
        sqs.send_message_batch(QueueUrl=queue, Entries=[entry])
        received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["mine"])
    sent, batch, got = seen.spans
    assert (sent.kind, batch.kind, got.kind) == (SpanKind.PRODUCER, SpanKind.PRODUCER, SpanKind.CLIENT)
    assert sent.attributes["messaging.system"] == "aws_sqs"
    assert sent.attributes["messaging.destination.name"] == "orders"
    assert sent.attributes["messaging.operation.type"] == "send"
    assert sent.attributes["messaging.message.id"] == received["Messages"][0]["MessageId"]
    assert batch.attributes["messaging.batch.message_count"] == 1
    assert got.attributes["messaging.batch.message_count"] == 2
    linked = {link.context.span_id for link in got.links}
    assert linked == {sent.get_span_context().span_id, batch.get_span_context().span_id}
    one, two = received["Messages"]
    assert "MessageAttributes" not in one
    assert set(two["MessageAttributes"]) == {"mine"}
    assert entry == {"Id": "1", "MessageBody": "two", "MessageAttributes": mine}
    assert set(mine) == {"mine"}


def test_who_asks_for_all_attributes_gets_them(aws: None, observed: Observe) -> None:
    """The context among them: it can be extracted by whoever processes the message."""
    sqs = client("sqs")
    queue = sqs.create_queue(QueueName="all")["QueueUrl"]
    with observed("botocore") as seen:
        sqs.send_message(QueueUrl=queue, MessageBody="one")
        (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    span_id = seen.spans[0].get_span_context().span_id
    assert f"{span_id:016x}" in message["MessageAttributes"]["traceparent"]["StringValue"]
    assert len(seen.spans[1].links) == 1


def test_a_full_message_is_sent_without_the_context(observed: Observe) -> None:
    """AWS refuses the eleventh attribute."""
    sqs = client("sqs")
    sent = sent_to(sqs, "SendMessage")
    full = {f"a{at}": {"DataType": "String", "StringValue": "1"} for at in range(10)}
    with observed("botocore"):
        sqs.send_message(QueueUrl="https://sqs/1/q", MessageBody="x", MessageAttributes=full)
    assert set(sent[0]["MessageAttributes"]) == set(full)


def test_a_topic_is_told_of_and_a_short_message_is_left_as_it_is(observed: Observe) -> None:
    """What a short message carries is seen, and paid for."""
    sns = client("sns")
    sent = sent_to(sns, "*", {"MessageId": "m-1"})
    with observed("botocore") as seen:
        sns.publish(TopicArn="arn:aws:sns:eu-west-1:1:topic", Message="x")
        sns.publish(PhoneNumber="+4912345", Message="x")
    assert seen.spans[0].attributes["messaging.destination.name"] == "topic"
    assert seen.spans[0].attributes["aws.sns.topic.arn"] == "arn:aws:sns:eu-west-1:1:topic"
    assert seen.spans[0].attributes["messaging.message.id"] == "m-1"
    assert "traceparent" in sent[0]["MessageAttributes"]
    assert "MessageAttributes" not in sent[1]
    assert "+4912345" not in repr(dict(seen.spans[1].attributes))
