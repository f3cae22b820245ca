// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a link: the replication port of the reference has no names. A slave says over the other port
//! which broker it is (900103), and gets a token that it sends first on the link. With `haSecret` both sides prove before
//! that they have it. Brokers of the reference know nothing of this: they are served where nothing is to be proved, or
//! where `haAllowUnproven` says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac as _};
use net::{Answer, Call, CallError, Channel, Fault, Reply};
use parking_lot::Mutex;
use sha2::Sha256;
use thiserror::Error;
use wire::Str;
use wire::api::ha::{ReplicaHello, ReplicaHelloReply};
use wire::code::ResponseCode;
use wire::ext::ExtError;
use wire::frame::Frame;

use crate::broker::Broker;
use crate::config::Config;

/// For how long a challenge, and a token, can be used.
const LIFE: Duration = Duration::from_secs(10);
/// Most of each at a time.
const OPEN_MAX: usize = 1024;
/// How long a master has for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What a master has given out.
#[derive(Debug, Default)]
pub(crate) struct Hellos {
    /// Challenges that were answered, and when they were given, ms.
    answered: Mutex<HashMap<Str, i64>>,
    /// Tokens, and which slave each is for.
    tokens: Mutex<HashMap<i64, (i64, Instant)>>,
}

/// Why a link is not opened.
#[derive(Debug, Error)]
pub(super) enum HelloError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the master answers {code}: {remark}")]
    Refused { code: i32, remark: Str },
    #[error("the answer makes no sense: {0}")]
    Reply(#[from] ExtError),
    #[error(
        "the master does not prove that it has the secret: set the same haSecret there, or haAllowUnproven=true here"
    )]
    Unproven,
    #[error("the master takes no part in the proof")]
    NoToken,
}

