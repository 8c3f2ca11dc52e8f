//! Reading a request's body: the media type, the size while it arrives, the time, and all bodies' memory.
//!
//! Bounded by the caller's limit for one body, by `server.read_timeout`, and by [`MEMORY_MAX`] over all bodies
//! that are being read or parsed. Refuses with 413, 408, 415, 400 or 503. One frame, which is what a small body
//! comes in, is passed on without a copy.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::{Problem, code};

/// What all bodies together may hold in memory: 256 of the largest notifications, or four of the largest batches.
pub(super) const MEMORY_MAX: usize = 64 * 1_024 * 1_024;

/// Permits are counted in pieces of this size, because a semaphore counts to 2^32 at most.
const PIECE_BYTES: usize = 1_024;

/// What is read on and thrown away of a body that is too large, so that the client gets to read the answer:
/// closing a socket with unread bytes in it resets the connection, and the answer is lost.
const DRAIN_BYTES_MAX: usize = 32 * 1_024 * 1_024;

const OVERLOAD_PAUSE: Duration = Duration::from_secs(1);

/// Reads bodies within one budget of memory.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    budget: Arc<Semaphore>,
    read_timeout: Duration,
}

/// A body in memory, and its part of the budget, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(super) fn new(read_timeout: Duration) -> Self {
        Self::within(MEMORY_MAX, read_timeout)
    }

    /// A budget of its own, so that large bodies of one kind take no memory from others.
    pub(super) fn within(memory_max: usize, read_timeout: Duration) -> Self {
        Self { budget: Arc::new(Semaphore::new(memory_max / PIECE_BYTES)), read_timeout }
    }

    /// Reads the whole body, `bytes_max` at most.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        bytes_max: usize,
    ) -> Result<ReadBody, Problem> {
        let announced = body.size_hint().lower();
        // A client that asked before sending has sent nothing, and reading would invite it to.
        let unsent = announced > bytes_max as u64 && headers.contains_key(header::EXPECT);
        let mut large = false;
        let reading = async {
            let read = self.collect(&mut body, announced, bytes_max).await?;
            large = read.is_none();
            if large && !unsent {
                drain(&mut body).await;
            }
            read.ok_or_else(|| too_large(bytes_max))
        };
        match timeout(self.read_timeout, reading).await {
            Ok(read) => read,
            // What made it too large is known, whether or not the rest ever comes.
            Err(_) if large => Err(too_large(bytes_max)),
            Err(_) => {
                let detail = format!("the body did not arrive within {:?}", self.read_timeout);
                Err(Problem::new(code::READ_TIMEOUT, detail))
            }
        }
    }

    /// The whole body; none when it is larger, and then the rest of it is still to come.
    async fn collect(
        &self,
        body: &mut Body,
        announced: u64,
        bytes_max: usize,
    ) -> Result<Option<ReadBody>, Problem> {
        if announced > bytes_max as u64 {
            return Ok(None);
        }
        let mut held = None;
        let Some(first) = self.next(body, &mut held).await? else {
            return Ok(Some(ReadBody { bytes: Bytes::new(), _held: held }));
        };
        if body.is_end_stream() && first.len() <= bytes_max {
            return Ok(Some(ReadBody { bytes: first, _held: held }));
        }
        let announced = usize::try_from(announced).unwrap_or(0).max(first.len());
        let mut all = BytesMut::with_capacity(announced.min(bytes_max));
        all.extend_from_slice(&first);
        drop(first);
        while all.len() <= bytes_max
            && let Some(chunk) = self.next(body, &mut held).await?
        {
            all.extend_from_slice(&chunk);
        }
        let fits = all.len() <= bytes_max;
        Ok(fits.then(|| ReadBody { bytes: all.freeze(), _held: held }))
    }

    /// The next piece of data, paid for from the budget.
    async fn next(
        &self,
        body: &mut Body,
        held: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Bytes>, Problem> {
        let data = next_data(body).await?;
        if let Some(data) = &data {
            let pieces = u32::try_from(data.len().div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
            let paid = Arc::clone(&self.budget).try_acquire_many_owned(pieces).map_err(|_| {
                Problem::new(code::OVERLOADED, "too many large bodies are being read")
                    .retry_after(OVERLOAD_PAUSE)
            })?;
            match held {
                Some(held) => held.merge(paid),
                None => *held = Some(paid),
            }
        }
        Ok(data)
    }
}

async fn next_data(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Problem::new(code::BAD_BODY, "the body ended before its length")),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                // Trailers mean nothing here.
                Err(_) => {}
            },
        }
    }
}

