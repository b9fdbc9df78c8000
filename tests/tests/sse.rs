//! HTTP+SSE, the transport of 2024-11-05: agents at `/sse`, servers that speak nothing else, and both at once.

mod sse {
    mod agent;
    mod door;
    mod interop;
    mod sessions;
    mod servers;
}
