//! HTTP+SSE, the transport of 2024-11-05: agents at `/sse`, and servers that speak nothing else.

mod sse {
    mod door;
    mod servers;
    mod sessions;
}
