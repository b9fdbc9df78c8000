//! Makes the script one that makes instances of the module: `make()` returns what one instance exports. Each has a memory of
//! its own, and what goes wrong in one is noted with it.

use std::error::Error;

/// How the crate `worker` keeps what is known of the one instance there is: beside all of them.
const SHARED: &str = "import { state } from ";
/// Where an instance is found to be unusable.
const BROKEN: &str = "    __wbg_call_abort_hook();\n    throw e;\n";

/// Returns the script with all but its imports within a function.
pub fn several(script: &str) -> Result<String, Box<dyn Error>> {
    if !script.contains(SHARED) || !script.contains(BROKEN) {
        return Err("the script is not as it was when this was written".into());
    }
    let script = script
        .replace(BROKEN, &BROKEN.replace("    throw e", "    state.criticalError = true;\n    throw e"));
    let (mut imports, mut body, mut exported) = (String::new(), String::new(), Vec::new());
    for line in script.lines() {
        if line.starts_with(SHARED) {
            continue;
        }
        if line.starts_with("import ") {
            imports.extend([line, "\n"]);
            continue;
        }
        let exports = line.strip_prefix("export ");
        if let Some(exports) = exports {
            let rest = exports.strip_prefix("class ").or_else(|| exports.strip_prefix("function "));
            let rest = rest.ok_or_else(|| format!("this is exported in another way: {line}"))?;
            let ends = rest.find([' ', '(', '{']).ok_or("it has no name")?;
            exported.push(rest[..ends].to_owned());
        }
        body.extend([exports.unwrap_or(line), "\n"]);
    }
    let exported = exported.join(", ");
    Ok(format!(
        "{imports}export const make = () => {{\nconst state = {{ criticalError: false, instanceId: 0 }};\n\
         {body}return {{ {exported} }};\n}};\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "import { state } from './inline0.js';\nimport wasmModule from './m.wasm';\nexport class A {\n}\n\
                          export function reset () {\n}\nexport function b(c) {\n    __wbg_call_abort_hook();\n    throw e;\n}\n\
                          let wasm = 1;\n";

    #[test]
    fn all_but_imports_is_made_anew_for_each() {
        let expected = "import wasmModule from './m.wasm';\nexport const make = () => {\n\
                        const state = { criticalError: false, instanceId: 0 };\nclass A {\n}\nfunction reset () {\n}\n\
                        function b(c) {\n    __wbg_call_abort_hook();\n    state.criticalError = true;\n    throw e;\n}\n\
                        let wasm = 1;\nreturn { A, reset, b };\n};\n";
        assert_eq!(several(SCRIPT).unwrap(), expected);
    }

    #[test]
    fn what_is_written_in_another_way_is_refused() {
        assert!(several(&SCRIPT.replace("export class A {", "export default {")).is_err());
        assert!(several(&SCRIPT.replace("throw e", "throw new E")).is_err());
        assert!(several(&SCRIPT.replace("{ state }", "{ other }")).is_err());
    }
}
