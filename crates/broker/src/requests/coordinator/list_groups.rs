//! ListGroups.

use std::collections::BTreeSet;
use std::sync::Arc;

use onrush_runtime::Instant;
use onrush_wire::KafkaString;
use onrush_wire::message::list_groups::response::ListedGroup;
use onrush_wire::message::list_groups::{Request, Response};

use crate::core::{Core, string};
use crate::groups::classic::{CONSUMER, State};
use crate::groups::{Group, Kind};

impl Core {
    pub(crate) fn list_groups(&mut self, now: Instant, request: Request) -> Response {
        let mut ids: BTreeSet<Arc<str>> = self.groups.keys().cloned().collect();
        ids.extend(self.offsets.ids().cloned());
        let mut groups = Vec::new();
        for id in ids {
            self.expire_members(now, &id);
            let Some(listed) = self.listed(&id) else { continue };
            let passes = |filter: &[KafkaString], value: &KafkaString| {
                let matches =
                    |name: &KafkaString| name.as_str().eq_ignore_ascii_case(value.as_str());
                filter.is_empty() || filter.iter().any(matches)
            };
            if passes(&request.states_filter, &listed.group_state)
                && passes(&request.types_filter, &listed.group_type)
            {
                groups.push(listed);
            }
        }
        Response { groups, ..Response::default() }
    }

    fn listed(&self, id: &str) -> Option<ListedGroup> {
        let (kind, protocol_type, state) = match self.groups.get(id) {
            Some(Group::Consumer(group)) => (Kind::Consumer, CONSUMER, group.state().name()),
            Some(Group::Classic(group)) => {
                (Kind::Classic, group.protocol_type(), group.state().name())
            }
            // Only offsets, of somebody who assigns partitions to itself.
            None if self.offsets.knows(id) => (Kind::Classic, "", State::Empty.name()),
            None => return None,
        };
        Some(ListedGroup {
            group_id: string(id),
            protocol_type: string(protocol_type),
            group_state: string(state),
            group_type: string(kind.name()),
            ..ListedGroup::default()
        })
    }
}
