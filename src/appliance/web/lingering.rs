//! A stream that is closed in stages, so that the last answer arrives.
//!
//! Who is refused in the middle of a long request is still sending. A close
//! would meet his bytes with a reset, which takes the answer from him before
//! he has read it. RFC 9112, section 9.6
//! (<https://www.rfc-editor.org/rfc/rfc9112#section-9.6>): end the own half,
//! and read on until he ends his, for a while.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Longest wait for a client to end his half.
const LINGERING_LIMIT: Duration = Duration::from_secs(5);
/// Most that is still taken from him; no browser sends more headers.
const DISCARDED_BYTES_MAX: usize = 1 << 20;
/// Bytes taken at once.
const DISCARDED_AT_ONCE: usize = 4 << 10;

/// Where a shutdown is.
enum Stage {
    Open,
    /// The own half is ended, so many bytes may still come.
    Waiting(Pin<Box<Sleep>>, usize),
    Closed,
}

/// The stream, and how far its end has come.
pub struct Lingering<S> {
    stream: S,
    stage: Stage,
}

impl<S> Lingering<S> {
    /// Takes an open stream.
    pub fn new(stream: S) -> Self {
        let stage = Stage::Open;
        Self { stream, stage }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, stage } = &mut *self;
        loop {
            match stage {
                Stage::Open => {
                    ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
                    *stage = Stage::Waiting(Box::pin(sleep(LINGERING_LIMIT)), DISCARDED_BYTES_MAX);
                }
                Stage::Waiting(end, left) => {
                    let mut bytes = [0; DISCARDED_AT_ONCE];
                    let mut buffer = ReadBuf::new(&mut bytes);
                    match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                        Poll::Ready(Ok(())) if (1..=*left).contains(&buffer.filled().len()) => {
                            *left -= buffer.filled().len();
                        }
                        Poll::Ready(_) => *stage = Stage::Closed,
                        Poll::Pending => {
                            ready!(end.as_mut().poll(context));
                            *stage = Stage::Closed;
                        }
                    }
                }
                Stage::Closed => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
