// SPDX-License-Identifier: Apache-2.0
//! A stored message. The bytes of a record in the commit log and in the body of a pull reply are the same bytes.
//!
//! All integers are big-endian. `host` is 8 bytes (IPv4 address, port as 4 bytes) or 20 bytes (IPv6), as the
//! [`sysflag`] bits 4 and 5 say.
//!
//! ```text
//! totalSize 4 | magic 4 | bodyCrc 4 | queueId 4 | flag 4 | queueOffset 8 | physicalOffset 8 | sysFlag 4
//! bornTimestamp 8 | bornHost 8/20 | storeTimestamp 8 | storeHost 8/20 | reconsumeTimes 4
//! preparedTransactionOffset 8 | bodyLength 4 + body | topicLength 1 (V2: 2) + topic | propertiesLength 2 + properties
//! ```
//!
//! A blank record closes a file: its size 4, [`MAGIC_BLANK`] 4; what follows up to the size is left as it is.
//! With the optional seal the properties end with `__CRC32#` 0x01, ten digits (least significant first), 0x02: the
//! CRC-32 (31 bits) of everything before these 20 bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::Str;

/// Magic of a record whose topic length takes one byte.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Magic of a record whose topic length takes two bytes.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// Magic of the record that fills the end of a file.
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;

/// Where the queue offset lies in every record.
pub const QUEUE_OFFSET_AT: usize = 20;
/// Where the physical offset lies in every record.
pub const PHYSICAL_OFFSET_AT: usize = 28;
/// Where the system flag lies in every record.
pub const SYS_FLAG_AT: usize = 36;
/// The smallest record: IPv4 hosts, V1, nothing in it.
pub const RECORD_BYTES_MIN: usize = 91;
/// Longest properties string a record can hold.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;
/// Longest topic a V1 record can hold.
pub const TOPIC_BYTES_V1_MAX: usize = 127;
/// Bytes the seal takes at the end of the properties.
pub const SEAL_BYTES: usize = 20;

const SEAL_NAME: &[u8] = b"__CRC32#\x01";
const SEPARATOR: u8 = 2;

/// Bits of the system flag.
pub mod sysflag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// The TAGS property holds several tags.
    pub const MULTI_TAGS: i32 = 0x2;
    /// Mask of the transaction bits.
    pub const TRANSACTION: i32 = 0xC;
    /// A half message.
    pub const PREPARED: i32 = 0x4;
    /// The copy made by a commit.
    pub const COMMIT: i32 = 0x8;
    /// The record made by a rollback.
    pub const ROLLBACK: i32 = 0xC;
    /// The born host is an IPv6 address.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is an IPv6 address.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The consumer has to unwrap the record.
    pub const NEED_UNWRAP: i32 = 0x40;
    /// One record holds several messages.
    pub const INNER_BATCH: i32 = 0x80;
    /// Mask of the compression kind.
    pub const COMPRESSION: i32 = 0x700;

    /// Whether a record with this flag belongs into its consume queue: half messages and rollbacks do not.
    #[must_use]
    pub fn is_queued(flag: i32) -> bool {
        !matches!(flag & TRANSACTION, PREPARED | ROLLBACK)
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There are fewer bytes than the record needs.
    #[error("record needs {need} bytes, there are {have}")]
    Short {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// The magic is none of ours.
    #[error("unknown magic {0:#010x}")]
    Magic(i32),
    /// The record is a blank that fills the end of a file.
    #[error("blank of {0} bytes")]
    Blank(i32),
    /// The lengths of the fields do not add up to the size in front.
    #[error("record says {said} bytes, its fields take {fields}")]
    Length {
        /// The size in front.
        said: usize,
        /// The sum of the fields.
        fields: usize,
    },
    /// A length field is negative or larger than the record.
    #[error("length of {field} is impossible")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// The topic is not UTF-8.
    #[error("topic is not UTF-8")]
    Topic,
    /// The CRC of the body is another one.
    #[error("body CRC is {found:#x}, expected {expected:#x}")]
    BodyCrc {
        /// The CRC in the record.
        expected: u32,
        /// The CRC of the body.
        found: u32,
    },
    /// The seal is missing or does not match.
    #[error("seal is missing or wrong")]
    Seal,
}

/// CRC-32 (IEEE) with the sign bit cleared, as records carry it.
#[must_use]
pub fn crc31(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7FFF_FFFF
}

/// The fields the append assigns while it holds the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the log.
    pub physical_offset: i64,
    /// Store time, ms.
    pub stored_at: i64,
}

