//! What an expression reads, found by walking it once. Refuses every name, function and form that is not known here.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::parser::pratt_parser::{Lexer, TokenKind};

use super::MAX_DEPTH;
use crate::sorted::SortedSet;

pub(super) const CALLER: [&str; 4] = ["agent", "client", "principal", "tag"];
pub(super) const NOW: [&str; 7] = ["year", "month", "day", "hour", "minute", "weekday", "unix"];
const VARIABLES: &str = "args, caller, now";

/// The functions, how they are written, and how many arguments they take.
const FUNCTIONS: [(&str, &str, usize); 8] = [
    ("size", "size(x)", 1),
    ("int", "int(x)", 1),
    ("double", "double(x)", 1),
    ("string", "string(x)", 1),
    ("contains", "x.contains(y)", 1),
    ("startsWith", "x.startsWith(y)", 1),
    ("endsWith", "x.endsWith(y)", 1),
    ("lowerAscii", "x.lowerAscii()", 0),
];
/// What the parser replaces with something else, if it is written like this.
const MACROS: &str = "has(x.y), x.all(v, …), x.exists(v, …), x.exists_one(v, …)";

const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
];

/// What the parser calls the value that a loop builds; nobody can write it.
const LOOP_RESULT: &str = "@result";

/// What an expression reads.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The members of the arguments that it names.
    members: SortedSet<String>,
    /// Whether it refers to the arguments as a whole.
    whole: bool,
    /// Whether it has a loop.
    pub loops: bool,
}

/// What is wrong, and the name in the expression that it is about.
#[derive(Debug)]
pub(super) struct Problem {
    pub what: String,
    pub place: Option<String>,
}

impl Problem {
    fn new(what: String, place: &str) -> Self {
        Self { what, place: Some(place.to_owned()) }
    }
}

impl Reads {
    /// Walks an expression.
    pub(super) fn of(expression: &IdedExpr) -> Result<Self, Problem> {
        let mut walk = Walk { reads: Self::default(), variable: None };
        walk.expression(expression, 0)?;
        Ok(walk.reads)
    }

    /// Tells whether anything of the arguments is read.
    pub(super) fn arguments(&self) -> bool {
        self.whole || !self.members.is_empty()
    }

    /// Tells whether that member of the arguments is read.
    pub(super) fn member(&self, name: &str) -> bool {
        self.whole || self.members.contains(name)
    }
}

/// Says that an expression nests too deeply.
pub(super) fn too_deep() -> String {
    format!("it nests, or chains operators, more than {MAX_DEPTH} deep")
}

/// Returns the offset of the first name in an expression that reads like this.
pub(super) fn find(text: &str, name: &str) -> Option<usize> {
    let mut lexer = Lexer::new(text);
    loop {
        let token = lexer.lex();
        match token.kind {
            TokenKind::TokEnd | TokenKind::TokError => return None,
            TokenKind::TokIdent if text.get(token.start..token.end) == Some(name) => {
                return Some(token.start);
            }
            _ => {}
        }
    }
}

struct Walk {
    reads: Reads,
    /// The variable of the loop that is being walked.
    variable: Option<String>,
}

