// SPDX-License-Identifier: Apache-2.0
//! Members of one consumer group that do not want the same. Brokers and clients take for granted that they do: the last
//! heartbeat decides for all, queues are divided among members that do not read them, and messages are lost in silence.
//!
//! What a member says is kept once for all that say the same. A heartbeat that repeats the one before it costs a hash of
//! it; members are compared only by the number of different things that are said.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{info, warn};
use wire::Str;
use wire::body::subscription::SubscriptionData;

use super::{Beat, Client, Kind, Member};
use crate::filter::is_tag;
use crate::names::{is_system_group, retry_topic};

/// Lines in the log about conflicts, of all groups together, in [`LOG_TIME`].
const LOG_LINES_MAX: u32 = 20;
const LOG_TIME: Duration = Duration::from_secs(60);

/// What a member wants of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Wanted {
    pub(crate) topic: Str,
    pub(crate) expression_type: Str,
    /// Tags in order, or the expression as it is.
    pub(crate) expression: Str,
}

impl Wanted {
    fn of(data: &SubscriptionData) -> Wanted {
        let (expression_type, expression) = if is_tag(Some(&data.expression_type)) {
            let tags: BTreeSet<&str> = data.sub_string.split("||").map(str::trim).collect();
            let all = tags.contains("*") || tags.iter().all(|tag| tag.is_empty());
            let tags: Vec<&str> = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
            let expression = if all {
                Str::const_new("*")
            } else {
                tags.join("||").into()
            };
            (Str::const_new("TAG"), expression)
        } else {
            (data.expression_type.clone(), data.sub_string.trim().into())
        };
        Wanted {
            topic: data.topic.clone(),
            expression_type,
            expression,
        }
    }
}

/// All that a member says of its group. The retry topic of the group is left out: clients add it by themselves.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Said {
    pub(crate) kind: Kind,
    /// By topic.
    pub(crate) wanted: Vec<Wanted>,
}

impl Said {
    fn of(group: &str, kind: Kind, all: &[SubscriptionData]) -> Said {
        let own = retry_topic(group);
        let mut wanted: Vec<_> = all
            .iter()
            .filter(|data| data.topic != own)
            .map(Wanted::of)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        Said { kind, wanted }
    }

    /// In what the two differ.
    pub(crate) fn differences(&self, other: &Said) -> Vec<Str> {
        let topics = |said: &Said| {
            said.wanted
                .iter()
                .map(|one| one.topic.clone())
                .collect::<BTreeSet<_>>()
        };
        let (one, two) = (&self.kind, &other.kind);
        let has_other_topics = topics(self) != topics(other);
        [
            ("topics", has_other_topics),
            ("expressions", !has_other_topics && self.wanted != other.wanted),
            ("consumeType", one.consume_type != two.consume_type),
            ("messageModel", one.message_model != two.message_model),
            (
                "consumeFromWhere",
                one.consume_from_where != two.consume_from_where,
            ),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(what, _)| Str::const_new(what))
        .collect()
    }
}

/// What one member said last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// Of the words it used.
    words: u64,
    /// Of what they mean.
    meaning: u64,
    /// When it first meant that.
    since: Instant,
}

#[derive(Debug)]
struct Opinion {
    said: Arc<Said>,
    members: usize,
    /// Of the last heartbeat in which it was said.
    fingerprint: i32,
}

/// What the members of a group say.
#[derive(Debug, Default)]
pub(super) struct Opinions {
    by_meaning: BTreeMap<u64, Opinion>,
    /// Since when there is more than one.
    since: Option<Instant>,
}

/// What changed in a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    Began,
    Ended,
}

impl Opinions {
    /// Takes note of a heartbeat of a member that was heard before, or not.
    pub(super) fn hear(
        &mut self,
        group: &str,
        before: Option<Heard>,
        beat: &Beat,
        now: Instant,
    ) -> Option<Heard> {
        if is_system_group(group) {
            return None;
        }
        let (words, said) = match &beat.subscriptions {
            Some(all) => {
                let words = words_of(beat.kind, all);
                if before.is_some_and(|before| before.words == words) {
                    return before;
                }
                (words, Said::of(group, beat.kind, all))
            }
            None => {
                // The fingerprint stands for all that the member would say.
                let known = match before {
                    Some(before) => self.by_meaning.get(&before.meaning),
                    None => self
                        .by_meaning
                        .values()
                        .find(|opinion| opinion.fingerprint == beat.fingerprint),
                }?;
                if before.is_some() && known.said.kind == beat.kind {
                    return before;
                }
                let wanted = known.said.wanted.clone();
                (
                    0,
                    Said {
                        kind: beat.kind,
                        wanted,
                    },
                )
            }
        };
        let meaning = hash_of(&said);
        if let Some(before) = before.filter(|before| before.meaning == meaning) {
            return Some(Heard { words, ..before });
        }
        self.forget(before);
        let opinion = self.by_meaning.entry(meaning).or_insert_with(|| Opinion {
            said: Arc::new(said),
            members: 0,
            fingerprint: 0,
        });
        opinion.members += 1;
        opinion.fingerprint = beat.fingerprint;
        Some(Heard {
            words,
            meaning,
            since: now,
        })
    }

