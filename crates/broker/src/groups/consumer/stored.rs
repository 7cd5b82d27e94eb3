//! A member as bytes, with its target.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_runtime::Instant;
use onrush_wire::uuid;

use super::member::{Member, State};
use super::{Assignor, Client, Partitions};
use crate::journal::{put_string, take_string};

pub(super) fn encode(member: &Member, target: &Partitions) -> Bytes {
    let mut buffer = BytesMut::new();
    buffer.put_u8(u8::from(member.instance.is_some()));
    put_string(&mut buffer, member.instance.as_deref().unwrap_or_default());
    buffer.put_i32(member.epoch);
    buffer.put_i32(member.previous_epoch);
    buffer.put_u8(match member.state {
        State::Stable => 0,
        State::Revoking => 1,
        State::Waiting => 2,
    });
    buffer.put_u64(u64::try_from(member.rebalance_timeout.as_millis()).unwrap_or(u64::MAX));
    buffer.put_u32(member.topics.len() as u32);
    member.topics.iter().for_each(|topic| put_string(&mut buffer, topic));
    for partitions in [&member.assigned, &member.revoking, target] {
        buffer.put_u32(partitions.len() as u32);
        for (topic, partition) in partitions {
            buffer.put_slice(&topic.to_bytes());
            buffer.put_i32(*partition);
        }
    }
    put_string(&mut buffer, &member.client.id);
    put_string(&mut buffer, &member.client.host);
    put_string(&mut buffer, member.pattern.as_deref().unwrap_or_default());
    put_string(&mut buffer, member.assignor.map_or("", Assignor::name));
    buffer.freeze()
}

/// A member that was last heard of `now`.
pub(super) fn decode(
    now: Instant,
    session_timeout: Duration,
    mut bytes: Bytes,
) -> Result<(Member, Partitions), String> {
    let has_instance = bytes.try_get_u8().map_err(cut_off)? == 1;
    let instance = take_string(&mut bytes)?;
    let epoch = bytes.try_get_i32().map_err(cut_off)?;
    let previous_epoch = bytes.try_get_i32().map_err(cut_off)?;
    let state = match bytes.try_get_u8().map_err(cut_off)? {
        0 => State::Stable,
        1 => State::Revoking,
        2 => State::Waiting,
        state => return Err(format!("a member in the unknown state {state}")),
    };
    let rebalance_timeout = Duration::from_millis(bytes.try_get_u64().map_err(cut_off)?);
    let topics = bytes.try_get_u32().map_err(cut_off)?;
    let topics =
        (0..topics).map(|_| take_string(&mut bytes)).collect::<Result<BTreeSet<_>, _>>()?;
    let assigned = take_partitions(&mut bytes)?;
    let revoking = take_partitions(&mut bytes)?;
    let target = take_partitions(&mut bytes)?;
    let (client, pattern, assignor) = match bytes.is_empty() {
        // Written before there were these.
        true => (Client::default(), String::new(), String::new()),
        false => {
            let client = Client { id: take_string(&mut bytes)?, host: take_string(&mut bytes)? };
            (client, take_string(&mut bytes)?, take_string(&mut bytes)?)
        }
    };
    let member = Member {
        instance: has_instance.then_some(instance),
        client,
        epoch,
        previous_epoch,
        state,
        rebalance_timeout,
        topics,
        pattern: Some(pattern).filter(|pattern| !pattern.is_empty()),
        assignor: Assignor::named(&assignor),
        assigned,
        session_deadline: now + session_timeout,
        release_deadline: (!revoking.is_empty()).then(|| now + rebalance_timeout),
        revoking,
    };
    Ok((member, target))
}

fn take_partitions(bytes: &mut Bytes) -> Result<Partitions, String> {
    let count = bytes.try_get_u32().map_err(cut_off)?;
    let mut partitions = Partitions::new();
    for _ in 0..count {
        let mut topic = [0; 16];
        bytes.try_copy_to_slice(&mut topic).map_err(cut_off)?;
        partitions.insert((uuid::from_bytes(topic), bytes.try_get_i32().map_err(cut_off)?));
    }
    Ok(partitions)
}

fn cut_off(error: bytes::TryGetError) -> String {
    error.to_string()
}
