//! What lies between a socket and the HTTP library: refusals that say why, and an end to clients that
//! take nothing.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::api::Kind;

/// An answer that is given before there is a request.
pub(super) struct Refusal {
    kind: Kind,
    detail: &'static str,
}

impl Refusal {
    /// A head came too slowly.
    pub(super) const HEAD_TIME: Self = Self {
        kind: Kind::RequestTimeout,
        detail: "the head of the request did not arrive in time",
    };
    /// There are connections enough.
    pub(super) const CROWDED: Self = Self {
        kind: Kind::Overloaded,
        detail: "too many connections are open; close some or come again",
    };
    const MALFORMED: Self = Self {
        kind: Kind::MalformedRequest,
        detail: "this is not a request of HTTP/1.1",
    };
    const LARGE_HEAD: Self = Self {
        kind: Kind::HeadTooLarge,
        detail: "the request has more than 64 KiB or 100 headers before its body; send parameters as fields of a form",
    };

    /// The whole answer as it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (status, slug, title) = self.kind.parts();
        let body = serde_json::json!({
            "type": format!("urn:songkin:problem:{slug}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        })
        .to_string();
        let retry = match status {
            StatusCode::SERVICE_UNAVAILABLE => "retry-after: 1\r\n",
            _ => "",
        };
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n\
             content-length: {}\r\nx-content-type-options: nosniff\r\n{retry}\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// What to say in place of an empty refusal by the HTTP library, if these bytes are one.
    ///
    /// It writes a head of its own, and nothing else with it, for what it cannot read, and closes. Answers of
    /// ours have more headers than these, and `content-length: 0` is on none that is a refusal.
    fn in_place_of(written: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(written).ok()?;
        let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?;
        let mut empty = false;
        for line in lines {
            match line.split_once(": ")?.0 {
                "content-length" => empty = line.ends_with(": 0"),
                "connection" | "date" => {}
                _ => return None,
            }
        }
        match status {
            "400" if empty => Some(Self::MALFORMED),
            "414" | "431" if empty => Some(Self::LARGE_HEAD),
            _ => None,
        }
    }
}

/// A socket.
pub(super) struct Wire<S> {
    socket: S,
    /// What is written in place of what was given, and how much of it is.
    refusal: Option<(Vec<u8>, usize)>,
    /// How long the client may take nothing of its answer.
    patience: Duration,
    /// When that time is up; none while the client takes.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    pub(super) fn new(socket: S, patience: Duration) -> Self {
        Self {
            socket,
            patience,
            refusal: None,
            stalled: None,
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.socket
    }

    /// Passes on what the socket says, unless it has said for too long that there is no room.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing of its answer",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.refusal.is_none()
            && let Some(refusal) = Refusal::in_place_of(bytes)
        {
            this.refusal = Some((refusal.bytes(), 0));
        }
        let Some((refusal, sent)) = &mut this.refusal else {
            let polled = Pin::new(&mut this.socket).poll_write(context, bytes);
            return this.bounded(context, polled);
        };
        while *sent < refusal.len() {
            let polled = Pin::new(&mut this.socket).poll_write(context, &refusal[*sent..]);
            match polled {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) => *sent += more,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return this.bounded(context, Poll::Pending),
            }
        }
        this.refusal = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [alone] = slices {
            return self.poll_write(context, alone);
        }
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.bounded(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        self.bounded(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const EMPTY: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: Sun, 22 Nov 2026 14:00:00 GMT\r\n\r\n";

    #[test]
    fn only_an_empty_refusal_is_replaced() {
        let kind = |written: &str| Refusal::in_place_of(written.as_bytes()).map(|to| to.kind);
        assert_eq!(kind(EMPTY), Some(Kind::HeadTooLarge));
        let malformed = EMPTY.replace("431 Request Header Fields Too Large", "400 Bad Request");
        assert_eq!(kind(&malformed), Some(Kind::MalformedRequest));
        for ours in [
            EMPTY.replace("431 Request Header Fields Too Large", "404 Not Found"),
            EMPTY.replace("content-length: 0", "content-length: 10"),
            EMPTY.replace("date:", "x-request-id: 1\r\ndate:"),
            format!("{EMPTY}more"),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            "HTTP/1.".to_owned(),
        ] {
            assert_eq!(kind(&ours), None, "{ours}");
        }
    }

    /// Through a pipe of a few bytes, so that nothing goes out at once.
    #[tokio::test]
    async fn what_is_written_instead_arrives_whole() {
        let (near, mut far) = tokio::io::duplex(7);
        let mut wire = Wire::new(near, Duration::from_secs(60));
        let mut seen = String::new();
        let (written, _) = tokio::join!(
            async {
                wire.write_all(EMPTY.as_bytes()).await.unwrap();
                wire.shutdown().await
            },
            far.read_to_string(&mut seen)
        );
        written.unwrap();
        assert_eq!(seen.into_bytes(), Refusal::LARGE_HEAD.bytes());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(7);
        let mut wire = Wire::new(near, Duration::from_millis(1));
        let error = wire.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
