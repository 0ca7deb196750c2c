//! Orders to a running QEMU: its machine protocol over a Unix socket
//! (<https://www.qemu.org/docs/master/interop/qmp-spec.html>).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::world::wait::until;

/// QEMU answers at once unless the host is overloaded.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection on which orders can be given.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to a QEMU that is just starting.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = until("QEMU's control socket", LIMIT, || {
            Ok(UnixStream::connect(socket).ok())
        })?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut qmp = Self {
            reader: BufReader::new(stream),
        };
        qmp.read()?;
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Gives an order without arguments and returns what it yields.
    pub fn execute(&mut self, order: &str) -> Result<Value> {
        let text = json!({ "execute": order }).to_string();
        self.reader
            .get_mut()
            .write_all(text.as_bytes())
            .with_context(|| format!("ordering {order}"))?;
        loop {
            let mut reply = self.read().with_context(|| format!("ordering {order}"))?;
            if let Some(error) = reply.get("error") {
                bail!("ordering {order}: {error}");
            }
            // Events come in between.
            if let Some(value) = reply.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed its control socket");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
