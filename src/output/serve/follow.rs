//! Records as they come: what is there, then what the archive gets, until the run is over or the time of a request ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Output;
use cofferdam_service::client::HttpError;
use cofferdam_wire::archive::chain_path;
use cofferdam_wire::output_api::RunName;

/// The API server cuts a request after 60 s; this one ends by itself before that, between two records, and whoever follows
/// asks again from where it ended.
const TIME: Duration = Duration::from_secs(45);
/// How often the archive is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Pieces that wait for whoever reads.
const PIECES: usize = 4;

/// The body of an answer that follows. It begins with `first`, the bytes from `from` on.
pub fn body(
    output: Arc<Output>,
    run: RunName,
    first: impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static,
    from: u64,
) -> Body {
    let (pieces, waiting) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        // An error is that nobody reads any more.
        let _ = go_on(&output, &run, first, from, &pieces).await;
    });
    Body::from_stream(futures::stream::unfold(waiting, |mut waiting| async move {
        waiting.recv().await.map(|piece| (piece, waiting))
    }))
}

/// Nobody reads any more, or the archive broke off, which was said.
struct Ended;

type Pieces = mpsc::Sender<io::Result<Bytes>>;

async fn go_on(
    output: &Output,
    run: &RunName,
    first: impl Stream<Item = Result<Bytes, HttpError>> + Send,
    mut from: u64,
    pieces: &Pieces,
) -> Result<(), Ended> {
    let end = Instant::now() + TIME;
    from += hand_on(first, pieces).await?;
    loop {
        // Before the read: what was recorded until the end is read then.
        let over = output.runs.is_over(run).await;
        let next = output.archive.open(&chain_path(&run.uid, from)).await;
        let got = match next {
            Ok(answer) => hand_on(answer.into_body(), pieces).await?,
            // The archive starts anew, perhaps: whoever follows asks again.
            Err(_) => return Ok(()),
        };
        from += got;
        if over || Instant::now() >= end {
            return Ok(());
        }
        if got == 0 {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = pieces.closed() => return Err(Ended),
            }
        }
    }
}

async fn hand_on(
    bytes: impl Stream<Item = Result<Bytes, HttpError>> + Send,
    pieces: &Pieces,
) -> Result<u64, Ended> {
    let mut bytes = std::pin::pin!(bytes);
    let mut count = 0;
    while let Some(piece) = bytes.next().await {
        let broken = piece.is_err();
        count += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        pieces
            .send(piece.map_err(io::Error::other))
            .await
            .map_err(|_| Ended)?;
        if broken {
            return Err(Ended);
        }
    }
    Ok(count)
}
