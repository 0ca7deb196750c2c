//! What a host needs that runs the image as a container: an Ignition config, the same as a
//! Butane config, or only the files for podman.
//!
//! ```text
//!                          ┌► Host ─┬► config   .ign            Fedora CoreOS reads it
//! Deployment ─┬────────────┘        └► butane   .bu             people edit it
//!             └► quadlet ─────────────────────► .quadlet.tar    any host with podman
//! ```
//!
//! [`Deployment`] says which image and when; [`Host`] is all that a machine gets of it. The
//! container's own needs are in `quadlet` alone. Left out: other systems that read
//! Ignition, and hosts that a cluster restarts.

mod archive;
mod butane;
mod config;
mod deployment;
mod host;
mod quadlet;
mod window;

pub use archive::read_archive;
pub use butane::butane_config;
pub use config::ignition_config;
pub use deployment::{Archive, DataDisk, Deployment, ImageSource, check_url};
pub use host::{Host, HostSettings};
pub use quadlet::{SETTINGS_FOLDER, quadlet_files, write_quadlet};
pub use window::Window;
