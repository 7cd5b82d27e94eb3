#!/usr/bin/env python3
"""The canaries of recheck.py: every fault that it must find, in journals made here. Run: python3 data/recheck_test.py"""

import contextlib
import io
import json
import pathlib
import struct
import tempfile
import unittest

import recheck

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
PARTITIONS = 2
EVENTS = 60


def csv_text():
    """Twelve flights of four aircraft and without one, two cancelled."""
    lines = [HEADER]
    for number in range(12):
        tail = ["N1", "N2", "N3", "N4", "NA"][number % 5]
        delay = "NA" if number in (3, 7) else str(number * 7 - 20)
        carrier = ["UA", "DL"][number % 2]
        origin = ["EWR", "JFK", "LGA"][number % 3]
        lines.append(
            f"2013,1,1,1,1,{delay},1,1,1,{carrier},{100 + number},{tail},{origin},IAH,1,{900 + number},1,{number},2013-01-01T10:00:00Z"
        )
    return "\n".join(lines) + "\n"


class Run:
    """A run's folder: journals and results that can be damaged before they are checked."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "journal").mkdir()
        self.csv = self.folder / "flights.csv"
        self.csv.write_text(csv_text())
        self.flights = recheck.load_flights(self.csv)
        self.plan = recheck.replay(self.flights, EVENTS, PARTITIONS)
        pairs = [(carrier, origin) for carrier in ("DL", "UA") for origin in ("EWR", "JFK", "LGA")]
        series = {pair: index for index, pair in enumerate(pairs)}
        prefixes = [recheck.check_prefix(flight) for flight in self.flights]
        self.deaths = []
        # By partition: a list of assignments, each its entries and where its predecessor stood.
        self.chains = [
            [[recheck.expected_entries(self.flights, numbers, series, prefixes), 0]] for numbers in self.plan
        ]

    def hand_over(self, partition, stood):
        entries = self.chains[partition][0][0]
        self.chains[partition] = [[entries[:stood], 0], [entries[stood:], stood]]

    def kill(self, partition, stood, committed, completed=()):
        """The owner is killed after `stood` entries; the next one begins again at what is committed."""
        entries = self.chains[partition][0][0]
        done = {number for first, last in completed for number in range(first, last + 1)}
        again = [entry for number, entry in enumerate(entries[:stood]) if number >= committed and number not in done]
        self.chains[partition] = [[entries[:stood], 0], [again + entries[stood:], stood]]
        left = {"partition": partition, "assignment": 0, "entries": stood, "committed": committed, "completed": list(completed)}
        self.deaths.append({"left": [left]})

    def key_numbers(self, partition):
        """The numbers of the events of one key."""
        tails = [self.flights[index].tail for index, _ in self.plan[partition]]
        tail = max(set(tails) - {None}, key=tails.count)
        return [number for number, other in enumerate(tails) if other == tail]

    def write(self):
        for partition, chain in enumerate(self.chains):
            for assignment, (entries, stood) in enumerate(chain):
                page = bytearray(4096)
                predecessor = assignment - 1 if assignment else 0xFFFFFFFF
                page[:8] = b"ONRJRNL1"
                struct.pack_into("<iIiIQqQI", page, 8, partition, assignment, 1, predecessor, stood, 0, 1 << 20, 0)
                struct.pack_into("<Q", page, 64, len(entries))
                path = self.folder / "journal" / f"p{partition}-a{assignment}.journal"
                path.write_bytes(bytes(page) + struct.pack(f"<{len(entries)}Q", *entries))

        if self.deaths:
            text = "".join(json.dumps(death) + "\n" for death in self.deaths)
            (self.folder / "kills.jsonl").write_text(text)

    def found(self):
        self.write()
        journals = recheck.read_journals(self.folder / "journal")
        return recheck.prove(self.flights, self.plan, journals, *recheck.read_deaths(self.folder))

    def write_results(self, results):
        results = {"events": EVENTS, "partitions": PARTITIONS, "topic": "t", "group": "g", **results}
        (self.folder / "results.json").write_text(json.dumps(results))

    def exit_code(self):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return recheck.main(["--results", str(self.folder), "--flights", str(self.csv)])


class Canaries(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run_ = Run(folder.name)
        self.entries = self.run_.chains[0][0][0]
        self.key = self.run_.key_numbers(0)

    def check(self, **expected):
        found = self.run_.found()
        self.assertEqual({name: found[name] for name in recheck.COUNTS if found[name]}, expected)
        return found

    def test_a_perfect_run(self):
        found = self.check()
        self.assertTrue(found["matches_direct"])
        self.assertEqual(sum(row["flights"] for row in found["table"]), EVENTS)
        self.assertEqual(sum(row["cancelled"] for row in found["table"]), 10)

    def test_a_hand_over_is_no_fault(self):
        self.run_.hand_over(0, 5)
        self.assertEqual(self.check()["assignments"], 3)

    def test_lost(self):
        self.entries.pop(3)
        self.assertFalse(self.check(lost=1)["matches_direct"])

    def test_reserved_and_not_written(self):
        self.entries[3] = 0
        self.check(lost=1)

    def test_repeated(self):
        self.entries.insert(3, self.entries[3])
        self.check(repeated=1, unexplained=1)

    def test_reordered(self):
        one, two = self.key[:2]
        self.entries[one], self.entries[two] = self.entries[two], self.entries[one]
        self.assertTrue(self.check(reordered=1)["matches_direct"])

    def test_reordered_by_a_hand_over(self):
        self.run_.hand_over(0, self.key[1])
        self.run_.chains[0][1][0].pop(0)
        self.check(lost=1, reordered=1)

    def test_reordered_by_filling_in_later(self):
        self.run_.hand_over(0, self.key[1] + 1)
        skipped = self.run_.chains[0][0][0].pop(self.key[0])
        self.run_.chains[0][1][0].insert(0, skipped)
        self.run_.chains[0][1][1] -= 1
        self.check(reordered=1)

    def test_a_kill_excuses_what_was_not_committed(self):
        self.run_.kill(0, 9, 4, [(6, 7)])
        found = self.check(repeated=3, repeat_bound=3)
        self.assertTrue(found["matches_direct"])
        self.assertEqual((found["kills"], found["assignments"]), (1, 3))

    def test_a_kill_excuses_nothing_else(self):
        self.run_.kill(0, 9, 4)
        self.run_.chains[0][1][0].insert(0, self.entries[3])
        self.check(repeated=6, repeat_bound=5, unexplained=1)

    def test_a_victim_that_went_on(self):
        self.run_.kill(0, 9, 4)
        self.run_.deaths[0]["left"][0]["entries"] = 8
        self.check(repeated=5, repeat_bound=5, corrupt=1)

    def test_a_victim_without_a_journal(self):
        self.run_.kill(0, 9, 9)
        self.run_.deaths[0]["left"][0]["assignment"] = 5
        self.check(corrupt=1)

    def test_a_kill_does_not_excuse_a_loss(self):
        self.run_.kill(0, 9, 4)
        self.run_.chains[0][1][0].pop()
        self.assertFalse(self.check(repeated=5, repeat_bound=5, lost=1)["matches_direct"])

    def test_overlap(self):
        self.run_.hand_over(0, 5)
        self.run_.chains[0][1][1] = 3
        self.check(overlaps=2)

    def test_corrupt(self):
        self.entries[3] ^= 1 << 55
        self.assertTrue(self.check(corrupt=1)["matches_direct"])

    def test_an_event_that_was_never_sent(self):
        self.entries.append(10_000)
        self.check(corrupt=1)

    def test_exit_codes(self):
        self.assertEqual(self.run_.exit_code(), recheck.CANNOT_COMPUTE)
        self.run_.write_results(self.run_.found())
        self.assertEqual(self.run_.exit_code(), recheck.AGREES)
        self.run_.write_results({**self.run_.found(), "lost": 1})
        self.assertEqual(self.run_.exit_code(), recheck.DISAGREES)
        self.entries.pop(3)
        self.run_.write_results(self.run_.found())
        self.assertEqual(self.run_.exit_code(), recheck.RUN_WAS_WRONG)


class Pieces(unittest.TestCase):
    def test_murmur2_is_that_of_the_java_client(self):
        for key, value in ((b"21", -973_932_308), (b"foobar", -790_332_482), (b"a-little-bit-long-string", -985_981_536)):
            self.assertEqual(recheck.murmur2(key), value & 0xFFFFFFFF)

    def test_decode_reads_a_table(self):
        # The layout is ours to choose: vtable of nine fields, then the table, then the texts.
        texts = [b"UA", b"EWR", b"IAH"]
        vtable = struct.pack("<11H", 22, 36, 4, 12, 20, 24, 28, 0, 32, 34, 0)
        body, strings = b"", b""
        for index, text in enumerate(texts):
            body += struct.pack("<I", 16 - 4 * index + len(strings))
            strings += struct.pack("<I", len(text)) + text + b"\0"
        table = struct.pack("<iQq", len(vtable), 7, 1_357_035_300) + body + struct.pack("<HH", 1545, 1400)
        value = struct.pack("<I", 4 + len(vtable)) + vtable + table + strings
        flight = recheck.Flight(1_357_035_300, "UA", "EWR", "IAH", None, 1545, 1400, None)
        self.assertEqual(recheck.decode(value), (7, flight))


if __name__ == "__main__":
    unittest.main()
