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

/// A value was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{key} is {value:?}, expected {expected}")]
pub(crate) struct WrongValue {
    key: String,
    value: String,
    expected: String,
}

/// What became of one assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assigned {
    Done(When),
    NoMeaning,
    Unknown,
}

/// Keys among those that are ignored that name a place of the host.
const PLACES: [&str; 1] = ["rocketmqHome"];

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

/// What the reference does not have, and has a default that is not empty.
const OURS: [&str; 2] = ["metricsPromExporterPort", "connectionBytesMax"];

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

impl Value for net::Places {
    const EXPECTED: &'static str = net::Places::WANTED;
    fn parse(text: &str) -> Option<net::Places> {
        net::Places::read(text)
    }
}

impl Value for net::Levels {
    const EXPECTED: &'static str = net::Levels::WANTED;
    fn parse(text: &str) -> Option<net::Levels> {
        net::Levels::read(text)
    }
}

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At once.
    Live,
    /// At the next start.
    Start,
    /// At the next start, and no request may change it.
    Fixed,
}

/// What is known about a setting besides its value.
struct Honoured {
    key: &'static str,
    expected: &'static str,
    when: When,
    doc: &'static str,
}

macro_rules! honoured {
    (@when live) => { When::Live };
    (@when start) => { When::Start };
    (@when fixed) => { When::Fixed };
    ($($(#[doc = $doc:literal])+ $when:ident $field:ident $key:literal: $type:ty = $default:expr;)+) => {
        /// The settings.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $field: $type,)+
            /// The keys that are ignored or fixed, as they were set.
            idle: BTreeMap<&'static str, String>,
        }

        const HONOURED: &[Honoured] = &[$(Honoured {
            key: $key,
            expected: <$type as Value>::EXPECTED,
            when: honoured!(@when $when),
            doc: concat!($($doc),+),
        }),+];

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
    fixed bind_address "bindAddress": String = "0.0.0.0".into();
    /// The port to listen on.
    start listen_port "listenPort": u16 = 9876;
    /// The port of /metrics, /healthz and /readyz. 0: there is none.
    start metrics_prom_exporter_port "metricsPromExporterPort": u16 = 0;
    /// A connection without traffic is closed after so many seconds.
    start server_channel_max_idle_time_seconds "serverChannelMaxIdleTimeSeconds": NonZeroU64 = nonzero(120);
    /// Bytes that all connections together may hold: frames that have half arrived, answers that nobody reads. Beyond, the largest
    /// of the host that holds most is closed. Not in the reference.
    start connection_bytes_max "connectionBytesMax": NonZeroU64 = nonzero(512 << 20);
    /// Keys that code 318 may not change, separated by `;`.
    fixed config_black_list "configBlackList": String = "configBlackList;configStorePath;kvConfigPath".into();
    /// Where code 318 writes the settings.
    fixed config_store_path "configStorePath": String = "namesrv/namesrv.properties".into();
    /// The file of the key-value table.
    fixed kv_config_path "kvConfigPath": String = "namesrv/kvConfig.json".into();
    /// A registration removes the topics that it does not list.
    live delete_topic_with_broker_registration "deleteTopicWithBrokerRegistration": bool = false;
    /// Whether code 206 answers.
    live enable_all_topic_list "enableAllTopicList": bool = true;
    /// Whether codes 224 and 311 to 313 answer.
    live enable_topic_list "enableTopicList": bool = true;
    /// Refuses route queries for `waitSecondsForService` after the start.
    live need_wait_for_service "needWaitForService": bool = false;
    /// See `needWaitForService` (s).
    live wait_seconds_for_service "waitSecondsForService": u64 = 45;
    /// Tells the members of a broker group when its smallest id changes.
    live notify_min_broker_id_changed "notifyMinBrokerIdChanged": bool = false;
    /// Adds the order configuration to routes.
    live order_message_enable "orderMessageEnable": bool = false;
    /// Answers registrations with the order configuration.
    live return_order_topic_config_to_broker "returnOrderTopicConfigToBroker": bool = true;
    /// How often brokers are looked through for silent ones (ms).
    live scan_not_active_broker_interval "scanNotActiveBrokerInterval": NonZeroU64 = nonzero(5000);
    /// Upon a stop clients are told to go elsewhere (GO_AWAY) for `shutdownWaitTimeSeconds`, before connections end.
    live enable_shutdown_gracefully "enableShutdownGracefully": bool = false;
    /// See `enableShutdownGracefully` (s).
    live shutdown_wait_time_seconds "shutdownWaitTimeSeconds": u64 = 30;
    /// Where requests of administrators may come from (write permission, key-value table, settings, deletion of topics):
    /// addresses and networks joined by `;`. Empty: this host, by its loopback or its own address. What is set counts alone;
    /// `0.0.0.0/0;::/0` is everywhere, as in the reference. Not in the reference.
    fixed admin_allowed_from "adminAllowedFrom": net::Places = net::Places::default();
    /// What is logged, by level or by module (`info,access=off`); empty: environment RUST_LOG, else info. Not in the reference.
    live log_level "logLevel": net::Levels = net::Levels::default();
    /// Presents the smallest slave as the master of a group that has none.
    live support_acting_master "supportActingMaster": bool = false;
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
            let assigned = next.assign(key, value);
            let assigned = assigned.map_err(|e| refused(line, &e.key, &e.value, &e.expected))?;
            let is_default = IGNORED
                .into_iter()
                .chain(FIXED)
                .any(|(known, default)| known == key && value.eq_ignore_ascii_case(default));
            let reason = match assigned {
                Assigned::Unknown => "unknown key",
                Assigned::NoMeaning if !is_default => "has no meaning here",
                _ => continue,
            };
            warnings.push(Warning {
                line,
                key: key.to_owned(),
                reason,
            });
        }
        *self = next;
        Ok(warnings)
    }

    /// Sets one key. The settings are as before when it is refused.
    pub(crate) fn assign(&mut self, key: &str, value: &str) -> Result<Assigned, WrongValue> {
        let value = value.trim();
        let wrong = |expected: String| WrongValue {
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
        };
        if let Some(refused) = self.set(key, value) {
            let when = HONOURED.iter().find(|honoured| honoured.key == key);
            return match refused {
                Some(expected) => Err(wrong(expected.to_owned())),
                None => Ok(Assigned::Done(when.map_or(When::Start, |honoured| honoured.when))),
            };
        }
        if let Some((_, default)) = FIXED.into_iter().find(|(k, _)| *k == key) {
            return match value.eq_ignore_ascii_case(default) {
                true => Ok(Assigned::NoMeaning),
                false => Err(wrong(format!("{default}: nothing else is supported here"))),
            };
        }
        let Some((key, default)) = IGNORED.into_iter().find(|(k, _)| *k == key) else {
            return Ok(Assigned::Unknown);
        };
        expected_like(default, value).map_err(|expected| wrong(expected.to_owned()))?;
        self.idle.insert(key, value.to_owned());
        Ok(Assigned::NoMeaning)
    }

    /// Whether code 318 may change a key, whatever its value is.
    pub(crate) fn may_change(&self, key: &str) -> Result<(), &'static str> {
        let is_fixed = |honoured: &Honoured| honoured.key == key && honoured.when == When::Fixed;
        if PLACES.contains(&key) || HONOURED.iter().any(is_fixed) {
            return Err(
                " names a place of the host, or what may be changed and by whom: edit the configuration file",
            );
        }
        match self
            .config_black_list
            .split(';')
            .any(|listed| listed.trim() == key)
        {
            true => Err(" (configBlackList)"),
            false => Ok(()),
        }
    }

    /// The value of a setting that is known.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.entries().remove(key)
    }

    /// All settings as properties, sorted. What is not set is not listed; nor is what the reference does not have while nobody has
    /// set it to something else.
    pub fn to_properties(&self) -> String {
        let (entries, defaults) = (self.entries(), Config::defaults().entries());
        let is_listed = |(key, value): &(&str, &str)| {
            let is_default = defaults.get(key).is_some_and(|default| default == value);
            !(value.is_empty() || is_default && OURS.contains(key))
        };
        let entries = entries.iter().map(|(key, value)| (*key, value.as_str()));
        java_properties::write(entries.filter(is_listed))
    }
}