/// The fields known before the append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Queue number.
    pub queue_id: u32,
    /// The user's flag, opaque.
    pub flag: i32,
    /// System flag; the two host bits are set from the addresses.
    pub sys_flag: i32,
    /// Client's time, ms.
    pub born_at: i64,
    /// Client's address.
    pub born_host: SocketAddr,
    /// Broker's address.
    pub store_host: SocketAddr,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// Position of the half message, 0 when there is none.
    pub prepared_pos: i64,
    /// The body as stored.
    pub body: &'a [u8],
    /// [`crc31`] of the body.
    pub body_crc: u32,
    /// Topic.
    pub topic: &'a str,
    /// Properties string, stored as it is.
    pub properties: &'a [u8],
}

/// Whether a record gets the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// No seal.
    Absent,
    /// `__CRC32#` closes the properties.
    Present,
}

fn is_v6(host: &SocketAddr) -> bool {
    match host.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_none(),
    }
}

fn host_bytes(host: &SocketAddr) -> usize {
    if is_v6(host) { 20 } else { 8 }
}

/// Writes a host as records carry it.
fn put_host(out: &mut Vec<u8>, host: &SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => out.extend_from_slice(&ip.octets()),
            None => out.extend_from_slice(&ip.octets()),
        },
    }
    out.extend_from_slice(&u32::from(host.port()).to_be_bytes());
}

/// Bytes the properties take in the record, seal included.
#[must_use]
pub fn properties_len(properties: &[u8], seal: Seal) -> usize {
    match seal {
        Seal::Absent => properties.len(),
        Seal::Present => properties.len() + usize::from(needs_separator(properties)) + SEAL_BYTES,
    }
}

fn needs_separator(properties: &[u8]) -> bool {
    properties.last().is_some_and(|last| *last != SEPARATOR)
}

/// Bytes the record will take.
#[must_use]
pub fn record_len(parts: &Parts<'_>, seal: Seal) -> usize {
    RECORD_BYTES_MIN - 16
        + host_bytes(&parts.born_host)
        + host_bytes(&parts.store_host)
        + usize::from(parts.topic.len() > TOPIC_BYTES_V1_MAX)
        + parts.body.len()
        + parts.topic.len()
        + properties_len(parts.properties, seal)
}

/// Appends one record. The caller has checked the lengths: body and record below 2 GiB, topic up to 32767 bytes,
/// properties with seal up to [`PROPERTIES_BYTES_MAX`].
pub fn encode_record(out: &mut Vec<u8>, parts: &Parts<'_>, stamp: &Stamp, seal: Seal) {
    let start = out.len();
    let total = record_len(parts, seal);
    let long_topic = parts.topic.len() > TOPIC_BYTES_V1_MAX;
    let mut sys_flag = parts.sys_flag & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6);
    if is_v6(&parts.born_host) {
        sys_flag |= sysflag::BORN_HOST_V6;
    }
    if is_v6(&parts.store_host) {
        sys_flag |= sysflag::STORE_HOST_V6;
    }
    let mut head = [0_u8; 48];
    head[0..4].copy_from_slice(&(total as u32).to_be_bytes());
    head[4..8].copy_from_slice(&(if long_topic { MAGIC_V2 } else { MAGIC_V1 }).to_be_bytes());
    head[8..12].copy_from_slice(&parts.body_crc.to_be_bytes());
    head[12..16].copy_from_slice(&parts.queue_id.to_be_bytes());
    head[16..20].copy_from_slice(&parts.flag.to_be_bytes());
    head[20..28].copy_from_slice(&stamp.queue_offset.to_be_bytes());
    head[28..36].copy_from_slice(&stamp.physical_offset.to_be_bytes());
    head[36..40].copy_from_slice(&sys_flag.to_be_bytes());
    head[40..48].copy_from_slice(&parts.born_at.to_be_bytes());
    out.reserve(total);
    out.extend_from_slice(&head);
    put_host(out, &parts.born_host);
    out.extend_from_slice(&stamp.stored_at.to_be_bytes());
    put_host(out, &parts.store_host);
    let mut middle = [0_u8; 16];
    middle[0..4].copy_from_slice(&parts.reconsume_times.to_be_bytes());
    middle[4..12].copy_from_slice(&parts.prepared_pos.to_be_bytes());
    middle[12..16].copy_from_slice(&(parts.body.len() as u32).to_be_bytes());
    out.extend_from_slice(&middle);
    out.extend_from_slice(parts.body);
    if long_topic {
        out.extend_from_slice(&(parts.topic.len() as u16).to_be_bytes());
    } else {
        out.push(parts.topic.len() as u8);
    }
    out.extend_from_slice(parts.topic.as_bytes());
    out.extend_from_slice(&(properties_len(parts.properties, seal) as u16).to_be_bytes());
    out.extend_from_slice(parts.properties);
    if seal == Seal::Present {
        if needs_separator(parts.properties) {
            out.push(SEPARATOR);
        }
        let crc = crc31(&out[start..]);
        put_seal(out, crc);
    }
}

