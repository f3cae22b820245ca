// SPDX-License-Identifier: Apache-2.0
//! The groups whose members do not subscribe to the same, for operators: a request of our own.

use std::sync::Arc;
use std::time::Instant;

use net::{Answer, Call, Fault, Reply};
use wire::api::group::ListSubscriptionConflicts;
use wire::body::conflict::{
    ConflictingClient, ConflictingSubscription, SubscriptionConflict, SubscriptionConflicts,
};
use wire::code::{NoHeader, ResponseCode};
use wire::{Str, fastjson};

use crate::blocking::later;
use crate::broker::Broker;
use crate::clients::{Conflict, Side};

/// Groups of one answer.
const GROUPS_MAX: i32 = 100;
/// Clients that are shown of one group.
const CLIENTS_MAX: usize = 8;
/// Subscriptions that are shown of one client.
const SUBSCRIPTIONS_MAX: usize = 100;

/// Bytes of an answer behind which nothing more is added: a client reads no frame above 16 MiB.
pub(crate) const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that are shown of an expression. A heartbeat may bring a million.
const SHOWN_BYTES_MAX: usize = 1024;

/// Code 900080.
pub(crate) fn list(
    b: &Arc<Broker>,
    call: Call<ListSubscriptionConflicts>,
) -> Result<Answer<NoHeader>, Fault> {
    let max = call.header.max.unwrap_or(GROUPS_MAX);
    if !(1..=GROUPS_MAX).contains(&max) {
        let remark = format!("max is {max}, allowed are 1 to {GROUPS_MAX}");
        return Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
    }
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let ListSubscriptionConflicts { group, next, .. } = &call.header;
        let max = max.unsigned_abs() as usize;
        // One more, to know whether there is one.
        let (found, total) = b
            .clients
            .conflicts((group.as_deref(), next.as_deref()), (max + 1, CLIENTS_MAX));
        let (mut conflicts, mut bytes) = (Vec::new(), 0);
        for conflict in found.iter().take(max) {
            if bytes >= PAGE_BYTES {
                break;
            }
            let conflict = shown(&b, conflict);
            bytes += fastjson::to_vec(&conflict).len();
            conflicts.push(conflict);
        }
        let last = conflicts.last().filter(|_| conflicts.len() < found.len());
        let body = SubscriptionConflicts {
            next: last.map(|last| last.group.clone()),
            conflicts,
            total,
        };
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)))
    }))
}

/// What is to be told of one group, if its members do not subscribe to the same.
pub(crate) fn of(b: &Broker, group: &str) -> Option<SubscriptionConflict> {
    let (found, _) = b.clients.conflicts((Some(group), None), (1, CLIENTS_MAX));
    found.first().map(|conflict| shown(b, conflict))
}

fn shown(b: &Broker, conflict: &Conflict) -> SubscriptionConflict {
    let differs = match &conflict.sides[..] {
        [one, two, ..] => one.said.differences(&two.said),
        _ => Vec::new(),
    };
    SubscriptionConflict {
        clients: conflict.sides.iter().map(|side| client(b, side)).collect(),
        differs,
        group: conflict.group.clone(),
        kinds: conflict.all_sides,
        since: time_of(b, conflict.since),
    }
}

fn client(b: &Broker, side: &Side) -> ConflictingClient {
    let (kind, wanted) = (side.said.kind, &side.said.wanted);
    let subscriptions = wanted.iter().take(SUBSCRIPTIONS_MAX);
    ConflictingClient {
        client_addr: side.client.peer.addr.to_string().into(),
        client_id: side.client.id.clone(),
        consume_from_where: kind.consume_from_where,
        consume_type: kind.consume_type,
        message_model: kind.message_model,
        topics: wanted.len(),
        same: side.members,
        since: time_of(b, side.since),
        subscriptions: subscriptions
            .map(|one| ConflictingSubscription {
                expression_type: shortened(&one.expression_type),
                sub_string: shortened(&one.expression),
                topic: one.topic.clone(),
            })
            .collect(),
    }
}

/// The time of day of an instant that has passed.
fn time_of(b: &Broker, at: Instant) -> i64 {
    let ago = b.env.clock.instant().saturating_duration_since(at);
    b.env.clock.now_ms() - i64::try_from(ago.as_millis()).unwrap_or(0)
}

/// As much of a text as an answer shows, and how much it is.
pub(crate) fn shortened(text: &str) -> Str {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.into();
    }
    let shown = &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)];
    format!("{shown}... ({} bytes)", text.len()).into()
}
