#!/usr/bin/env python3
"""What programs on librdkafka do, against any broker: `librdkafka.py HOST:PORT [SCENARIO...]`.

Every scenario is a function `test_*`, runs alone with topics and groups of its own, and passes on Apache Kafka 4.3.
Events are awaited up to a limit, never slept for. The last line of stdout is `N passed, N failed` and the exit code 1 if
any failed. `--list` prints the scenarios.
"""

import subprocess
import sys
import threading
import time
import traceback
import uuid

import confluent_kafka
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

LIMIT = 45.0
"""Seconds that anything is waited for."""

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CLASSIC = {"group.protocol": "classic", "session.timeout.ms": 6_000, "heartbeat.interval.ms": 500}
CONSUMER = {"group.protocol": "consumer"}


class Failed(Exception):
    """A broker did not do what Kafka does."""


def check(condition, what):
    if not condition:
        raise Failed(what)


def equal(found, expected, what):
    check(found == expected, f"{what}: {found!r} instead of {expected!r}")


def until(what, probe):
    """The first true result of `probe`, which waits by itself (polls) for a moment at most."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        result = probe()
        if result:
            return result
    raise Failed(f"not within {LIMIT:.0f} s: {what}")


class Cluster:
    def __init__(self, brokers):
        self.brokers = brokers
        self.admin = AdminClient({"bootstrap.servers": brokers})

    def name(self, kind):
        return f"interop-{kind}-{uuid.uuid4().hex[:10]}"

    def topic(self, partitions=1, config=None):
        name = self.name("topic")
        self.admin.create_topics([NewTopic(name, partitions, 1, config=config or {})])[name].result(LIMIT)

        def led():
            topic = self.admin.list_topics(name, timeout=LIMIT).topics[name]
            return len(topic.partitions) == partitions and all(p.leader >= 0 for p in topic.partitions.values())

        until(f"{name} has leaders", led)
        return name

    def producer(self, **config):
        return Producer({"bootstrap.servers": self.brokers, "linger.ms": 5, **keys(config)})

    def consumer(self, group=None, **config):
        return Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": group or self.name("group"),
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **keys(config),
            }
        )

    def produce(self, topic, records, **config):
        """Sends (partition, key, value) and returns the acknowledged messages in the order of sending."""
        acknowledged, errors = [], []

        def told(error, message):
            errors.append(error) if error else acknowledged.append(message)

        producer = self.producer(**config)
        for partition, key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, partition, on_delivery=told)
                    break
                except BufferError:
                    producer.poll(0.1)
        equal(producer.flush(LIMIT), 0, "messages left after the flush")
        check(not errors, f"not acknowledged: {errors[:3]}")
        equal(len(acknowledged), len(records), "acknowledged messages")
        return acknowledged


def keys(config):
    return {key if key.endswith("_cb") else key.replace("_", "."): value for key, value in config.items()}


def read(consumer, count, what="records"):
    """The next `count` messages."""
    messages = []

    def some():
        for message in consumer.consume(count - len(messages), 0.2):
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    continue
                raise Failed(f"{what}: {message.error()}")
            messages.append(message)
        return len(messages) >= count

    until(f"{count} {what}", some)
    return messages


def nothing_more(consumer, what):
    extra = [message for message in consumer.consume(1, 1.0) if not message.error()]
    check(not extra, f"{what}: unexpected {[(m.partition(), m.offset()) for m in extra]}")


def numbered(count, partitions=1):
    return [(number % partitions, f"k{number % 17}", f"v{number}") for number in range(count)]


# Producing and reading by hand


def test_every_codec_comes_back_byte_for_byte(cluster):
    for codec in CODECS:
        topic = cluster.topic()
        records = [(0, f"key {n}".encode(), (f"value {n} " * (n % 50)).encode()) for n in range(2_000)]
        cluster.produce(topic, records, compression_type=codec, enable_idempotence=True)
        consumer = cluster.consumer(check_crcs=True)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = [(m.partition(), m.key(), m.value() or b"") for m in read(consumer, len(records), codec)]
        equal(found, records, f"records of {codec}")
        consumer.close()


def test_nulls_empties_headers_and_times_are_kept(cluster):
    topic = cluster.topic()
    producer = cluster.producer()
    headers = [("a", b"1"), ("a", b"2"), ("none", None), ("empty", b"")]
    sent = [(None, None), (b"", b""), (b"k", None), (None, b"v"), (b"\xff\x00", b"\x00\xff")]
    for number, (key, value) in enumerate(sent):
        producer.produce(topic, value, key, 0, timestamp=1_700_000_000_000 + number, headers=headers)
    equal(producer.flush(LIMIT), 0, "messages left")
    consumer = cluster.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = read(consumer, len(sent))
    equal([(m.key(), m.value()) for m in found], sent, "keys and values")
    equal([m.headers() for m in found], [headers] * len(sent), "headers")
    times = [(confluent_kafka.TIMESTAMP_CREATE_TIME, 1_700_000_000_000 + n) for n in range(len(sent))]
    equal([m.timestamp() for m in found], times, "times")
    consumer.close()


def test_every_level_of_acknowledgement(cluster):
    topic = cluster.topic()
    for acks in ["0", "1", "all"]:
        cluster.produce(topic, numbered(500), acks=acks)
    consumer = cluster.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    read(consumer, 1_500)
    consumer.close()


def test_idempotent_producers_at_once_keep_their_order(cluster):
    topic = cluster.topic(3)
    producers, count = 4, 3_000

    def run(who):
        cluster.produce(topic, [(n % 3, f"p{who}", str(n)) for n in range(count)], enable_idempotence=True, linger_ms=0)

    failures = in_threads(run, range(producers))
    check(not failures, f"producers failed: {failures}")
    consumer = cluster.consumer()
    consumer.assign([TopicPartition(topic, p, 0) for p in range(3)])
    last = {}
    for message in read(consumer, producers * count):
        place = (message.key(), message.partition())
        number = int(message.value())
        check(number > last.get(place, -1), f"{place}: {number} after {last.get(place)}")
        last[place] = number
    consumer.close()


def test_a_message_above_the_limit_is_refused_and_the_next_one_taken(cluster):
    topic = cluster.topic(config={"max.message.bytes": "10000"})
    told = []
    producer = cluster.producer()
    producer.produce(topic, b"x" * 50_000, on_delivery=lambda error, _: told.append(error))
    equal(producer.flush(LIMIT), 0, "messages left")
    equal([error and error.code() for error in told], [KafkaError.MSG_SIZE_TOO_LARGE], "the answer")
    cluster.produce(topic, numbered(10))


def test_a_topic_that_is_not_there(cluster):
    consumer = cluster.consumer(allow_auto_create_topics=False)
    consumer.subscribe([cluster.name("missing")])

    def told():
        message = consumer.poll(0.5)
        return message and message.error() and message.error().code()

    equal(until("the error", told), KafkaError.UNKNOWN_TOPIC_OR_PART, "the error")
    consumer.close()


def test_a_topic_is_made_by_its_first_record(cluster):
    topic = cluster.name("auto")
    node = str(next(iter(cluster.admin.list_topics(timeout=LIMIT).brokers)))
    if configs(cluster, ResourceType.BROKER, node)["auto.create.topics.enable"].value == "false":
        told = []
        producer = cluster.producer(message_timeout_ms=2_000, topic_metadata_propagation_max_ms=500)
        producer.produce(topic, "v", on_delivery=lambda error, _: told.append(error.code()))
        equal(producer.flush(LIMIT), 0, "messages left")
        equal(told, [KafkaError.UNKNOWN_TOPIC_OR_PART], "the answer where topics are not made by themselves")
        return
    cluster.produce(topic, [(-1, "k", "v")])
    consumer = cluster.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    equal(read(consumer, 1)[0].value(), b"v", "the record")
    consumer.close()


def test_seek_pause_watermarks_and_times(cluster):
    topic = cluster.topic()
    producer = cluster.producer()
    for number in range(1_000):
        producer.produce(topic, str(number), partition=0, timestamp=1_600_000_000_000 + number * 1_000)
    equal(producer.flush(LIMIT), 0, "messages left")
    consumer = cluster.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    equal(consumer.get_watermark_offsets(TopicPartition(topic, 0), LIMIT), (0, 1_000), "watermarks")
    times = [1_600_000_000_000 + 500_000, 1_600_000_000_000 + 500_001, 1_600_000_000_000 - 1, 1_800_000_000_000]
    found = [consumer.offsets_for_times([TopicPartition(topic, 0, at)], LIMIT)[0].offset for at in times]
    equal(found, [500, 501, 0, confluent_kafka.OFFSET_END], "offsets of times")
    equal(read(consumer, 1)[0].offset(), 0, "the first")
    consumer.seek(TopicPartition(topic, 0, 700))
    equal([m.offset() for m in read(consumer, 3)], [700, 701, 702], "after the seek")
    consumer.pause([TopicPartition(topic, 0)])
    nothing_more(consumer, "while paused")
    consumer.resume([TopicPartition(topic, 0)])
    equal(read(consumer, 1)[0].offset(), 703, "after the pause")
    consumer.close()


def test_an_offset_out_of_range_is_reset_as_told(cluster):
    topic = cluster.topic()
    cluster.produce(topic, numbered(100))
    consumer = cluster.consumer()
    consumer.assign([TopicPartition(topic, 0, 5_000)])
    equal(read(consumer, 1)[0].offset(), 0, "reset to the earliest")
    consumer.close()
    consumer = cluster.consumer(auto_offset_reset="error")
    consumer.assign([TopicPartition(topic, 0, 5_000)])

    def told():
        message = consumer.poll(0.5)
        return message and message.error() and message.error().code()

    equal(until("the error", told), KafkaError._AUTO_OFFSET_RESET, "the error")
    consumer.close()


def test_the_end_of_a_partition_is_told(cluster):
    topic = cluster.topic()
    cluster.produce(topic, numbered(10))
    consumer = cluster.consumer(enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, 0, 0)])

    def at_end():
        message = consumer.poll(0.5)
        return message and message.error() and message.error().code() == KafkaError._PARTITION_EOF and message.offset()

    equal(until("the end", at_end), 10, "the end")
    consumer.close()


# Offsets without a group's membership


def test_offsets_are_committed_and_read_without_membership(cluster):
    topic, group = cluster.topic(2), cluster.name("group")
    cluster.produce(topic, numbered(100, 2))
    consumer = cluster.consumer(group)
    consumer.assign([TopicPartition(topic, 0, 0)])
    read(consumer, 10)
    committed = consumer.commit(offsets=[TopicPartition(topic, 0, 7, "note")], asynchronous=False)
    equal([p.error for p in committed], [None], "the answer")
    found = consumer.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], LIMIT)
    equal([(p.offset, p.metadata) for p in found], [(7, "note"), (confluent_kafka.OFFSET_INVALID, None)], "committed")
    consumer.close()


# Groups of both protocols


def share(cluster, settings, leave):
    """Two members share a topic; one goes, by `leave`; the other gets all of it; nothing is lost."""
    topic, group = cluster.topic(6), cluster.name("group")
    cluster.produce(topic, numbered(6_000, 6))
    seen = set()
    first, second = (cluster.consumer(group, **settings) for _ in range(2))
    members = [first, second]
    for member in members:
        member.subscribe([topic])

    def take():
        for member in members:
            for message in member.consume(200, 0.1):
                if message.error():
                    continue
                seen.add((message.partition(), message.offset()))

    def shared():
        take()
        sizes = [len(member.assignment()) for member in members]
        return sum(sizes) == 6 and min(sizes) == 3

    until("both have three partitions", shared)
    for member in members:
        commit(member)
    leave(second)
    members.remove(second)

    def alone():
        take()
        return len(first.assignment()) == 6

    until("the one that stayed has all", alone)
    cluster.produce(topic, numbered(600, 6))

    def all_seen():
        take()
        return len(seen) == 6_600

    until("everything was seen", all_seen)
    commit(first)
    first.close()
    last = cluster.consumer(group, **settings)
    found = last.committed([TopicPartition(topic, p) for p in range(6)], LIMIT)
    equal([p.offset for p in found], [1_100] * 6, "committed")
    last.close()


def commit(consumer):
    """Commits its positions; a rebalance meanwhile is waited for."""

    def committed():
        try:
            positions = [p for p in consumer.position(consumer.assignment()) if p.offset >= 0]
            if positions:
                answers = consumer.commit(offsets=positions, asynchronous=False)
                return all(p.error is None for p in answers)
            return True
        except KafkaException as failure:
            code = failure.args[0].code()
            if code in (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.STALE_MEMBER_EPOCH, KafkaError.ILLEGAL_GENERATION):
                consumer.consume(0, 0.1)
                return False
            raise

    until("the commit", committed)


def test_classic_members_share_and_one_closes(cluster):
    share(cluster, {**CLASSIC, "partition.assignment.strategy": "range"}, lambda member: member.close())


def test_classic_round_robin(cluster):
    share(cluster, {**CLASSIC, "partition.assignment.strategy": "roundrobin"}, lambda member: member.close())


def test_classic_cooperative_members_share_and_one_closes(cluster):
    share(cluster, {**CLASSIC, "partition.assignment.strategy": "cooperative-sticky"}, lambda member: member.close())


def test_classic_members_share_and_one_unsubscribes(cluster):
    share(cluster, CLASSIC, lambda member: member.unsubscribe())


def test_consumer_protocol_members_share_and_one_closes(cluster):
    share(cluster, CONSUMER, lambda member: member.close())


def vanish(cluster, settings):
    """A member's process is killed; after its session the partitions go to the other one."""
    topic, group = cluster.topic(4), cluster.name("group")
    cluster.produce(topic, numbered(400, 4))
    child = subprocess.Popen(
        [sys.executable, __file__, cluster.brokers, "--member", topic, group, repr(settings)], stdout=subprocess.PIPE, text=True
    )
    try:
        equal(child.stdout.readline().strip(), "assigned", "the child")
        survivor = cluster.consumer(group, **settings)
        survivor.subscribe([topic])

        def some():
            survivor.consume(10, 0.2)
            return 0 < len(survivor.assignment()) < 4

        until("both are assigned", some)
        child.kill()

        def all_of_them():
            survivor.consume(10, 0.2)
            return len(survivor.assignment()) == 4

        until("the survivor has all", all_of_them)
        survivor.close()
    finally:
        child.kill()
        child.wait()


