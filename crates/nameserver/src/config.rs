// SPDX-License-Identifier: Apache-2.0
//! The settings of a name server, under the reference's property names and with its defaults.
//!
//! Every known key is one of three: *honoured*; *ignored*, tuning that has no meaning here: another value than the
//! default is a warning; or *fixed*, it would promise behaviour that we lack: another value is refused. An unknown key
//! is a warning.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;

use thiserror::Error;
use wire::java_properties;

/// A line of the settings was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{file}:{line}: {key} is {value:?}, expected {expected}")]
pub struct ConfigError {
    pub file: String,
    pub line: usize,
    pub key: String,
    pub value: String,
    pub expected: String,
}

/// A line of the settings was accepted, but does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub line: usize,
    pub key: String,
    pub reason: &'static str,
}

/// Keys that are ignored, with their defaults: threads, queues and buffers of the reference.
const IGNORED: [(&str, &str); 20] = [
    ("clientRequestThreadPoolNums", "8"),
    ("clientRequestThreadPoolQueueCapacity", "50000"),
    ("defaultThreadPoolNums", "16"),
    ("defaultThreadPoolQueueCapacity", "10000"),
    ("productEnvName", "center"),
    ("rocketmqHome", ""),
    ("serverAsyncSemaphoreValue", "64"),
    ("serverCallbackExecutorThreads", "0"),
    ("serverNettyWorkerGroupEnable", "true"),
    ("serverOnewaySemaphoreValue", "256"),
    ("serverPooledByteBufAllocatorEnable", "true"),
    ("serverSelectorThreads", "3"),
    ("serverSocketBacklog", "1024"),
    ("serverSocketRcvBufSize", "0"),
    ("serverSocketSndBufSize", "0"),
    ("serverWorkerThreads", "8"),
    // Unregistrations take effect before they are answered: none waits.
    ("unRegisterBrokerQueueCapacity", "3000"),
    ("useEpollNativeSelector", "false"),
    ("writeBufferHighWaterMark", "0"),
    ("writeBufferLowWaterMark", "0"),
];

/// Keys that may only say what they say by default: we ask no other environment and run no controller in this process.
const FIXED: [(&str, &str); 2] = [("clusterTest", "false"), ("enableControllerInNamesrv", "false")];

/// A type that a property may have.
trait Value: Sized {
    const EXPECTED: &'static str;
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! parsed {
    ($($type:ty: $expected:literal;)+) => {$(
        impl Value for $type {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )+};
}
parsed! {
    u16: "a port between 0 and 65535";
    i32: "a whole number";
    u64: "a whole number of 0 or more";
    NonZeroU64: "a whole number above 0";
    String: "text";
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";
    fn parse(text: &str) -> Option<bool> {
        text.to_ascii_lowercase().parse().ok()
    }
}

impl Value for net::Levels {
    const EXPECTED: &'static str = net::Levels::WANTED;
    fn parse(text: &str) -> Option<net::Levels> {
        net::Levels::read(text)
    }
}

macro_rules! honoured {
    ($($(#[doc = $doc:literal])+ $field:ident $key:literal: $type:ty = $default:expr;)+) => {
        /// The settings.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $field: $type,)+
            /// The keys that are ignored or fixed, as they were set.
            idle: BTreeMap<&'static str, String>,
        }

        /// Key, what a value looks like, meaning.
        const HONOURED: &[(&str, &str, &str)] =
            &[$(($key, <$type as Value>::EXPECTED, concat!($($doc),+))),+];

        impl Config {
            fn defaults() -> Config {
                let idle = IGNORED.into_iter().chain(FIXED);
                Config { $($field: $default,)+ idle: idle.map(|(key, value)| (key, value.to_owned())).collect() }
            }

            /// Sets a key that is honoured. `None`: it is none of those. `Some(Some(expected))`: the type is wrong.
            fn set(&mut self, key: &str, text: &str) -> Option<Option<&'static str>> {
                match key {
                    $($key => {
                        let value = <$type as Value>::parse(text);
                        let wrong = value.is_none().then_some(<$type as Value>::EXPECTED);
                        self.$field = value.unwrap_or_else(|| self.$field.clone());
                        Some(wrong)
                    })+
                    _ => None,
                }
            }

            fn entries(&self) -> BTreeMap<&'static str, String> {
                let mut entries = self.idle.clone();
                entries.extend([$(($key, self.$field.to_string()),)+]);
                entries
            }
        }
    };
}

honoured! {
    /// The address to listen on.
    bind_address "bindAddress": String = "0.0.0.0".into();
    /// The port to listen on.
    listen_port "listenPort": u16 = 9876;
    /// A connection without traffic is closed after so many seconds.
    server_channel_max_idle_time_seconds "serverChannelMaxIdleTimeSeconds": NonZeroU64 = nonzero(120);
    /// Keys that code 318 may not change, separated by `;`.
    config_black_list "configBlackList": String = "configBlackList;configStorePath;kvConfigPath".into();
    /// Where code 318 writes the settings.
    config_store_path "configStorePath": String = "namesrv/namesrv.properties".into();
    /// The file of the key-value table.
    kv_config_path "kvConfigPath": String = "namesrv/kvConfig.json".into();
    /// A registration removes the topics that it does not list.
    delete_topic_with_broker_registration "deleteTopicWithBrokerRegistration": bool = false;
    /// Whether code 206 answers.
    enable_all_topic_list "enableAllTopicList": bool = true;
    /// Whether codes 224 and 311 to 313 answer.
    enable_topic_list "enableTopicList": bool = true;
    /// Refuses route queries for `waitSecondsForService` after the start.
    need_wait_for_service "needWaitForService": bool = false;
    /// See `needWaitForService` (s).
    wait_seconds_for_service "waitSecondsForService": u64 = 45;
    /// Tells the members of a broker group when its smallest id changes.
    notify_min_broker_id_changed "notifyMinBrokerIdChanged": bool = false;
    /// Adds the order configuration to routes.
    order_message_enable "orderMessageEnable": bool = false;
    /// Answers registrations with the order configuration.
    return_order_topic_config_to_broker "returnOrderTopicConfigToBroker": bool = true;
    /// How often brokers are looked through for silent ones (ms).
    scan_not_active_broker_interval "scanNotActiveBrokerInterval": NonZeroU64 = nonzero(5000);
    /// Upon a stop clients are told to go elsewhere (GO_AWAY) for `shutdownWaitTimeSeconds`, before connections end.
    enable_shutdown_gracefully "enableShutdownGracefully": bool = false;
    /// See `enableShutdownGracefully` (s).
    shutdown_wait_time_seconds "shutdownWaitTimeSeconds": u64 = 30;
    /// What is logged, by level or by module (`info,access=off`); empty: environment RUST_LOG, else info. Not in the reference.
    log_level "logLevel": net::Levels = net::Levels::default();
    /// Presents the smallest slave as the master of a group that has none.
    support_acting_master "supportActingMaster": bool = false;
}

fn nonzero(n: u64) -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(n - 1)
}

