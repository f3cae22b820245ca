// SPDX-License-Identifier: Apache-2.0
//! Users, and what they may do.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Makes a user, who is in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthCreateUser {
    /// Name of the user.
    pub username: Option<Str>,
}

impl Request for AuthCreateUser {
    const CODE: Code = Code::AUTH_CREATE_USER;
    type Reply = NoHeader;
}

/// Changes a user, who is in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthUpdateUser {
    /// Name of the user.
    pub username: Option<Str>,
}

impl Request for AuthUpdateUser {
    const CODE: Code = Code::AUTH_UPDATE_USER;
    type Reply = NoHeader;
}

/// Removes a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthDeleteUser {
    /// Name of the user.
    pub username: Option<Str>,
}

impl Request for AuthDeleteUser {
    const CODE: Code = Code::AUTH_DELETE_USER;
    type Reply = NoHeader;
}

/// Asks for a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthGetUser {
    /// Name of the user.
    pub username: Option<Str>,
}

impl Request for AuthGetUser {
    const CODE: Code = Code::AUTH_GET_USER;
    type Reply = NoHeader;
}

/// Lists users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthListUser {
    /// Part of their names.
    pub filter: Option<Str>,
}

impl Request for AuthListUser {
    const CODE: Code = Code::AUTH_LIST_USER;
    type Reply = NoHeader;
}

/// Gives rights, which are in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthCreateAcl {
    /// Whom it is about: `User:name`.
    pub subject: Option<Str>,
}

impl Request for AuthCreateAcl {
    const CODE: Code = Code::AUTH_CREATE_ACL;
    type Reply = NoHeader;
}

/// Changes rights, which are in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthUpdateAcl {
    /// Whom it is about: `User:name`.
    pub subject: Option<Str>,
}

impl Request for AuthUpdateAcl {
    const CODE: Code = Code::AUTH_UPDATE_ACL;
    type Reply = NoHeader;
}

/// Takes rights back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthDeleteAcl {
    /// Whom it is about: `User:name`.
    pub subject: Option<Str>,
    /// `Custom` or `Default`.
    pub policy_type: Option<Str>,
    /// What they are rights to: `Topic:name`.
    pub resource: Option<Str>,
}

impl Request for AuthDeleteAcl {
    const CODE: Code = Code::AUTH_DELETE_ACL;
    type Reply = NoHeader;
}

/// Asks for the rights of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthGetAcl {
    /// Whom it is about: `User:name`.
    pub subject: Option<Str>,
}

impl Request for AuthGetAcl {
    const CODE: Code = Code::AUTH_GET_ACL;
    type Reply = NoHeader;
}

/// Lists rights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthListAcl {
    /// Part of the subject.
    pub subject_filter: Option<Str>,
    /// Part of the resource.
    pub resource_filter: Option<Str>,
}

impl Request for AuthListAcl {
    const CODE: Code = Code::AUTH_LIST_ACL;
    type Reply = NoHeader;
}
