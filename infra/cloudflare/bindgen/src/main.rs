//! `portcullis-bindgen WASM FOLDER`: makes `index.js` and `index_bg.wasm` in the folder.

mod alike;
mod several;
mod short;
mod smaller;

use std::error::Error;
use std::path::Path;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(wasm), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: portcullis-bindgen WASM FOLDER".into());
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name("index").typescript(false).module(true)?;
    // After a panic the shim starts a fresh instance.
    bindgen.reset_state_function(true).force_enable_abort_handler(true).generate(&folder)?;
    let wasm = Path::new(&folder).join("index_bg.wasm");
    let script = Path::new(&folder).join("index.js");
    // Bundlers do not know source phase imports yet.
    let text = std::fs::read_to_string(&script)?.replace("import source ", "import ");
    let (module, text) = short::shortened(&std::fs::read(&wasm)?, &text)?;
    std::fs::write(&wasm, smaller::smaller(&module)?)?;
    Ok(std::fs::write(script, several::several(&text)?)?)
}
