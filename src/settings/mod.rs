//! settings.env: what the owner of a machine writes, from text to checked values.
//!
//! The syntax is Docker's env-file (<https://docs.docker.com/reference/cli/docker/container/run/#env>):
//! one `KEY=value` per line, `#` comments, no quotes, no escapes; here without
//! white space at the end. On top of it `${KEY}` is expanded in keys that hold
//! no secret. Two types keep the stages apart: [`Written`] is the text as a
//! person wrote it, [`Settings`] is what the machine acts on. Nothing here reads
//! a file, a clock or the network except [`load_settings`].

mod address;
mod authority;
mod checked;
mod expand;
mod file;
mod groups;
mod host;
mod key;
mod monitoring;
mod name;
mod problem;
mod reader;
mod reference;
mod resolve;
mod schedule;
mod template;
mod value;
mod warning;
mod written;

pub use address::{MailAddress, parse_local_part, parse_mail_address};
pub use authority::{
    AUTHORITY_KEY, Authority, MAXIMUM_AUTHORITY_BYTES, named_authority, parse_authority,
};
pub use checked::{Resolved, Settings, Updates};
pub use file::{load_settings, parse_settings};
pub use host::parse_host_name;
pub use key::{KEYS, Key, find_key};
pub use name::{DnsUpdate, StsMode};
pub use problem::{Problem, Problems};
pub use reference::describe_settings;
pub use resolve::resolve_settings;
pub use schedule::{Schedule, parse_schedule, parse_window};
pub use template::{blank_secrets, restore_secrets, settings_template};
pub use value::{DhParameters, Interface, NetworkSource, SshKey, parse_quota};
pub use written::{Entry, KEPT_SECRET, MAXIMUM_BYTES, Written};
