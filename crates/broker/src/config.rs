// SPDX-License-Identifier: Apache-2.0
//! The settings of a broker, read from the reference's `broker.conf`.
//!
//! Every key of the reference is honoured ([`settings`]), accepted with one warning because it tunes something that is
//! not there ([`known`]), or refused because it asks for behaviour that is not there ([`refused`]). An unknown key is a
//! warning, a value of the wrong type an error. Nothing is ignored in silence.

mod known;
mod reference;
mod refused;
mod settings;
mod store;
mod surroundings;
mod value;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use thiserror::Error;
use wire::Str;
use wire::java_properties;

use crate::replication::SLAVES_MAX;
use crate::topic::QUEUES_MAX;
use known::Verdict;
pub use reference::config_reference;
use settings::Put;
pub use settings::{Config, When};
pub use surroundings::Surroundings;
pub use value::{BrokerRole, FlushDiskType, MetricsExporterType, RequestMode, Secret, SparePort};

/// Most delay levels: each is a queue and a task.
const DELAY_LEVELS_MAX: usize = 4096;

/// What stands for the value of a secret.
pub(crate) const HIDDEN: &str = "******";

/// Whether the value of a setting is shown to nobody.
pub(crate) fn is_secret(key: &str) -> bool {
    settings::is_secret(key) || known::is_secret(key)
}

/// Whether no request may change a setting, whatever `configBlackList` says.
pub(crate) fn is_fixed(key: &str) -> bool {
    let is = |setting: &settings::Setting| setting.key == key && setting.when == When::Fixed;
    settings::SETTINGS.iter().any(is) || known::is_fixed(key)
}

/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Where an assignment stands: for the messages about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file.
    Line {
        /// The name of the file.
        file: Str,
        /// From 1.
        line: usize,
    },
    /// The command line.
    CommandLine,
    /// Request 25.
    Request,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line } => write!(f, "{file}:{line}"),
            Place::CommandLine => f.write_str("command line"),
            Place::Request => f.write_str("request"),
        }
    }
}

/// Why the broker does not start with these settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file is not in the format.
    #[error("{file}: {source}")]
    Malformed {
        /// The name of the file.
        file: Str,
        /// Where, and what is wrong.
        source: java_properties::PropertiesError,
    },
    /// The value is of another type, or out of bounds.
    #[error("{place}: {key}: expected {wanted}, found \"{value}\"")]
    WrongType {
        /// Where it stands.
        place: Place,
        /// The setting.
        key: Str,
        /// What it is set to.
        value: Str,
        /// What it may be set to.
        wanted: Str,
    },
    /// It asks for something that this broker does not do.
    #[error("{place}: {key}={value} is not supported: {why}")]
    Refused {
        /// Where it stands.
        place: Place,
        /// The setting.
        key: Str,
        /// What it is set to.
        value: Str,
        /// What is missing.
        why: &'static str,
    },
    /// Two settings do not go together, or one that has no default is missing.
    #[error("{key}: {what}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        what: Str,
    },
}

/// The text of a configuration file. Java reads properties as ISO-8859-1, so a file that is not UTF-8 is that.
pub fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| e.as_bytes().iter().map(|byte| char::from(*byte)).collect())
}

/// What the operator should know about the settings, though the broker starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Settings of the reference that have no meaning here.
    NoMeaning(Vec<Str>),
    /// A key that nobody knows.
    Unknown {
        /// Where it stands.
        place: Place,
        /// The key.
        key: Str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NoMeaning(keys) => write!(f, "settings without a meaning here: {}", keys.join(", ")),
            Warning::Unknown { place, key } => write!(f, "{place}: unknown setting {key}"),
        }
    }
}

/// What became of one assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assigned {
    Done(When),
    NoMeaning,
    Unknown,
}

