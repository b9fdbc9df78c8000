//! The files of the console, as `npm run build` has written them into `dist/`. They are in the repository as built, so that a
//! gateway is compiled without Node.

use portcullis_core::control::Asset;

include!("../dist/files.rs");