fn put_seal(out: &mut Vec<u8>, mut crc: u32) {
    out.extend_from_slice(SEAL_NAME);
    for _ in 0..10 {
        out.push(b'0' + (crc % 10) as u8);
        crc /= 10;
    }
    out.push(SEPARATOR);
}

/// Appends the eight bytes of a blank record that closes a file with `remaining` bytes left.
pub fn encode_blank(out: &mut Vec<u8>, remaining: u32) {
    out.extend_from_slice(&remaining.to_be_bytes());
    out.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
}

/// A record looked at in place. [`RecordHead::scan`] has checked that all lengths add up, not the CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead<'a> {
    /// Size of the whole record.
    pub total_size: usize,
    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    pub magic: i32,
    /// The fields known before the append, [`Parts::body_crc`] as stored.
    pub parts: Parts<'a>,
    /// The fields assigned by the append.
    pub stamp: Stamp,
}

impl<'a> RecordHead<'a> {
    /// Reads the record at the start of `buf`; what follows it is ignored.
    pub fn scan(buf: &'a [u8]) -> Result<Self, RecordError> {
        let mut at = Cursor { rest: buf };
        let said = at.i32()?;
        let magic = at.i32()?;
        match magic {
            MAGIC_V1 | MAGIC_V2 => {}
            MAGIC_BLANK => return Err(RecordError::Blank(said)),
            other => return Err(RecordError::Magic(other)),
        }
        let total_size = usize::try_from(said).map_err(|_| RecordError::Field { field: "totalSize" })?;
        if total_size < RECORD_BYTES_MIN {
            return Err(RecordError::Length {
                said: total_size,
                fields: RECORD_BYTES_MIN,
            });
        }
        let record = buf.get(..total_size).ok_or(RecordError::Short {
            need: total_size,
            have: buf.len(),
        })?;
        let (parts, stamp, left) = Self::fields(&record[8..], magic).map_err(|error| match error {
            // Inside the record a field that runs out of bytes means that the lengths lie.
            RecordError::Short { .. } => RecordError::Length {
                said: total_size,
                fields: total_size + 1,
            },
            other => other,
        })?;
        if left != 0 {
            return Err(RecordError::Length {
                said: total_size,
                fields: total_size - left,
            });
        }
        Ok(RecordHead {
            total_size,
            magic,
            parts,
            stamp,
        })
    }

    fn fields(buf: &'a [u8], magic: i32) -> Result<(Parts<'a>, Stamp, usize), RecordError> {
        let mut at = Cursor { rest: buf };
        let body_crc = at.i32()? as u32;
        let queue_id = at.i32()? as u32;
        let flag = at.i32()?;
        let queue_offset = at.i64()?;
        let physical_offset = at.i64()?;
        let sys_flag = at.i32()?;
        let born_at = at.i64()?;
        let born_host = at.host(sys_flag & sysflag::BORN_HOST_V6 != 0)?;
        let stored_at = at.i64()?;
        let store_host = at.host(sys_flag & sysflag::STORE_HOST_V6 != 0)?;
        let reconsume_times = at.i32()?;
        let prepared_pos = at.i64()?;
        let body_len = usize::try_from(at.i32()?).map_err(|_| RecordError::Field { field: "body" })?;
        let body = at.take(body_len)?;
        let topic_len = if magic == MAGIC_V2 {
            at.i16()?
        } else {
            i16::from(at.take(1)?[0] as i8)
        };
        let topic_len = usize::try_from(topic_len).map_err(|_| RecordError::Field { field: "topic" })?;
        let topic = std::str::from_utf8(at.take(topic_len)?).map_err(|_| RecordError::Topic)?;
        let properties_len =
            usize::try_from(at.i16()?).map_err(|_| RecordError::Field { field: "properties" })?;
        let properties = at.take(properties_len)?;
        let parts = Parts {
            queue_id,
            flag,
            sys_flag,
            born_at,
            born_host,
            store_host,
            reconsume_times,
            prepared_pos,
            body,
            body_crc,
            topic,
            properties,
        };
        Ok((
            parts,
            Stamp {
                queue_offset,
                physical_offset,
                stored_at,
            },
            at.rest.len(),
        ))
    }

