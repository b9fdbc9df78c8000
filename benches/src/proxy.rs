//! A reverse proxy that decides nothing, in the same runtime and with the same HTTP library as the gateway.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// Passes every request on to the origin.
pub(crate) async fn run(listen: SocketAddr, origin: String) -> anyhow::Result<()> {
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build_http();
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, origin) = (client.clone(), origin.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let target = format!("{origin}{}", request.uri().path());
            *request.uri_mut() = target.parse().expect("an origin and a path");
            request.headers_mut().remove(header::HOST);
            client.request(request)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
