// SPDX-License-Identifier: Apache-2.0
//! What a consumer group wants of a topic: messages with certain tags, or those for which an SQL expression is true.
//!
//! The first is decided from a queue entry, the second from the properties of a message. What heartbeats said in SQL is
//! kept in `registered.rs`, also for groups that are offline.

mod bloom;
mod registered;
pub mod sql;
mod tag;

use std::sync::Arc;

use wire::Str;
use wire::body::subscription::SubscriptionData;
use wire::properties;

pub(crate) use self::registered::{Filters, Registered, keep_saving};
use self::sql::Sql;
pub(crate) use self::tag::Tags;

/// The expression type that is decided from a queue entry.
pub(crate) const TAG: &str = "TAG";
/// The one that is decided from the properties.
pub(crate) const SQL92: &str = "SQL92";

/// Which messages a pull is to get.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Tags(Tags),
    Sql(Arc<Sql>),
    /// Messages of a retry topic: each by what the group registered for the topic it came from.
    Retried {
        filters: Arc<Filters>,
        group: Str,
    },
}

impl store::Filter for Wanted {
    fn by_code(&self, tags_code: i64) -> bool {
        match self {
            Wanted::Tags(tags) => tags.by_code(tags_code),
            Wanted::Sql(_) | Wanted::Retried { .. } => true,
        }
    }

    fn by_properties(&self, properties: &[u8]) -> bool {
        match self {
            Wanted::Tags(_) => true,
            Wanted::Sql(sql) => sql.matches(properties),
            Wanted::Retried { filters, group } => {
                let topic = properties::get(properties, properties::name::RETRY_TOPIC);
                let filter = topic.and_then(|topic| filters.find(topic, group));
                filter.is_none_or(|filter| filter.sql.matches(properties))
            }
        }
    }
}

/// One topic of a consumer group.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// As the client sent it; admin tools are shown this.
    pub(crate) data: SubscriptionData,
    /// `None` when the expression is not of type TAG.
    pub(crate) tags: Option<Tags>,
}

impl Subscription {
    /// As a heartbeat brings it.
    pub(crate) fn new(data: SubscriptionData) -> Subscription {
        let tags = is_tag(Some(&data.expression_type)).then(|| Tags::of(&data));
        Subscription { data, tags }
    }
}

/// Whether an expression type is TAG; clients may leave it out.
pub(crate) fn is_tag(expression_type: Option<&str>) -> bool {
    expression_type.is_none_or(|kind| kind.is_empty() || kind == TAG)
}
