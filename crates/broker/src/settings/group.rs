//! What can be set on a consumer group.

use std::time::Duration;

use super::value::short_millis;
use super::{Overrides, Setting, SettingError, set_all, setting};
use crate::BrokerConfig;

/// The settings of a consumer group (KIP-848) that are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupSettings {
    /// A member that was silent for so long is out.
    pub(crate) session_timeout: Duration,
    /// How often members are told to report.
    pub(crate) heartbeat_interval: Duration,
}

impl GroupSettings {
    /// What is in force for a group on which nothing is set.
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        Self {
            session_timeout: config.session_timeout,
            heartbeat_interval: config.heartbeat_interval,
        }
    }

    /// What is in force for a group with these settings of its own.
    pub(crate) fn with(config: &BrokerConfig, overrides: &Overrides) -> Self {
        let mut settings = Self::of(config);
        set_all(GROUP, &mut settings, overrides);
        settings
    }

    /// Checks what is set on a group against what the broker allows.
    pub(crate) fn check(&self, config: &BrokerConfig) -> Result<(), SettingError> {
        let within = |name, value: Duration, own: Duration, min: Duration, max: Duration| {
            let allowed = min.min(own)..=max.max(own);
            if allowed.contains(&value) {
                return Ok(());
            }
            let (min, max) = (allowed.start().as_millis(), allowed.end().as_millis());
            let reason = format!("the broker allows {min} to {max}");
            Err(SettingError::Invalid { name, value: value.as_millis().to_string(), reason })
        };
        within(
            "consumer.session.timeout.ms",
            self.session_timeout,
            config.session_timeout,
            config.group_consumer_min_session_timeout,
            config.group_consumer_max_session_timeout,
        )?;
        within(
            "consumer.heartbeat.interval.ms",
            self.heartbeat_interval,
            config.heartbeat_interval,
            config.group_consumer_min_heartbeat_interval,
            config.group_consumer_max_heartbeat_interval,
        )?;
        if self.heartbeat_interval < self.session_timeout {
            return Ok(());
        }
        let name = "consumer.heartbeat.interval.ms";
        let value = self.heartbeat_interval.as_millis().to_string();
        let reason = "must be below consumer.session.timeout.ms".to_owned();
        Err(SettingError::Invalid { name, value, reason })
    }
}

/// The settings of groups.
pub(crate) const GROUP: &[Setting<GroupSettings>] = &[
    setting!(alterable "consumer.heartbeat.interval.ms", short_millis(1), heartbeat_interval,
        ["group.consumer.heartbeat.interval.ms"], "How often members are told to report."),
    setting!(alterable "consumer.session.timeout.ms", short_millis(1), session_timeout,
        ["group.consumer.session.timeout.ms"], "A member that was silent for so long is out of the group."),
];