async fn drain(body: &mut Body) {
    let mut left = DRAIN_BYTES_MAX;
    while let Ok(Some(data)) = next_data(body).await {
        let Some(rest) = left.checked_sub(data.len()) else { return };
        left = rest;
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body is larger than {bytes_max} bytes, which is the most here");
    Problem::new(code::TOO_LARGE, detail)
}

/// Refuses a body that says it is something else than JSON; one that says nothing is taken for JSON.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let coding: String = String::from_utf8_lossy(coding.as_bytes()).chars().take(80).collect();
        let detail = format!(
            "the body is marked as compressed by {coding:?}; send it as it is, without content-encoding"
        );
        return Err(Problem::new(code::MEDIA, detail));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("");
    let media = text.split(';').next().unwrap_or("").trim();
    let json = media.eq_ignore_ascii_case("application/json")
        || (media.len() > 17
            && media.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("application/"))
            && media.get(media.len() - 5..).is_some_and(|end| end.eq_ignore_ascii_case("+json")));
    if json {
        return Ok(());
    }
    let media: String = media.chars().take(80).collect();
    let detail = format!("the body is marked as {media:?}; send it with `content-type: application/json`");
    Err(Problem::new(code::MEDIA, detail))
}

/// Refuses any body at all, for calls where a client could mistake one for filters.
pub(super) async fn require_none(bodies: &Bodies, headers: &HeaderMap, body: Body) -> Result<(), Problem> {
    if body.is_end_stream() || bodies.read(headers, body, PIECE_BYTES).await?.bytes.is_empty() {
        return Ok(());
    }
    Err(Problem::new(code::UNEXPECTED_BODY, "this call takes no body; filters go into the query string"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn chunks(sizes: &[usize]) -> Body {
        struct Chunks(Vec<usize>);
        impl hyper::body::Body for Chunks {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                let next =
                    self.0.pop().map(|size| Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; size]))));
                std::task::Poll::Ready(next)
            }
        }
        Body::new(Chunks(sizes.iter().rev().copied().collect()))
    }

    async fn read(body: Body, max: usize) -> Result<usize, String> {
        let bodies = Bodies::new(Duration::from_secs(5));
        let read = bodies.read(&HeaderMap::new(), body, max).await;
        read.map(|read| read.bytes.len()).map_err(|problem| problem.code().to_owned())
    }

    #[tokio::test]
    async fn the_limit_counts_what_arrives_not_what_was_announced() {
        assert_eq!(read(chunks(&[10, 20]), 30).await, Ok(30));
        assert_eq!(read(chunks(&[]), 30).await, Ok(0));
        assert_eq!(read(chunks(&[31]), 30).await, Err("request.too-large".to_owned()));
        assert_eq!(read(chunks(&[10, 20, 1]), 30).await, Err("request.too-large".to_owned()));
        assert_eq!(read(Body::from(vec![0; 31]), 30).await, Err("request.too-large".to_owned()));
        assert_eq!(read(Body::from(vec![0; 30]), 30).await, Ok(30));
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let bodies = Bodies::new(Duration::from_secs(5));
        let none = HeaderMap::new();
        let all = bodies.read(&none, chunks(&[MEMORY_MAX / 2, MEMORY_MAX / 2]), MEMORY_MAX).await.unwrap();
        let problem = bodies.read(&none, chunks(&[1]), 10).await.unwrap_err();
        assert_eq!((problem.code(), problem.status().as_u16()), ("server.overloaded", 503));
        drop(all);
        assert!(bodies.read(&none, chunks(&[1]), 10).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_times_out() {
        struct Silent {
            announced: u64,
        }
        impl hyper::body::Body for Silent {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Pending
            }
            fn size_hint(&self) -> hyper::body::SizeHint {
                let mut hint = hyper::body::SizeHint::new();
                hint.set_lower(self.announced);
                hint
            }
        }
        assert_eq!(read(Body::new(Silent { announced: 0 }), 10).await, Err("request.timeout".to_owned()));
        assert_eq!(read(Body::new(Silent { announced: 11 }), 10).await, Err("request.too-large".to_owned()));
    }

    #[test]
    fn only_json_or_nothing_is_taken_for_json() {
        let check = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]);
            require_json(&headers)
        };
        assert!(require_json(&HeaderMap::new()).is_ok());
        for media in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert!(check(media).is_ok(), "{media}");
        }
        for media in ["text/plain", "application/x-www-form-urlencoded", "application/+json", "", "json"] {
            let problem = check(media).unwrap_err();
            assert_eq!((problem.code(), problem.status().as_u16()), ("request.media-type", 415), "{media}");
            assert!(problem.detail().contains("content-type: application/json"));
        }
    }
}
