//! The same module, smaller where it is compressed: functions that are equal are one, those that are alike stand
//! together, and nothing is said of alignment or names.
//!
//! What a function does, and by which name it is exported, stays as it is. Functions of Rust have no address of their own
//! to rely on, so that two may be one. How an address is aligned is a hint that engines on the Worker's processors have
//! no use for; without it, more functions are equal.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::thread;

use miniz_oxide::deflate::compress_to_vec;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{CodeSection, FunctionSection, MemArg, Module};
use wasmparser::{
    CodeSectionReader, CustomSectionReader, FunctionBody, FunctionSectionReader, Parser, Payload, TypeRef,
};

use crate::alike::{self, Way};

type Failure = Error<Infallible>;

/// Returns the module that does the same and compresses better: of those that the ways to arrange it make, the best.
pub fn smaller(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let modules = thread::scope(|scope| {
        let tried = alike::WAYS
            .map(|way| scope.spawn(move || arranged(wasm, way).map_err(|error| error.to_string())));
        tried.into_iter().map(|tried| tried.join().expect("nothing panics")).collect::<Result<Vec<_>, _>>()
    })?;
    // As what is deployed is counted.
    let best = modules.into_iter().min_by_key(|module| compress_to_vec(module, 6).len());
    Ok(best.expect("there are ways"))
}

fn arranged(wasm: &[u8], way: Way) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (mut imported, mut types, mut bodies) = (0, Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                }
            }
            Payload::FunctionSection(section) => types = section.into_iter().collect::<Result<_, _>>()?,
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    let mut rewriting =
        Rewriting { imported, way, order: Vec::new(), places: (0..u32::try_from(bodies.len())?).collect() };
    let unique = rewriting.unite(&types, &bodies)?;
    rewriting.arrange(&unique);
    let mut module = Module::new();
    rewriting.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

/// Where each function comes. Those of the module itself are counted from its first one that is not imported.
struct Rewriting {
    imported: u32,
    way: Way,
    /// Which function comes at each place.
    order: Vec<usize>,
    /// At which place each function comes, or the one that stands for it.
    places: Vec<u32>,
}

impl Rewriting {
    /// Lets one function stand for all that are equal to it, and returns those that are left, with their bodies.
    ///
    /// Functions that call equal ones become equal by that, so it looks again until nothing changes.
    fn unite(
        &mut self,
        types: &[u32],
        bodies: &[FunctionBody<'_>],
    ) -> Result<Vec<(usize, Vec<u8>)>, Failure> {
        let mut left: Vec<usize> = (0..bodies.len()).collect();
        loop {
            let mut first = HashMap::new();
            let mut stands_for: Vec<u32> = (0..).take(bodies.len()).collect();
            let mut unique = Vec::new();
            for &own in &left {
                let body = self.body(&bodies[own])?;
                match first.entry((types[own], body.clone())) {
                    Entry::Occupied(equal) => stands_for[own] = *equal.get(),
                    Entry::Vacant(place) => {
                        place.insert(stands_for[own]);
                        unique.push((own, body));
                    }
                }
            }
            if unique.len() == left.len() {
                return Ok(unique);
            }
            left = unique.iter().map(|(own, _)| *own).collect();
            for place in &mut self.places {
                *place = stands_for[*place as usize];
            }
        }
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<Vec<u8>, Failure> {
        let mut code = CodeSection::new();
        self.parse_function_body(&mut code, body.clone())?;
        let mut bytes = Vec::new();
        wasm_encoder::Encode::encode(&code, &mut bytes);
        Ok(bytes)
    }

    /// Puts those together that are alike.
    fn arrange(&mut self, unique: &[(usize, Vec<u8>)]) {
        let (owns, bodies): (Vec<usize>, Vec<Vec<u8>>) = unique.iter().cloned().unzip();
        self.order = alike::in_order(&bodies, self.way).into_iter().map(|index| owns[index]).collect();
        let mut places = vec![0; self.places.len()];
        for (place, own) in (0..).zip(&self.order) {
            places[*own] = place;
        }
        for place in &mut self.places {
            *place = places[*place as usize];
        }
    }
}

impl Reencode for Rewriting {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Failure> {
        let own = index.checked_sub(self.imported);
        Ok(own.map_or(index, |own| self.imported + self.places[own as usize]))
    }

    fn mem_arg(&mut self, arg: wasmparser::MemArg) -> Result<MemArg, Failure> {
        Ok(MemArg { align: 0, ..utils::mem_arg(self, arg)? })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Failure> {
        let types = section.into_iter().collect::<wasmparser::Result<Vec<_>>>()?;
        for own in &self.order {
            functions.function(types[*own]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Failure> {
        let bodies = section.into_iter().collect::<wasmparser::Result<Vec<_>>>()?;
        for own in self.order.clone() {
            self.parse_function_body(code, bodies[own].clone())?;
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Result<(), Failure> {
        if section.name() == "name" {
            return Ok(());
        }
        module.section(&self.custom_section(section)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{ExportKind, ExportSection, Function, TypeSection};

    use super::*;

    /// A module that exports a function for each number, which stores it at an address; the last one calls the first.
    fn storing(numbers: &[i32]) -> Vec<u8> {
        let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
        let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
        types.ty().function([], []);
        for (index, number) in (0..).zip(numbers) {
            functions.function(0);
            exports.export(&format!("store{index}"), ExportKind::Func, index);
            let mut function = Function::new([]);
            let mut body = function.instructions();
            body.i32_const(8).i32_const(*number).i32_store(MemArg { offset: 0, align: 2, memory_index: 0 });
            if index + 1 == u32::try_from(numbers.len()).unwrap() {
                body.call(0);
            }
            body.end();
            code.function(&function);
        }
        let mut memories = wasm_encoder::MemorySection::new();
        memories.memory(wasm_encoder::MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
        module.finish()
    }

    /// What each export does, in the order of exports: constants it pushes and functions it calls.
    fn exported(wasm: &[u8]) -> Vec<String> {
        let (mut exports, mut bodies) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::ExportSection(section) => exports.extend(section.into_iter().map(Result::unwrap)),
                Payload::CodeSectionEntry(body) => bodies.push(body),
                _ => {}
            }
        }
        let told = |index: u32| {
            let operators = bodies[index as usize].get_operators_reader().unwrap();
            let told = operators.into_iter().filter_map(|operator| match operator.unwrap() {
                wasmparser::Operator::I32Const { value } => Some(value.to_string()),
                wasmparser::Operator::Call { .. } => Some("call".to_owned()),
                _ => None,
            });
            told.collect::<Vec<_>>().join(" ")
        };
        exports.iter().map(|export| told(export.index)).collect()
    }

    #[test]
    fn equal_functions_become_one_and_every_export_does_what_it_did() {
        let wasm = storing(&[1, 2, 1, 3, 2, 1]);
        let smaller = smaller(&wasm).unwrap();
        wasmparser::Validator::new().validate_all(&smaller).unwrap();
        assert_eq!(exported(&smaller), exported(&wasm));
        let bodies = Parser::new(0)
            .parse_all(&smaller)
            .filter(|payload| matches!(payload, Ok(Payload::CodeSectionEntry(_))));
        assert_eq!(bodies.count(), 4);
    }

    #[test]
    fn the_same_module_always_gives_the_same() {
        let wasm = storing(&[5, 4, 3, 2, 1]);
        assert_eq!(smaller(&wasm).unwrap(), smaller(&wasm).unwrap());
    }
}
