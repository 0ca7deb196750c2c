//! A verb of mailctl that stays, started as systemd does.

use super::Machine;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longest wait for a service to be ready.
const START: Duration = Duration::from_secs(60);

/// How often it is looked whether it still runs.
const LOOK: Duration = Duration::from_millis(200);

/// A verb that runs until the test ends.
pub struct Service(Child);

impl Service {
    /// Starts it, and waits for its word.
    pub fn start(machine: &Machine, arguments: &[&str]) -> Self {
        let path = machine.path("notify.sock");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let child = Command::new(assert_cmd::cargo::cargo_bin!("mailctl"))
            .env_clear()
            .env("NOTIFY_SOCKET", &path)
            .arg("--root")
            .arg(machine.path(""))
            .args(arguments)
            .spawn()
            .unwrap();
        let mut service = Self(child);
        let began = Instant::now();
        let mut word = [0; 64];
        let length = loop {
            if let Ok(length) = socket.recv(&mut word) {
                break length;
            }
            let ended = service.0.try_wait().unwrap();
            assert_eq!(ended, None, "{arguments:?} ended");
            assert!(began.elapsed() < START, "{arguments:?} is not ready");
        };
        // sd_notify(3): assignments, one a line.
        assert_eq!(word[..length].trim_ascii_end(), b"READY=1");
        service
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Ends it as systemd does; it ends well.
    pub fn stop(mut self) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
