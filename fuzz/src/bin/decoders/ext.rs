// SPDX-License-Identifier: Apache-2.0
//! Typed headers are read from any extension fields without a panic.

use bytes::{BufMut, BytesMut};
use wire::api::pull::PullMessage;
use wire::api::send::SendMessageV2;
use wire::ext::Ext;
use wire::frame::Decoder;

pub(crate) fn run(object: &[u8]) {
    let Ok(length) = u32::try_from(object.len() + 14) else {
        return;
    };
    let mut framed = BytesMut::new();
    framed.put_u32(length + 4);
    framed.put_u32(length);
    framed.put_slice(b"{\"extFields\":");
    framed.put_slice(object);
    framed.put_u8(b'}');
    let Ok(Some(frame)) = Decoder::default().next(&mut framed) else {
        return;
    };
    for (key, _) in frame.ext.iter() {
        assert!(frame.ext.get(&key).is_some());
    }
    if let Ok(header) = frame.ext.read::<SendMessageV2>() {
        assert_eq!(Ext::of(&header).read::<SendMessageV2>().as_ref(), Ok(&header));
    }
    let _read = frame.ext.read::<PullMessage>();
}