/// Code 900103.
pub(crate) fn hello(b: &Arc<Broker>, call: Call<ReplicaHello>) -> Result<Answer<ReplicaHelloReply>, Fault> {
    let (config, said) = (b.config(), &call.header);
    check_name(&config, said)?;
    let hellos = &b.replication.hellos;
    let now = b.env.clock.instant();
    let Some(secret) = config.ha_secret.get() else {
        let token = hellos.give_token(said.broker_id, b.env.rng.next_u64(), now);
        return Ok(Reply::ok(ReplicaHelloReply {
            token: Some(token),
            ..ReplicaHelloReply::default()
        })
        .into());
    };
    let (Some(answers), Some(proof)) = (&said.answers, &said.proof) else {
        let challenge = Challenge::give(secret, b.env.rng.next_u64(), b.env.clock.now_ms());
        let proof = Side::Master.proof(secret, said, &challenge);
        return Ok(Reply::ok(ReplicaHelloReply {
            challenge: Some(challenge),
            proof: Some(proof),
            token: None,
        })
        .into());
    };
    if !hellos.take_challenge(secret, answers, b.env.clock.now_ms())
        || !Side::Slave.is_proof(secret, said, answers, proof)
    {
        let remark = "the slave does not prove that it has the secret: set the same haSecret there";
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    let token = hellos.give_token(said.broker_id, b.env.rng.next_u64(), now);
    Ok(Reply::ok(ReplicaHelloReply {
        token: Some(token),
        ..ReplicaHelloReply::default()
    })
    .into())
}

fn check_name(config: &Config, said: &ReplicaHello) -> Result<(), Fault> {
    let refuse = |what: String| Err(Fault::new(ResponseCode::NO_PERMISSION, what));
    let (name, cluster) = (&config.broker_name, &config.broker_cluster_name);
    if said.broker_name != *name || said.cluster_name != *cluster {
        return refuse(format!(
            "this is broker {name} of cluster {cluster}, and not the master of {} of cluster {}",
            said.broker_name, said.cluster_name
        ));
    }
    if said.broker_id == config.broker_id {
        return refuse(format!("both brokers have the brokerId {}", said.broker_id));
    }
    Ok(())
}

impl Hellos {
    /// Takes a challenge that was answered; once.
    fn take_challenge(&self, secret: &str, challenge: &Str, now_ms: i64) -> bool {
        let Some(given_ms) = Challenge::given_ms(secret, challenge) else {
            return false;
        };
        let life_ms = LIFE.as_millis() as i64;
        let mut answered = self.answered.lock();
        answered.retain(|_, given_ms| (now_ms - *given_ms).abs() <= life_ms);
        let is_fresh = (now_ms - given_ms).abs() <= life_ms && answered.len() < OPEN_MAX;
        is_fresh && answered.insert(challenge.clone(), given_ms).is_none()
    }

    pub(super) fn give_token(&self, slave: i64, random: u64, now: Instant) -> i64 {
        let mut open = self.tokens.lock();
        open.retain(|_, (_, until)| *until > now);
        // Whoever only says hello must not keep others out.
        let oldest = open
            .iter()
            .min_by_key(|(_, (_, until))| *until)
            .map(|(token, _)| *token);
        if let Some(oldest) = oldest.filter(|_| open.len() >= OPEN_MAX) {
            open.remove(&oldest);
        }
        let token = (random >> 1).max(1).cast_signed();
        open.insert(token, (slave, now + LIFE));
        token
    }

    /// The slave that a token was given to; once.
    pub(super) fn take_token(&self, token: i64, now: Instant) -> Option<i64> {
        let (slave, until) = self.tokens.lock().remove(&token)?;
        (until > now).then_some(slave)
    }
}

/// What a master asks a slave to prove itself for. It says itself when it was given and that this master gave it, so that
/// nothing is kept for those who only ask.
struct Challenge;

impl Challenge {
    fn give(secret: &str, random: u64, now_ms: i64) -> Str {
        let stem = format!("{now_ms:x}-{random:016x}");
        format!("{stem}-{}", digits(Challenge::mac(secret, &stem))).into()
    }

    fn mac(secret: &str, stem: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        mac.update(b"challenge");
        mac.update(stem.as_bytes());
        Some(mac)
    }

    fn given_ms(secret: &str, challenge: &str) -> Option<i64> {
        let (stem, seal) = challenge.rsplit_once('-')?;
        if !is_sealed(Challenge::mac(secret, stem), seal) {
            return None;
        }
        i64::from_str_radix(stem.split_once('-')?.0, 16).ok()
    }
}

fn digits(mac: Option<Hmac<Sha256>>) -> String {
    let bytes = mac.map(|mac| mac.finalize().into_bytes());
    bytes.iter().flatten().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes as long for any wrong seal.
fn is_sealed(mac: Option<Hmac<Sha256>>, seal: &str) -> bool {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = seal.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    let both = mac.zip(bytes);
    both.is_some_and(|(mac, bytes)| mac.verify_slice(&bytes).is_ok())
}

/// Who proves.
#[derive(Debug, Clone, Copy)]
enum Side {
    Master,
    Slave,
}

impl Side {
    /// Over everything that both know, so that a proof is of use nowhere else, nor to the other side.
    fn mac(self, secret: &str, said: &ReplicaHello, challenge: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        let side = match self {
            Side::Master => "master",
            Side::Slave => "slave",
        };
        let id = said.broker_id.to_string();
        for part in [
            side,
            &said.cluster_name,
            &said.broker_name,
            &id,
            &said.challenge,
            challenge,
        ] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac)
    }

    fn proof(self, secret: &str, said: &ReplicaHello, challenge: &str) -> Str {
        digits(self.mac(secret, said, challenge)).into()
    }

    fn is_proof(self, secret: &str, said: &ReplicaHello, challenge: &str, proof: &str) -> bool {
        is_sealed(self.mac(secret, said, challenge), proof)
    }
}

/// A slave says hello. `None`: the master is one of the reference, and that is allowed.
pub(super) async fn say_hello(b: &Broker, channel: &Channel) -> Result<Option<i64>, HelloError> {
    let config = b.config();
    let said = ReplicaHello {
        cluster_name: config.broker_cluster_name.clone(),
        broker_name: config.broker_name.clone(),
        broker_id: config.broker_id,
        challenge: format!("{:016x}{:016x}", b.env.rng.next_u64(), b.env.rng.next_u64()).into(),
        ..ReplicaHello::default()
    };
    let (secret, may_be_unproven) = (config.ha_secret.clone(), config.ha_allow_unproven);
    drop(config);
    let Some(first) = ask(channel, &said).await? else {
        return match secret.get() {
            Some(_) if !may_be_unproven => Err(HelloError::Unproven),
            _ => Ok(None),
        };
    };
    let Some(secret) = secret.get() else {
        return first.token.map(Some).ok_or_else(|| HelloError::Refused {
            code: ResponseCode::NO_PERMISSION.0,
            remark: "it asks for a proof: set its haSecret here".into(),
        });
    };
    let (Some(challenge), Some(proof)) = (first.challenge, first.proof) else {
        return match first.token {
            Some(token) if may_be_unproven => Ok(Some(token)),
            _ => Err(HelloError::Unproven),
        };
    };
    if !Side::Master.is_proof(secret, &said, &challenge, &proof) {
        return Err(HelloError::Unproven);
    }
    let said = ReplicaHello {
        proof: Some(Side::Slave.proof(secret, &said, &challenge)),
        answers: Some(challenge),
        ..said
    };
    let second = ask(channel, &said).await?.ok_or(HelloError::NoToken)?;
    second.token.map(Some).ok_or(HelloError::NoToken)
}

/// `None`: the other side does not know the request.
async fn ask(channel: &Channel, said: &ReplicaHello) -> Result<Option<ReplicaHelloReply>, HelloError> {
    let reply = channel.call(Frame::request(0, said), ANSWER_MAX).await?;
    match ResponseCode(reply.code) {
        ResponseCode::SUCCESS => Ok(Some(reply.ext.read()?)),
        ResponseCode::REQUEST_CODE_NOT_SUPPORTED => Ok(None),
        code => Err(HelloError::Refused {
            code: code.0,
            remark: reply.remark.unwrap_or_default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of some length";

    fn said() -> ReplicaHello {
        ReplicaHello {
            cluster_name: "C".into(),
            broker_name: "B".into(),
            broker_id: 1,
            challenge: "c".into(),
            ..ReplicaHello::default()
        }
    }

    #[test]
    fn a_proof_is_of_use_for_one_side_one_slave_and_one_challenge() {
        let proof = Side::Slave.proof(SECRET, &said(), "m");
        assert_eq!(proof.len(), 64);
        assert!(Side::Slave.is_proof(SECRET, &said(), "m", &proof));
        assert!(!Side::Master.is_proof(SECRET, &said(), "m", &proof));
        assert!(!Side::Slave.is_proof("another secret of 16", &said(), "m", &proof));
        assert!(!Side::Slave.is_proof(SECRET, &said(), "n", &proof));
        let other = ReplicaHello {
            broker_id: 2,
            ..said()
        };
        assert!(!Side::Slave.is_proof(SECRET, &other, "m", &proof));
        for wrong in ["", "0", "zz", "\u{e9}\u{e9}", &proof[..62]] {
            assert!(!Side::Slave.is_proof(SECRET, &said(), "m", wrong), "{wrong}");
        }
    }

    #[test]
    fn a_token_serves_once_and_not_for_ever() {
        let hellos = Hellos::default();
        let now = store::Env::real().clock.instant();
        let token = hellos.give_token(7, u64::MAX, now);
        assert!(token > 0);
        assert_eq!(hellos.take_token(token, now), Some(7));
        assert_eq!(hellos.take_token(token, now), None);
        let token = hellos.give_token(7, 0, now);
        assert_eq!(hellos.take_token(token, now + LIFE), None);
    }

    #[test]
    fn a_challenge_serves_once_and_not_for_ever_and_nobody_else_makes_one() {
        let hellos = Hellos::default();
        let challenge = Challenge::give(SECRET, 9, 1_000);
        assert!(!hellos.take_challenge("another secret of 16", &challenge, 1_000));
        assert!(!hellos.take_challenge(SECRET, &challenge, 11_001));
        assert!(hellos.take_challenge(SECRET, &challenge, 11_000));
        assert!(!hellos.take_challenge(SECRET, &challenge, 11_000));
        for made_up in ["", "-", "3e8-9-", "3e8-0000000000000009-00", &challenge[1..]] {
            assert!(
                !hellos.take_challenge(SECRET, &made_up.into(), 1_000),
                "{made_up}"
            );
        }
    }

    #[test]
    fn those_who_only_say_hello_use_up_no_memory_and_keep_nobody_out() {
        let hellos = Hellos::default();
        let now = store::Env::real().clock.instant();
        let mut token = 0;
        for i in 1..=3 * OPEN_MAX as u64 {
            token = hellos.give_token(1, i << 1, now + Duration::from_millis(i));
        }
        assert_eq!(hellos.tokens.lock().len(), OPEN_MAX);
        assert_eq!(hellos.take_token(token, now), Some(1));
    }
}
