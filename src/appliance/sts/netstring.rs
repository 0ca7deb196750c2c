//! Netstrings, in which Postfix asks and is answered: `LENGTH:BYTES,`.
//!
//! <https://cr.yp.to/proto/netstrings.txt>

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads one, at most `limit` bytes long; `None` when the peer has closed before it. After
/// an error nothing more may be read.
pub async fn read_netstring(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Option<Vec<u8>>> {
    let mut length = 0;
    let mut digits = 0;
    loop {
        let byte = match stream.read_u8().await {
            Ok(byte) => byte,
            Err(_) if digits == 0 => return Ok(None),
            Err(error) => return Err(error).context("reading a length"),
        };
        match byte {
            b'0'..=b'9' => {
                ensure!(digits == 0 || length > 0, "a length begins with 0");
                length = length * 10 + usize::from(byte - b'0');
                digits += 1;
                ensure!(length <= limit, "a request has more than {limit} bytes");
            }
            b':' if digits > 0 => break,
            _ => bail!("a request does not begin with its length"),
        }
    }
    let mut bytes = vec![0; length];
    stream
        .read_exact(&mut bytes)
        .await
        .context("reading a request")?;
    let end = stream.read_u8().await.context("reading a request's end")?;
    ensure!(end == b',', "a request is longer than it says");
    Ok(Some(bytes))
}

/// Writes one.
pub async fn write_netstring(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut whole = format!("{}:", bytes.len()).into_bytes();
    whole.extend(bytes);
    whole.push(b',');
    stream.write_all(&whole).await
}

#[cfg(test)]
mod tests {
    use super::{read_netstring, write_netstring};

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[test]
    fn what_is_written_is_read() {
        run(async {
            let mut bytes = Vec::new();
            for text in ["", "sts example.com", "ü,:,"] {
                write_netstring(&mut bytes, text.as_bytes()).await.unwrap();
            }
            assert_eq!(bytes, "0:,15:sts example.com,5:ü,:,,".as_bytes());
            let mut stream = bytes.as_slice();
            for text in ["", "sts example.com", "ü,:,"] {
                let read = read_netstring(&mut stream, 20).await.unwrap();
                assert_eq!(read.as_deref(), Some(text.as_bytes()));
            }
            assert_eq!(read_netstring(&mut stream, 20).await.unwrap(), None);
        });
    }

    #[test]
    fn garbage_and_too_much_are_refused() {
        run(async {
            for garbage in [
                "x",
                ":",
                "-1:",
                "5",
                "5:abc",
                "3:abcd,",
                "3:abc",
                "00:,",
                "03:abc,",
                "21:",
                "99999999999999999999999999:",
                "\0\0\0\0",
                "GET / HTTP/1.1\r\n",
                " 1:a,",
            ] {
                let mut stream = garbage.as_bytes();
                assert!(
                    read_netstring(&mut stream, 20).await.is_err(),
                    "{garbage:?}"
                );
            }
        });
    }
}