def member(cluster, topic, group, settings):
    """The process that is killed."""
    consumer = cluster.consumer(group, **settings)
    consumer.subscribe([topic])
    told = False
    while True:
        consumer.consume(10, 0.2)
        if consumer.assignment() and not told:
            told = True
            print("assigned", flush=True)


def test_a_killed_classic_member_is_replaced(cluster):
    vanish(cluster, CLASSIC)


def test_a_killed_consumer_protocol_member_is_replaced(cluster):
    # The session time-out of this protocol is the group's.
    alter(cluster, ResourceType.GROUP, None, {})
    vanish(cluster, CONSUMER)


def test_a_static_member_comes_back_without_a_rebalance(cluster):
    topic, group = cluster.topic(4), cluster.name("group")
    rebalances = []
    settings = {**CLASSIC, "session.timeout.ms": 30_000}
    other = cluster.consumer(group, **settings, group_instance_id="other")
    other.subscribe([topic], on_assign=lambda _, parts: rebalances.append(len(parts)))
    mine = cluster.consumer(group, **settings, group_instance_id="mine")
    mine.subscribe([topic])

    def shared():
        other.consume(1, 0.1)
        mine.consume(1, 0.1)
        return len(other.assignment()) == 2 and len(mine.assignment()) == 2

    until("both share", shared)
    before, held = len(rebalances), sorted(p.partition for p in mine.assignment())
    mine.close()
    mine = cluster.consumer(group, **settings, group_instance_id="mine")
    mine.subscribe([topic])

    def back():
        other.consume(1, 0.1)
        mine.consume(1, 0.1)
        return len(mine.assignment()) == 2

    until("it is back", back)
    equal(sorted(p.partition for p in mine.assignment()), held, "its partitions")
    equal(len(rebalances), before, "rebalances of the other")
    mine.close()
    other.close()


