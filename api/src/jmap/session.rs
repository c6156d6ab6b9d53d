//! The session resource (RFC 8620 section 2): what this server can do and where, for one account.

use serde_json::{Value, json};

use crate::Api;
use millrace_directory::Account;

pub const CORE: &str = "urn:ietf:params:jmap:core";
pub const MAIL: &str = "urn:ietf:params:jmap:mail";
pub const WEBSOCKET: &str = "urn:ietf:params:jmap:websocket";
pub const CAPABILITIES: [&str; 3] = [CORE, MAIL, WEBSOCKET];

/// The properties that `Email/query` sorts by.
pub const EMAIL_SORTS: [&str; 9] = [
    "receivedAt",
    "size",
    "from",
    "to",
    "subject",
    "sentAt",
    "hasKeyword",
    "allInThreadHaveKeyword",
    "someInThreadHaveKeyword",
];

/// The session object with URLs under `base`, which has no trailing slash.
pub fn session(api: &Api, account: &Account, base: &str) -> Value {
    let mut session = json!({
        "capabilities": { CORE: core(api), MAIL: {}, WEBSOCKET: { "url": websocket_url(base), "supportsPush": true } },
        "accounts": { &account.id: {
            "name": account.address,
            "isPersonal": true,
            "isReadOnly": false,
            "accountCapabilities": { CORE: {}, MAIL: mail() },
        }},
        "primaryAccounts": { MAIL: account.id },
        "username": account.address,
        "apiUrl": format!("{base}/jmap"),
        "downloadUrl": format!("{base}/jmap/download/{{accountId}}/{{blobId}}/{{name}}?type={{type}}"),
        "uploadUrl": format!("{base}/jmap/upload/{{accountId}}/"),
        "eventSourceUrl":
            format!("{base}/jmap/eventsource?types={{types}}&closeafter={{closeafter}}&ping={{ping}}"),
    });
    session["state"] = session_state(api, account).into();
    session
}

/// The state of the session, told with every response so that a client notices when it changed. It is the same under
/// whatever name a client reaches us.
pub fn session_state(api: &Api, account: &Account) -> String {
    let what_can_change = json!([account.id, account.address, core(api), mail(), api.options.public_url]);
    blake3::hash(what_can_change.to_string().as_bytes()).to_hex()[..16].to_owned()
}

fn core(api: &Api) -> Value {
    let options = &api.options;
    json!({
        "maxSizeUpload": options.max_size_upload,
        "maxConcurrentUpload": options.max_concurrent_uploads,
        "maxSizeRequest": options.max_size_request,
        "maxConcurrentRequests": options.max_concurrent_requests,
        "maxCallsInRequest": options.max_calls_in_request,
        "maxObjectsInGet": options.max_objects_in_get,
        "maxObjectsInSet": options.max_objects_in_set,
        "collationAlgorithms": ["i;ascii-casemap", "i;unicode-casemap"],
    })
}

fn mail() -> Value {
    json!({
        "maxMailboxesPerEmail": null,
        "maxMailboxDepth": 1,
        "maxSizeMailboxName": 255,
        "maxSizeAttachmentsPerEmail": 50_000_000,
        "emailQuerySortOptions": EMAIL_SORTS,
        "mayCreateTopLevelMailbox": false,
    })
}

/// `http` becomes `ws`, `https` becomes `wss`.
fn websocket_url(base: &str) -> String {
    match base.strip_prefix("http") {
        Some(rest) => format!("ws{rest}/jmap/ws"),
        None => format!("{base}/jmap/ws"),
    }
}
