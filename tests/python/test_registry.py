"""The schema registry, asked by Confluent's own client; and in a cluster, live topics decoded by it and by kcat.

Those of a cluster are run by `run-cluster`: they need MILLRACE_TEST_KAFKA (host:port), MILLRACE_TEST_REGISTRY
(http://host:port of an API process), MILLRACE_TEST_CONFIG (its millrace.toml), and mail in the topics.
"""

import json
import os
import pathlib
import shutil
import subprocess
import uuid

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from conftest import eventually

SUBJECT = "mail.dead-letter-value"
VALUE = SerializationContext("mail.dead-letter", MessageField.VALUE)
TEXT = ["null", "string"]
NUMBER = ["null", "long"]
LIVE = ["mail.reception", "mail.screened", "mailbox.changes", "mail.delivery", "directory"]

ARROYO = pathlib.Path(__file__).parents[2] / "api/tests/arroyo"

VARIABLES = ["MILLRACE_TEST_KAFKA", "MILLRACE_TEST_REGISTRY", "MILLRACE_TEST_CONFIG"]
cluster = pytest.mark.skipif(
    not all(os.environ.get(variable) for variable in VARIABLES),
    reason="needs a cluster: " + ", ".join(VARIABLES),
)


@pytest.fixture(params=["", "/schemas"])
def registry(server, request):
    host, port = server.http
    return SchemaRegistryClient({"url": f"http://{host}:{port}{request.param}"})


def writer(name):
    fields = {"stage": "string", "error": TEXT, "failed_at_us": NUMBER, "message_id": TEXT, "recipient": TEXT,
              "body": TEXT, "topic": TEXT, "partition": NUMBER, "offset": NUMBER}
    fields = [{"name": field, "type": kind} for field, kind in fields.items()]
    return json.dumps({"type": "record", "name": name, "fields": fields})


def test_subjects_versions_and_ids(registry):
    assert SUBJECT in registry.get_subjects()
    latest = registry.get_latest_version(SUBJECT)
    assert (latest.subject, latest.version, latest.schema_id) == (SUBJECT, 1, 5)
    assert json.loads(registry.get_schema(5).schema_str)["name"] == "DeadLetter"
    assert 1 in registry.get_versions(SUBJECT)
    assert registry.get_version(SUBJECT, 1).schema_id == 5
    with pytest.raises(SchemaRegistryError) as unknown:
        registry.get_latest_version("nothing-value")
    assert (unknown.value.http_status_code, unknown.value.error_code) == (404, 40401)


def test_a_writer_registers_and_what_it_writes_is_read(registry):
    name = f"Writer{uuid.uuid4().hex}"
    serialize = AvroSerializer(registry, writer(name))
    record = {"stage": "s", "error": "e", "failed_at_us": 7, "message_id": None, "recipient": None, "body": None,
              "topic": None, "partition": None, "offset": None}
    framed = serialize(record, VALUE)
    id = int.from_bytes(framed[1:5], "big")
    assert framed[0] == 0 and id >= 65536
    assert registry.register_schema(SUBJECT, Schema(writer(name), "AVRO")) == id
    found = registry.lookup_schema(SUBJECT, Schema(writer(name), "AVRO"))
    assert (found.schema_id, found.version) == (id, id)
    # A client that knows nothing yet, and reads it as what Millrace has.
    fresh = SchemaRegistryClient(registry_options(registry))
    ours = fresh.get_latest_version(SUBJECT).schema.schema_str
    assert AvroDeserializer(fresh)(framed, VALUE) == record
    assert AvroDeserializer(fresh, named(ours, name))(framed, VALUE)["error"] == "e"


def registry_options(registry):
    client = registry._rest_client
    return {"url": client.base_urls[0] if hasattr(client, "base_urls") else client.base_url}


def named(schema, name):
    """Other readers hold names against one another."""
    return json.dumps({**json.loads(schema), "name": name, "namespace": ""})


def test_what_millrace_cannot_read_is_refused(registry):
    other = Schema('{"type":"record","name":"R","fields":[{"name":"stage","type":"long"}]}', "AVRO")
    with pytest.raises(SchemaRegistryError) as refused:
        registry.register_schema(SUBJECT, other)
    assert refused.value.http_status_code == 409
    assert "field stage: it is a long, and a string is needed" in str(refused.value)
    assert not registry.test_compatibility(SUBJECT, other)
    assert registry.test_compatibility(SUBJECT, Schema(writer("Taken"), "AVRO"))


