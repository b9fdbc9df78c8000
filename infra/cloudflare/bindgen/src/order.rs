//! The order of a module's functions: those that are alike stand together, so that the module compresses better.
//!
//! Copies of one generic function, for this type and that, differ in a few bytes. A compressor sees that only where they
//! are near each other. What a function does, and by which name it is exported, stays as it is.

use std::collections::BTreeMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{CodeSection, FunctionSection, Module};
use wasmparser::{
    CodeSectionReader, CustomSectionReader, FunctionSectionReader, KnownCustom, Name, Parser, Payload,
    TypeRef,
};

/// Returns the module with its functions in order of their names, and of their sizes where the name is the same; without
/// the names.
pub fn in_order(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (mut imported, mut sizes, mut names) = (0, Vec::new(), BTreeMap::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                }
            }
            Payload::CodeSectionEntry(body) => sizes.push(body.range().len()),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(section) = section.as_known() {
                    names = named(section)?;
                }
            }
            _ => {}
        }
    }
    let key = |own: &u32| {
        let name = names.get(&(imported + own)).map_or("", String::as_str);
        (without_hash(name), std::cmp::Reverse(sizes[*own as usize]))
    };
    let mut order: Vec<u32> = (0..u32::try_from(sizes.len())?).collect();
    order.sort_by(|one, other| key(one).cmp(&key(other)));
    let mut places = vec![0; order.len()];
    for (place, own) in (0..).zip(&order) {
        places[*own as usize] = place;
    }
    let mut module = Module::new();
    Ordering { imported, order, places }.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

/// Returns the names of functions.
fn named(section: wasmparser::NameSectionReader<'_>) -> wasmparser::Result<BTreeMap<u32, String>> {
    let mut names = BTreeMap::new();
    for name in section {
        if let Name::Function(functions) = name? {
            for naming in functions {
                let naming = naming?;
                names.insert(naming.index, naming.name.to_owned());
            }
        }
    }
    Ok(names)
}

/// Returns what copies of one function have in common: the name without the digest that tells them apart.
fn without_hash(name: &str) -> &str {
    let is_hash = |end: &str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.rsplit_once("::h").filter(|(_, end)| is_hash(end)).map_or(name, |(name, _)| name)
}

/// Functions of the module itself are counted from its first one that is not imported.
struct Ordering {
    imported: u32,
    /// Which function comes at each place.
    order: Vec<u32>,
    /// At which place each function comes.
    places: Vec<u32>,
}

impl Reencode for Ordering {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        let own = index.checked_sub(self.imported);
        Ok(own.map_or(index, |own| self.imported + self.places[own as usize]))
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        let types = section.into_iter().collect::<wasmparser::Result<Vec<_>>>()?;
        for own in &self.order {
            functions.function(types[*own as usize]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        let bodies = section.into_iter().collect::<wasmparser::Result<Vec<_>>>()?;
        for own in self.order.clone() {
            self.parse_function_body(code, bodies[own as usize].clone())?;
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        if section.name() == "name" {
            return Ok(());
        }
        module.section(&self.custom_section(section)?);
        Ok(())
    }
}
