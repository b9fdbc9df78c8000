/// The files, by path.
pub static FILES: &[Asset] = &[];