def records(topic):
    """All records of a topic, as Kafka has them."""
    consumer = Consumer({"bootstrap.servers": os.environ["MILLRACE_TEST_KAFKA"], "group.id": uuid.uuid4().hex,
                         "enable.auto.commit": False, "enable.partition.eof": True})
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        ends = 0
        while ends < len(partitions):
            message = consumer.poll(30)
            assert message is not None, "Kafka gives nothing"
            if message.error():
                ends += 1
            else:
                yield message
    finally:
        consumer.close()


@cluster
@pytest.mark.parametrize("topic", LIVE)
def test_live_topics_are_decoded(topic):
    decode = AvroDeserializer(SchemaRegistryClient({"url": os.environ["MILLRACE_TEST_REGISTRY"]}))
    context = SerializationContext(topic, MessageField.VALUE)
    assert eventually(lambda: [decode(record.value(), context) for record in records(topic)], 60)


@cluster
def test_mail_that_another_writer_appends_lands():
    """As an Arroyo sink writes it: by the schema that it posts."""
    topic = "mailbox.changes"
    registry = SchemaRegistryClient({"url": os.environ["MILLRACE_TEST_REGISTRY"]})
    context = SerializationContext(topic, MessageField.VALUE)
    decode = AvroDeserializer(registry)
    changes = lambda: [(record.key(), decode(record.value(), context)) for record in records(topic)]
    delivered = lambda: [(key, change) for key, change in changes() if change["kind"] == "delivered"]
    key, change = eventually(delivered, 60)[0]
    change["email_id"] = change["message_id"] = f"test{uuid.uuid4().hex}"
    schema = json.loads((ARROYO / f"{topic}.json").read_text())["schema"]
    value = AvroSerializer(registry, schema)(change, context)
    assert int.from_bytes(value[1:5], "big") >= 65536
    producer = Producer({"bootstrap.servers": os.environ["MILLRACE_TEST_KAFKA"]})
    producer.produce(topic, key=key, value=value)
    assert producer.flush(30) == 0
    command = [os.environ["MILLRACE_BINARY"], "--config", os.environ["MILLRACE_TEST_CONFIG"], "query", "--format", "json",
               f"SELECT email_id FROM emails WHERE email_id = '{change['email_id']}'"]
    eventually(lambda: change["email_id"] in subprocess.run(command, capture_output=True, text=True).stdout, 60)


@cluster
@pytest.mark.skipif(not shutil.which("kcat"), reason="needs kcat on PATH")
@pytest.mark.parametrize("topic", LIVE)
def test_kcat_reads_data_of_schemas_here_from_live_topics(topic):
    assert eventually(lambda: next(records(topic), None), 60)
    command = ["kcat", "-b", os.environ["MILLRACE_TEST_KAFKA"], "-C", "-e", "-q", "-t", topic, "-f", "%S:%s"]
    values = list(split(subprocess.run(command, capture_output=True, timeout=120, check=True).stdout))
    decode = AvroDeserializer(SchemaRegistryClient({"url": os.environ["MILLRACE_TEST_REGISTRY"]}))
    assert values and all(decode(value, SerializationContext(topic, MessageField.VALUE)) for value in values)


def split(output):
    """Values, each behind its length."""
    while output:
        length, _, rest = output.partition(b":")
        value, output = rest[:int(length)], rest[int(length):]
        yield value


def kcat_knows_avro():
    """Debian's does not: it is built without libserdes."""
    return shutil.which("kcat") and "Avro" in subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout


@cluster
@pytest.mark.skipif(not kcat_knows_avro(), reason="needs a kcat on PATH that is built with Avro (libserdes)")
@pytest.mark.parametrize("topic", LIVE)
def test_kcat_decodes_live_topics(topic):
    command = ["kcat", "-b", os.environ["MILLRACE_TEST_KAFKA"], "-r", os.environ["MILLRACE_TEST_REGISTRY"],
               "-s", "value=avro", "-C", "-e", "-q", "-t", topic]
    assert eventually(lambda: next(records(topic), None), 60)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines and all(lines), done.stderr
