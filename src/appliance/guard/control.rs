//! The socket over which root lists and lifts bans: one JSON line each way.

use super::rules::{Ban, ClientNetwork};
use crate::appliance::wire::serve::rest_after;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Longest line of a request.
const LONGEST_LINE: u64 = 1024;
/// Longest a whole conversation may take.
const CONVERSATION_LIMIT: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase", deny_unknown_fields)]
pub enum ControlRequest {
    /// The bans that run.
    List,
    /// The end of one ban, or of all without an address.
    Lift {
        /// Whose.
        address: Option<ClientNetwork>,
    },
}

/// What is answered: the bans listed, or those lifted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlResponse {
    /// The newest first.
    Bans(Vec<Ban>),
    /// Why not.
    Error(String),
}

/// A request with the way back.
pub type Asked = (ControlRequest, oneshot::Sender<ControlResponse>);

/// Takes requests until the process ends.
pub async fn serve_control(listener: UnixListener, requests: mpsc::Sender<Asked>) {
    loop {
        match listener.accept().await {
            // One at a time: only people ask.
            Ok((stream, _)) => match timeout(CONVERSATION_LIMIT, converse(stream, &requests)).await
            {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tell!("answering on the control socket: {error}"),
                Err(_) => tell!("answering on the control socket: no end in time"),
            },
            Err(error) => rest_after(error).await,
        }
    }
}

async fn converse(mut stream: UnixStream, requests: &mpsc::Sender<Asked>) -> std::io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let response = if user != 0 && user != rustix::process::geteuid().as_raw() {
        ControlResponse::Error("only root may ask".to_owned())
    } else {
        let (reader, _) = stream.split();
        let mut line = String::new();
        BufReader::new(reader.take(LONGEST_LINE))
            .read_line(&mut line)
            .await?;
        answer(&line, requests).await
    };
    let mut text = serde_json::to_string(&response)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).await
}

async fn answer(line: &str, requests: &mpsc::Sender<Asked>) -> ControlResponse {
    let request = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(error) => {
            return ControlResponse::Error(format!("a request that cannot be read: {error}"));
        }
    };
    let (sender, receiver) = oneshot::channel();
    if requests.send((request, sender)).await.is_err() {
        return ControlResponse::Error("the guard is ending".to_owned());
    }
    receiver
        .await
        .unwrap_or_else(|_| ControlResponse::Error("the guard is ending".to_owned()))
}