def test_a_second_process_of_a_static_member_fences_the_first(cluster):
    topic, group = cluster.topic(2), cluster.name("group")
    errors = []
    settings = {**CLASSIC, "error_cb": lambda error: errors.append(error.code())}
    first = cluster.consumer(group, **settings, group_instance_id="one")
    first.subscribe([topic])
    until("assigned", lambda: first.consume(1, 0.2) is not None and first.assignment())
    second = cluster.consumer(group, **CLASSIC, group_instance_id="one")
    second.subscribe([topic])

    def fenced():
        second.consume(1, 0.1)
        for message in first.consume(1, 0.1):
            if message.error():
                errors.append(message.error().code())
        return KafkaError._FENCED in errors or KafkaError._FATAL in errors or KafkaError.FENCED_INSTANCE_ID in errors

    until("the first is fenced", fenced)
    until("the second has all", lambda: second.consume(1, 0.2) is not None and len(second.assignment()) == 2)
    second.close()
    first.close()


def test_a_pattern_takes_in_a_topic_that_comes_later(cluster):
    for settings in [CLASSIC, CONSUMER]:
        prefix = cluster.name("pattern")
        config = {**settings, "topic.metadata.refresh.interval.ms": 500}
        consumer = cluster.consumer(**config)
        cluster.produce(make(cluster, f"{prefix}-a", 1), numbered(10))
        consumer.subscribe([f"^{prefix}-.*"])
        equal({m.topic() for m in read(consumer, 10)}, {f"{prefix}-a"}, "the first topic")
        commit(consumer)
        cluster.produce(make(cluster, f"{prefix}-b", 1), numbered(10))
        equal({m.topic() for m in read(consumer, 10)}, {f"{prefix}-b"}, "the second topic")
        consumer.close()


