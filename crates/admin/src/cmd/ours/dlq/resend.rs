// SPDX-License-Identifier: Apache-2.0
//! Sending dead letters again. The dead letter itself stays where it is.
//!
//! What is sent says of which dead letter it was made, and how often its message came again. So one dead letter is not sent
//! twice by mistake, and a message that dies again and again is not sent round for ever: both need `--force`.

use serde::Serialize;
use wire::api::query::QueryMessage;
use wire::code::ResponseCode;
use wire::properties::name;

use super::super::lookup;
use super::letter::{Letter, RESENT, RESENT_OF};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups::retry_topic;
use crate::message::Message;
use crate::options::Args;
use crate::sending::{Draft, SEND_OK, Sender, Sent};
use crate::text::time;

/// What chooses all that are listed.
pub(super) const ALL: &str = "all";
/// Lives of a message after its first death that need no force.
const RESENDS_MAX: u32 = 3;
/// Messages with one id that are looked at.
const SAME_ID_MAX: i32 = 64;
/// In whose name dead letters are sent.
const GROUP: &str = "BARQUE_DLQ_RESEND";

/// What belongs to the life that has ended, and would disturb the next one.
const OF_THE_LAST_LIFE: [&str; 20] = [
    "CLUSTER",
    "DELAY",
    "DLQ_ORIGIN_MESSAGE_ID",
    "DLQ_ORIGIN_TOPIC",
    "MAX_OFFSET",
    "MAX_RECONSUME_TIMES",
    "MIN_OFFSET",
    "MSG_REGION",
    "ORIGIN_MESSAGE_ID",
    "PGROUP",
    "POP_CK",
    "1ST_POP_TIME",
    "REAL_QID",
    "REAL_TOPIC",
    "RECONSUME_TIME",
    "RETRY_TOPIC",
    "TIMER_DELAY_MS",
    "TIMER_DELAY_SEC",
    "TIMER_DELIVER_MS",
    "TRAN_MSG",
];

/// What became of one dead letter.
#[derive(Serialize)]
struct Outcome {
    id: String,
    to: String,
    result: String,
    offset: Option<i64>,
}

pub(super) async fn resend(
    ctx: &Ctx,
    args: &Args,
    (group, which): (&str, &str),
    letters: &[Letter],
) -> Result<(), Failure> {
    let to_origin = match args.get("to").unwrap_or("retry") {
        "retry" => false,
        "origin" => true,
        other => {
            return Err(Failure::Usage(format!(
                "option to: '{other}' is neither retry nor origin"
            )));
        }
    };
    let chosen = choose(letters, which)?;
    let dry_run = args.has("dry-run");
    if !dry_run && !chosen.is_empty() {
        let who = match to_origin {
            true => "every group that reads its topic".to_owned(),
            false => format!("the group {group}"),
        };
        let count = chosen.len();
        ctx.confirm(
            args,
            &format!("{count} dead letters are sent again; {who} gets them."),
        )?;
    }
    let sender = Sender::new(ctx, GROUP);
    let mut refused = 0;
    for letter in chosen {
        let outcome = one(ctx, &sender, letter, (group, to_origin, args)).await;
        let (target, result) = match outcome {
            Ok((target, Some(sent))) => (target, Ok(sent)),
            Ok((target, None)) => (target, Err("would be sent".to_owned())),
            Err(failure) => {
                refused += 1;
                let why = match failure.is_lost_answer() {
                    true => {
                        format!("not known: {failure}. It may have arrived; asked again, what has is refused")
                    }
                    false => failure.to_string(),
                };
                (String::new(), Err(why))
            }
        };
        let outcome = Outcome {
            id: letter.id.clone(),
            to: target,
            offset: result.as_ref().ok().map(|sent| sent.offset),
            result: result.map_or_else(|why| why, |sent| told(&sent)),
        };
        ctx.row(&outcome, String::new);
    }
    match refused {
        0 => Ok(()),
        count => Err(Failure::Other(format!(
            "{count} dead letters were not sent again, or nobody knows, see above"
        ))),
    }
}