    /// A member has left, or says something else.
    pub(super) fn forget(&mut self, heard: Option<Heard>) {
        let Some(heard) = heard else { return };
        if let Some(opinion) = self.by_meaning.get_mut(&heard.meaning) {
            opinion.members -= 1;
            if opinion.members == 0 {
                self.by_meaning.remove(&heard.meaning);
            }
        }
    }

    /// Whether a conflict began or ended since the last time.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        match (self.by_meaning.len() > 1, self.since) {
            (true, None) => {
                self.since = Some(now);
                Turn::Began
            }
            (false, Some(_)) => {
                self.since = None;
                Turn::Ended
            }
            _ => Turn::None,
        }
    }

    /// The conflict there is: at most so many sides, each with the first member that takes it.
    pub(super) fn conflict(
        &self,
        group: &str,
        members: &BTreeMap<u64, Member>,
        most: usize,
    ) -> Option<Conflict> {
        let since = self.since?;
        let mut seen = BTreeSet::new();
        let mut sides = Vec::new();
        for member in members.values() {
            let Some(heard) = member.heard else { continue };
            if sides.len() == most || seen.len() == self.by_meaning.len() {
                break;
            }
            let Some(opinion) = self.by_meaning.get(&heard.meaning) else {
                continue;
            };
            if seen.insert(heard.meaning) {
                sides.push(Side {
                    client: Arc::clone(&member.client),
                    said: Arc::clone(&opinion.said),
                    since: heard.since,
                    members: opinion.members,
                });
            }
        }
        Some(Conflict {
            group: group.into(),
            since,
            sides,
            all_sides: self.by_meaning.len(),
        })
    }
}

fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Of what stands in the heartbeat, in the order in which it stands there, but for versions.
fn words_of(kind: Kind, all: &[SubscriptionData]) -> u64 {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    for data in all {
        (&data.topic, &data.expression_type, &data.sub_string).hash(&mut hasher);
    }
    hasher.finish()
}

/// Members of a group that do not want the same.
#[derive(Debug)]
pub(crate) struct Conflict {
    pub(crate) group: Str,
    pub(crate) since: Instant,
    /// Two at least.
    pub(crate) sides: Vec<Side>,
    /// How many there are.
    pub(crate) all_sides: usize,
}

/// One of the things that members want.
#[derive(Debug)]
pub(crate) struct Side {
    /// The first of those that want it.
    pub(crate) client: Arc<Client>,
    pub(crate) said: Arc<Said>,
    /// Since when this client does.
    pub(crate) since: Instant,
    /// How many do.
    pub(crate) members: usize,
}

/// What is told of conflicts without being asked.
#[derive(Debug, Default)]
pub(super) struct Reports {
    total: AtomicU64,
    log: Mutex<LogTime>,
}

#[derive(Debug, Default)]
struct LogTime {
    began: Option<Instant>,
    lines: u32,
    /// Lines that were not written.
    left_out: u64,
}

impl Reports {
    /// Conflicts that have begun since the start.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn began(&self, conflict: Option<&Conflict>) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let Some(conflict) = conflict else { return };
        let [one, two, ..] = &conflict.sides[..] else {
            return;
        };
        if let Some(left_out) = self.log.lock().line(conflict.since) {
            warn!(
                group = %conflict.group,
                differs = %one.said.differences(&two.said).join(","),
                client = %one.client.id,
                peer = %one.client.peer.addr,
                other_client = %two.client.id,
                other_peer = %two.client.peer.addr,
                left_out,
                "members of a group subscribe to different things, messages may be lost to it; let all subscribe to the same"
            );
        }
    }

    pub(super) fn ended(&self, group: &str, now: Instant) {
        if let Some(left_out) = self.log.lock().line(now) {
            info!(group, left_out, "members of a group subscribe to the same again");
        }
    }
}