def make(cluster, name, partitions):
    cluster.admin.create_topics([NewTopic(name, partitions, 1)])[name].result(LIMIT)
    return name


def test_a_rebalance_waits_for_work_and_commits(cluster):
    topic, group = cluster.topic(2), cluster.name("group")
    cluster.produce(topic, numbered(2_000, 2))
    handed_over = []

    def revoked(consumer, partitions):
        positions = [p for p in consumer.position(partitions) if p.offset >= 0]
        if positions:
            consumer.commit(offsets=positions, asynchronous=False)
        handed_over.extend(positions)

    first = cluster.consumer(group, **CLASSIC)
    first.subscribe([topic], on_revoke=revoked)
    seen = [(m.partition(), m.offset()) for m in read(first, 500)]
    second = cluster.consumer(group, **CLASSIC)
    second.subscribe([topic])

    def all_once():
        for consumer in (first, second):
            seen.extend((m.partition(), m.offset()) for m in consumer.consume(100, 0.1) if not m.error())
        return len(seen) >= 2_000

    until("everything", all_once)
    check(handed_over, "nothing was committed on the hand-over")
    equal(len(set(seen)), len(seen), "records seen twice")
    first.close()
    second.close()


def test_a_group_keeps_its_protocol_while_it_has_members(cluster):
    topic, group = cluster.topic(), cluster.name("group")
    classic = cluster.consumer(group, **CLASSIC)
    classic.subscribe([topic])
    until("assigned", lambda: classic.consume(1, 0.2) is not None and classic.assignment())
    classic.close()
    consumer = cluster.consumer(group, **CONSUMER)
    consumer.subscribe([topic])
    until("assigned by the other protocol", lambda: consumer.consume(1, 0.2) is not None and consumer.assignment())
    consumer.close()