    /// Compares the CRC of the body. An empty body has none.
    pub fn check_body(&self) -> Result<(), RecordError> {
        if self.parts.body.is_empty() {
            return Ok(());
        }
        let found = crc31(self.parts.body);
        if found == self.parts.body_crc {
            Ok(())
        } else {
            Err(RecordError::BodyCrc {
                expected: self.parts.body_crc,
                found,
            })
        }
    }

    /// Compares the seal; `record` is what was scanned. A record without a seal fails.
    pub fn check_seal(&self, record: &[u8]) -> Result<(), RecordError> {
        let record = record.get(..self.total_size).ok_or(RecordError::Seal)?;
        if self.parts.properties.len() < SEAL_BYTES {
            return Err(RecordError::Seal);
        }
        let (sealed, seal) = record.split_at(self.total_size - SEAL_BYTES);
        let mut expected = Vec::with_capacity(SEAL_BYTES);
        put_seal(&mut expected, crc31(sealed));
        if seal == expected {
            Ok(())
        } else {
            Err(RecordError::Seal)
        }
    }

    /// Whether the properties end with a seal.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        let at = self.parts.properties.len().wrapping_sub(SEAL_BYTES);
        self.parts
            .properties
            .get(at..)
            .is_some_and(|tail| tail.starts_with(SEAL_NAME))
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Short {
            need: len,
            have: self.rest.len(),
        })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let have = self.rest.len();
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(RecordError::Short { need: N, have })?;
        self.rest = rest;
        Ok(*head)
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        // The port takes four bytes on the wire, two of them are always zero.
        Ok(SocketAddr::new(ip, self.i32()? as u16))
    }
}

/// A decoded record that shares the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Size of the whole record.
    pub total_size: usize,
    /// [`crc31`] of the body as stored.
    pub body_crc: u32,
    /// Queue number.
    pub queue_id: u32,
    /// The user's flag.
    pub flag: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the log.
    pub physical_offset: i64,
    /// System flag.
    pub sys_flag: i32,
    /// Client's time, ms.
    pub born_at: i64,
    /// Client's address.
    pub born_host: SocketAddr,
    /// Store time, ms.
    pub stored_at: i64,
    /// Broker's address.
    pub store_host: SocketAddr,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// Position of the half message, 0 when there is none.
    pub prepared_pos: i64,
    /// The body as stored.
    pub body: Bytes,
    /// Topic.
    pub topic: Str,
    /// Properties string as stored.
    pub properties: Bytes,
}

impl Record {
    /// Decodes the record at the start of `buf`: lengths and body CRC are checked, what follows is ignored.
    pub fn decode(buf: &Bytes) -> Result<Record, RecordError> {
        let head = RecordHead::scan(buf)?;
        head.check_body()?;
        let RecordHead {
            total_size,
            parts,
            stamp,
            ..
        } = head;
        Ok(Record {
            total_size,
            body_crc: parts.body_crc,
            queue_id: parts.queue_id,
            flag: parts.flag,
            queue_offset: stamp.queue_offset,
            physical_offset: stamp.physical_offset,
            sys_flag: parts.sys_flag,
            born_at: parts.born_at,
            born_host: parts.born_host,
            stored_at: stamp.stored_at,
            store_host: parts.store_host,
            reconsume_times: parts.reconsume_times,
            prepared_pos: parts.prepared_pos,
            body: buf.slice_ref(parts.body),
            topic: Str::from(parts.topic),
            properties: buf.slice_ref(parts.properties),
        })
    }

    /// Decodes records that lie back to back, as in the body of a pull reply; ends after the first error.
    pub fn decode_all(buf: &Bytes) -> impl Iterator<Item = Result<Record, RecordError>> {
        let mut rest = buf.clone();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let record = Record::decode(&rest);
            let taken = record.as_ref().map_or(rest.len(), |record| record.total_size);
            rest = rest.slice(taken..);
            Some(record)
        })
    }

    /// The last value of a property; see [`crate::properties::get`].
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        crate::properties::get(&self.properties, name)
    }

    /// The fields to encode the record again, perhaps with another topic or other properties.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_at: self.born_at,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_pos: self.prepared_pos,
            body: &self.body,
            body_crc: self.body_crc,
            topic: &self.topic,
            properties: &self.properties,
        }
    }

    /// The fields the append assigned.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            queue_offset: self.queue_offset,
            physical_offset: self.physical_offset,
            stored_at: self.stored_at,
        }
    }
}

#[cfg(test)]
mod tests;
