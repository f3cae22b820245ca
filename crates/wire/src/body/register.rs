// SPDX-License-Identifier: Apache-2.0
//! What a broker registers: its topics.
//!
//! Besides the JSON form there is a deflated one, a zlib stream of
//!
//! ```text
//! n i32 | DataVersion JSON (n bytes)
//! count i32, then count times: n i32 | `name readQueues writeQueues perm filterType {attributes}` (n bytes)
//! n i32 | filter server list JSON (n bytes)
//! count i32, then count times: n i32 | static topic mapping JSON (n bytes)     only from version 413 on
//! ```

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::topic::{TopicConfig, TopicConfigTable, TopicFilterType};
use crate::body::topic_route::TopicQueueMapping;
use crate::fastjson::{self, JsonError};

/// A registration may not inflate to more than this.
const INFLATED_BYTES_MAX: usize = 64 << 20;

/// The first version whose deflated form ends with the mappings: 5.0.0.
const VERSION_WITH_MAPPINGS: i32 = 413;

/// What a broker registers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Filter servers; always empty today.
    pub filter_server_list: Vec<Str>,
    /// The topics.
    pub topic_config_serialize_wrapper: TopicConfigTable,
}

/// Why a registration body does not parse.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The zlib stream is damaged.
    #[error("registration does not inflate")]
    Inflate(#[source] std::io::Error),
    /// It inflates to more than is believable.
    #[error("registration inflates to more than {0} bytes")]
    TooLarge(usize),
    /// It ends inside a field.
    #[error("registration is cut")]
    Cut,
    /// A JSON part does not parse.
    #[error("registration does not parse")]
    Json(#[from] JsonError),
    /// The text of a topic has too few words.
    #[error("topic does not parse: {0}")]
    Topic(String),
}

impl RegisterBrokerBody {
    /// Reads the JSON form.
    pub fn decode(body: &[u8]) -> Result<RegisterBrokerBody, RegisterError> {
        if body.is_empty() {
            return Ok(RegisterBrokerBody::default());
        }
        Ok(fastjson::from_slice(body)?)
    }

    /// Reads the deflated form a broker of `version` sends.
    pub fn decode_compressed(body: &[u8], version: i32) -> Result<RegisterBrokerBody, RegisterError> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(INFLATED_BYTES_MAX + 1).unwrap_or(u64::MAX);
        ZlibDecoder::new(body)
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(RegisterError::Inflate)?;
        if bytes.len() > INFLATED_BYTES_MAX {
            return Err(RegisterError::TooLarge(INFLATED_BYTES_MAX));
        }
        let mut rest = Rest(&bytes);
        let mut table = TopicConfigTable {
            data_version: fastjson::from_slice(rest.field()?)?,
            ..Default::default()
        };
        for _ in 0..rest.count()? {
            let topic = topic(rest.field()?)?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let filter_server_list = fastjson::from_slice(rest.field()?)?;
        if version >= VERSION_WITH_MAPPINGS {
            let mut mappings = BTreeMap::new();
            for _ in 0..rest.count()? {
                let mapping: TopicQueueMapping = fastjson::from_slice(rest.field()?)?;
                mappings.insert(mapping.topic.clone(), mapping);
            }
            table.topic_queue_mapping_info_map = Some(mappings);
        }
        Ok(RegisterBrokerBody {
            filter_server_list,
            topic_config_serialize_wrapper: table,
        })
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn count(&mut self) -> Result<usize, RegisterError> {
        let (count, rest) = self.0.split_first_chunk::<4>().ok_or(RegisterError::Cut)?;
        self.0 = rest;
        usize::try_from(i32::from_be_bytes(*count)).map_err(|_| RegisterError::Cut)
    }

    fn field(&mut self) -> Result<&'a [u8], RegisterError> {
        let length = self.count()?;
        let (field, rest) = self.0.split_at_checked(length).ok_or(RegisterError::Cut)?;
        self.0 = rest;
        Ok(field)
    }
}

/// `name readQueues writeQueues perm filterType {attributes}`; the attributes may be missing.
fn topic(text: &[u8]) -> Result<TopicConfig, RegisterError> {
    let text = String::from_utf8_lossy(text);
    let wrong = || RegisterError::Topic(text.to_string());
    let mut words = text.splitn(6, ' ');
    let topic_name = Str::from(words.next().filter(|name| !name.is_empty()).ok_or_else(wrong)?);
    let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong);
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    let topic_filter_type = match words.next() {
        Some("MULTI_TAG") => TopicFilterType::MultiTag,
        _ => TopicFilterType::SingleTag,
    };
    let attributes = match words.next().filter(|text| !text.trim().is_empty()) {
        Some(text) => fastjson::from_str(text)?,
        None => BTreeMap::new(),
    };
    Ok(TopicConfig {
        attributes,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        write_queue_nums,
        ..TopicConfig::default()
    })
}