/// A broker that has it may still not have done all that it promises.
fn told(sent: &Sent) -> String {
    match sent.status {
        SEND_OK => "sent".to_owned(),
        status => format!("sent, with {status}"),
    }
}

/// The letters that are named: by a place that one, by the id of a message its last one.
fn choose<'a>(letters: &'a [Letter], which: &str) -> Result<Vec<&'a Letter>, Failure> {
    if which == ALL {
        let is_last = |(at, letter): &(usize, &Letter)| {
            let later = letters.iter().skip(at + 1);
            !later.into_iter().any(|other| other.id == letter.id)
        };
        let last = letters.iter().enumerate().filter(is_last);
        return Ok(last.map(|(_, letter)| letter).collect());
    }
    let mut chosen: Vec<&Letter> = Vec::new();
    for id in ids(which) {
        let found = letters.iter().rfind(|letter| letter.is(id)).ok_or_else(|| {
            Failure::Other(format!(
                "no dead letter '{id}' among the {} that were looked at; --max looks at more",
                letters.len()
            ))
        })?;
        // Both ids of one letter, or one twice, mean it once.
        if !chosen.iter().any(|known| std::ptr::eq(*known, found)) {
            chosen.push(found);
        }
    }
    Ok(chosen)
}

/// The ids of a list.
pub(super) fn ids(which: &str) -> impl Iterator<Item = &str> {
    which.split(',').map(str::trim).filter(|id| !id.is_empty())
}

/// Where it went, and what became of it there; none where nothing was sent.
async fn one(
    ctx: &Ctx,
    sender: &Sender<'_>,
    letter: &Letter,
    (group, to_origin, args): (&str, bool, &Args),
) -> Result<(String, Option<Sent>), Failure> {
    let origin = letter.topic.as_deref();
    let target = match (to_origin, origin) {
        (false, _) => retry_topic(group),
        (true, Some(topic)) => topic.to_owned(),
        (true, None) => {
            return Err(Failure::Other(
                "refused: the dead letter does not say of which topic it was".to_owned(),
            ));
        }
    };
    if letter.message.body.is_none() {
        return Err(Failure::Other("refused: its body cannot be read".to_owned()));
    }
    if !args.has("force") {
        // It may have gone either way before.
        let ways = [Some(retry_topic(group)), origin.map(str::to_owned)];
        guard(ctx, letter, ways.into_iter().flatten()).await?;
    }
    if args.has("dry-run") {
        return Ok((target, None));
    }
    let draft = draft(letter, &target, origin.filter(|_| !to_origin));
    let sent = sender.send_but_once(&draft).await?;
    Ok((target, Some(sent)))
}

/// Refuses what was sent again often enough, and what was sent again already.
async fn guard(ctx: &Ctx, letter: &Letter, topics: impl Iterator<Item = String>) -> Result<(), Failure> {
    if letter.resent >= RESENDS_MAX {
        let times = letter.resent;
        return Err(Failure::Other(format!(
            "refused: it was sent again {times} times and died each time; find out why, or say --force"
        )));
    }
    let Some(place) = letter.message.offset_id.as_deref() else {
        return Ok(());
    };
    for topic in topics {
        if let Some(again) = made_of(ctx, &topic, &letter.id, place).await? {
            return Err(Failure::Other(format!(
                "refused: it was sent again at {}, to {topic}; --force sends it once more",
                time(again.stored_at)
            )));
        }
    }
    Ok(())
}