impl Config {
    /// Reads the text of a file over the defaults. `file` is only for messages.
    pub fn load(text: &str, file: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
        let entries = java_properties::parse(text).map_err(|source| ConfigError::Malformed {
            file: file.into(),
            source,
        })?;
        let mut config = Config::default();
        let (mut without_meaning, mut warnings) = (Vec::new(), Vec::new());
        for entry in entries {
            let place = Place::Line {
                file: file.into(),
                line: entry.line,
            };
            match config.assign(&entry.key, &entry.value, &place)? {
                Assigned::Done(_) => {}
                Assigned::NoMeaning if without_meaning.contains(&entry.key) => {}
                Assigned::NoMeaning => without_meaning.push(entry.key),
                Assigned::Unknown => warnings.push(Warning::Unknown {
                    place,
                    key: entry.key,
                }),
            }
        }
        if !without_meaning.is_empty() {
            without_meaning.sort_unstable();
            warnings.insert(0, Warning::NoMeaning(without_meaning));
        }
        Ok((config, warnings))
    }

    /// One assignment of the command line.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<Warning>, ConfigError> {
        let place = Place::CommandLine;
        Ok(match self.assign(key, value, &place)? {
            Assigned::Done(_) => None,
            Assigned::NoMeaning => Some(Warning::NoMeaning(vec![key.into()])),
            Assigned::Unknown => Some(Warning::Unknown {
                place,
                key: key.into(),
            }),
        })
    }

    /// Sets what is set, refuses what is refused.
    pub(crate) fn assign(&mut self, key: &str, value: &str, place: &Place) -> Result<Assigned, ConfigError> {
        let value = value.trim();
        let wrong = |wanted: &str| ConfigError::WrongType {
            place: place.clone(),
            key: key.into(),
            value: if is_secret(key) { HIDDEN } else { value }.into(),
            wanted: wanted.into(),
        };
        if let Some(why) = refused::why(key, value) {
            return Err(ConfigError::Refused {
                place: place.clone(),
                key: key.into(),
                value: value.into(),
                why,
            });
        }
        match self.put(key, value) {
            Put::Done(when) => match self.out_of_bounds(key) {
                Some(wanted) => Err(wrong(wanted)),
                None => Ok(Assigned::Done(when)),
            },
            Put::WrongType(wanted) => Err(wrong(wanted)),
            Put::NoSuchKey => match known::look_up(key, value) {
                None => Ok(Assigned::Unknown),
                Some(Verdict::AsIs) => Ok(Assigned::Done(When::Start)),
                Some(Verdict::NoMeaning) => Ok(Assigned::NoMeaning),
                Some(Verdict::WrongType(wanted)) => Err(wrong(wanted)),
            },
        }
    }

    /// Bounds that the type of a setting does not hold.
    fn out_of_bounds(&self, key: &str) -> Option<&'static str> {
        let percent = |value: u32| (value > 100).then_some("a percentage, 0 to 100");
        let above_zero = |value: u32| (value == 0).then_some("an integer above 0");
        match key {
            "brokerId" => (self.broker_id < 0).then_some("0 for the master, above 0 for a slave"),
            "brokerPermission" => (self.broker_permission & !6 != 0 || self.broker_permission == 0)
                .then_some("2 (write), 4 (read) or 6 (both)"),
            "diskMaxUsedSpaceRatio" => percent(self.disk_max_used_space_ratio),
            "diskSpaceCleanForciblyRatio" => percent(self.disk_space_clean_forcibly_ratio),
            "diskSpaceWarningLevelRatio" => percent(self.disk_space_warning_level_ratio),
            "accessMessageInMemoryMaxRatio" => percent(self.access_message_in_memory_max_ratio),
            "messageDelayLevel" => self
                .delay_levels_ms()
                .is_none_or(|levels| levels.is_empty() || levels.len() > DELAY_LEVELS_MAX)
                .then_some("1 to 4096 numbers with the unit s, m, h or d, joined by blanks"),
            "flushDelayOffsetInterval" => above_zero(self.flush_delay_offset_interval),
            "delayOffsetUpdateVersionStep" => {
                (self.delay_offset_update_version_step == 0).then_some("an integer above 0")
            }
            "deleteWhen" => self
                .delete_hours()
                .is_none()
                .then_some("hours of the day (0 to 23) joined by ;"),
            "mappedFileSizeCommitLog" => (self.mapped_file_size_commit_log < 4096
                || self.mapped_file_size_commit_log > i32::MAX.unsigned_abs())
            .then_some("4096 to 2147483647 bytes"),
            "mappedFileSizeConsumeQueue" => above_zero(self.mapped_file_size_consume_queue),
            "maxHashSlotNum" => above_zero(self.max_hash_slot_num),
            "timerPrecisionMs" => {
                (!(1..=60_000).contains(&self.timer_precision_ms)).then_some("1 to 60000 milliseconds")
            }
            "timerFlushIntervalMs" => above_zero(self.timer_flush_interval_ms),
            "mappedFileSizeTimerLog" => (self.mapped_file_size_timer_log < 4096
                || self.mapped_file_size_timer_log > i32::MAX.unsigned_abs())
            .then_some("4096 to 2147483647 bytes"),
            "timerCongestNumEachSlot" => above_zero(self.timer_congest_num_each_slot),
            "maxIndexNum" => above_zero(self.max_index_num),
            "maxMessageSize" => above_zero(self.max_message_size),
            "flushConsumerOffsetInterval" => above_zero(self.flush_consumer_offset_interval),
            "flushIntervalCommitLog" => above_zero(self.flush_interval_commit_log),
            "transactionCheckInterval" => {
                (self.transaction_check_interval == 0).then_some("an integer above 0")
            }
            "transactionMetricFlushInterval" => {
                (self.transaction_metric_flush_interval == 0).then_some("an integer above 0")
            }
            "dedupMessagesMax" => above_zero(self.dedup_messages_max),
            "transactionsPendingMax" => above_zero(self.transactions_pending_max),
            "cleanResourceInterval" => above_zero(self.clean_resource_interval),
            "consumerOffsetUpdateVersionStep" => {
                (self.consumer_offset_update_version_step == 0).then_some("an integer above 0")
            }
            "queuesPerTopicMax" => (!(1..=QUEUES_MAX.unsigned_abs()).contains(&self.queues_per_topic_max))
                .then_some("1 to 65536 queues"),
            "namesrvAddr" => self
                .name_servers()
                .is_none()
                .then_some("host:port, several joined by ;"),
            "bindAddress" => (self.bind_address.parse::<IpAddr>().is_err()).then_some("an IP address"),
            "brokerIP1" | "brokerIP2" => {
                let has_blank = [&self.broker_ip1, &self.broker_ip2]
                    .iter()
                    .any(|ip| ip.contains(char::is_whitespace));
                has_blank.then_some("an IP address or the name of a host")
            }
            _ => self
                .out_of_bounds_for_replicas(key)
                .or_else(|| self.out_of_bounds_for_metrics(key)),
        }
    }

    fn out_of_bounds_for_metrics(&self, key: &str) -> Option<&'static str> {
        let above_zero = |value: u64| (value == 0).then_some("an integer above 0");
        match key {
            "metricGrpcExporterTimeOutInMills" => above_zero(self.metric_grpc_exporter_time_out_in_mills),
            "metricGrpcExporterIntervalInMills" => above_zero(self.metric_grpc_exporter_interval_in_mills),
            "metricLoggingExporterIntervalInMills" => {
                above_zero(self.metric_logging_exporter_interval_in_mills)
            }
            "metricsLabel" => pairs_of(&self.metrics_label)
                .is_none_or(|pairs| !pairs.iter().all(|(name, _)| is_label(name)))
                .then_some("name:value, several joined by , with names of letters, digits and _"),
            "metricsGrpcExporterHeader" => {
                pairs_of(self.metrics_grpc_exporter_header.get().unwrap_or_default())
                    .is_none()
                    .then_some("name:value, several joined by ,")
            }
            "metricsPromExporterHost" => (!self.metrics_prom_exporter_host.is_empty()
                && self.metrics_prom_exporter_host.parse::<IpAddr>().is_err())
            .then_some("an IP address"),
            _ => None,
        }
    }

    fn out_of_bounds_for_replicas(&self, key: &str) -> Option<&'static str> {
        let above_zero = |value: u32| (value == 0).then_some("an integer above 0");
        match key {
            "haMasterAddress" => (!self.ha_master_address.is_empty()
                && !is_host_port(&self.ha_master_address))
            .then_some("host:port"),
            "haSecret" => self
                .ha_secret
                .get()
                .is_some_and(|secret| secret.len() < SECRET_BYTES_MIN)
                .then_some("at least 16 characters"),
            "slaveTimeout" => above_zero(self.slave_timeout),
            "haSendHeartbeatInterval" => above_zero(self.ha_send_heartbeat_interval),
            "haHousekeepingInterval" => above_zero(self.ha_housekeeping_interval),
            "haTransferBatchSize" => above_zero(self.ha_transfer_batch_size),
            "maxHaTransferByteInSecond" => {
                (self.max_ha_transfer_byte_in_second == 0).then_some("an integer above 0")
            }
            "haSlavesMax" => {
                (!(1..=SLAVES_MAX).contains(&(self.ha_slaves_max as usize))).then_some("1 to 64")
            }
            "inSyncReplicas" => {
                (self.in_sync_replicas as usize > SLAVES_MAX + 1).then_some("at most 65 replicas")
            }
            "totalReplicas" => (!(1..=SLAVES_MAX + 1).contains(&(self.total_replicas as usize)))
                .then_some("1 to 65 replicas"),
            "brokerHeartbeatInterval" => above_zero(self.broker_heartbeat_interval),
            "sendHeartbeatTimeoutMillis" => above_zero(self.send_heartbeat_timeout_millis),
            "brokerNotActiveTimeoutMillis" => above_zero(self.broker_not_active_timeout_millis),
            "syncBrokerMemberGroupPeriod" => above_zero(self.sync_broker_member_group_period),
            "minInSyncReplicas" => {
                (self.min_in_sync_replicas as usize > SLAVES_MAX + 1).then_some("at most 65 replicas")
            }
            _ => None,
        }
    }

    /// Whether this broker is not in service before it has found the others of its name.
    pub(crate) fn starts_apart(&self) -> bool {
        self.enable_slave_acting_master && self.total_replicas > 1 && !self.skip_pre_online
    }

    /// Where slaves find the log.
    pub(crate) fn replication_address(&self) -> Str {
        format!("{}:{}", self.broker_ip2, self.ha_listen_port).into()
    }

    /// The name servers, one by one; `None` when one of them is not `host:port`.
    pub(crate) fn name_servers(&self) -> Option<Vec<Str>> {
        let mut list = Vec::new();
        for server in self
            .namesrv_addr
            .split(';')
            .map(str::trim)
            .filter(|s| !s.is_empty())
        {
            if !is_host_port(server) {
                return None;
            }
            if !list.iter().any(|known| known == server) {
                list.push(Str::from(server));
            }
        }
        Some(list)
    }

    /// The hours in which old files are deleted.
    pub(crate) fn delete_hours(&self) -> Option<Vec<u8>> {
        let hours = self
            .delete_when
            .split(';')
            .map(str::trim)
            .filter(|h| !h.is_empty());
        hours.map(|h| h.parse().ok().filter(|hour| *hour < 24)).collect()
    }

    /// The delays by level, from level 1 on.
    pub(crate) fn delay_levels_ms(&self) -> Option<Vec<i64>> {
        let level = |text: &str| {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit_ms = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            number
                .parse::<i64>()
                .ok()
                .filter(|number| *number >= 0)?
                .checked_mul(unit_ms)
        };
        self.message_delay_level.split_whitespace().map(level).collect()
    }

    /// The directory of the JSON files about topics, groups and offsets.
    pub(crate) fn config_dir(&self) -> PathBuf {
        PathBuf::from(self.store_path_root_dir.as_str()).join("config")
    }

    /// Every setting with its value, sorted by key.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<_> = settings::SETTINGS
            .iter()
            .map(|s| (s.key, self.get(s.key).unwrap_or_default()))
            .collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

/// Pairs as `name:value,name:value`; `None` when it is something else.
pub(crate) fn pairs_of(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once(':')?;
            let is_pair = !name.is_empty() && !value.is_empty() && !value.contains(':');
            is_pair.then(|| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(crate) fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The bytes of a configuration file in the encoding that [`text_of`] found it in. What ISO-8859-1 does not have is
/// escaped.
pub(crate) fn bytes_of(text: &str, is_utf8: bool) -> Vec<u8> {
    if is_utf8 {
        return text.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(byte) => bytes.push(byte),
            Err(_) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    bytes.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