# Admin calls


def alter(cluster, kind, name, values):
    if name is None:
        return
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    cluster.admin.incremental_alter_configs([resource])[resource].result(LIMIT)


def configs(cluster, kind, name):
    resource = ConfigResource(kind, name)
    return cluster.admin.describe_configs([resource])[resource].result(LIMIT)


def test_admin_topics(cluster):
    name = cluster.topic(2, {"retention.ms": "3600000"})
    described = cluster.admin.describe_topics(TopicCollection([name]))[name].result(LIMIT)
    equal((described.name, len(described.partitions)), (name, 2), "the topic")
    cluster.admin.create_partitions([NewPartitions(name, 5)])[name].result(LIMIT)
    until("five partitions", lambda: len(cluster.admin.list_topics(name, LIMIT).topics[name].partitions) == 5)
    found = code(cluster.admin.create_topics([NewTopic(name, 1, 1)])[name])
    equal(found, KafkaError.TOPIC_ALREADY_EXISTS, "created twice")
    found = code(cluster.admin.create_partitions([NewPartitions(name, 3)])[name])
    equal(found, KafkaError.INVALID_PARTITIONS, "fewer partitions")
    other = cluster.name("topic")
    cluster.admin.create_topics([NewTopic(other, 1, 1)], validate_only=True)[other].result(LIMIT)
    check(other not in cluster.admin.list_topics(timeout=LIMIT).topics, "validated only, and there")
    cluster.admin.delete_topics([name])[name].result(LIMIT)
    until("it is gone", lambda: name not in cluster.admin.list_topics(timeout=LIMIT).topics)
    equal(code(cluster.admin.delete_topics([name])[name]), KafkaError.UNKNOWN_TOPIC_OR_PART, "deleted twice")