/// The message on a topic that was made of a dead letter.
async fn made_of(ctx: &Ctx, topic: &str, id: &str, place: &str) -> Result<Option<Message>, Failure> {
    let route = match lookup::route(ctx, topic).await {
        Err(failure) if failure.response_code() == Some(ResponseCode::TOPIC_NOT_EXIST) => return Ok(None),
        route => route?,
    };
    for addr in route.broker_datas.iter().filter_map(lookup::any_addr) {
        let header = QueryMessage {
            topic: topic.into(),
            key: id.into(),
            max_num: SAME_ID_MAX,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            index_type: Some("U".into()),
            last_key: None,
            unique_key_query: Some(true),
        };
        let answer = match ctx.client.ask(addr, &header).await {
            Err(failure) if failure.response_code() == Some(ResponseCode::QUERY_NOT_FOUND) => continue,
            answer => answer?,
        };
        let found = Message::read_all(&answer.frame.body, |_| {});
        let again = found
            .into_iter()
            .find(|message| message.property(RESENT_OF) == Some(place));
        if again.is_some() {
            return Ok(again);
        }
    }
    Ok(None)
}

/// The message as it is sent again; `retry_of` is the topic that its consumers are to believe it comes from.
fn draft(letter: &Letter, target: &str, retry_of: Option<&str>) -> Draft {
    let mut draft = Draft::again(&letter.message);
    draft.topic = target.into();
    for name in OF_THE_LAST_LIFE {
        draft.properties.remove(name);
    }
    if let Some(topic) = retry_of {
        draft.properties.set(name::RETRY_TOPIC, topic);
    }
    draft.properties.set(name::WAIT, "true");
    draft.properties.set(RESENT, &(letter.resent + 1).to_string());
    if let Some(place) = &letter.message.offset_id {
        draft.properties.set(RESENT_OF, place);
    }
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(properties: &[(&str, &str)]) -> Letter {
        let mut message = Message {
            offset_id: Some("7F".into()),
            body: Some("x".into()),
            ..Message::default()
        };
        for (key, value) in properties {
            message.properties.set(key, value);
        }
        Letter::new(message, Some(16))
    }

    #[test]
    fn what_is_sent_again_keeps_what_its_sender_said_and_nothing_of_its_last_life() {
        let dead = letter(&[
            ("UNIQ_KEY", "ID"),
            ("TAGS", "A"),
            ("colour", "red"),
            ("DELAY", "-1"),
            ("RETRY_TOPIC", "T"),
            ("ORIGIN_MESSAGE_ID", "0"),
            (RESENT, "1"),
        ]);
        let origin = draft(&dead, "T", None);
        assert_eq!(origin.properties.get("colour"), Some("red"));
        assert_eq!(origin.properties.get("UNIQ_KEY"), Some("ID"));
        for gone in ["DELAY", "RETRY_TOPIC", "ORIGIN_MESSAGE_ID"] {
            assert_eq!(origin.properties.get(gone), None, "{gone}");
        }
        assert_eq!(origin.properties.get(RESENT), Some("2"));
        assert_eq!(origin.properties.get(RESENT_OF), Some("7F"));
        let retry = draft(&dead, "%RETRY%G", Some("T"));
        assert_eq!(
            (retry.topic.as_str(), retry.properties.get("RETRY_TOPIC")),
            ("%RETRY%G", Some("T"))
        );
    }

    #[test]
    fn letters_are_chosen_by_either_of_their_ids() {
        let letters = [letter(&[("UNIQ_KEY", "A")]), letter(&[("UNIQ_KEY", "B")])];
        assert_eq!(choose(&letters, "B").unwrap()[0].id, "B");
        // The place is that of both.
        assert_eq!(choose(&letters, "7F,A").unwrap().len(), 2);
        assert_eq!(choose(&letters, "B,7F, B").unwrap().len(), 1);
        assert!(choose(&letters, "C").is_err());
    }

    #[test]
    fn of_a_message_that_died_several_times_the_last_letter_is_meant() {
        let letters = [
            letter(&[("UNIQ_KEY", "A")]),
            letter(&[("UNIQ_KEY", "B")]),
            letter(&[("UNIQ_KEY", "A"), (RESENT, "1")]),
        ];
        let resent = |chosen: Vec<&Letter>| chosen.iter().map(|letter| letter.resent).collect::<Vec<_>>();
        assert_eq!(resent(choose(&letters, "A").unwrap()), [1]);
        assert_eq!(resent(choose(&letters, "all").unwrap()), [0, 1]);
    }
}
