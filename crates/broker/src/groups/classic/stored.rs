//! A group as bytes: one entry per member, and one under an empty id, which no member has, for the
//! group itself.
//!
//! Only a stable or an empty generation is stored. Who was about to agree on the next one when the
//! broker stopped is told that it does not exist, and joins again.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_runtime::Instant;

use super::{ClassicGroup, Member, Protocol, State};
use crate::groups::Client;
use crate::journal::{put_string, take_string};
use crate::members::Stored;

/// The id of the entry of the group; only classic groups have it.
pub(crate) const GROUP_ENTRY: &str = "";

impl ClassicGroup {
    /// The group, to be stored.
    pub(crate) fn stored(&self) -> Stored {
        let mut stored = Stored::from([(GROUP_ENTRY.to_owned(), self.encode())]);
        let members = self.members.iter().map(|(id, member)| (id.clone(), encode_member(member)));
        stored.extend(members);
        stored
    }

    /// A group as it was stored; its members were last heard of `now`. `epoch` is the last
    /// generation that is known of; members of one before must join again.
    pub(crate) fn restored(now: Instant, epoch: i32, stored: &Stored) -> Result<Self, String> {
        let mut group = Self::new(epoch);
        let Some(bytes) = stored.get(GROUP_ENTRY) else { return Ok(group) };
        group.decode(bytes.clone())?;
        if group.generation < epoch {
            group = Self { protocol_type: group.protocol_type, ..Self::new(epoch) };
            return Ok(group);
        }
        for (id, bytes) in stored.iter().filter(|(id, _)| *id != GROUP_ENTRY) {
            let member = decode_member(now, bytes.clone())?;
            if let Some(instance) = &member.instance {
                group.instances.insert(instance.clone(), id.clone());
            }
            group.members.insert(id.clone(), member);
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        Ok(group)
    }

    fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        buffer.put_i32(self.generation);
        for field in [&self.protocol_type, &self.protocol, &self.leader] {
            put_optional(&mut buffer, field.as_deref());
        }
        buffer.freeze()
    }

    fn decode(&mut self, mut bytes: Bytes) -> Result<(), String> {
        self.generation = bytes.try_get_i32().map_err(cut_off)?;
        self.protocol_type = take_optional(&mut bytes)?;
        self.protocol = take_optional(&mut bytes)?;
        self.leader = take_optional(&mut bytes)?;
        Ok(())
    }
}

fn encode_member(member: &Member) -> Bytes {
    let mut buffer = BytesMut::new();
    put_optional(&mut buffer, member.instance.as_deref());
    put_string(&mut buffer, &member.client.id);
    put_string(&mut buffer, &member.client.host);
    for timeout in [member.session_timeout, member.rebalance_timeout] {
        buffer.put_u64(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    }
    put_bytes(&mut buffer, &member.assignment);
    buffer.put_u32(member.protocols.len() as u32);
    for protocol in &member.protocols {
        put_string(&mut buffer, &protocol.name);
        put_bytes(&mut buffer, &protocol.metadata);
    }
    buffer.freeze()
}

fn decode_member(now: Instant, mut bytes: Bytes) -> Result<Member, String> {
    let instance = take_optional(&mut bytes)?;
    let client = Client { id: take_string(&mut bytes)?, host: take_string(&mut bytes)? };
    let session_timeout = Duration::from_millis(bytes.try_get_u64().map_err(cut_off)?);
    let rebalance_timeout = Duration::from_millis(bytes.try_get_u64().map_err(cut_off)?);
    let assignment = take_bytes(&mut bytes)?;
    let count = bytes.try_get_u32().map_err(cut_off)?;
    let protocol =
        |_| Ok(Protocol { name: take_string(&mut bytes)?, metadata: take_bytes(&mut bytes)? });
    let protocols = (0..count).map(protocol).collect::<Result<Vec<_>, String>>()?;
    Ok(Member {
        instance,
        client,
        session_timeout,
        rebalance_timeout,
        protocols,
        assignment,
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
        knows_its_id: true,
        session_deadline: now + session_timeout,
    })
}

fn put_optional(buffer: &mut BytesMut, text: Option<&str>) {
    buffer.put_u8(u8::from(text.is_some()));
    put_string(buffer, text.unwrap_or_default());
}

fn take_optional(bytes: &mut Bytes) -> Result<Option<String>, String> {
    let is_some = bytes.try_get_u8().map_err(cut_off)? == 1;
    Ok(Some(take_string(bytes)?).filter(|_| is_some))
}

fn put_bytes(buffer: &mut BytesMut, bytes: &[u8]) {
    buffer.put_u32(bytes.len() as u32);
    buffer.put_slice(bytes);
}

/// A copy: a slice would keep the whole entry in memory.
fn take_bytes(bytes: &mut Bytes) -> Result<Bytes, String> {
    let length = bytes.try_get_u32().map_err(cut_off)? as usize;
    if bytes.remaining() < length {
        return Err(format!("{length} bytes are announced and {} are left", bytes.remaining()));
    }
    Ok(Bytes::copy_from_slice(&bytes.split_to(length)))
}

fn cut_off(error: bytes::TryGetError) -> String {
    error.to_string()
}