def code(future):
    try:
        future.result(LIMIT)
        return KafkaError.NO_ERROR
    except KafkaException as failure:
        return failure.args[0].code()


def test_admin_configs(cluster):
    name = cluster.topic(1, {"retention.ms": "3600000"})
    found = configs(cluster, ResourceType.TOPIC, name)
    equal((found["retention.ms"].value, found["retention.ms"].is_default), ("3600000", False), "set at creation")
    check(found["segment.bytes"].is_default, "a default is told as one")
    alter(cluster, ResourceType.TOPIC, name, {"segment.bytes": "2097152", "retention.bytes": "10485760"})
    until("altered", lambda: configs(cluster, ResourceType.TOPIC, name)["segment.bytes"].value == "2097152")
    equal(configs(cluster, ResourceType.TOPIC, name)["retention.ms"].value, "3600000", "what was not altered")
    delete = ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[delete])
    cluster.admin.incremental_alter_configs([resource])[resource].result(LIMIT)
    until("back to the default", lambda: configs(cluster, ResourceType.TOPIC, name)["retention.ms"].is_default)
    wrong = ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[wrong])
    equal(code(cluster.admin.incremental_alter_configs([resource])[resource]), KafkaError.INVALID_CONFIG, "not a number")
    node = str(next(iter(cluster.admin.list_topics(timeout=LIMIT).brokers)))
    broker = configs(cluster, ResourceType.BROKER, node)
    for setting in ["num.partitions", "message.max.bytes", "log.retention.ms", "auto.create.topics.enable"]:
        check(setting in broker, f"{setting} is not told")


