//! The keys of JSON output: scripts rely on them, so that a change of this list is a change of an interface.

use serde_json::Value;

use crate::target::on_every_cluster;

/// The keys of an object, in alphabetical order, with those of the first element of each array in it.
fn keys(value: &Value) -> String {
    let key = |(key, value): (&String, &Value)| match value {
        Value::Array(elements) => match elements.first() {
            Some(element @ Value::Object(_)) => format!("{key}[{}]", keys(element)),
            _ => format!("{key}[]"),
        },
        _ => key.clone(),
    };
    let object = value.as_object().expect("an object");
    object.iter().map(key).collect::<Vec<_>>().join(" ")
}

#[test]
fn json_has_the_keys_that_scripts_rely_on() {
    on_every_cluster(|target| {
        let name = target.name.as_str();
        let first = |arguments: &[&str]| keys(&target.run(arguments).ok().objects()[0]);
        let cases: [(&[&str], &str); 10] = [
            (
                &["topic", "create", name, "-p", "1", "--json"],
                "created id partitions replicas topic",
            ),
            (&["topic", "list", "--json"], "id internal partitions replicas topic"),
            (
                &["topic", "describe", name, "--json"],
                "configs[default name read_only sensitive source value] id internal \
                 partitions[end in_sync[] leader leader_epoch partition replicas[] start] topic",
            ),
            (
                &["topic", "alter", name, "-p", "2", "--dry-run", "--json"],
                "applied changes[new now setting unset] topic",
            ),
            (
                &["topic", "trim", name, "--before", "latest", "--dry-run", "--json"],
                "applied end new partition start topic",
            ),
            (
                &["group", "reset", name, "--to", "earliest", "--topic", name, "--yes", "--json"],
                "applied group partitions[changes current end new partition start topic wanted]",
            ),
            (
                &["group", "describe", name, "--json"],
                "assignor coordinator done_above epoch group kind lag members[] \
                 partitions[committed done_above end lag member partition start topic] protocol_type state",
            ),
            (&["group", "list", "--json"], "coordinator group kind protocol_type state"),
            (
                &["group", "delete", name, "--yes", "--json"],
                "deleted group kind members offsets[committed partition topic] state",
            ),
            (&["topic", "delete", name, "--yes", "--json"], "deleted offsets partitions topic"),
        ];
        for (arguments, expected) in cases {
            assert_eq!(first(arguments), expected, "{arguments:?}");
        }
    });
}
