//! Short names for what the module takes from its script. Nobody else knows them, and each stands in both.
//!
//! A name is replaced where it stands in the script once, as a member of the object that the module is given; any other
//! stays as it is.

use std::collections::HashMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{Import, ImportSection, Imports, Module};
use wasmparser::{Parser, Payload};

/// How wasm-bindgen calls the script.
const SCRIPT: &str = "./index_bg.js";

/// Returns the module and its script with short names.
pub fn shortened(wasm: &[u8], script: &str) -> Result<(Vec<u8>, String), Box<dyn std::error::Error>> {
    let mut names = HashMap::new();
    let mut script = script.to_owned();
    let mut shorten = |name: &str, begins: &str, ends: &str| {
        let short = letters(names.len());
        let (long, instead) = (format!("{begins}{name}{ends}"), format!("{begins}{short}{ends}"));
        // Several objects of one module have the same member each.
        let is_once = script.matches(&long).count() == 1 || ends.starts_with('"');
        if !names.contains_key(name) && is_once {
            script = script.replace(&long, &instead);
            names.insert(name.to_owned(), short);
        }
    };
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::ImportSection(section) = payload? else { continue };
        for import in section.into_imports() {
            let import = import?;
            if import.module == SCRIPT {
                shorten(import.name, "\n        ", ": ");
            }
            shorten(import.module, "\n        \"", "\": import");
        }
    }
    let mut module = Module::new();
    Renaming { names }.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok((module.finish(), script))
}

/// Returns a name of a few letters, another one for each number.
fn letters(number: usize) -> String {
    let last = char::from(b'a' + u8::try_from(number % 26).expect("a letter"));
    if number < 26 { last.to_string() } else { letters(number / 26 - 1) + &last.to_string() }
}

struct Renaming {
    names: HashMap<String, String>,
}

impl Renaming {
    fn name(&self, of: &str) -> String {
        self.names.get(of).map_or(of, String::as_str).to_owned()
    }
}

impl Reencode for Renaming {
    type Error = Infallible;

    fn parse_imports(
        &mut self,
        section: &mut ImportSection,
        imports: wasmparser::Imports<'_>,
    ) -> Result<(), Error<Infallible>> {
        let wasmparser::Imports::Single(_, import) = imports else {
            return utils::parse_imports(self, section, imports);
        };
        let name = if import.module == SCRIPT { self.name(import.name) } else { import.name.to_owned() };
        let (module, ty) = (self.name(import.module), self.entity_type(import.ty)?);
        section.imports(Imports::Single(Import { module: &module, name: &name, ty }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{EntityType, TypeSection};

    use super::*;

    /// What a module imports, each with its module before it.
    fn imported(wasm: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            let Payload::ImportSection(section) = payload.unwrap() else { continue };
            let imports = section.into_imports().map(Result::unwrap);
            found.extend(imports.map(|import| format!("{} {}", import.module, import.name)));
        }
        found
    }

    #[test]
    fn a_name_is_the_same_in_the_module_and_in_its_script() {
        let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
        types.ty().function([], []);
        for (module, name) in [(SCRIPT, "__wbg_now_1"), (SCRIPT, "twice"), ("./glue.js", "strike")] {
            imports.import(module, name, EntityType::Function(0));
        }
        let mut module = Module::new();
        module.section(&types).section(&imports);
        let script = r#"
        __wbg_now_1: function() {},
        twice: f,
        twice: g,
        "./index_bg.js": import0,
        "./glue.js": import1,
        "./glue.js": import2,
"#;
        let (wasm, script) = shortened(&module.finish(), script).unwrap();
        wasmparser::Validator::new().validate_all(&wasm).unwrap();
        assert_eq!(imported(&wasm), ["b a", "b twice", "c strike"]);
        let expected = r#"
        a: function() {},
        twice: f,
        twice: g,
        "b": import0,
        "c": import1,
        "c": import2,
"#;
        assert_eq!(script, expected);
    }

    #[test]
    fn every_number_has_a_name_of_its_own() {
        let names = [0, 1, 25, 26, 27, 51, 52, 701, 702].map(letters);
        assert_eq!(names.join(" "), "a b z aa ab az ba zz aaa");
    }
}