impl Walk {
    fn expression(&mut self, expression: &IdedExpr, depth: u16) -> Result<(), Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem { what: too_deep(), place: None });
        }
        let depth = depth + 1;
        match &expression.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(of) if self.variable.as_deref() != Some(of) => self.member(of, &select.field),
                _ => self.expression(&select.operand, depth),
            },
            Expr::Call(call) => self.call(call, depth),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expression(element, depth)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.expression(&entry.key, depth)?;
                    self.expression(&entry.value, depth)
                }
                EntryExpr::StructField(field) => Err(Problem::new("a map has keys".to_owned(), &field.field)),
            }),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth),
            Expr::Struct(made) => {
                let what = format!("`{}{{…}}` makes a message; there are none here", made.type_name);
                Err(Problem::new(what, made.type_name.rsplit('.').next().unwrap_or_default()))
            }
            Expr::Unspecified => Err(Problem { what: "a part of it cannot be read".to_owned(), place: None }),
        }
    }

    fn variable(&mut self, name: &str) -> Result<(), Problem> {
        match name {
            "args" => self.reads.whole = true,
            "caller" => return Err(bare(name, &CALLER)),
            "now" => return Err(bare(name, &NOW)),
            _ if name == LOOP_RESULT || self.variable.as_deref() == Some(name) => {}
            _ => {
                let what = format!("unknown variable `{name}`; known are {VARIABLES}");
                return Err(Problem::new(what, name.trim_start_matches('.')));
            }
        }
        Ok(())
    }

    fn member(&mut self, of: &str, field: &str) -> Result<(), Problem> {
        let known: &[&str] = match of {
            "args" => {
                self.reads.members.insert(field.to_owned());
                return Ok(());
            }
            "caller" => &CALLER,
            "now" => &NOW,
            _ => return self.variable(of),
        };
        if known.contains(&field) {
            return Ok(());
        }
        let what = format!("`{of}` has no member `{field}`; it has {}", known.join(", "));
        Err(Problem::new(what, field))
    }

    fn call(&mut self, call: &CallExpr, depth: u16) -> Result<(), Problem> {
        if let Some(member) = literal_member(call) {
            self.reads.members.insert(member.to_owned());
            return Ok(());
        }
        known_function(call)?;
        call.target
            .iter()
            .map(AsRef::as_ref)
            .chain(&call.args)
            .try_for_each(|part| self.expression(part, depth))
    }

    /// Walks a loop. One that builds a list could be as large as the arguments squared, and so could one within another.
    fn comprehension(&mut self, comprehension: &ComprehensionExpr, depth: u16) -> Result<(), Problem> {
        let name = &comprehension.iter_var;
        if matches!(comprehension.accu_init.expr, Expr::List(_)) {
            let what = format!("`map` and `filter` are not known; known are {MACROS}");
            return Err(Problem::new(what, name));
        }
        if self.variable.is_some() {
            return Err(Problem::new("a loop cannot be within a loop".to_owned(), name));
        }
        if VARIABLES.split(", ").any(|known| known == name) {
            return Err(Problem::new(format!("`{name}` has another meaning already"), name));
        }
        self.reads.loops = true;
        self.expression(&comprehension.iter_range, depth)?;
        self.variable = Some(name.clone());
        for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
            self.expression(part, depth)?;
        }
        self.variable = None;
        Ok(())
    }
}

fn bare(name: &str, members: &[&str]) -> Problem {
    Problem::new(format!("`{name}` is used by its members: {}", members.join(", ")), name)
}

/// Returns the member that `args["member"]` or `"member" in args` names.
fn literal_member(call: &CallExpr) -> Option<&str> {
    let [left, right] = call.args.as_slice() else { return None };
    let (of, key) = match call.func_name.as_str() {
        operators::INDEX => (left, right),
        operators::IN => (right, left),
        _ => return None,
    };
    match (&of.expr, &key.expr) {
        (Expr::Ident(of), Expr::Literal(LiteralValue::String(key))) if of == "args" => Some(key.inner()),
        _ => None,
    }
}

fn known_function(call: &CallExpr) -> Result<(), Problem> {
    let name = call.func_name.as_str();
    if call.target.is_none() && (OPERATORS.contains(&name) || name == operators::NOT_STRICTLY_FALSE) {
        return Ok(());
    }
    let Some((_, written, count)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        let known: Vec<&str> = FUNCTIONS.iter().map(|(_, written, _)| *written).collect();
        let what = format!("unknown function `{name}`; known are {}, {MACROS}", known.join(", "));
        return Err(Problem::new(what, name));
    };
    let is_member = written.starts_with("x.");
    // `x.size()` is another way to write `size(x)`.
    let is_size = name == "size" && call.target.is_some() && call.args.is_empty();
    if is_size || (call.target.is_some() == is_member && call.args.len() == *count) {
        return Ok(());
    }
    Err(Problem::new(format!("`{name}` is written `{written}`"), name))
}
