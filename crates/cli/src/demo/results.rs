//! What a run of the demo came to: `results.json`, the last line of `--json`, and the text for people.
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::proof::Proof;

/// The file that `--keep DIR` leaves, and that `data/recheck.py` compares with its own computation.
pub(crate) const RESULTS_FILE: &str = "results.json";

/// The folder of the journals below `--keep DIR`.
pub(crate) const JOURNAL_FOLDER: &str = "journal";

/// One line of the result table: the flights of one carrier from one origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// IATA code of the carrier.
    pub(crate) carrier: String,
    /// IATA code of the origin.
    pub(crate) origin: String,
    /// All of them.
    pub(crate) flights: u64,
    /// Those that did not leave.
    pub(crate) cancelled: u64,
    /// Mean delay of those that left, in hundredths of a minute, rounded down.
    pub(crate) mean_hundredths: Option<i64>,
    /// Minutes of delay that 99 of 100 of those that left did not exceed (nearest rank).
    pub(crate) p99: Option<i16>,
}

/// All that is written about a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Events that were sent.
    pub(crate) events: u64,
    /// Partitions of the topic.
    pub(crate) partitions: i32,
    /// The topic, new per run.
    pub(crate) topic: String,
    /// The consumer group, new per run.
    pub(crate) group: String,
    /// Events that no handler call marked.
    pub(crate) lost: u64,
    /// Handler calls beyond the first of an event.
    pub(crate) repeated: u64,
    /// Member processes that were killed.
    pub(crate) kills: u64,
    /// Events that victims marked after their last acknowledged commit: as many may be repeated.
    pub(crate) repeat_bound: u64,
    /// Repeats of other events than those.
    pub(crate) unexplained: u64,
    /// Handler calls out of their key's order.
    pub(crate) reordered: u64,
    /// Handler calls at an old owner after the new one had started.
    pub(crate) overlaps: u64,
    /// Entries that are not what the event must decode to.
    pub(crate) corrupt: u64,
    /// Times that a partition was assigned to a member.
    pub(crate) assignments: u64,
    /// The table from the journals is the table from the CSV.
    pub(crate) matches_direct: bool,
    /// Rates and costs, named with their unit.
    #[serde(flatten)]
    pub(crate) figures: serde_json::Map<String, serde_json::Value>,
    /// The result, from the journals.
    pub(crate) table: Vec<Row>,
}

impl Results {
    /// The results of a run whose proof has been computed; figures are added by the caller.
    pub(crate) fn new(topic: &str, group: &str, proof: &Proof) -> Self {
        Self {
            events: proof.events,
            partitions: proof.partitions,
            topic: topic.to_owned(),
            group: group.to_owned(),
            lost: proof.lost,
            repeated: proof.repeated,
            kills: proof.kills,
            repeat_bound: proof.repeat_bound,
            unexplained: proof.unexplained,
            reordered: proof.reordered,
            overlaps: proof.overlaps,
            corrupt: proof.corrupt,
            assignments: proof.assignments,
            matches_direct: proof.matches_direct,
            figures: serde_json::Map::new(),
            table: proof.table.clone(),
        }
    }

    /// The table, for people.
    pub(crate) fn table_text(&self) -> String {
        let mut text = String::from("carrier  origin  flights  cancelled  mean delay  p99 delay\n");
        for row in &self.table {
            let mean = row.mean_hundredths.map_or_else(|| "-".to_owned(), hundredths);
            let p99 = row.p99.map_or_else(|| "-".to_owned(), |minutes| minutes.to_string());
            let _ = writeln!(
                text,
                "{:<7}  {:<6}  {:>7}  {:>9}  {mean:>10}  {p99:>9}",
                row.carrier, row.origin, row.flights, row.cancelled
            );
        }
        text
    }

    /// The proof, for people.
    pub(crate) fn proof_text(&self) -> String {
        let kills = match self.kills {
            0 => String::new(),
            kills => format!(
                "         {kills} members killed, with {} events marked and not committed: repeated {} of these, {} of others\n",
                self.repeat_bound,
                self.repeated - self.unexplained,
                self.unexplained,
            ),
        };
        format!(
            "proof    {} events, {} assignments of {} partitions, from the journals and the CSV alone\n\
             \x20        lost {}  repeated {}  reordered {}  overlaps {}  corrupt {}\n\
             {kills}\
             \x20        the table {} the one computed directly\n",
            self.events,
            self.assignments,
            self.partitions,
            self.lost,
            self.repeated,
            self.reordered,
            self.overlaps,
            self.corrupt,
            if self.matches_direct { "equals" } else { "DIFFERS FROM" },
        )
    }
}

/// Hundredths as a decimal number.
fn hundredths(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    format!("{sign}{}.{:02}", value / 100, value % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        Results {
            events: 3,
            partitions: 6,
            topic: "flights-1".into(),
            group: "demo-1".into(),
            lost: 0,
            repeated: 0,
            kills: 0,
            repeat_bound: 0,
            unexplained: 0,
            reordered: 0,
            overlaps: 0,
            corrupt: 0,
            assignments: 6,
            matches_direct: true,
            figures: serde_json::Map::new(),
            table: vec![
                Row {
                    carrier: "UA".into(),
                    origin: "EWR".into(),
                    flights: 2,
                    cancelled: 1,
                    mean_hundredths: Some(-5),
                    p99: Some(120),
                },
                Row {
                    carrier: "YV".into(),
                    origin: "LGA".into(),
                    flights: 1,
                    cancelled: 1,
                    mean_hundredths: None,
                    p99: None,
                },
            ],
        }
    }

    #[test]
    fn the_table_for_people() {
        let expected = "\
carrier  origin  flights  cancelled  mean delay  p99 delay
UA       EWR           2          1       -0.05        120
YV       LGA           1          1           -          -
";
        assert_eq!(results().table_text(), expected);
    }

    #[test]
    fn the_names_in_the_file_are_fixed() {
        let mut results = results();
        results.table.truncate(1);
        results.figures.insert("events_per_second".into(), 1_000.into());
        let text = serde_json::to_string(&results).expect("plain data");
        assert_eq!(
            text,
            "{\"events\":3,\"partitions\":6,\"topic\":\"flights-1\",\"group\":\"demo-1\",\"lost\":0,\
             \"repeated\":0,\"kills\":0,\"repeat_bound\":0,\"unexplained\":0,\"reordered\":0,\"overlaps\":0,\"corrupt\":0,\"assignments\":6,\
             \"matches_direct\":true,\"events_per_second\":1000,\"table\":[{\"carrier\":\"UA\",\
             \"origin\":\"EWR\",\"flights\":2,\"cancelled\":1,\"mean_hundredths\":-5,\"p99\":120}]}"
        );
        let back: Results = serde_json::from_str(&text).expect("own text");
        assert_eq!(back, results);
    }

    #[test]
    fn hundredths_keep_their_sign() {
        for (value, text) in
            [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (1234, "12.34"), (-1234, "-12.34")]
        {
            assert_eq!(hundredths(value), text);
        }
    }
}