/// What is expected of a key that is not honoured: the type of its default.
fn expected_like(default: &str, text: &str) -> Result<(), &'static str> {
    if bool::parse(default).is_some() {
        bool::parse(text).map(drop).ok_or(bool::EXPECTED)
    } else if i32::parse(default).is_some() {
        i32::parse(text).map(drop).ok_or(i32::EXPECTED)
    } else {
        Ok(())
    }
}

impl Config {
    /// The reference's defaults; files are in `namesrv` below `home`.
    pub fn new(home: &Path) -> Config {
        let mut config = Config::defaults();
        for path in [&mut config.config_store_path, &mut config.kv_config_path] {
            *path = home.join(&path).display().to_string();
        }
        config
    }

    /// Reads a properties file. The file is also where code 318 will write, as in the reference.
    pub fn parse(home: &Path, file: &str, text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
        let mut config = Config::new(home);
        let warnings = config.apply(file, text)?;
        config.config_store_path = file.to_owned();
        Ok((config, warnings))
    }

    /// Sets all keys of the text, or none.
    pub fn apply(&mut self, file: &str, text: &str) -> Result<Vec<Warning>, ConfigError> {
        let refused = |line: usize, key: &str, value: &str, expected: &str| ConfigError {
            file: file.to_owned(),
            line,
            key: key.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        };
        let entries = java_properties::parse(text);
        let entries = entries.map_err(|e| refused(e.line, "\\u", "", "four hexadecimal digits"))?;
        let (mut next, mut warnings) = (self.clone(), Vec::new());
        for entry in entries {
            let (line, key, value) = (entry.line, entry.key.as_str(), entry.value.trim());
            let mut warn = |reason| {
                warnings.push(Warning {
                    line,
                    key: key.to_owned(),
                    reason,
                })
            };
            if let Some(wrong) = next.set(key, value) {
                wrong.map_or(Ok(()), |expected| Err(refused(line, key, value, expected)))?;
                continue;
            }
            if let Some((_, default)) = FIXED.into_iter().find(|(k, _)| *k == key) {
                if !value.eq_ignore_ascii_case(default) {
                    return Err(refused(
                        line,
                        key,
                        value,
                        &format!("{default}: nothing else is supported here"),
                    ));
                }
            } else if let Some((key, default)) = IGNORED.into_iter().find(|(k, _)| *k == key) {
                expected_like(default, value).map_err(|expected| refused(line, key, value, expected))?;
                if !value.eq_ignore_ascii_case(default) {
                    warn("has no meaning here");
                }
                next.idle.insert(key, value.to_owned());
            } else {
                warn("unknown key");
            }
        }
        *self = next;
        Ok(warnings)
    }

