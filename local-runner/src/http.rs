//! The HTTP front: connections are accepted, as many as may be, and let end. What happens on one is `portcullis_native`'s.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hyper_util::server::graceful::GracefulShutdown;
use portcullis_core::{Exposure, Gateway};
use portcullis_native::{Answer, serve_connection};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::host::Machine;

/// How long a connection that is refused may take to end.
const REFUSAL: Duration = Duration::from_secs(1);
/// How long running requests may take to end when the gateway stops.
const GRACE: Duration = Duration::from_secs(10);

/// Serves connections until `stop` completes, then lets running requests end.
pub(crate) async fn serve(gateway: Gateway<Machine>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let answering = gateway.clone();
    let answer: Answer = Arc::new(move |request| {
        let gateway = answering.clone();
        async move { gateway.serve(request).await }.boxed()
    });
    serve_with(gateway, listener, stop, GRACE, answer).await;
}

/// The same with answers that are those of the gateway in the end, and so long for running requests.
pub(crate) async fn serve_with(
    gateway: Gateway<Machine>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    grace: Duration,
    answer: Answer,
) {
    let connections = accept(&gateway, listener, stop, answer).await;
    gateway.stop();
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

/// Serves the counters and nothing else, for as long as the gateway runs.
pub(crate) async fn serve_metrics(gateway: Gateway<Machine>, listener: TcpListener, exposure: Exposure) {
    let answering = gateway.clone();
    let answer: Answer =
        Arc::new(move |request| std::future::ready(answering.serve_metrics(&request, exposure)).boxed());
    accept(&gateway, listener, std::future::pending(), answer).await;
}

/// Serves connections until `stop` completes; returns those that are still open.
async fn accept(
    gateway: &Gateway<Machine>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    answer: Answer,
) -> GracefulShutdown {
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) if connections.count() >= gateway.limits().connections => {
                tracing::warn!(%peer, "refused a connection: there are too many");
                tokio::spawn(tokio::time::timeout(REFUSAL, refuse(stream)));
            }
            Ok((stream, peer)) => {
                serve_connection(answer.clone(), stream, (peer, gateway.limits()), &connections);
            }
            Err(error) => {
                // Out of descriptors, most likely: pause rather than spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections
}

/// Says on a connection that there are too many.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(busy.as_bytes()).await?;
    stream.shutdown().await?;
    // What is left unread would take the answer with it.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}
