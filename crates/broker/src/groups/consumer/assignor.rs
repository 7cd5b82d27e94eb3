//! Who is to own what.
//!
//! *Uniform*: members differ by at most one partition, and as many partitions as possible stay where
//! they are. When members want different topics, each partition goes to the one with the fewest
//! among those who want it, so the difference can be larger where nobody else may have it.
//!
//! *Range*: each member has neighbouring partitions of a topic, and the same ones of every topic
//! that the same members want, so that topics which are partitioned alike can be joined.

use std::collections::{BTreeMap, BTreeSet};

use onrush_wire::Uuid;

use super::{Partition, Partitions};

/// A way to assign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Assignor {
    #[default]
    Uniform,
    Range,
}

impl Assignor {
    const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Kafka's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// The target for `members` (with the topics that each wants), near to the `previous` one.
    pub(super) fn assign<'a, Names: Iterator<Item = &'a str>>(
        self,
        members: impl Iterator<Item = (&'a str, Names)>,
        topics: &BTreeMap<String, (Uuid, i32)>,
        previous: &BTreeMap<String, Partitions>,
    ) -> BTreeMap<String, Partitions> {
        let mut wishes: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
        for (member, names) in members {
            let ids = names.filter_map(|name| topics.get(name)).map(|(id, _)| *id);
            wishes.insert(member, ids.collect());
        }
        match self {
            Self::Uniform => uniform(&wishes, topics, previous),
            Self::Range => range(&wishes, topics),
        }
    }
}

fn nothing_for(wishes: &BTreeMap<&str, BTreeSet<Uuid>>) -> BTreeMap<String, Partitions> {
    wishes.keys().map(|member| ((*member).to_owned(), Partitions::new())).collect()
}

fn uniform(
    wishes: &BTreeMap<&str, BTreeSet<Uuid>>,
    topics: &BTreeMap<String, (Uuid, i32)>,
    previous: &BTreeMap<String, Partitions>,
) -> BTreeMap<String, Partitions> {
    let mut target = nothing_for(wishes);
    let mut free = all_partitions(topics);
    keep(wishes, &mut free, previous, &mut target);
    for partition in free {
        give_to_poorest(partition, wishes, &mut target);
    }
    level(wishes, &mut target);
    target
}

fn range(
    wishes: &BTreeMap<&str, BTreeSet<Uuid>>,
    topics: &BTreeMap<String, (Uuid, i32)>,
) -> BTreeMap<String, Partitions> {
    let mut target = nothing_for(wishes);
    for (topic, partitions) in topics.values() {
        let wants = |(_, wanted): &(&&str, &BTreeSet<Uuid>)| wanted.contains(topic);
        let members: Vec<&str> = wishes.iter().filter(wants).map(|(member, _)| *member).collect();
        let mut left = *partitions;
        let mut next = 0;
        for (index, member) in members.iter().enumerate() {
            // The first get one more where it does not come out even.
            let others = i32::try_from(members.len() - index).unwrap_or(i32::MAX);
            let share = (left + others - 1) / others;
            if let Some(owned) = target.get_mut(*member) {
                owned.extend((next..next + share).map(|partition| (*topic, partition)));
            }
            next += share;
            left -= share;
        }
    }
    target
}

fn all_partitions(topics: &BTreeMap<String, (Uuid, i32)>) -> Partitions {
    topics.values().flat_map(|(id, count)| (0..*count).map(|index| (*id, index))).collect()
}

/// Leaves partitions where they were, if they may be there.
fn keep(
    wishes: &BTreeMap<&str, BTreeSet<Uuid>>,
    free: &mut Partitions,
    previous: &BTreeMap<String, Partitions>,
    target: &mut BTreeMap<String, Partitions>,
) {
    for (member, owned) in target {
        let wanted = |partition: &&Partition| {
            wishes.get(member.as_str()).is_some_and(|topics| topics.contains(&partition.0))
        };
        let kept = previous.get(member).into_iter().flatten().filter(wanted);
        owned.extend(kept.filter(|partition| free.remove(partition)));
    }
}

fn give_to_poorest(
    partition: Partition,
    wishes: &BTreeMap<&str, BTreeSet<Uuid>>,
    target: &mut BTreeMap<String, Partitions>,
) {
    let poorest = target
        .iter_mut()
        .filter(|(member, _)| wants(wishes, member, partition))
        .min_by_key(|(_, owned)| owned.len());
    if let Some((_, owned)) = poorest {
        owned.insert(partition);
    }
}

/// Moves partitions from rich to poor members until no move makes the split more even. Each move
/// lowers the sum of the squares of what members own, so it ends.
fn level(wishes: &BTreeMap<&str, BTreeSet<Uuid>>, target: &mut BTreeMap<String, Partitions>) {
    while let Some((from, to, partition)) = next_move(wishes, target) {
        if let Some(owned) = target.get_mut(&from) {
            owned.remove(&partition);
        }
        if let Some(owned) = target.get_mut(&to) {
            owned.insert(partition);
        }
    }
}

fn next_move(
    wishes: &BTreeMap<&str, BTreeSet<Uuid>>,
    target: &BTreeMap<String, Partitions>,
) -> Option<(String, String, Partition)> {
    let mut by_wealth: Vec<(&String, &Partitions)> = target.iter().collect();
    by_wealth.sort_by_key(|(_, owned)| owned.len());
    for (from, rich) in by_wealth.iter().rev() {
        for (to, poor) in &by_wealth {
            if rich.len() < poor.len() + 2 {
                break;
            }
            // The last one, so that the members that stay keep the first ones.
            if let Some(partition) =
                rich.iter().rev().find(|partition| wants(wishes, to, **partition))
            {
                return Some(((*from).clone(), (*to).clone(), *partition));
            }
        }
    }
    None
}

fn wants(wishes: &BTreeMap<&str, BTreeSet<Uuid>>, member: &str, partition: Partition) -> bool {
    wishes.get(member).is_some_and(|topics| topics.contains(&partition.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = onrush_wire::uuid::from_bytes([1; 16]);
    const B: Uuid = onrush_wire::uuid::from_bytes([2; 16]);

    fn run(
        members: &[(&str, &[&str])],
        previous: &BTreeMap<String, Partitions>,
    ) -> BTreeMap<String, Partitions> {
        let topics = BTreeMap::from([("a".to_owned(), (A, 6)), ("b".to_owned(), (B, 1))]);
        let wishes: Vec<(&str, BTreeSet<String>)> = members
            .iter()
            .map(|(member, names)| (*member, names.iter().map(|&name| name.to_owned()).collect()))
            .collect();
        let wishes =
            wishes.iter().map(|(member, names)| (*member, names.iter().map(String::as_str)));
        Assignor::Uniform.assign(wishes, &topics, previous)
    }

    fn sizes(target: &BTreeMap<String, Partitions>) -> Vec<usize> {
        target.values().map(Partitions::len).collect()
    }

    #[test]
    fn members_differ_by_at_most_one() {
        let target =
            run(&[("x", &["a"]), ("y", &["a"]), ("z", &["a"]), ("w", &["a"])], &BTreeMap::new());
        assert_eq!(target.values().flatten().collect::<BTreeSet<_>>().len(), 6);
        assert!(sizes(&target).iter().all(|size| (1..=2).contains(size)), "{target:?}");
    }

    #[test]
    fn a_second_member_takes_only_its_share() {
        let one = run(&[("x", &["a"])], &BTreeMap::new());
        let two = run(&[("x", &["a"]), ("y", &["a"])], &one);
        assert_eq!(sizes(&two), [3, 3]);
        assert!(two["x"].is_subset(&one["x"]));
        let again = run(&[("x", &["a"]), ("y", &["a"])], &two);
        assert_eq!(again, two);
    }

    #[test]
    fn what_a_member_left_goes_to_the_others_and_the_rest_stays() {
        let before = run(&[("x", &["a"]), ("y", &["a"]), ("z", &["a"])], &BTreeMap::new());
        let after = run(&[("x", &["a"]), ("z", &["a"])], &before);
        assert_eq!(sizes(&after), [3, 3]);
        assert!(before["x"].is_subset(&after["x"]) && before["z"].is_subset(&after["z"]));
    }

    #[test]
    fn nobody_gets_a_topic_that_it_did_not_ask_for() {
        let target = run(&[("x", &["a", "b"]), ("y", &["b"])], &BTreeMap::new());
        assert_eq!(target["y"], Partitions::from([(B, 0)]));
        assert_eq!(target["x"].len(), 6);
    }

    #[test]
    fn nobody_at_all_is_no_target() {
        assert!(run(&[], &BTreeMap::new()).is_empty());
    }

    #[test]
    fn ranges_are_neighbours_and_alike_in_every_topic() {
        let topics = BTreeMap::from([("a".to_owned(), (A, 7)), ("b".to_owned(), (B, 7))]);
        let members = [("x", &["a", "b"][..]), ("y", &["a", "b"]), ("z", &["a", "b"]), ("w", &[])];
        let wishes = members.iter().map(|(member, names)| (*member, names.iter().copied()));
        let target = Assignor::Range.assign(wishes, &topics, &BTreeMap::new());
        let of = |partitions: &[i32]| -> Partitions {
            [A, B]
                .iter()
                .flat_map(|topic| partitions.iter().map(|index| (*topic, *index)))
                .collect()
        };
        assert_eq!(target["x"], of(&[0, 1, 2]));
        assert_eq!(target["y"], of(&[3, 4]));
        assert_eq!(target["z"], of(&[5, 6]));
        assert!(target["w"].is_empty());
    }
}