    /// The first key of the text that code 318 may not change.
    pub fn forbidden_key(&self, text: &str) -> Option<String> {
        let always = [
            "configBlackList",
            "configStorePath",
            "kvConfigPath",
            "rocketmqHome",
        ];
        let listed = |key: &str| self.config_black_list.split(';').any(|k| k.trim() == key);
        let mut keys = java_properties::parse(text)
            .unwrap_or_default()
            .into_iter()
            .map(|e| e.key);
        keys.find(|key| always.contains(&key.as_str()) || listed(key))
            .map(String::from)
    }

    /// All settings as properties, sorted. What is not set is not listed.
    pub fn to_properties(&self) -> String {
        let entries = self.entries();
        java_properties::write(
            entries
                .iter()
                .filter(|e| !e.1.is_empty())
                .map(|(k, v)| (*k, v.as_str())),
        )
    }
}

/// All settings as a page of markdown.
pub fn config_reference() -> String {
    let defaults = Config::new(Path::new("~")).entries();
    let mut page = String::from(REFERENCE_HEAD);
    for (key, expected, doc) in HONOURED {
        let default = defaults.get(key).map_or("", String::as_str);
        page.push_str(&format!(
            "| `{key}` | {expected} | `{default}` | {} |\n",
            doc.trim()
        ));
    }
    page.push_str("\n## Refused\n\nThe name server does not start with another value than the default.\n\n");
    page.push_str(&listed(
        FIXED.iter().map(|(key, default)| format!("`{key}={default}`")),
    ));
    page.push_str("\n## Accepted without a meaning\n\nThe name server warns and goes on.\n\n");
    page.push_str(&listed(IGNORED.iter().map(|(key, _)| format!("`{key}`"))));
    page
}

const REFERENCE_HEAD: &str = "# Name server settings

Request 318 (`updateNamesrvConfig`) changes them at once, except the port and the idle time, and saves all in
`configStorePath`.

| key | expected | default | meaning |
|---|---|---|---|
";

fn listed(keys: impl Iterator<Item = String>) -> String {
    keys.collect::<Vec<_>>().join(", ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
        Config::parse(Path::new("/srv/q"), "namesrv.conf", text)
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_file_line_and_key() {
        let error = parse("# mine\nlistenPort=9876\nwaitSecondsForService=soon\n").unwrap_err();
        let expected =
            "namesrv.conf:3: waitSecondsForService is \"soon\", expected a whole number of 0 or more";
        assert_eq!(error.to_string(), expected);
        assert!(parse("scanNotActiveBrokerInterval=0").is_err());
        assert!(parse("orderMessageEnable=yes").is_err());
        assert!(parse("serverWorkerThreads=many").is_err());
    }

    #[test]
    fn a_key_that_would_promise_too_much_is_refused_unless_it_says_the_default() {
        let error = parse("clusterTest=true").unwrap_err();
        let expected =
            "namesrv.conf:1: clusterTest is \"true\", expected false: nothing else is supported here";
        assert_eq!(error.to_string(), expected);
        assert_eq!(parse("clusterTest=FALSE").unwrap().1, []);
    }

    #[test]
    fn unknown_keys_and_tuning_without_meaning_are_accepted_with_a_warning() {
        let text = "serverWorkerThreads=16\nserverSelectorThreads=3\nlistenport=1\norderMessageEnable=True";
        let (config, warnings) = parse(text).unwrap();
        assert!(config.order_message_enable);
        let keys: Vec<_> = warnings
            .iter()
            .map(|w| (w.line, w.key.as_str(), w.reason))
            .collect();
        assert_eq!(
            keys,
            [
                (1, "serverWorkerThreads", "has no meaning here"),
                (3, "listenport", "unknown key")
            ]
        );
    }

    #[test]
    fn changes_are_all_applied_or_none() {
        let mut config = Config::new(Path::new("/"));
        let before = config.clone();
        assert!(config.apply("", "enableTopicList=false\nlistenPort=x").is_err());
        assert_eq!(config, before);
        assert_eq!(
            config.forbidden_key("enableTopicList=false\nkvConfigPath=/x"),
            Some("kvConfigPath".into())
        );
        assert_eq!(
            config.forbidden_key("rocketmqHome=/x"),
            Some("rocketmqHome".into())
        );
        assert_eq!(config.forbidden_key("enableTopicList=false"), None);
    }
}