def test_admin_records_and_offsets(cluster):
    topic = cluster.topic()
    producer = cluster.producer()
    for number in range(1_000):
        producer.produce(topic, str(number), partition=0, timestamp=1_600_000_000_000 + number)
    equal(producer.flush(LIMIT), 0, "messages left")
    place = TopicPartition(topic, 0)

    def offset(spec):
        answer = cluster.admin.list_offsets({place: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        return answer[place].result(LIMIT).offset

    equal(offset(OffsetSpec.earliest()), 0, "earliest")
    equal(offset(OffsetSpec.latest()), 1_000, "latest")
    equal(offset(OffsetSpec.for_timestamp(1_600_000_000_400)), 400, "by time")
    equal(offset(OffsetSpec.max_timestamp()), 999, "of the latest time")
    deleted = cluster.admin.delete_records([TopicPartition(topic, 0, 300)])
    equal(next(iter(deleted.values())).result(LIMIT).low_watermark, 300, "the new start")
    equal(offset(OffsetSpec.earliest()), 300, "earliest after deletion")
    consumer = cluster.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    equal(read(consumer, 1)[0].offset(), 300, "the first that is left")
    consumer.close()


def test_admin_cluster(cluster):
    described = cluster.admin.describe_cluster().result(LIMIT)
    check(described.cluster_id and described.controller and described.nodes, "id, controller and nodes are told")


def test_admin_groups(cluster):
    for settings, kind in [(CLASSIC, ConsumerGroupType.CLASSIC), (CONSUMER, ConsumerGroupType.CONSUMER)]:
        topic, group = cluster.topic(2), cluster.name("group")
        cluster.produce(topic, numbered(200, 2))
        consumer = cluster.consumer(group, **settings, client_id="someone")
        consumer.subscribe([topic])
        read(consumer, 200)
        commit(consumer)
        stable = cluster.admin.list_consumer_groups(states={ConsumerGroupState.STABLE}, request_timeout=LIMIT).result(LIMIT)
        check(group in [g.group_id for g in stable.valid], f"{group} is not listed as stable")
        typed = cluster.admin.list_consumer_groups(types={kind}, request_timeout=LIMIT).result(LIMIT)
        check(group in [g.group_id for g in typed.valid], f"{group} is not listed as {kind}")
        described = cluster.admin.describe_consumer_groups([group])[group].result(LIMIT)
        equal((described.state, described.type), (ConsumerGroupState.STABLE, kind), "state and type")
        equal([m.client_id for m in described.members], ["someone"], "members")
        held = sorted(p.partition for p in described.members[0].assignment.topic_partitions)
        equal(held, [0, 1], "what the member holds")
        equal(code(cluster.admin.delete_consumer_groups([group])[group]), KafkaError.NON_EMPTY_GROUP, "deleted in use")
        consumer.close()

        def empty():
            return cluster.admin.describe_consumer_groups([group])[group].result(LIMIT).state == ConsumerGroupState.EMPTY

        until("the group is empty", empty)
        offsets = offsets_of(cluster, group)
        equal(offsets, {(topic, 0): 100, (topic, 1): 100}, "offsets")
        moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 42)])
        cluster.admin.alter_consumer_group_offsets([moved])[group].result(LIMIT)
        equal(offsets_of(cluster, group)[(topic, 0)], 42, "the altered offset")
        cluster.admin.delete_consumer_groups([group])[group].result(LIMIT)
        listed = cluster.admin.list_consumer_groups(request_timeout=LIMIT).result(LIMIT)
        check(group not in [g.group_id for g in listed.valid], "deleted, and listed")


def offsets_of(cluster, group):
    answer = cluster.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(LIMIT)
    return {(p.topic, p.partition): p.offset for p in answer.topic_partitions}


# The runner


def in_threads(run, arguments):
    failures = []

    def guarded(argument):
        try:
            run(argument)
        except Exception as failure:  # noqa: BLE001: told by the caller
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def scenarios():
    return {name.removeprefix("test_"): run for name, run in globals().items() if name.startswith("test_")}


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(scenarios()))
        return 0
    cluster = Cluster(arguments[0])
    if arguments[1:2] == ["--member"]:
        topic, group, settings = arguments[2:]
        member(cluster, topic, group, eval(settings))  # noqa: S307: written by vanish()
        return 0
    wanted = arguments[1:] or list(scenarios())
    failed = 0
    for name in wanted:
        start = time.monotonic()
        try:
            scenarios()[name](cluster)
            print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception as failure:  # noqa: BLE001: every failure is a result
            failed += 1
            print(f"FAILED  {name} ({time.monotonic() - start:.1f} s): {failure}", flush=True)
            if not isinstance(failure, Failed):
                traceback.print_exc()
    version, library = confluent_kafka.version(), confluent_kafka.libversion()[0]
    print(f"confluent-kafka {version}, librdkafka {library}")
    print(f"{len(wanted) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