impl LogTime {
    /// Whether a line may be written now, and how many were not before it.
    fn line(&mut self, now: Instant) -> Option<u64> {
        if self
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= LOG_TIME)
        {
            (self.began, self.lines) = (Some(now), 0);
        }
        if self.lines == LOG_LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use store::Env;
    use wire::body::subscription::{ConsumeFromWhere, ConsumeType, MessageModel};

    use super::*;

    const KIND: Kind = Kind {
        consume_type: ConsumeType::ConsumePassively,
        message_model: MessageModel::Clustering,
        consume_from_where: ConsumeFromWhere::ConsumeFromLastOffset,
    };

    fn data(topic: &str, expression: &str) -> SubscriptionData {
        SubscriptionData {
            topic: topic.into(),
            sub_string: expression.into(),
            ..SubscriptionData::default()
        }
    }

    fn beat(kind: Kind, fingerprint: i32, all: Option<&[SubscriptionData]>) -> Beat {
        Beat {
            kind,
            subscriptions: all.map(<[_]>::to_vec),
            fingerprint,
        }
    }

    #[test]
    fn the_same_in_other_words_is_no_conflict() {
        let now = Env::real().clock.instant();
        let mut group = Opinions::default();
        for (expression, topics) in [("a || b", ["T", "%RETRY%G"]), ("b||a", ["T", "T"])] {
            let all = topics.map(|topic| data(topic, expression));
            group.hear("G", None, &beat(KIND, 0, Some(&all)), now).unwrap();
        }
        for expression in ["*", "", "a || *"] {
            let said = Said::of("G", KIND, &[data("T", expression)]);
            assert_eq!(said.wanted[0].expression, "*", "{expression}");
        }
        assert_eq!(group.turn(now), Turn::None);
        assert_eq!(group.by_meaning.values().next().unwrap().members, 2);
    }

    #[test]
    fn a_conflict_lasts_until_all_members_say_the_same() {
        let now = Env::real().clock.instant();
        let mut group = Opinions::default();
        let (a, b) = ([data("T", "a")], [data("T", "b")]);
        let one = group.hear("G", None, &beat(KIND, 1, Some(&a)), now);
        let two = group.hear("G", None, &beat(KIND, 2, Some(&b)), now);
        assert_eq!(group.turn(now), Turn::Began);
        let again = group.hear("G", two, &beat(KIND, 2, None), now);
        assert_eq!(again.unwrap().meaning, two.unwrap().meaning);
        assert_eq!(group.turn(now), Turn::None);
        let three = group.hear("G", None, &beat(KIND, 2, None), now);
        assert_eq!(three.unwrap().meaning, two.unwrap().meaning, "by the fingerprint");
        group.forget(three);
        assert_eq!(group.turn(now), Turn::None);
        let two = group.hear("G", two, &beat(KIND, 1, Some(&a)), now);
        assert_eq!(group.turn(now), Turn::Ended);
        let broadcast = Kind {
            message_model: MessageModel::Broadcasting,
            ..KIND
        };
        group.hear("G", one, &beat(broadcast, 1, None), now);
        assert_eq!(group.turn(now), Turn::Began);
        group.forget(two);
        assert_eq!(group.turn(now), Turn::Ended);
    }

    #[test]
    fn so_many_lines_are_written_and_the_others_counted() {
        let (mut log, now) = (LogTime::default(), Env::real().clock.instant());
        let written = (0..50).filter(|_| log.line(now).is_some()).count();
        assert_eq!(written, LOG_LINES_MAX as usize);
        assert_eq!(log.line(now + LOG_TIME), Some(30));
        assert_eq!(log.line(now + LOG_TIME), Some(0));
    }

    #[test]
    fn what_two_members_differ_in_is_named() {
        let said = |kind, all: &[SubscriptionData]| Said::of("G", kind, all);
        let one = said(KIND, &[data("T", "*")]);
        let differences = |other: &Said| one.differences(other).join(",");
        assert_eq!(differences(&said(KIND, &[data("T", "a")])), "expressions");
        assert_eq!(differences(&said(KIND, &[data("U", "a")])), "topics");
        let other = Kind {
            consume_type: ConsumeType::ConsumeActively,
            message_model: MessageModel::Broadcasting,
            consume_from_where: ConsumeFromWhere::ConsumeFromFirstOffset,
        };
        let all = "consumeType,messageModel,consumeFromWhere";
        assert_eq!(differences(&said(other, &[data("T", "*")])), all);
    }
}
