//! Reading what is left of an upload that was refused.
//!
//! A client that is still sending when the connection closes sees a reset connection instead of the
//! answer. So the rest of the upload is read and thrown away first, within bounds.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    extract::Request,
    http::{Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

/// What is read of an upload at most: a few times the largest of the default settings.
const MAX_BYTES: usize = 256 << 20;
/// What is read at most where no body belongs.
const MAX_UNASKED: usize = 64 << 10;
const MAX_TIME: Duration = Duration::from_secs(5);

/// Answers once the request's body is read to its end, or not worth reading on.
pub(super) async fn read_the_rest(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let most = match *request.method() {
        Method::POST => MAX_BYTES,
        _ => MAX_UNASKED,
    };
    // Such a client waits for a word before it sends anything, and the answer is that word.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let (give_back, mut given_back) = oneshot::channel();
    let request = request.map(|body| {
        Body::from_stream(Lent {
            body: Some(body.into_data_stream()),
            read_from: false,
            ended: false,
            give_back: Some(give_back),
        })
    });
    let response = next.run(request).await;
    // Its time is up: that is what a timeout says.
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        return response;
    }
    if let Ok((mut body, read_from)) = given_back.try_recv()
        && (read_from || !asks_first)
    {
        let rest = async {
            let mut bytes = 0;
            while let Some(Ok(chunk)) = body.next().await {
                bytes += chunk.len();
                if bytes > most {
                    break;
                }
            }
        };
        // Whether it ended or not, the answer goes out now.
        let _ = tokio::time::timeout(MAX_TIME, rest).await;
    }
    response
}

/// A request's body that comes back when its reader drops it before its end.
struct Lent {
    body: Option<BodyDataStream>,
    read_from: bool,
    ended: bool,
    give_back: Option<oneshot::Sender<(BodyDataStream, bool)>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.read_from = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = body.poll_next_unpin(context);
        self.ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (false, Some(body), Some(give_back)) =
            (self.ended, self.body.take(), self.give_back.take())
        {
            // Nobody takes it where the caller has gone.
            let _ = give_back.send((body, self.read_from));
        }
    }
}
