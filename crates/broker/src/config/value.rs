// SPDX-License-Identifier: Apache-2.0
//! The types a setting may have, and how they are written in a properties file.

use store::QueueLayout;
use wire::Str;
use wire::body::queue::MessageRequestMode;

/// A type of setting: read from and written as text.
pub(super) trait Value: Sized {
    /// What a valid text looks like; ends the sentence "expected …".
    const WANTED: &'static str;
    /// The name of the type in the reference page.
    const KIND: &'static str;

    fn read(text: &str) -> Option<Self>;
    fn show(&self) -> String;
}

macro_rules! numbers {
    ($($type:ty, $wanted:literal;)+) => {
        $(impl Value for $type {
            const WANTED: &'static str = $wanted;
            const KIND: &'static str = "integer";

            fn read(text: &str) -> Option<$type> {
                text.parse().ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}

numbers! {
    u16, "an integer from 0 to 65535";
    u32, "an integer from 0 to 4294967295";
    i32, "an integer from -2147483648 to 2147483647";
    u64, "an integer, 0 or more";
    i64, "an integer";
}

impl Value for bool {
    const WANTED: &'static str = "true or false";
    const KIND: &'static str = "boolean";

    fn read(text: &str) -> Option<bool> {
        if text.eq_ignore_ascii_case("true") {
            Some(true)
        } else if text.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            None
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Str {
    const WANTED: &'static str = "text";
    const KIND: &'static str = "text";

    fn read(text: &str) -> Option<Str> {
        Some(Str::from(text))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for net::Places {
    const WANTED: &'static str = net::Places::WANTED;
    const KIND: &'static str = "addresses, networks";

    fn read(text: &str) -> Option<net::Places> {
        net::Places::read(text)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for net::Levels {
    const WANTED: &'static str = net::Levels::WANTED;
    const KIND: &'static str = "levels";

    fn read(text: &str) -> Option<net::Levels> {
        net::Levels::read(text)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// How a group reads a topic when nobody has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMode {
    /// The client keeps an offset.
    Pull,
    /// The broker gives leases.
    Pop,
}

impl RequestMode {
    /// As clients are told.
    pub(crate) fn mode(self) -> MessageRequestMode {
        match self {
            RequestMode::Pull => MessageRequestMode::Pull,
            RequestMode::Pop => MessageRequestMode::Pop,
        }
    }
}

impl Value for RequestMode {
    const WANTED: &'static str = "PULL or POP";
    const KIND: &'static str = "PULL, POP";

    fn read(text: &str) -> Option<RequestMode> {
        match text {
            "PULL" => Some(RequestMode::Pull),
            "POP" => Some(RequestMode::Pop),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            RequestMode::Pull => "PULL".to_owned(),
            RequestMode::Pop => "POP".to_owned(),
        }
    }
}

impl Value for QueueLayout {
    const WANTED: &'static str = "files or compact";
    const KIND: &'static str = "files, compact";

    fn read(text: &str) -> Option<QueueLayout> {
        match text {
            "files" => Some(QueueLayout::Files),
            "compact" => Some(QueueLayout::Compact),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            QueueLayout::Files => "files".to_owned(),
            QueueLayout::Compact => "compact".to_owned(),
        }
    }
}

/// A text that nobody is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Str);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.show())
    }
}

impl Secret {
    /// The text; `None` where there is none.
    pub(crate) fn get(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl Value for Secret {
    const WANTED: &'static str = "a text";
    const KIND: &'static str = "secret text";

    fn read(text: &str) -> Option<Secret> {
        Some(Secret(text.into()))
    }

    fn show(&self) -> String {
        self.get().map_or("", |_| super::HIDDEN).to_owned()
    }
}

/// What becomes of the numbers that a broker tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsExporterType {
    /// Nothing.
    Disable,
    /// They are pushed.
    OtlpGrpc,
    /// They are read from a port.
    Prom,
    /// They are written to the log.
    Log,
}

impl Value for MetricsExporterType {
    const WANTED: &'static str = "DISABLE, OTLP_GRPC, PROM or LOG";
    const KIND: &'static str = "DISABLE, OTLP_GRPC, PROM, LOG";

    fn read(text: &str) -> Option<MetricsExporterType> {
        match text {
            "DISABLE" | "0" => Some(MetricsExporterType::Disable),
            "OTLP_GRPC" | "1" => Some(MetricsExporterType::OtlpGrpc),
            "PROM" | "2" => Some(MetricsExporterType::Prom),
            "LOG" | "3" => Some(MetricsExporterType::Log),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            MetricsExporterType::Disable => "DISABLE",
            MetricsExporterType::OtlpGrpc => "OTLP_GRPC",
            MetricsExporterType::Prom => "PROM",
            MetricsExporterType::Log => "LOG",
        }
        .to_owned()
    }
}

/// A port that may be taken already, unless somebody has chosen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparePort {
    /// Its number; 0: any free one.
    pub number: u16,
    /// Whether it must be this one.
    pub is_chosen: bool,
}

impl SparePort {
    /// One that nobody has chosen.
    pub(super) const fn by_default(number: u16) -> SparePort {
        SparePort {
            number,
            is_chosen: false,
        }
    }
}

impl Value for SparePort {
    const WANTED: &'static str = u16::WANTED;
    const KIND: &'static str = u16::KIND;

    fn read(text: &str) -> Option<SparePort> {
        Some(SparePort {
            number: u16::read(text)?,
            is_chosen: true,
        })
    }

    fn show(&self) -> String {
        self.number.show()
    }
}

/// When an acknowledged message is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushDiskType {
    /// Soon after the acknowledgement.
    Async,
    /// Before the acknowledgement.
    Sync,
}

impl Value for FlushDiskType {
    const WANTED: &'static str = "ASYNC_FLUSH or SYNC_FLUSH";
    const KIND: &'static str = "ASYNC_FLUSH, SYNC_FLUSH";

    fn read(text: &str) -> Option<FlushDiskType> {
        match text {
            "ASYNC_FLUSH" => Some(FlushDiskType::Async),
            "SYNC_FLUSH" => Some(FlushDiskType::Sync),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            FlushDiskType::Async => "ASYNC_FLUSH",
            FlushDiskType::Sync => "SYNC_FLUSH",
        }
        .to_owned()
    }
}

/// The part a broker plays among its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerRole {
    /// Takes writes and acknowledges them without waiting for a slave.
    AsyncMaster,
    /// Takes writes and acknowledges them when enough slaves have them.
    SyncMaster,
    /// Follows the master of the same name.
    Slave,
}

impl Value for BrokerRole {
    const WANTED: &'static str = "ASYNC_MASTER, SYNC_MASTER or SLAVE";
    const KIND: &'static str = "ASYNC_MASTER, SYNC_MASTER, SLAVE";

    fn read(text: &str) -> Option<BrokerRole> {
        match text {
            "ASYNC_MASTER" => Some(BrokerRole::AsyncMaster),
            "SYNC_MASTER" => Some(BrokerRole::SyncMaster),
            "SLAVE" => Some(BrokerRole::Slave),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            BrokerRole::AsyncMaster => "ASYNC_MASTER",
            BrokerRole::SyncMaster => "SYNC_MASTER",
            BrokerRole::Slave => "SLAVE",
        }
        .to_owned()
    }
}
