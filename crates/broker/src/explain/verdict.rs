// SPDX-License-Identifier: Apache-2.0
//! The verdict on one group, from what is known of it. Pure.

use wire::body::explain::GroupVerdict;

/// What a group wants of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// The group is offline, and left nothing that says it.
    Unknown,
    /// Nothing.
    None,
    /// Its expression cannot be used.
    Unusable(String),
    /// The message, by this expression.
    Wants,
    /// Not the message, by this expression.
    Rejects(String),
}

/// The newest copy of the message for the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// It waits.
    Waiting { attempt: i32, due_ms: i64 },
    /// It is in the retry topic, or on the way there.
    Ready { attempt: i32 },
    /// It was popped from the retry topic, and is with a consumer.
    Leased { attempt: i32 },
    /// The group has got past it there.
    Consumed { attempt: i32 },
    /// It is a dead letter.
    Dead { attempt: i32 },
}

/// What is known.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) is_known: bool,
    pub(super) is_online: bool,
    /// Since when it is not, if that is known.
    pub(super) offline_since_ms: Option<i64>,
    pub(super) is_broadcast: bool,
    /// Who forbids the group to read.
    pub(super) forbidden: Option<&'static str>,
    pub(super) wish: Wish,
    pub(super) committed: Option<i64>,
    /// The message was handed out to this client.
    pub(super) handed_out: Option<String>,
    /// It was popped and is with a consumer: which, since when, how long.
    pub(super) leased: Option<String>,
    /// It was popped, and is with no consumer any more.
    pub(super) is_settled: bool,
    /// Where the message is in its queue, if it is there.
    pub(super) offset: Option<i64>,
    pub(super) newest_try: Option<Try>,
}

/// The first that holds.
pub(super) fn verdict(facts: &Facts) -> (GroupVerdict, String) {
    if let (Some(leased), Some(Try::Leased { .. }) | None) = (&facts.leased, facts.newest_try) {
        return (GroupVerdict::HandedOut, format!("it was popped by {leased}"));
    }
    if let Some(newest) = facts.newest_try {
        return of_try(newest);
    }
    if !facts.is_known {
        let sentence = "the group has no settings, no members and no offsets here";
        return (GroupVerdict::GroupUnknown, sentence.to_owned());
    }
    let Some(offset) = facts.offset else {
        let sentence = "there is nothing that it could consume: see the verdict of the message";
        return (GroupVerdict::NoMessage, sentence.to_owned());
    };
    if facts.is_broadcast && facts.forbidden.is_none() {
        let sentence = "the group broadcasts: its clients keep their offsets themselves";
        return (GroupVerdict::Broadcasting, sentence.to_owned());
    }
    if let Wish::Rejects(why) = &facts.wish {
        return (GroupVerdict::Filtered, why.clone());
    }
    if let Some(committed) = facts.committed.filter(|committed| *committed > offset) {
        let sentence = format!(
            "the committed offset {committed} lies behind the message at {offset}: it was consumed, or skipped"
        );
        return (GroupVerdict::PastOffset, sentence);
    }
    if facts.is_settled {
        let sentence = "a consumer that pops has acknowledged it, or its filter has passed over it";
        return (GroupVerdict::PastOffset, sentence.to_owned());
    }
    not_past(facts, offset)
}

fn of_try(newest: Try) -> (GroupVerdict, String) {
    match newest {
        Try::Waiting { attempt, due_ms } => (
            GroupVerdict::WaitingRetry,
            format!("it failed {attempt} times, and comes again at {due_ms}"),
        ),
        Try::Ready { attempt } | Try::Leased { attempt } => (
            GroupVerdict::RetryReady,
            format!("it failed {attempt} times, and lies in the retry topic of the group"),
        ),
        Try::Consumed { attempt } => (
            GroupVerdict::ConsumedOnRetry,
            format!("the group has got past it in its retry topic, after {attempt} failures"),
        ),
        Try::Dead { attempt } => (
            GroupVerdict::DeadLettered,
            format!(
                "it was given up after {attempt} failures, and lies in the dead-letter topic of the group"
            ),
        ),
    }
}

fn not_past(facts: &Facts, offset: i64) -> (GroupVerdict, String) {
    if let Some(who) = facts.forbidden {
        return (GroupVerdict::Forbidden, format!("reading is forbidden by {who}"));
    }
    if !facts.is_online {
        let since = facts.offline_since_ms;
        let since = since.map_or(String::new(), |since| format!(", since {since}"));
        let sentence = format!("no member of the group is connected{since}");
        return (GroupVerdict::GroupOffline, sentence);
    }
    match &facts.wish {
        Wish::None => {
            let sentence =
                "the group does not subscribe to the topic, as the last heartbeat of a member said";
            return (GroupVerdict::NotSubscribed, sentence.to_owned());
        }
        Wish::Unusable(why) => return (GroupVerdict::FilterUnusable, why.clone()),
        Wish::Unknown | Wish::Wants | Wish::Rejects(_) => {}
    }
    if let Some(client) = &facts.handed_out {
        let sentence = format!("it was handed out to {client}, and no offset behind it is committed");
        return (GroupVerdict::HandedOut, sentence);
    }
    let sentence = match facts.committed {
        Some(committed) => format!(
            "the group is at {committed}, {} before the message",
            offset - committed
        ),
        None => "the group has committed no offset in this queue, and pulled nothing".to_owned(),
    };
    (GroupVerdict::NotReached, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Facts {
        Facts {
            leased: None,
            is_settled: false,
            is_known: true,
            is_online: true,
            offline_since_ms: None,
            is_broadcast: false,
            forbidden: None,
            wish: Wish::Wants,
            committed: Some(3),
            handed_out: None,
            offset: Some(5),
            newest_try: None,
        }
    }

    fn of(change: impl FnOnce(&mut Facts)) -> GroupVerdict {
        let mut facts = reading();
        change(&mut facts);
        verdict(&facts).0
    }

    #[test]
    fn a_copy_for_the_group_says_more_than_its_offset() {
        let dead = Some(Try::Dead { attempt: 3 });
        assert_eq!(of(|f| f.newest_try = dead), GroupVerdict::DeadLettered);
        let gone = |f: &mut Facts| (f.newest_try, f.is_online, f.offset) = (dead, false, None);
        assert_eq!(of(gone), GroupVerdict::DeadLettered);
    }

    #[test]
    fn the_message_at_the_committed_offset_is_the_next_and_the_one_before_is_past() {
        assert_eq!(of(|f| f.committed = Some(5)), GroupVerdict::NotReached);
        assert_eq!(of(|f| f.committed = Some(6)), GroupVerdict::PastOffset);
        assert_eq!(of(|f| f.committed = None), GroupVerdict::NotReached);
    }

    #[test]
    fn a_filter_explains_more_than_an_offset_behind_the_message() {
        let rejects = Wish::Rejects("other tags".to_owned());
        let past = |f: &mut Facts| (f.wish, f.committed) = (rejects.clone(), Some(9));
        assert_eq!(of(past), GroupVerdict::Filtered);
    }

    #[test]
    fn what_is_past_is_past_whatever_holds_the_group_up_now() {
        for hold_up in [
            |f: &mut Facts| f.is_online = false,
            |f: &mut Facts| f.wish = Wish::None,
            |f: &mut Facts| f.forbidden = Some("the topic"),
        ] {
            let past = |f: &mut Facts| {
                hold_up(f);
                f.committed = Some(6);
            };
            assert_eq!(of(past), GroupVerdict::PastOffset);
            assert_ne!(of(hold_up), GroupVerdict::NotReached);
        }
    }
}
