// SPDX-License-Identifier: Apache-2.0
//! Requests about consumer groups: 200, 201, 207, 225, 352 and 353.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use net::{Answer, Call, Fault, Peer, Reply};
use serde::Serialize;
use wire::Str;
use wire::api::group::{
    DeleteSubscriptiongroup, GetAllSubscriptiongroupConfig, GetAllSubscriptiongroupConfigReply,
    GetSubscriptiongroupConfig, UpdateAndCreateSubscriptiongroup, UpdateAndCreateSubscriptiongroupList,
    UpdateAndGetGroupForbidden,
};
use wire::body::group::{GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList};
use wire::body::topic::DataVersion;
use wire::code::{NoHeader, ResponseCode};
use wire::fastjson;

use crate::attributes;
use crate::blocking;
use crate::broker::Broker;
use crate::fault::{bad_body, no_group, not_kept, refused_attributes, unsaved};
use crate::names::group_error;
use crate::subject::Subject;
use crate::topic::requests::Page;

/// Code 200.
pub(crate) fn update_group(
    b: &Arc<Broker>,
    call: Call<UpdateAndCreateSubscriptiongroup>,
) -> Result<Answer<NoHeader>, Fault> {
    let wanted: SubscriptionGroupConfig = fastjson::from_slice(&call.body).map_err(|e| bad_body(&e))?;
    update(b, &call.peer, vec![wanted])
}

/// Code 225.
pub(crate) fn update_groups(
    b: &Arc<Broker>,
    call: Call<UpdateAndCreateSubscriptiongroupList>,
) -> Result<Answer<NoHeader>, Fault> {
    let wanted: SubscriptionGroupList = fastjson::from_slice(&call.body).map_err(|e| bad_body(&e))?;
    update(b, &call.peer, wanted.group_config_list)
}

/// All of them or, when one is not valid, none.
fn update(
    b: &Arc<Broker>,
    peer: &Arc<Peer>,
    wanted: Vec<SubscriptionGroupConfig>,
) -> Result<Answer<NoHeader>, Fault> {
    let mut settings = Vec::with_capacity(wanted.len());
    for mut group in wanted {
        if let Some(error) = group_error(&group.group_name) {
            return Err(Fault::new(ResponseCode::INVALID_PARAMETER, error));
        }
        let current = b.groups.find(&group.group_name);
        let current = current.as_ref().map(|group| &group.attributes);
        group.attributes = attributes::alter(attributes::OF_GROUPS, current, &group.attributes)
            .map_err(|e| refused_attributes(&e))?;
        settings.push(group);
    }
    within_limit(b, &settings)?;
    let b = Arc::clone(b);
    let began = b.env.clock.instant();
    let first = settings.first().map(|group| group.group_name.clone());
    Ok(blocking::later(&b.clone(), peer, move || {
        let put = b.groups.put(settings);
        let took = b.env.clock.instant().saturating_duration_since(began);
        b.measured.group_made(put.is_ok(), took);
        put.map_err(|e| unsaved(&e, Subject::group(&first.unwrap_or_default())))?;
        Ok(Reply::ok(NoHeader))
    }))
}

/// Refuses groups that the broker has no room for.
fn within_limit(b: &Broker, wanted: &[SubscriptionGroupConfig]) -> Result<(), Fault> {
    let most = b.config().groups_max as usize;
    let known = b.groups.all();
    let names = wanted.iter().map(|group| &group.group_name);
    let new: BTreeSet<_> = names.filter(|name| !known.groups.contains_key(name)).collect();
    let known = known.groups.len();
    if new.is_empty() || known + new.len() <= most {
        return Ok(());
    }
    let remark = format!("{known} consumer groups are known, allowed are {most} (groupsMax)");
    Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark))
}

/// The body of the answer to 201.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupTable<'a> {
    data_version: DataVersion,
    forbidden_table: &'a BTreeMap<Str, BTreeMap<Str, i32>>,
    subscription_group_table: BTreeMap<&'a str, &'a SubscriptionGroupConfig>,
}

/// Code 201.
pub(crate) fn all_groups(
    b: &Arc<Broker>,
    call: Call<GetAllSubscriptiongroupConfig>,
) -> Result<Answer<GetAllSubscriptiongroupConfigReply>, Fault> {
    let all = b.groups.all();
    let header = &call.header;
    let page = Page::asked(
        &b.config(),
        header.group_seq,
        header.max_group_num,
        header.data_version.as_deref(),
    );
    let table = GroupTable {
        data_version: all.version,
        forbidden_table: &all.forbidden,
        subscription_group_table: page.cut(all.groups.iter().map(|(k, v)| (k.as_str(), &**v)), all.version),
    };
    let total = i32::try_from(all.groups.len()).ok();
    let reply = Reply::ok(GetAllSubscriptiongroupConfigReply {
        total_group_num: total,
    });
    Ok(reply.with_body(fastjson::to_vec(&table)).into())
}

/// Code 352. Asking for a group makes it when groups may come into being by themselves, as the reference does.
pub(crate) fn one_group(
    b: &Arc<Broker>,
    call: Call<GetSubscriptiongroupConfig>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer.clone(), move || {
        let name = &call.header.group;
        let group = b.group(name).ok_or_else(|| {
            Fault::new(
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                "No group in this broker",
            )
        })?;
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&*group)))
    }))
}

/// Code 353. The group must exist: what is forbidden to a group that nobody knows would stay for ever.
pub(crate) fn forbid(
    b: &Arc<Broker>,
    call: Call<UpdateAndGetGroupForbidden>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer.clone(), move || {
        let UpdateAndGetGroupForbidden {
            group,
            topic,
            readable,
        } = call.header;
        if let Some(readable) = readable {
            if b.groups.find(&group).is_none() {
                return Err(no_group(&group));
            }
            b.groups
                .forbid(&group, &topic, !readable)
                .map_err(|e| unsaved(&e, Subject::topic(&topic).of(&group)))?;
        }
        let now = GroupForbidden {
            readable: !b.groups.may_not_read(&group, &topic),
            group,
            topic,
        };
        Ok(Reply::ok(NoHeader)
            .with_remark("")
            .with_body(fastjson::to_vec(&now)))
    }))
}

/// Code 207.
pub(crate) fn delete_group(
    b: &Arc<Broker>,
    call: Call<DeleteSubscriptiongroup>,
) -> Result<Answer<NoHeader>, Fault> {
    let name = &call.header.group_name;
    if let Some(error) = group_error(name).filter(|_| b.groups.find(name).is_none()) {
        return Err(Fault::new(ResponseCode::INVALID_PARAMETER, error));
    }
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer.clone(), move || {
        let group = &call.header.group_name;
        let about = Subject::group(group);
        b.groups.remove(group).map_err(|e| unsaved(&e, about))?;
        for topic in b.topics.all().topics.values() {
            topic.traffic.forget(group);
        }
        if call.header.clean_offset == Some(true) {
            b.pop.remove_group(group);
            b.offsets.remove_group(group);
            b.keep_offsets().map_err(|e| not_kept(&e, about))?;
        }
        Ok(Reply::ok(NoHeader))
    }))
}