/// All settings as a page of markdown.
pub fn config_reference() -> String {
    let defaults = Config::new(Path::new("~")).entries();
    let mut page = String::from(REFERENCE_HEAD);
    for Honoured {
        key,
        expected,
        when,
        doc,
    } in HONOURED
    {
        let default = defaults.get(key).map_or("", String::as_str);
        let when = match when {
            When::Live => "at once",
            When::Start => "at start",
            When::Fixed => "at start; by no request",
        };
        page.push_str(&format!(
            "| `{key}` | {expected} | `{default}` | {when} | {} |\n",
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

Request 318 (`updateNamesrvConfig`) changes them, and saves all in `configStorePath`; what it cannot change while the name server
runs takes effect at the next start. \"By no request\": they name places of the host, or say what may be changed and by whom.

| key | expected | default | changes take effect | meaning |
|---|---|---|---|---|
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
        for key in [
            "kvConfigPath",
            "configStorePath",
            "configBlackList",
            "rocketmqHome",
            "bindAddress",
            "adminAllowedFrom",
        ] {
            assert!(config.may_change(key).is_err(), "{key}");
        }
        assert_eq!(config.may_change("enableTopicList"), Ok(()));
        // Every text is one of them, or says what is logged or in which environment this is.
        let texts = HONOURED
            .iter()
            .filter(|honoured| honoured.expected == String::EXPECTED);
        for Honoured { key, .. } in texts {
            assert!(config.may_change(key).is_err(), "{key}");
        }
        config.config_black_list = "a; enableTopicList".into();
        assert!(config.may_change("enableTopicList").is_err());
    }
}
