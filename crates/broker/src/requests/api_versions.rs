//! What is served, and in which versions: this table is what clients are told, and what is checked
//! before dispatch.

use onrush_wire::message::api_versions::response::ApiVersion;
use onrush_wire::message::api_versions::{Request, Response};
use onrush_wire::{ApiKey, VersionRange};

const SERVED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::PRODUCE, 3, 13),
    (ApiKey::FETCH, 4, 18),
    (ApiKey::LIST_OFFSETS, 1, 11),
    (ApiKey::METADATA, 0, 13),
    (ApiKey::OFFSET_COMMIT, 2, 10),
    (ApiKey::OFFSET_FETCH, 1, 10),
    (ApiKey::FIND_COORDINATOR, 0, 6),
    (ApiKey::JOIN_GROUP, 0, 9),
    (ApiKey::HEARTBEAT, 0, 4),
    (ApiKey::LEAVE_GROUP, 0, 5),
    (ApiKey::SYNC_GROUP, 0, 5),
    (ApiKey::DESCRIBE_GROUPS, 0, 6),
    (ApiKey::LIST_GROUPS, 0, 5),
    (ApiKey::DELETE_GROUPS, 0, 2),
    (ApiKey::OFFSET_DELETE, 0, 0),
    (ApiKey::CONSUMER_GROUP_DESCRIBE, 0, 1),
    (ApiKey::API_VERSIONS, 0, 4),
    (ApiKey::CREATE_TOPICS, 2, 7),
    (ApiKey::DELETE_TOPICS, 1, 6),
    (ApiKey::DELETE_RECORDS, 0, 2),
    (ApiKey::INIT_PRODUCER_ID, 0, 5),
    (ApiKey::OFFSET_FOR_LEADER_EPOCH, 2, 4),
    (ApiKey::DESCRIBE_CONFIGS, 1, 4),
    (ApiKey::ALTER_CONFIGS, 0, 2),
    (ApiKey::DESCRIBE_LOG_DIRS, 1, 5),
    (ApiKey::CREATE_PARTITIONS, 0, 3),
    (ApiKey::INCREMENTAL_ALTER_CONFIGS, 0, 1),
    (ApiKey::DESCRIBE_CLUSTER, 0, 2),
    (ApiKey::LIST_CONFIG_RESOURCES, 0, 1),
    (ApiKey::DESCRIBE_TOPIC_PARTITIONS, 0, 0),
    (ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, 1),
];

/// The versions of an API that are served; `None` if it is not.
pub(crate) fn served(api: ApiKey) -> Option<VersionRange> {
    let entry = SERVED.iter().find(|(key, _, _)| *key == api);
    entry.map(|(_, min, max)| VersionRange::new(*min, *max))
}

pub(crate) fn api_versions(_: Request) -> Response {
    let entry = |&(key, min, max): &(ApiKey, i16, i16)| ApiVersion {
        api_key: key.0,
        min_version: min,
        max_version: max,
        ..ApiVersion::default()
    };
    Response { api_keys: SERVED.iter().map(entry).collect(), ..Response::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_can_be_decoded() {
        for (api, min, max) in SERVED {
            let known = api.versions().expect("in the table");
            assert!(known.contains(*min) && known.contains(*max), "{api}");
        }
        assert_eq!(served(ApiKey::END_TXN), None);
    }
}
