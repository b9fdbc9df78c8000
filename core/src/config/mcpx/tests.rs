//! What becomes of MCPX's files.
